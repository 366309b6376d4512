//! The part of a batch that one partition's messages have: carried out in order, held where the
//! broker confirms nothing.

use std::{pin::pin, time::Duration};

use futures_util::FutureExt;
use rdkafka::{Message, message::OwnedMessage};
use stream_inference::transport::{Delivery, Fate, Outcome};
use tokio::sync::oneshot;

use super::{
    hold::Hold,
    report::{Unconfirmed, confirmation},
    sender::{Carried, Sent, Settler, Tally},
};
use crate::{
    claims::Claim,
    settle::refusal::{is_refusal, is_too_large},
    token::KafkaToken,
    wire,
};

/// How long a message is held before it is published again, the first time; then twice as long, up
/// to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The outcomes of a batch on one partition's messages, in call order.
pub(super) struct Share {
    pub(super) sent: Vec<Sent>,
    /// Outcomes that came while an earlier message of the partition was held.
    pub(super) waiting: Vec<(Claim, Delivery<KafkaToken>, Outcome)>,
    pub(super) hold: Option<Hold>,
    /// Resolves once the share before this one has ended.
    turn: Option<oneshot::Receiver<()>>,
    /// Dropped at the end.
    _ended: oneshot::Sender<()>,
}

/// A message whose records the broker did not confirm.
struct Held {
    claim: Claim,
    delivery: Delivery<KafkaToken>,
    carried: Carried,
    records: Vec<OwnedMessage>,
}

impl Held {
    async fn send_again(self, settler: &Settler) -> Sent {
        let Self { claim, delivery, carried, records } = self;
        let mut reports = Vec::with_capacity(records.len());
        for record in &records {
            reports.push(settler.enqueue(wire::again(record)).await);
        }
        Sent { claim, delivery, carried, reports }
    }
}

impl Share {
    pub(super) const fn new(
        turn: Option<oneshot::Receiver<()>>,
        ended: oneshot::Sender<()>,
    ) -> Self {
        Self { sent: Vec::new(), waiting: Vec::new(), hold: None, turn, _ended: ended }
    }

    pub(super) fn publishes(&self) -> bool {
        !self.waiting.is_empty() || self.sent.iter().any(|sent| !sent.reports.is_empty())
    }

    /// Ends every outcome: confirmed, handed back or stale.
    pub(super) async fn carry_out(mut self, settler: &Settler) -> Tally {
        let mut tally = Tally::default();
        let sent = std::mem::take(&mut self.sent);
        let held = self.confirm(settler, sent, &mut tally).await;
        if tally.refused.is_some() || (held.is_empty() && self.waiting.is_empty()) {
            return tally;
        }
        // What is held of the share before goes first.
        if let Some(turn) = self.turn.take() {
            let _ = turn.await;
        }
        self.insist(settler, held, &mut tally).await;
        let mut sent = Vec::with_capacity(self.waiting.len());
        for (claim, delivery, outcome) in std::mem::take(&mut self.waiting) {
            if settler.shared.is_closing() {
                give_up(settler, claim, &mut tally);
            } else {
                sent.extend(settler.send(claim, delivery, outcome, &mut tally).await);
            }
        }
        let held = self.confirm(settler, sent, &mut tally).await;
        self.insist(settler, held, &mut tally).await;
        tally
    }

    /// Waits for reports in order; gives back what was not confirmed and may be later.
    async fn confirm(
        &mut self,
        settler: &Settler,
        sent: Vec<Sent>,
        tally: &mut Tally,
    ) -> Vec<Held> {
        let (mut held, mut done) = (Vec::new(), Vec::new());
        for Sent { claim, delivery, mut carried, reports } in sent {
            let mut confirmation = pin!(confirmation(reports));
            let confirmed = match confirmation.as_mut().now_or_never() {
                Some(confirmed) => confirmed,
                None => {
                    // What is confirmed does not wait for what is not.
                    settler.acknowledge(&mut done, &mut tally.settlement);
                    confirmation.await
                }
            };
            let confirmed = match confirmed {
                Err(unconfirmed) if is_too_large(&unconfirmed.error) => {
                    settler.acknowledge(&mut done, &mut tally.settlement);
                    settler.send_alone(&delivery, &mut carried, unconfirmed.records).await
                }
                confirmed => confirmed,
            };
            let Err(unconfirmed) = confirmed else {
                stream_inference::fail_point!(AfterPublish);
                done.push((claim, carried.fate()));
                continue;
            };
            let Unconfirmed { error, records } = *unconfirmed;
            if records.is_empty() || is_refusal(&error) {
                tracing::warn!(%error, ?claim, "refused; the message is delivered again");
                settler.shared.pull_back(claim);
                tally.settlement.count(Fate::Retried);
                tally.refused.get_or_insert(error);
                continue;
            }
            self.hold.get_or_insert_with(|| settler.shared.hold(claim.partition));
            let topic = records.first().map_or("", |record| record.topic());
            settler.shared.waits_for(settler.outputs.name(topic), &error);
            held.push(Held { claim, delivery, carried, records });
        }
        settler.acknowledge(&mut done, &mut tally.settlement);
        held
    }

    /// Publishes again what was not confirmed: the first message, after growing pauses, until it is
    /// or its claim has ended; and then those behind it.
    async fn insist(&mut self, settler: &Settler, mut held: Vec<Held>, tally: &mut Tally) {
        let mut pause = FIRST_PAUSE;
        while !held.is_empty() && tally.refused.is_none() {
            let first = held.remove(0);
            let claim = first.claim;
            let again = async {
                tokio::time::sleep(pause).await;
                let sent = first.send_again(settler).await;
                self.confirm(settler, vec![sent], tally).await
            };
            match settler.shared.while_valid(claim, again).await {
                None => give_up(settler, claim, tally),
                Some(still_held) if still_held.is_empty() => {
                    let mut sent = Vec::with_capacity(held.len());
                    for held in held {
                        sent.push(held.send_again(settler).await);
                    }
                    held = self.confirm(settler, sent, tally).await;
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
fn give_up(settler: &Settler, claim: Claim, tally: &mut Tally) {
    let standing = settler.shared.state().intake.claims.standing(claim);
    if tally.counts(standing) {
        settler.shared.pull_back(claim);
        tally.settlement.count(Fate::Retried);
    }
}
