//! One subscription as a state machine: no clock, no connection.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::wire::{PubsubMessage, ReceivedMessage};

/// Numbers a stream of a consumer.
pub(super) type StreamId = u64;

/// What a subscription was created with, by Google's names: the members of its JSON that the server
/// knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Settings {
    pub(super) topic: String,
    pub(super) ack_deadline_seconds: u64,
    pub(super) enable_message_ordering: bool,
    pub(super) enable_exactly_once_delivery: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dead_letter_policy: Option<DeadLetterPolicy>,
    push_config: PushConfig,
    #[serde(skip_deserializing)]
    pub(super) detached: bool,
}

/// Where a message goes that was given back too often.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeadLetterPolicy {
    pub(super) dead_letter_topic: String,
    #[serde(default = "five")]
    max_delivery_attempts: u32,
}

const fn five() -> u32 {
    5
}

/// Where its messages were to be pushed; it pushes nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PushConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    push_endpoint: String,
}

/// What may be outstanding to one stream; nothing above 0 means no bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) deadline: Duration,
    pub(super) max_messages: i64,
    pub(super) max_bytes: i64,
}

/// Messages without an acknowledgement.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) settings: Settings,
    /// In the order of publication.
    log: BTreeMap<u64, Entry>,
    /// Those of them that are with nobody.
    waiting: BTreeSet<u64>,
    /// The message of each lease.
    leases: HashMap<u64, u64>,
    /// Bytes of all messages.
    bytes: usize,
    published: u64,
    leased: u64,
}

#[derive(Debug)]
struct Entry {
    message: Arc<PubsubMessage>,
    attempts: u32,
    lease: Option<Lease>,
}

#[derive(Debug)]
struct Lease {
    number: u64,
    stream: StreamId,
    until: Instant,
}

impl Subscription {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            log: BTreeMap::new(),
            waiting: BTreeSet::new(),
            leases: HashMap::new(),
            bytes: 0,
            published: 0,
            leased: 0,
        }
    }

    pub(super) fn publish(&mut self, message: Arc<PubsubMessage>) {
        self.published += 1;
        self.bytes += message.size_bytes();
        self.log.insert(self.published, Entry { message, attempts: 0, lease: None });
        self.waiting.insert(self.published);
    }

    /// Messages without an acknowledgement, whether they wait or are with a consumer.
    pub(super) fn backlog(&self) -> usize {
        self.log.len()
    }

    /// Their bytes.
    pub(super) const fn backlog_bytes(&self) -> usize {
        self.bytes
    }

    fn leased(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.leases.values().filter_map(|number| Some((*number, self.log.get(number)?)))
    }

    /// Leases to a stream what it may have. The messages of a key go out in order, and to one
    /// stream as long as any of them is outstanding.
    pub(super) fn deliver(
        &mut self,
        stream: StreamId,
        flow: Flow,
        now: Instant,
    ) -> Vec<ReceivedMessage> {
        let (mut messages, mut bytes) = (0, 0);
        let mut elsewhere: HashSet<&str> = HashSet::new();
        for (_, entry) in self.leased() {
            if entry.is_with(stream) {
                messages += 1;
                bytes += entry.message.size_bytes() as i64;
            } else if self.settings.enable_message_ordering
                && !entry.message.ordering_key.is_empty()
            {
                elsewhere.insert(&entry.message.ordering_key);
            }
        }
        let mut chosen = Vec::new();
        for &number in &self.waiting {
            let has_room = (flow.max_messages <= 0 || messages < flow.max_messages)
                && (flow.max_bytes <= 0 || bytes < flow.max_bytes);
            if !has_room {
                break;
            }
            let entry = &self.log[&number];
            if !elsewhere.contains(&*entry.message.ordering_key) {
                messages += 1;
                bytes += entry.message.size_bytes() as i64;
                chosen.push(number);
            }
        }
        let until = now + flow.deadline;
        chosen.into_iter().map(|number| self.lease(number, stream, until)).collect()
    }

    fn lease(&mut self, number: u64, stream: StreamId, until: Instant) -> ReceivedMessage {
        self.waiting.remove(&number);
        self.leased += 1;
        self.leases.insert(self.leased, number);
        let entry = self.log.get_mut(&number).expect("what waits is in the log");
        entry.attempts += 1;
        entry.lease = Some(Lease { number: self.leased, stream, until });
        let counted = self.settings.dead_letter_policy.is_some();
        ReceivedMessage {
            ack_id: self.leased.to_string(),
            message: Some(PubsubMessage::clone(&entry.message)),
            delivery_attempt: if counted { entry.attempts.cast_signed() } else { 0 },
        }
    }

    /// The message is done with; `false` if the lease had ended.
    pub(super) fn acknowledge(&mut self, ack_id: &str) -> bool {
        let Some(number) = self.take_lease(ack_id) else { return false };
        self.remove(number);
        true
    }

    /// Moves the deadline of a lease, or ends it where `seconds` is 0; `false` if it had ended.
    pub(super) fn modify(&mut self, ack_id: &str, seconds: u64, now: Instant) -> bool {
        if seconds == 0 {
            let Some(number) = self.take_lease(ack_id) else { return false };
            self.give_back(number);
            return true;
        }
        let number = ack_id.parse().ok().and_then(|lease: u64| self.leases.get(&lease));
        let entry = number.and_then(|number| self.log.get_mut(number));
        let Some(lease) = entry.and_then(|entry| entry.lease.as_mut()) else { return false };
        lease.until = now + Duration::from_secs(seconds);
        true
    }

    /// The stream has ended: its leases end after `grace`, unless they are renewed.
    pub(super) fn close(&mut self, stream: StreamId, grace: Duration, now: Instant) {
        for number in self.leases.values() {
            let lease = self.log.get_mut(number).and_then(|entry| entry.lease.as_mut());
            if let Some(lease) = lease.filter(|lease| lease.stream == stream) {
                lease.until = lease.until.min(now + grace);
            }
        }
    }

    /// When the next lease ends.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.leased().filter_map(|(_, entry)| Some(entry.lease.as_ref()?.until)).min()
    }

    /// Ends the leases whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        let passed = |entry: &Entry| entry.lease.as_ref().is_some_and(|lease| lease.until <= now);
        let expired: Vec<_> =
            self.leased().filter(|(_, entry)| passed(entry)).map(|(number, _)| number).collect();
        for number in expired {
            self.give_back(number);
        }
    }

    /// Takes out the messages that were given back as often as the policy allows.
    pub(super) fn take_exhausted(&mut self) -> Vec<(Arc<PubsubMessage>, u32)> {
        let Some(policy) = &self.settings.dead_letter_policy else { return Vec::new() };
        let is_exhausted =
            |number: &&u64| self.log[number].attempts >= policy.max_delivery_attempts;
        let exhausted: Vec<_> = self.waiting.iter().filter(is_exhausted).copied().collect();
        let mut taken = Vec::new();
        for number in exhausted {
            self.waiting.remove(&number);
            taken.extend(self.remove(number).map(|entry| (entry.message, entry.attempts)));
        }
        taken
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.log.remove(&number)?;
        self.bytes -= entry.message.size_bytes();
        Some(entry)
    }

    fn take_lease(&mut self, ack_id: &str) -> Option<u64> {
        let number = self.leases.remove(&ack_id.parse().ok()?)?;
        self.log.get_mut(&number)?.lease = None;
        Some(number)
    }

    /// Makes a message wait, and with it those of its key that went out after it.
    fn give_back(&mut self, number: u64) {
        let key = match self.log.get(&number) {
            Some(entry) if self.settings.enable_message_ordering => {
                entry.message.ordering_key.clone()
            }
            _ => String::new(),
        };
        let Self { log, waiting, leases, .. } = self;
        for (&later, entry) in log.range_mut(number..) {
            let follows = !key.is_empty() && entry.message.ordering_key == key;
            if later != number && !(follows && entry.lease.is_some()) {
                continue;
            }
            if let Some(lease) = entry.lease.take() {
                leases.remove(&lease.number);
            }
            waiting.insert(later);
        }
    }
}

impl Entry {
    fn is_with(&self, stream: StreamId) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.stream == stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);
    const FLOW: Flow = Flow { deadline: DEADLINE, max_messages: 0, max_bytes: 0 };

    fn subscription(ordered: bool, keys: &[&str]) -> Subscription {
        let mut subscription =
            Subscription::new(Settings { enable_message_ordering: ordered, ..Settings::default() });
        for (number, key) in keys.iter().enumerate() {
            subscription.publish(Arc::new(PubsubMessage {
                message_id: number.to_string(),
                data: vec![0; 100].into(),
                ordering_key: (*key).to_owned(),
                ..PubsubMessage::default()
            }));
        }
        subscription
    }

    fn ids(messages: &[ReceivedMessage]) -> Vec<&str> {
        messages.iter().map(|m| &*m.message.as_ref().unwrap().message_id).collect()
    }

    #[test]
    fn a_lease_ends_at_its_deadline_and_not_before() {
        let (mut subscription, start) = (subscription(false, &["", ""]), Instant::now());
        let first = subscription.deliver(1, FLOW, start);
        assert_eq!(ids(&first), ["0", "1"]);
        assert!(subscription.modify(&first[1].ack_id, 30, start + DEADLINE / 2));
        assert_eq!(subscription.next_deadline(), Some(start + DEADLINE));
        subscription.expire(start + DEADLINE - Duration::from_millis(1));
        assert!(subscription.deliver(2, FLOW, start).is_empty());

        subscription.expire(start + DEADLINE);
        assert_eq!(ids(&subscription.deliver(2, FLOW, start + DEADLINE)), ["0"]);
        assert!(!subscription.acknowledge(&first[0].ack_id), "the lease had ended");
        assert!(subscription.acknowledge(&first[1].ack_id));
        assert_eq!(subscription.backlog(), 1);
    }

    #[test]
    fn a_nack_gives_a_message_back_at_once_and_counts_where_a_policy_asks() {
        let (mut subscription, now) = (subscription(false, &[""]), Instant::now());
        let policy =
            DeadLetterPolicy { dead_letter_topic: "d".to_owned(), max_delivery_attempts: 3 };
        subscription.settings.dead_letter_policy = Some(policy);
        for attempt in 1..=3 {
            let delivered = subscription.deliver(1, FLOW, now);
            assert_eq!(delivered[0].delivery_attempt, attempt);
            assert!(subscription.take_exhausted().is_empty());
            assert!(subscription.modify(&delivered[0].ack_id, 0, now));
        }
        let exhausted = subscription.take_exhausted();
        assert_eq!((&*exhausted[0].0.message_id, exhausted[0].1), ("0", 3));
        assert_eq!(subscription.backlog(), 0);
    }

    #[test]
    fn a_nack_pulls_back_what_follows_in_its_key_and_nothing_else() {
        let (mut subscription, now) = (subscription(true, &["a", "a", "b", "a"]), Instant::now());
        let delivered = subscription.deliver(1, FLOW, now);
        assert!(subscription.modify(&delivered[1].ack_id, 0, now));
        assert!(!subscription.acknowledge(&delivered[3].ack_id), "it was pulled back");
        // The first of the key is still with stream 1, so another gets none of it.
        assert!(subscription.deliver(2, FLOW, now).is_empty());
        assert_eq!(ids(&subscription.deliver(1, FLOW, now)), ["1", "3"]);
    }

    #[test]
    fn a_key_changes_streams_when_nothing_of_it_is_outstanding() {
        let (mut subscription, now) = (subscription(true, &["a", "a"]), Instant::now());
        let one = Flow { max_messages: 1, ..FLOW };
        let first = subscription.deliver(1, one, now);
        assert!(subscription.deliver(2, FLOW, now).is_empty());
        assert!(subscription.acknowledge(&first[0].ack_id));
        assert_eq!(ids(&subscription.deliver(2, FLOW, now)), ["1"]);
    }

    #[test]
    fn a_stream_has_no_more_outstanding_than_it_asked_for() {
        let (mut subscription, now) = (subscription(false, &[""; 10]), Instant::now());
        let few = Flow { max_messages: 3, ..FLOW };
        let delivered = subscription.deliver(1, few, now);
        assert_eq!(delivered.len(), 3);
        assert!(subscription.deliver(1, few, now).is_empty());
        assert!(subscription.acknowledge(&delivered[0].ack_id));
        assert_eq!(subscription.deliver(1, few, now).len(), 1);
        // Bytes may be passed by the message that reaches the bound.
        assert_eq!(subscription.deliver(2, Flow { max_bytes: 150, ..FLOW }, now).len(), 2);
    }

    #[test]
    fn the_leases_of_a_closed_stream_end_soon() {
        let (mut subscription, now) = (subscription(false, &["", ""]), Instant::now());
        let one = Flow { max_messages: 1, ..FLOW };
        subscription.deliver(1, one, now);
        subscription.deliver(2, one, now);
        subscription.close(1, Duration::from_secs(1), now);
        subscription.expire(now + Duration::from_secs(1));
        assert_eq!(ids(&subscription.deliver(3, FLOW, now)), ["0"]);
    }
}
