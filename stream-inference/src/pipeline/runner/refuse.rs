//! Messages that cannot be answered: dead-lettered, handed back after a while, or the end of the pipeline.

use std::time::{Duration, Instant};

use super::Runner;
use crate::{
    codec::Codec,
    pipeline::{OnErrorAction, PipelineError, Sink, in_flight::End, schedule::Sequence},
    predict::Predictor,
    transport::{Delivery, Rejection, Stage, Transport},
};

impl<T, P, C, S> Runner<T, P, C, S>
where
    T: Transport,
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
    S: Sink<C::Record, C::Input>,
{
    /// Why the message is not tried again, if it has ended the process too often.
    pub(super) fn given_up(&self, delivery: &Delivery<T::Token>) -> Option<Rejection> {
        let crashes = self.transport.crashes(delivery)?;
        let limit = self.config.on_error.crashes;
        (limit > 0 && crashes.count >= limit).then(|| crashes.rejection())
    }

    /// Ends a message that cannot be answered as the configuration says.
    pub(super) fn refuse(
        &mut self,
        sequence: Sequence,
        rejection: Rejection,
    ) -> Result<(), PipelineError> {
        let delivery = &self.in_flight.message(sequence).delivery;
        let id = &delivery.id;
        // Without the reason, which may quote the payload; the dead letter has it.
        tracing::warn!(id, stage = %rejection.stage, "message refused");
        match self.config.on_error.action {
            OnErrorAction::Stop => {
                let Rejection { stage, reason } = rejection;
                return Err(PipelineError::Refused { id: id.clone(), stage, reason });
            }
            OnErrorAction::Retry
                if rejection.stage == Stage::Infer && self.given_up(delivery).is_none() =>
            {
                let now = Instant::now();
                let failures = self.failures.count(id, delivery.attempt, now);
                if failures < self.config.on_error.attempts {
                    let wait = Duration::from_millis(self.config.on_error.backoff_ms);
                    self.delayed.push(Box::pin(async move {
                        tokio::time::sleep(wait).await;
                        sequence
                    }));
                    return Ok(());
                }
                self.failures.forget(id);
            }
            OnErrorAction::Retry | OnErrorAction::DeadLetter => {}
        }
        self.refusals.count(id, &rejection)?;
        self.in_flight.finish(sequence, End::Reject(rejection));
        Ok(())
    }
}

/// Messages that were refused without an answer in between.
pub(super) struct Refusals {
    in_a_row: u32,
    most: Option<u32>,
}

impl Refusals {
    /// None yet, and how many are too many.
    pub(super) const fn new(most: Option<u32>) -> Self {
        Self { in_a_row: 0, most }
    }

    /// Counts one; an error where there were too many.
    pub(super) fn count(&mut self, id: &str, rejection: &Rejection) -> Result<(), PipelineError> {
        self.in_a_row += 1;
        if self.most.is_none_or(|most| self.in_a_row < most) {
            return Ok(());
        }
        let (count, id) = (self.in_a_row, id.to_owned());
        let Rejection { stage, reason } = rejection.clone();
        Err(PipelineError::RefusedInARow { count, id, stage, reason })
    }

    pub(super) fn answered(&mut self) {
        self.in_a_row = 0;
    }
}
