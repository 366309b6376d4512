//! From inputs that wait to answers: what the inference thread is given, and what it gives.

use jiff::Timestamp;

use super::{BATCHES_AHEAD, Runner, ended};
use crate::{
    codec::Codec,
    pipeline::{
        PipelineError, Sink, answer::Answer, in_flight::End, pulse::Place, schedule::Sequence,
        worker::Inferred,
    },
    predict::Predictor,
    transport::Transport,
};

impl<T, P, C, S> Runner<T, P, C, S>
where
    T: Transport,
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
    S: Sink<C::Record, C::Input>,
{
    /// Hands inputs to the inference thread: what there is when it idles, else full batches.
    pub(super) fn dispatch(&mut self) -> Result<(), PipelineError> {
        let max_inputs = self.pace.limit(self.schedule.messages());
        // What is on its way out will make room for answers. Where nothing is, answers wait for
        // earlier messages of their lanes, and so those come first.
        let has_room = self.answers < self.most_answers;
        if !has_room && self.is_settling() {
            return Ok(());
        }
        while self.batches_ahead == 0
            || (self.batches_ahead < BATCHES_AHEAD && self.schedule.inputs() >= max_inputs)
        {
            let batch = match has_room {
                true => self.schedule.next_batch(max_inputs),
                false => self.schedule.oldest(max_inputs),
            };
            let Some(batch) = batch else { break };
            for &(sequence, missing) in &batch.short {
                let shortened = self.in_flight.answer(sequence, |answer| answer.shorten(missing));
                if let Some(answer) = shortened {
                    self.complete(sequence, answer, Timestamp::now())?;
                }
            }
            if batch.inputs.is_empty() {
                continue;
            }
            self.report.batches += 1;
            self.batches_ahead += 1;
            self.pulse.enter(Place::Infer, 1);
            self.inference.input.try_send(batch).map_err(|_| ended("inference"))?;
        }
        Ok(())
    }

    fn is_settling(&self) -> bool {
        self.in_flight.has_ready() || !self.sinking.is_empty() || !self.settling.is_empty()
    }

    pub(super) fn inferred(&mut self, inferred: Inferred<C::Output>) -> Result<(), PipelineError> {
        crate::fail_point!(AfterInfer);
        let Inferred { shares, answers, model, at, took } = inferred;
        self.pace.observe(answers.len(), took);
        self.batches_ahead -= 1;
        self.pulse.leave(Place::Infer, 1);
        self.report.inputs += answers.len();
        self.answers += answers.len();
        let mut answers = answers.into_iter();
        for (sequence, count) in shares {
            let share = answers.by_ref().take(count);
            let complete =
                self.in_flight.answer(sequence, |answer| answer.extend(share, &model, &self.codec));
            if let Some(answer) = complete {
                self.complete(sequence, answer, at)?;
            }
        }
        Ok(())
    }

    /// Ends a message all of whose inputs are answered.
    fn complete(
        &mut self,
        sequence: Sequence,
        answer: Answer<C>,
        at: Timestamp,
    ) -> Result<(), PipelineError> {
        let (inputs, message) = (answer.inputs(), self.in_flight.message(sequence));
        match answer.finish(message, &*self.codec, at) {
            Ok(end) => {
                match end {
                    End::Answer(..) => self.failures.forget(&message.delivery.id),
                    End::Reject(_) | End::Retry => self.answers -= inputs,
                }
                self.in_flight.finish(sequence, end);
                Ok(())
            }
            Err(rejection) => {
                self.answers -= inputs;
                self.refuse(sequence, rejection)
            }
        }
    }
}
