use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use jiff::Timestamp;

use super::{
    Answered,
    answer::Answer,
    schedule::Sequence,
    worker::{Decoded, Received},
};
use crate::{
    codec::{Codec, Request},
    transport::{Delivery, Lane, Rejection},
};

/// Every message between reception and settlement, and the order that its lane demands.
pub(super) struct InFlight<T, C: Codec> {
    next: Sequence,
    messages: HashMap<Sequence, Message<T, C>>,
    lanes: HashMap<Lane, VecDeque<Sequence>>,
    ready: Vec<Done<T, C>>,
    /// What they take, in bytes, until they are settled.
    bytes: usize,
}

struct Message<T, C: Codec> {
    lane: Option<Lane>,
    received: Instant,
    bytes: usize,
    state: State<T, C>,
}

enum State<T, C: Codec> {
    Decoding,
    Inferring(Received<T>, Answer<C>),
    Done(Done<T, C>),
}

/// A message whose end is known.
pub(super) struct Done<T, C: Codec> {
    pub(super) delivery: Delivery<T>,
    pub(super) verdict: Verdict<C>,
    pub(super) received: Instant,
    /// What it takes until it is settled.
    pub(super) bytes: usize,
}

/// How a message shall end.
pub(super) enum Verdict<C: Codec> {
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
    ) -> Received<T> {
        let sequence = self.next;
        self.next += 1;
        let lane = delivery.lane.clone();
        if let Some(lane) = &lane {
            self.lanes.entry(lane.clone()).or_default().push_back(sequence);
        }
        let bytes = delivery.size_bytes();
        self.bytes += bytes;
        self.messages.insert(sequence, Message { lane, received, bytes, state: State::Decoding });
        Received { sequence, delivery, at, received }
    }

    /// Takes a message back from the decoder; answers its inputs, or why there are none.
    pub(super) fn decoded(&mut self, decoded: Decoded<T, C>) -> Result<C::Inputs, Box<Refused<T>>> {
        let Decoded { received, request } = decoded;
        match request {
            Ok(Request { inputs, kept, context, bytes }) => {
                let sequence = received.sequence;
                let message = self.messages.get_mut(&sequence).expect("decoded while in flight");
                message.bytes += bytes;
                self.bytes += bytes;
                let answer = Answer::new(inputs.len(), context, kept);
                message.state = State::Inferring(received, answer);
                Ok(inputs)
            }
            Err(rejection) => Err(Box::new(Refused { received, rejection })),
        }
    }

    /// Applies `answer` to a message's answer; gives the message once it is complete.
    pub(super) fn answer(
        &mut self,
        sequence: Sequence,
        apply: impl FnOnce(&mut Answer<C>),
    ) -> Option<(Received<T>, Answer<C>)> {
        let message = self.messages.get_mut(&sequence)?;
        let State::Inferring(_, answer) = &mut message.state else { return None };
        apply(answer);
        if !answer.is_complete() {
            return None;
        }
        match std::mem::replace(&mut message.state, State::Decoding) {
            State::Inferring(received, answer) => Some((received, answer)),
            State::Decoding | State::Done(_) => None,
        }
    }

    /// Gives a message its verdict; it becomes ready once the earlier ones of its lane are.
    pub(super) fn finish(
        &mut self,
        sequence: Sequence,
        delivery: Delivery<T>,
        verdict: Verdict<C>,
    ) {
        let message = self.messages.get_mut(&sequence).expect("finished while in flight");
        let (received, bytes) = (message.received, message.bytes);
        message.state = State::Done(Done { delivery, verdict, received, bytes });
        let Some(lane) = message.lane.clone() else {
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
            Some(Message { state: State::Done(_), .. }) => {}
            Some(_) => return false,
            None => return true,
        }
        if let Some(Message { state: State::Done(done), .. }) = self.messages.remove(&sequence) {
            self.ready.push(done);
        }
        true
    }

    /// The messages that may be settled now, in order.
    pub(super) fn take_ready(&mut self) -> Vec<Done<T, C>> {
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

/// A message that the decoder refused.
pub(super) struct Refused<T> {
    pub(super) received: Received<T>,
    pub(super) rejection: Rejection,
}

#[cfg(test)]
mod model;
