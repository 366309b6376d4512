//! The part of a batch that one partition's messages have: carried out in order, held where the
//! broker confirms nothing.

use std::{ops::AddAssign, time::Duration};

use rdkafka::{Message, error::KafkaError, message::OwnedMessage};
use stream_inference::transport::{Delivery, Outcome, Settlement};
use tokio::sync::oneshot;

use crate::{
    KafkaToken,
    claims::{Claim, Standing},
    settle::at_least_once::{Courier, Kind, Sent, Unconfirmed, confirmation},
    settle::refusal::{is_refusal, is_too_large},
    shared::Hold,
};

/// How long a message is held before it is published again, the first time; then twice as long, up
/// to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The verdicts of a batch on one partition's messages, in call order.
pub(crate) struct Share {
    pub(crate) sent: Vec<Sent>,
    /// Verdicts that came while an earlier message of the partition was held.
    pub(crate) waiting: Vec<(Claim, Delivery<KafkaToken>, Outcome)>,
    pub(crate) hold: Option<Hold>,
    /// Resolves once the share before this one has ended.
    turn: Option<oneshot::Receiver<()>>,
    /// Dropped at the end.
    _ended: oneshot::Sender<()>,
}

/// A message whose records the broker did not confirm.
struct Held {
    claim: Claim,
    delivery: Delivery<KafkaToken>,
    kind: Kind,
    records: Vec<OwnedMessage>,
}

impl Held {
    async fn send_again(self, courier: &Courier) -> Sent {
        let Self { claim, delivery, kind, records } = self;
        let reports = courier.enqueue_again(&records).await;
        Sent { claim, delivery, kind, reports }
    }
}

/// What became of some verdicts.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) settlement: Settlement,
    /// Why the transport can't go on.
    pub(crate) refused: Option<KafkaError>,
}

impl Tally {
    /// Counts a verdict that does not count any more; answers whether it does.
    pub(crate) fn counts(&mut self, standing: Standing) -> bool {
        match standing {
            Standing::Valid => return true,
            Standing::PulledBack => self.settlement.retried += 1,
            Standing::Stale => self.settlement.stale += 1,
        }
        false
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.settlement += other.settlement;
        self.refused = self.refused.take().or(other.refused);
    }
}

impl Share {
    pub(crate) const fn new(
        turn: Option<oneshot::Receiver<()>>,
        ended: oneshot::Sender<()>,
    ) -> Self {
        Self { sent: Vec::new(), waiting: Vec::new(), hold: None, turn, _ended: ended }
    }

    pub(crate) fn publishes(&self) -> bool {
        !self.waiting.is_empty() || self.sent.iter().any(|sent| !sent.reports.is_empty())
    }

    /// Ends every verdict: confirmed, handed back or stale.
    pub(crate) async fn carry_out(mut self, courier: &Courier) -> Tally {
        let mut tally = Tally::default();
        let sent = std::mem::take(&mut self.sent);
        let held = self.confirm(courier, sent, &mut tally).await;
        if tally.refused.is_some() || (held.is_empty() && self.waiting.is_empty()) {
            return tally;
        }
        // What is held of the share before goes first.
        if let Some(turn) = self.turn.take() {
            let _ = turn.await;
        }
        self.insist(courier, held, &mut tally).await;
        let mut sent = Vec::with_capacity(self.waiting.len());
        for (claim, delivery, outcome) in std::mem::take(&mut self.waiting) {
            match courier.shared.is_closing() {
                true => give_up(courier, claim, &mut tally),
                false => sent.extend(courier.send(claim, delivery, outcome, &mut tally).await),
            }
        }
        let held = self.confirm(courier, sent, &mut tally).await;
        self.insist(courier, held, &mut tally).await;
        tally
    }

    /// Waits for reports in order; gives back what was not confirmed and may be later.
    async fn confirm(
        &mut self,
        courier: &Courier,
        sent: Vec<Sent>,
        tally: &mut Tally,
    ) -> Vec<Held> {
        let mut held = Vec::new();
        for Sent { claim, delivery, mut kind, reports } in sent {
            let confirmed = match confirmation(reports).await {
                Err(unconfirmed) if is_too_large(&unconfirmed.error) => {
                    courier.send_alone(&delivery, &mut kind, unconfirmed.records).await
                }
                confirmed => confirmed,
            };
            let Err(unconfirmed) = confirmed else {
                stream_inference::fail_point!(AfterPublish);
                courier.acknowledge(claim, &kind, &mut tally.settlement);
                continue;
            };
            let Unconfirmed { error, records } = *unconfirmed;
            if records.is_empty() || is_refusal(&error) {
                tracing::warn!(%error, ?claim, "refused; the message is delivered again");
                courier.shared.pull_back(claim);
                tally.settlement.retried += 1;
                tally.refused.get_or_insert(error);
                continue;
            }
            self.hold.get_or_insert_with(|| courier.shared.hold(claim.partition));
            let topic = records.first().map_or("", |record| record.topic());
            courier.shared.waits_for(courier.outputs.name(topic), &error);
            held.push(Held { claim, delivery, kind, records });
        }
        held
    }

    /// Publishes again what was not confirmed: the first message, after growing pauses, until it is
    /// or its claim has ended; and then those behind it.
    async fn insist(&mut self, courier: &Courier, mut held: Vec<Held>, tally: &mut Tally) {
        let mut pause = FIRST_PAUSE;
        while !held.is_empty() && tally.refused.is_none() {
            let first = held.remove(0);
            let claim = first.claim;
            let again = async {
                tokio::time::sleep(pause).await;
                let sent = first.send_again(courier).await;
                self.confirm(courier, vec![sent], tally).await
            };
            match courier.shared.while_valid(claim, again).await {
                None => give_up(courier, claim, tally),
                Some(still_held) if still_held.is_empty() => {
                    let mut sent = Vec::with_capacity(held.len());
                    for held in held {
                        sent.push(held.send_again(courier).await);
                    }
                    held = self.confirm(courier, sent, tally).await;
                    pause = FIRST_PAUSE;
                }
                Some(still_held) => {
                    held.splice(0..0, still_held);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// Hands back a message whose claim, or whose transport, has come to its end.
fn give_up(courier: &Courier, claim: Claim, tally: &mut Tally) {
    let standing = courier.shared.state().claims.standing(claim);
    if tally.counts(standing) {
        courier.shared.pull_back(claim);
        tally.settlement.retried += 1;
    }
}
