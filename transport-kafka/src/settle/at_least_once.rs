//! At least once: carries out outcomes in call order and stores offsets as reports come in.
//!
//! Of a batch, the messages of each partition are a [`Share`] of their own: what one partition's messages
//! wait for holds up no other. Nothing is stored before every record of the message is confirmed.

mod hold;
mod report;
mod sender;
mod share;

use std::{collections::HashMap, sync::Arc, time::Instant};

use futures_util::{StreamExt, stream::FuturesUnordered};
use rdkafka::consumer::{CommitMode, Consumer};
use stream_inference::{
    Part,
    transport::{Fate, Outcome, Settlement, TransportError},
};
use tokio::sync::{mpsc, oneshot};

use super::{outbox::Batch, outputs::Outputs};
use crate::{
    KafkaConfig, KafkaSetupError,
    claims::Claim,
    connect::{PUBLISH_TIMEOUT_MS, leaving::Leaving, log::Logged},
    group::membership::Membership,
    shared::Shared,
};
pub(crate) use sender::Settler;
use sender::Tally;
use share::Share;

impl Settler {
    pub(crate) fn connect(
        config: &KafkaConfig,
        shared: Arc<Shared>,
        membership: Arc<Membership>,
        outputs: Arc<Outputs>,
    ) -> Result<Self, KafkaSetupError> {
        let producer = config
            .producer(PUBLISH_TIMEOUT_MS)?
            .create_with_context(Logged)
            .map_err(KafkaSetupError::Configuration)?;
        let producer = Arc::new(Leaving::new(producer, drop));
        let commits_batches = config.commits_batches();
        Ok(Self { shared, membership, producer, outputs, commits_batches })
    }

    /// Carries out outcomes in call order until no more can come.
    pub(crate) async fn run(self, mut outbox: mpsc::Receiver<Batch>, _part: Part) {
        let shared = &self.shared;
        // The end of each partition's last share.
        let mut turns: HashMap<i32, oneshot::Receiver<()>> = HashMap::new();
        while let Some((outcomes, reply)) = outbox.recv().await {
            let begun = Instant::now();
            let mut tally = Tally::default();
            let mut shares = HashMap::new();
            for (mut delivery, outcome) in outcomes {
                let Some(claim) = delivery.token.take() else { continue };
                if let Outcome::Retry = outcome {
                    self.retry(claim, &mut tally);
                    continue;
                }
                let share = shares.entry(claim.partition).or_insert_with(|| {
                    let (ended, turn) = oneshot::channel();
                    Share::new(turns.insert(claim.partition, turn), ended)
                });
                if share.hold.is_none() {
                    share.hold = shared.hold_again(claim.partition);
                }
                if share.hold.is_some() {
                    share.waiting.push((claim, delivery, outcome));
                } else {
                    let sent = self.send(claim, delivery, outcome, &mut tally).await;
                    share.sent.extend(sent);
                }
            }
            let settler = self.clone();
            let shares: Vec<Share> = shares.into_values().collect();
            let part = shared.supervisor.part("task that awaits confirmations");
            tokio::spawn(async move {
                reply.send(settler.carry_out(shares, tally, begun).await);
                part.done();
            });
        }
    }

    /// Hands a message back that is to be delivered again, whatever its lane waits for.
    fn retry(&self, claim: Claim, tally: &mut Tally) {
        let standing = self.shared.state().intake.claims.standing(claim);
        self.shared.retry(claim);
        tally.settlement.count(standing.fate().unwrap_or(Fate::Retried));
    }

    /// Carries out a batch's shares, each in order and none behind another.
    async fn carry_out(
        self,
        shares: Vec<Share>,
        mut tally: Tally,
        begun: Instant,
    ) -> Result<Settlement, TransportError> {
        let shared = &self.shared;
        let publishes = shares.iter().any(Share::publishes);
        let mut running: FuturesUnordered<_> =
            shares.into_iter().map(|share| share.carry_out(&self)).collect();
        while let Some(carried_out) = running.next().await {
            tally += carried_out;
            if tally.refused.is_some() {
                // The transport stops: nobody waits for a lane that is held.
                break;
            }
            // What is confirmed is not to wait for a partition that takes nothing.
            if self.commits_batches && !running.is_empty() && shared.is_holding() {
                self.commit().await;
            }
        }
        drop(running);
        if publishes {
            shared.meters.publish.record(begun.elapsed());
        }
        stream_inference::fail_point!(BeforeCommit);
        if self.commits_batches {
            self.commit().await;
            stream_inference::fail_point!(AfterCommit);
        }
        let Tally { settlement, refused } = tally;
        match refused {
            None => Ok(settlement),
            Some(error) => {
                let context = format!("Kafka refused an answer to {} for good", shared.topic);
                shared.supervisor.fail(format!("{context}: {error}"));
                Err(TransportError::fatal(context, Some(error.into())))
            }
        }
    }

    /// Commits what is stored; the next commit makes up for one that fails.
    async fn commit(&self) {
        let membership = Arc::clone(&self.membership);
        let commit = move || membership.commit_consumer_state(CommitMode::Sync);
        match tokio::task::spawn_blocking(commit).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "offsets not committed after a batch"),
            Err(_) => {
                self.shared.supervisor.fail("the thread that commits offsets ended early");
            }
        }
    }
}
