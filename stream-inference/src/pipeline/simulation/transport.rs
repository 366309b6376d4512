//! A transport that takes its time, fails, and can be made to have the faults of other systems.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{
    Fault,
    world::{Place, State, World},
};
use crate::transport::{
    Capabilities, Delivery, Guarantee, Lane, Limits, Outcome, Settlement, Source, Transport,
    TransportError,
};

pub(super) struct SimulatedTransport {
    world: World,
}

/// A lease on a message; dropped, it gives the message back.
pub(super) struct Token {
    world: World,
    index: usize,
    lease: u64,
}

impl Drop for Token {
    fn drop(&mut self) {
        let mut state = self.world.state();
        if state.holds(self.index, self.lease) {
            state.pull_back(self.index);
            drop(state);
            self.world.changed().notify_waiters();
        }
    }
}

/// An outcome that the broker has taken note of.
struct Accepted {
    index: usize,
    lease: u64,
    end: End,
    /// Whether the broker takes what is published, which it says later.
    is_stored: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Published,
    Recorded,
    Rejected,
}

impl SimulatedTransport {
    pub(super) fn new(world: World) -> Self {
        Self { world }
    }

    fn take(&self, limits: Limits) -> Vec<Delivery<Token>> {
        let mut state = self.world.state();
        let waiting = (0..state.items.len()).filter(|&i| state.items[i].place == Place::Waiting);
        let waiting: Vec<usize> = waiting.collect();
        let mut deliveries = Vec::new();
        let mut bytes = 0;
        for index in waiting {
            bytes += state.items[index].message.payload.len();
            let fits = deliveries.len() < limits.max_messages && bytes <= limits.max_bytes;
            if !deliveries.is_empty() && (!fits || state.chance(3)) {
                break;
            }
            let (lease, attempt) = state.lease(index);
            let item = &state.items[index];
            let lane = item.lane.map(|lane| Lane::Key(lane.to_string().into()));
            deliveries.push(Delivery {
                id: index.to_string(),
                source: Source {
                    transport: "simulated".into(),
                    topic: "world".into(),
                    partition: None,
                    offset: None,
                    message_id: None,
                },
                lane: lane.filter(|_| state.fault != Some(Fault::IgnoresLanes)),
                attempt: Some(attempt),
                key: None,
                attributes: item.message.attributes.clone(),
                payload: item.message.payload.clone(),
                token: Token { world: self.world.clone(), index, lease },
            });
        }
        deliveries
    }

    /// Accepts outcomes in call order, as a broker's client enqueues what it is to send.
    fn accept(&self, batch: Vec<(Delivery<Token>, Outcome)>) -> (Vec<Accepted>, Settlement) {
        let mut settlement = Settlement::default();
        let mut accepted = Vec::new();
        for (delivery, outcome) in batch {
            let (index, lease) = (delivery.token.index, delivery.token.lease);
            let mut state = self.world.state();
            let is_late = !state.holds(index, lease);
            if is_late && state.fault != Some(Fault::AcceptsLateOutcomes) {
                settlement.retried += 1;
                continue;
            }
            let is_open =
                |i: &usize| matches!(state.items[*i].place, Place::Waiting | Place::Leased(_));
            let missed = state.earlier(index).find(is_open);
            if let (false, Some(missed)) = (is_late, missed) {
                let broken = format!("{index} was settled before {missed} of its lane");
                state.broken.get_or_insert(broken);
            }
            let end = match outcome {
                Outcome::Retry => {
                    settlement.retried += 1;
                    match state.fault {
                        Some(Fault::LosesRetries) => state.acknowledge(index),
                        _ => state.pull_back(index),
                    }
                    continue;
                }
                Outcome::Publish(_) => End::Published,
                Outcome::Recorded | Outcome::Filtered => End::Recorded,
                Outcome::Reject(_) => End::Rejected,
            };
            state.items[index].place = Place::Settling(lease);
            let is_stored = state.exactly_once || !state.chance(16);
            if state.fault == Some(Fault::AcknowledgesBeforePublishing) {
                state.acknowledge(index);
            } else if !is_stored {
                // Later ones of the lane are on their way: they come first, and then again.
                state.may_be_unordered(index);
            } else if !state.exactly_once
                || state.fault == Some(Fault::CommitsResultsWithoutOffsets)
            {
                state.ended(index, end != End::Rejected);
            }
            accepted.push(Accepted { index, lease, end, is_stored });
        }
        self.world.changed().notify_waiters();
        (accepted, settlement)
    }
}

/// Acknowledges what was accepted, after a while.
async fn confirm(world: &World, accepted: &[Accepted], settlement: &mut Settlement) {
    world.delay().await;
    let is_cut = world.outage().await;
    let mut state = world.state();
    for &Accepted { index, lease, end, is_stored } in accepted {
        let is_stored = is_stored && !is_cut;
        let is_open = state.items[index].place == Place::Settling(lease);
        if state.fault == Some(Fault::AcknowledgesBeforePublishing) {
            state.ended(index, end != End::Rejected);
        } else if is_open && is_stored {
            state.acknowledge(index);
        } else {
            if is_open {
                state.pull_back(index);
            }
            settlement.retried += 1;
            continue;
        }
        count(settlement, end);
    }
}

/// Commits ends and acknowledgements at once, or nothing of them.
async fn commit(
    world: &World,
    accepted: &[Accepted],
    settlement: &mut Settlement,
) -> Result<(), TransportError> {
    let _transaction = world.transaction().await;
    world.delay().await;
    let is_cut = world.outage().await;
    let mut state = world.state();
    let is_open = |state: &State, outcome: &Accepted| {
        state.items[outcome.index].place == Place::Settling(outcome.lease)
    };
    if is_cut || state.chance(8) {
        state.aborted();
        for outcome in accepted {
            if is_open(&state, outcome) {
                state.pull_back(outcome.index);
            }
        }
        let context = "told to abort".to_owned();
        return Err(TransportError::Aborted { context, source: None });
    }
    for outcome in accepted {
        if !is_open(&state, outcome) && state.fault != Some(Fault::AcceptsLateOutcomes) {
            settlement.retried += 1;
            continue;
        }
        if state.fault != Some(Fault::CommitsResultsWithoutOffsets) {
            state.ended(outcome.index, outcome.end != End::Rejected);
        }
        state.acknowledge(outcome.index);
        count(settlement, outcome.end);
    }
    Ok(())
}

fn count(settlement: &mut Settlement, end: End) {
    match end {
        End::Published => settlement.published += 1,
        End::Recorded => settlement.recorded += 1,
        End::Rejected => settlement.rejected += 1,
    }
}

impl Transport for SimulatedTransport {
    type Token = Token;

    const NAME: &'static str = "simulated";

    fn capabilities(&self) -> Capabilities {
        let guarantee = match self.world.state().exactly_once {
            true => Guarantee::ExactlyOnce,
            false => Guarantee::AtLeastOnce,
        };
        Capabilities { guarantee, lanes: true, attempts: true }
    }

    async fn recv(&mut self, limits: Limits) -> Result<Vec<Delivery<Token>>, TransportError> {
        loop {
            let mut changed = std::pin::pin!(self.world.changed().notified());
            changed.as_mut().enable();
            if self.world.state().chance(20) {
                let context = "told to be away".to_owned();
                return Err(TransportError::Unavailable { context, source: None });
            }
            let deliveries = self.take(limits);
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
            changed.await;
        }
    }

    fn settle(
        &mut self,
        batch: Vec<(Delivery<Token>, Outcome)>,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<> {
        let (accepted, mut settlement) = self.accept(batch);
        let (done, confirmed) = oneshot::channel();
        let world = self.world.clone();
        self.world.spawn(async move {
            let exactly_once = {
                let state = world.state();
                state.exactly_once && state.fault != Some(Fault::AcknowledgesBeforePublishing)
            };
            let result = if exactly_once {
                commit(&world, &accepted, &mut settlement).await
            } else {
                confirm(&world, &accepted, &mut settlement).await;
                Ok(())
            };
            world.changed().notify_waiters();
            // The pipeline may have given up waiting.
            let _ = done.send(result.map(|()| settlement));
        });
        async move {
            confirmed.await.unwrap_or_else(|_| {
                let context = "crashed".to_owned();
                Err(TransportError::Fatal { context, source: None })
            })
        }
    }

    async fn drain(self, _grace: Duration) -> Result<(), TransportError> {
        let mut state = self.world.state();
        // The leases of a consumer end with it.
        for index in 0..state.items.len() {
            if matches!(state.items[index].place, Place::Leased(_)) {
                match state.fault {
                    Some(Fault::DropsOnShutdown) => state.acknowledge(index),
                    _ => state.pull_back(index),
                }
            }
        }
        Ok(())
    }
}
