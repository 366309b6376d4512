use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use jiff::Timestamp;

use super::{Answered, answer::Answer, schedule::Sequence};
use crate::{
    codec::{Codec, Request},
    transport::{Delivery, Lane, Rejection},
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

/// How a message shall end; its outcome once the answer is encoded.
pub(super) enum End<C: Codec> {
    /// With how many of its inputs were answered.
    Answer(Answered<C::Record, C::Input>, usize),
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

    /// Takes note of what a message asks for; gives its inputs.
    pub(super) fn decoded(&mut self, sequence: Sequence, request: Request<C>) -> C::Inputs {
        let Request { inputs, kept, context, bytes } = request;
        let (message, state) = self.messages.get_mut(&sequence).expect("decoded while in flight");
        message.bytes += bytes;
        self.bytes += bytes;
        *state = State::Inferring(Answer::new(inputs.len(), context, kept));
        inputs
    }

    /// Applies `answer` to a message's answer; gives that once it is complete.
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

#[cfg(test)]
mod model;
