//! Every message between reception and settlement: where it stands, what has been found out about it, and the
//! order that its lane demands. The runner asks and tells; a message becomes ready once it and all earlier
//! ones of its lane have an end, and never before.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;

#[cfg(test)]
use super::simulation;
use super::{Answered, schedule::Sequence};
use crate::{
    codec::{self, Codec, Request},
    predict::{AnsweredBy, ModelIdentity},
    shield,
    transport::{Delivery, Lane, Rejection, Stage},
};

/// Every message between reception and settlement, and the order that its lane demands.
pub(super) struct InFlight<T, C: Codec> {
    next: Sequence,
    messages: HashMap<Sequence, (Message<T>, State<C>)>,
    lanes: HashMap<Lane, VecDeque<Sequence>>,
    ready: Vec<(Message<T>, End<C>)>,
    /// What they take, in bytes, until they are settled.
    bytes: usize,
}

/// A delivery, where it stays from its reception to its settlement.
pub(super) struct Message<T> {
    pub(super) delivery: Delivery<T>,
    pub(super) at: Timestamp,
    pub(super) received: Instant,
    /// What it takes until it is settled.
    pub(super) bytes: usize,
}

enum State<C: Codec> {
    /// Neither answers nor an end yet: it is being read, or waits to be handed back.
    Open,
    Inferring(Answer<C>),
    Ended(End<C>),
}

/// A result of a codec's, and what it was found on.
pub(super) type AnsweredOf<C> = Answered<<C as Codec>::Record, <C as Codec>::Input>;

/// How a message shall end; its outcome once the answer is encoded.
pub(super) enum End<C: Codec> {
    /// With how many of its inputs were answered.
    Answer(AnsweredOf<C>, usize),
    Reject(Rejection),
    Retry,
}

impl<T, C: Codec> InFlight<T, C> {
    pub(super) fn new() -> Self {
        let (messages, lanes, ready) = (HashMap::new(), HashMap::new(), Vec::new());
        Self { next: 0, messages, lanes, ready, bytes: 0 }
    }

    pub(super) fn receive(
        &mut self,
        delivery: Delivery<T>,
        at: Timestamp,
        received: Instant,
    ) -> Sequence {
        let sequence = self.next;
        self.next += 1;
        if let Some(lane) = &delivery.lane {
            self.lanes.entry(lane.clone()).or_default().push_back(sequence);
        }
        let bytes = delivery.size_bytes();
        self.bytes += bytes;
        let message = Message { delivery, at, received, bytes };
        self.messages.insert(sequence, (message, State::Open));
        sequence
    }

    /// A message that has not ended.
    pub(super) fn message(&self, sequence: Sequence) -> &Message<T> {
        &self.messages.get(&sequence).expect("asked for while in flight").0
    }

    /// Takes note of what a message asks for; returns its inputs.
    pub(super) fn decoded(&mut self, sequence: Sequence, request: Request<C>) -> C::Inputs {
        let Request { inputs, kept, context, bytes } = request;
        let (message, state) = self.messages.get_mut(&sequence).expect("decoded while in flight");
        message.bytes += bytes;
        self.bytes += bytes;
        *state = State::Inferring(Answer::new(inputs.len(), context, kept));
        inputs
    }

    /// Applies `answer` to a message's answer; returns that once it is complete.
    pub(super) fn answer(
        &mut self,
        sequence: Sequence,
        apply: impl FnOnce(&mut Answer<C>),
    ) -> Option<Answer<C>> {
        let (_, state) = self.messages.get_mut(&sequence)?;
        let State::Inferring(answer) = state else { return None };
        apply(answer);
        if !answer.is_complete() {
            return None;
        }
        match std::mem::replace(state, State::Open) {
            State::Inferring(answer) => Some(answer),
            State::Open | State::Ended(_) => None,
        }
    }

    /// Ends a message; it becomes ready once the earlier ones of its lane are.
    pub(super) fn finish(&mut self, sequence: Sequence, end: End<C>) {
        let (message, state) = self.messages.get_mut(&sequence).expect("finished while in flight");
        *state = State::Ended(end);
        let Some(lane) = message.delivery.lane.clone() else {
            self.release(sequence);
            return;
        };
        let Some(mut waiting) = self.lanes.remove(&lane) else { return };
        while let Some(&first) = waiting.front() {
            if !self.release(first) {
                self.lanes.insert(lane, waiting);
                return;
            }
            waiting.pop_front();
        }
    }

    /// Makes a message ready if its end is known; false if it is not.
    fn release(&mut self, sequence: Sequence) -> bool {
        // Looked at before it is moved: of a lane, the next one is mostly not at its end.
        match self.messages.get(&sequence) {
            Some((_, State::Ended(_))) => {}
            Some(_) => return false,
            None => return true,
        }
        if let Some((message, State::Ended(end))) = self.messages.remove(&sequence) {
            self.ready.push((message, end));
        }
        true
    }

    /// The messages that may be settled now, in order.
    pub(super) fn take_ready(&mut self) -> Vec<(Message<T>, End<C>)> {
        std::mem::take(&mut self.ready)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// What the messages take that are not settled: keys, attributes, payloads, unpacked inputs.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that took so much are settled.
    pub(super) fn settled(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }
}

/// For how many outputs room is made at once, whatever a message asks for.
const MOST_AT_ONCE: usize = 65_536;

/// What has been found out about one message so far.
pub(super) struct Answer<C: Codec> {
    inputs: usize,
    answered: usize,
    context: C::Context,
    /// What the message carried, where it is to be kept.
    kept: Vec<C::Input>,
    outputs: Vec<C::Output>,
    by: AnsweredBy,
    rejection: Option<Rejection>,
}

impl<C: Codec> Answer<C> {
    pub(super) fn new(inputs: usize, context: C::Context, kept: Vec<C::Input>) -> Self {
        // Room for outputs is made when the first is there: of large messages few are begun.
        let (outputs, by, rejection) = (Vec::new(), AnsweredBy::default(), None);
        Self { inputs, answered: 0, context, kept, outputs, by, rejection }
    }

    /// Takes the answers for the next inputs, all of one model.
    pub(super) fn extend(
        &mut self,
        answers: impl Iterator<Item = Result<C::Output, String>>,
        model: &Arc<ModelIdentity>,
        codec: &C,
    ) {
        self.by.add(model);
        #[cfg(test)]
        if simulation::is_planted(simulation::Fault::MixesModels) {
            self.by.is_mixed = false;
        }
        for answer in answers {
            match answer {
                // The message will have no result.
                Ok(_) if self.rejection.is_some() => {}
                Ok(output) => {
                    if self.outputs.capacity() == 0 {
                        self.outputs.reserve_exact(self.inputs.min(MOST_AT_ONCE));
                    }
                    self.outputs.push(output);
                }
                Err(reason) => {
                    let failed = || shield::failed(codec, &self.context, self.answered, &reason);
                    self.rejection.get_or_insert_with(failed);
                    self.outputs = Vec::new();
                }
            }
            self.answered += 1;
        }
    }

    /// Takes note that so many of the inputs do not come after all.
    pub(super) fn shorten(&mut self, missing: usize) {
        self.inputs -= missing;
        self.outputs = Vec::new();
        let reason = "the codec gave fewer inputs than it had counted";
        self.rejection.get_or_insert_with(|| Rejection::new(Stage::Decode, reason));
    }

    /// How many inputs the message has.
    pub(super) const fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.answered == self.inputs
    }

    /// The result; `None` where it has to be answered again, because two models had a share in it.
    ///
    /// # Errors
    /// The first input's reason why there is none, or the codec's.
    pub(super) fn finish<T>(
        self,
        message: &Message<T>,
        codec: &C,
        inferred_at: Timestamp,
    ) -> Result<Option<AnsweredOf<C>>, Rejection> {
        if self.by.is_mixed {
            return Ok(None);
        }
        if let Some(rejection) = self.rejection {
            return Err(rejection);
        }
        let Some(model) = self.by.model else { return Ok(None) };
        let answer = codec::Answer {
            id: &message.delivery.id,
            source: &message.delivery.source,
            context: self.context,
            outputs: self.outputs,
            model: &model,
            received_at: message.at,
            inferred_at,
        };
        let record = shield::record(codec, answer)?;
        Ok(Some(Answered { record, inputs: self.kept }))
    }
}

#[cfg(test)]
mod model;
