//! Topics and subscriptions, shared by every connection.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost_types::Timestamp;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tonic::{Code, Status};

use super::{
    subscription::{Settings, StreamId, Subscription},
    wire::PubsubMessage,
};

/// Bytes of messages in all subscriptions together; more is refused, so that memory is bounded.
const MOST_BYTES: usize = 64 << 20;

/// Pub/Sub's limits, from <https://cloud.google.com/pubsub/quotas#resource_limits>.
const MAX_MESSAGE_BYTES: usize = 10 << 20;
const MAX_ATTRIBUTES: usize = 100;
const MAX_NAME_BYTES: usize = 256;
const MAX_VALUE_BYTES: usize = 1024;
const MAX_KEY_BYTES: usize = 1024;

/// What a subscription without a topic is attached to.
const DELETED: &str = "_deleted-topic_";

/// Longer than any lease.
const BEHIND_ALL: Duration = Duration::from_secs(24 * 3600);

/// How long leases outlive their stream, for acknowledgements that are on their way.
const FAREWELL: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Broker {
    state: Mutex<State>,
    /// Something may be delivered that could not be before.
    pub(super) changed: Notify,
    /// Ends all streams when it is sent, with that status.
    pub(super) breaks: watch::Sender<Code>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) topics: BTreeSet<String>,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    published: u64,
    streams: StreamId,
    pub(super) faults: Faults,
}

/// Requests to fail: a count goes down by one, a topic stays.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) refused_publishes: usize,
    pub(super) unanswered_publishes: usize,
    pub(super) refused_acknowledgements: usize,
    /// Topics that confirm nothing.
    pub(super) outages: BTreeSet<String>,
    /// Topics that nobody may publish on.
    pub(super) forbidden: BTreeSet<String>,
}

impl Broker {
    pub(super) fn new() -> Self {
        let breaks = watch::Sender::new(Code::Unavailable);
        Self { state: Mutex::default(), changed: Notify::new(), breaks }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(
        &self,
        topic: &str,
        messages: Vec<PubsubMessage>,
    ) -> Result<Vec<String>, Status> {
        let mut state = self.state();
        if take(&mut state.faults.refused_publishes) {
            return Err(Status::unavailable("the server was told to refuse"));
        }
        if state.faults.outages.contains(topic) {
            // A status that the client does not try again for: nobody has to wait for it to give up.
            return Err(Status::cancelled(format!("{topic} was told to be away")));
        }
        if state.faults.forbidden.contains(topic) {
            return Err(Status::permission_denied(format!("{topic} is not to be published on")));
        }
        if !state.topics.contains(topic) {
            return Err(Status::not_found(format!("no topic {topic}")));
        }
        messages.iter().try_for_each(check)?;
        let held: usize = state.subscriptions.values().map(Subscription::backlog_bytes).sum();
        if held + messages.iter().map(PubsubMessage::size_bytes).sum::<usize>() > MOST_BYTES {
            return Err(Status::resource_exhausted(format!("more than {MOST_BYTES} bytes")));
        }
        let ids = messages.into_iter().map(|message| state.publish(topic, message)).collect();
        let is_unanswered = take(&mut state.faults.unanswered_publishes);
        drop(state);
        self.changed.notify_waiters();
        if is_unanswered {
            return Err(Status::unavailable("the server was told to lose its answer"));
        }
        Ok(ids)
    }

    /// Acknowledges; returns the ids whose lease had ended.
    pub(super) fn acknowledge(&self, name: &str, ids: Vec<String>) -> Result<Vec<String>, Status> {
        self.with_leases(name, ids, |subscription, id, _| subscription.acknowledge(id))
    }

    /// Moves deadlines, 0 gives back; returns the ids whose lease had ended.
    pub(super) fn modify(
        &self,
        name: &str,
        ids: Vec<String>,
        seconds: i32,
    ) -> Result<Vec<String>, Status> {
        let Ok(seconds) = u64::try_from(seconds) else {
            return Err(Status::invalid_argument("expected a deadline of 0 or more seconds"));
        };
        self.with_leases(name, ids, |subscription, id, now| subscription.modify(id, seconds, now))
    }

    fn with_leases(
        &self,
        name: &str,
        mut ids: Vec<String>,
        change: impl Fn(&mut Subscription, &str, Instant) -> bool,
    ) -> Result<Vec<String>, Status> {
        let mut state = self.state();
        if take(&mut state.faults.refused_acknowledgements) {
            return Err(Status::unavailable("the server was told to refuse"));
        }
        let now = Instant::now();
        let subscription = state.subscription(name)?;
        subscription.expire(now);
        ids.retain(|id| !change(subscription, id, now));
        state.forward_exhausted(name);
        drop(state);
        self.changed.notify_waiters();
        Ok(ids)
    }

    /// Lets the deadlines of all leases pass.
    pub(super) fn expire_leases(&self) {
        let mut state = self.state();
        let names: Vec<String> = state.subscriptions.keys().cloned().collect();
        for name in names {
            if let Ok(subscription) = state.subscription(&name) {
                subscription.expire(Instant::now() + BEHIND_ALL);
            }
            state.forward_exhausted(&name);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Opens a stream; returns its number.
    pub(super) fn open(&self, name: &str) -> Result<StreamId, Status> {
        let mut state = self.state();
        state.subscription(name)?;
        state.streams += 1;
        Ok(state.streams)
    }

    /// The stream has ended.
    pub(super) fn close(&self, name: &str, stream: StreamId) {
        if let Ok(subscription) = self.state().subscription(name) {
            subscription.close(stream, FAREWELL, Instant::now());
        }
        // Others must wake up at the new deadline.
        self.changed.notify_waiters();
    }
}

impl State {
    pub(super) fn subscription(&mut self, name: &str) -> Result<&mut Subscription, Status> {
        let found = self.subscriptions.get_mut(name);
        found.ok_or_else(|| Status::not_found(format!("no subscription {name}")))
    }

    pub(super) fn subscribe(&mut self, name: &str, settings: Settings) -> Result<(), Status> {
        if !self.topics.contains(&settings.topic) {
            return Err(Status::not_found(format!("no topic {}", settings.topic)));
        }
        if self.subscriptions.contains_key(name) {
            return Err(Status::already_exists(format!("{name} exists")));
        }
        self.subscriptions.insert(name.to_owned(), Subscription::new(settings));
        Ok(())
    }

    pub(super) fn delete_topic(&mut self, name: &str) -> Result<(), Status> {
        if !self.topics.remove(name) {
            return Err(Status::not_found(format!("no topic {name}")));
        }
        for subscription in self.subscriptions.values_mut() {
            if subscription.settings.topic == name {
                subscription.settings.topic = DELETED.to_owned();
            }
        }
        Ok(())
    }

    /// Takes a subscription off its topic, and what it holds with it.
    pub(super) fn detach(&mut self, name: &str) -> Result<(), Status> {
        let settings = &mut self.subscription(name)?.settings;
        settings.detached = true;
        let detached = Subscription::new(settings.clone());
        self.subscriptions.insert(name.to_owned(), detached);
        Ok(())
    }

    fn publish(&mut self, topic: &str, mut message: PubsubMessage) -> String {
        self.published += 1;
        let id = self.published.to_string();
        message.message_id.clone_from(&id);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, nanos) = (now.as_secs().cast_signed(), now.subsec_nanos().cast_signed());
        message.publish_time = Some(Timestamp { seconds, nanos });
        let message = Arc::new(message);
        for subscription in self.subscriptions.values_mut() {
            if subscription.settings.topic == topic && !subscription.settings.detached {
                subscription.publish(Arc::clone(&message));
            }
        }
        id
    }

    /// Publishes what a subscription's policy gives up, with the attributes that Pub/Sub adds.
    pub(super) fn forward_exhausted(&mut self, name: &str) {
        let Ok(subscription) = self.subscription(name) else { return };
        let exhausted = subscription.take_exhausted();
        let Some(policy) = subscription.settings.dead_letter_policy.clone() else { return };
        let (project, id) = name.split_once("/subscriptions/").unwrap_or_default();
        for (message, attempts) in exhausted {
            let mut message = PubsubMessage::clone(&message);
            for (suffix, value) in [
                ("DeliveryCount", attempts.to_string()),
                ("Subscription", id.to_owned()),
                ("SubscriptionProject", project.trim_start_matches("projects/").to_owned()),
            ] {
                message.attributes.insert(format!("CloudPubSubDeadLetterSource{suffix}"), value);
            }
            self.publish(&policy.dead_letter_topic, message);
        }
    }
}

/// Refuses what Pub/Sub refuses.
fn check(message: &PubsubMessage) -> Result<(), Status> {
    let refuse = |problem: String| Err(Status::invalid_argument(problem));
    let PubsubMessage { data, attributes, ordering_key, .. } = message;
    if data.is_empty() && attributes.is_empty() {
        return refuse("a message needs data or attributes".to_owned());
    }
    if message.size_bytes() > MAX_MESSAGE_BYTES {
        return refuse(format!("{} bytes, at most {MAX_MESSAGE_BYTES}", message.size_bytes()));
    }
    if ordering_key.len() > MAX_KEY_BYTES {
        return refuse(format!("a key of {} bytes, at most {MAX_KEY_BYTES}", ordering_key.len()));
    }
    if attributes.len() > MAX_ATTRIBUTES {
        return refuse(format!("{} attributes, at most {MAX_ATTRIBUTES}", attributes.len()));
    }
    for (name, value) in attributes {
        let fits = (1..=MAX_NAME_BYTES).contains(&name.len()) && value.len() <= MAX_VALUE_BYTES;
        // Google's own clients put the trace context under names of theirs.
        let reserved = name.starts_with("goog") && !name.starts_with("googclient_");
        if !fits || reserved {
            return refuse(format!("attribute {name:?} is too long or reserved"));
        }
    }
    Ok(())
}

/// Counts a fault down; whether there was one left.
fn take(count: &mut usize) -> bool {
    let left = *count > 0;
    *count = count.saturating_sub(1);
    left
}
