//! Messages in flight against a model that keeps every message, over random schedules.

use std::{collections::BTreeMap, iter, sync::Arc};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    pipeline::tests::random,
    predict::ModelIdentity,
    toy::{Toy, Values},
    transport::{Attributes, Source, Stage},
};

/// Mistakes that the comparison must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Messages end as they are done, whatever their lane.
    IgnoresLanes,
    /// All lanes are one.
    MixesLanes,
    /// Of the messages that waited for an earlier one, only the first follows it.
    ReleasesOneAlone,
    /// A message that is handed back has no place in its lane: later ones don't follow it.
    ForgetsTheRetry,
    /// A message is complete with the first answer, whatever the number of its inputs.
    AnswersTooEarly,
}

const FAULTS: [Fault; 5] = [
    Fault::IgnoresLanes,
    Fault::MixesLanes,
    Fault::ReleasesOneAlone,
    Fault::ForgetsTheRetry,
    Fault::AnswersTooEarly,
];

/// What a pipeline may do next. Numbers choose among the messages that have come so far.
#[derive(Clone, Debug)]
enum Step {
    /// In one of three lanes, or in none.
    Receive(Option<u8>),
    /// Into so many inputs; a message of none is refused.
    Decode(usize, usize),
    Answer(usize),
    Finish(usize, End),
    Take,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Reject,
    Retry,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_u8).prop_map(|lane| Step::Receive(lane.checked_sub(1))),
        3 => (0..9_usize, 0..4_usize).prop_map(|(message, inputs)| Step::Decode(message, inputs)),
        6 => (0..9_usize).prop_map(Step::Answer),
        3 => (0..9_usize, prop_oneof![Just(End::Reject), Just(End::Retry)])
            .prop_map(|(message, end)| Step::Finish(message, end)),
        1 => Just(Step::Take),
    ]
}

/// Every message that ever was, and the ends that may be told the broker, in order.
#[derive(Default)]
struct Model {
    messages: Vec<Told>,
    ready: Vec<(usize, End)>,
    fault: Option<Fault>,
}

struct Told {
    lane: Option<u8>,
    inputs: usize,
    end: Option<End>,
    is_released: bool,
}

impl Model {
    fn receive(&mut self, lane: Option<u8>) {
        let lane = match self.fault {
            Some(Fault::IgnoresLanes) => None,
            Some(Fault::MixesLanes) => lane.map(|_| 0),
            _ => lane,
        };
        self.messages.push(Told { lane, inputs: 0, end: None, is_released: false });
    }

    /// Whether all inputs of the message have an answer now.
    fn answer(&mut self, message: usize) -> bool {
        let told = &mut self.messages[message];
        told.inputs -= 1;
        told.inputs == 0 || self.fault == Some(Fault::AnswersTooEarly)
    }

    fn finish(&mut self, message: usize, end: End) {
        self.messages[message].end = Some(end);
        let lane = self.messages[message].lane;
        if lane.is_none() || (self.fault, end) == (Some(Fault::ForgetsTheRetry), End::Retry) {
            self.release(message, end);
            return;
        }
        for message in 0..self.messages.len() {
            let told = &self.messages[message];
            if told.lane != lane || told.is_released {
                continue;
            }
            let Some(end) = told.end else { return };
            self.release(message, end);
            if self.fault == Some(Fault::ReleasesOneAlone) {
                return;
            }
        }
    }

    fn release(&mut self, message: usize, end: End) {
        self.messages[message].is_released = true;
        self.ready.push((message, end));
    }
}

fn delivery(number: usize, lane: Option<u8>) -> Delivery<usize> {
    let source = Source {
        transport: "model".into(),
        topic: "INFERENCE".into(),
        partition: None,
        offset: None,
        message_id: None,
    };
    Delivery {
        id: number.to_string(),
        source,
        lane: lane.map(|lane| Lane::Key(lane.to_string().into())),
        attempt: None,
        key: None,
        attributes: Attributes::new(),
        payload: bytes::Bytes::new(),
        token: number,
    }
}

fn ends(ready: Vec<(Message<usize>, super::End<Toy>)>) -> Vec<(usize, End)> {
    let end = |end| match end {
        super::End::Retry => End::Retry,
        super::End::Answer(..) | super::End::Reject(_) => End::Reject,
    };
    ready.into_iter().map(|(message, of)| (message.delivery.token, end(of))).collect()
}

/// Does the steps on both, and compares which messages are complete, and which may end, in order.
fn compare(steps: &[Step], fault: Option<Fault>) -> Result<(), TestCaseError> {
    let (codec, identity) = (Toy::default(), Arc::new(ModelIdentity::of_code("model", "1")));
    let mut in_flight: InFlight<usize, Toy> = InFlight::new();
    let mut model = Model { fault, ..Model::default() };
    // Those with the decoder, and those with all that they need for an end.
    let mut decoding: BTreeMap<usize, Sequence> = BTreeMap::new();
    let mut complete: BTreeMap<usize, Sequence> = BTreeMap::new();
    for step in steps {
        let count = model.messages.len();
        match *step {
            Step::Receive(lane) => {
                let delivery = delivery(count, lane);
                let sequence = in_flight.receive(delivery, Timestamp::UNIX_EPOCH, Instant::now());
                prop_assert_eq!(in_flight.message(sequence).delivery.token, count);
                decoding.insert(count, sequence);
                model.receive(lane);
            }
            Step::Decode(n, inputs) => {
                let Some(message) = count.checked_sub(1 + n) else { continue };
                let Some(sequence) = decoding.remove(&message) else { continue };
                model.messages[message].inputs = inputs;
                if inputs == 0 {
                    complete.insert(message, sequence);
                    continue;
                }
                let request = Request::new(Values { stored: 0..inputs, ..Values::default() }, None);
                prop_assert_eq!(in_flight.decoded(sequence, request).len(), inputs);
            }
            Step::Answer(n) => {
                let Some(message) = count.checked_sub(1 + n) else { continue };
                if model.messages[message].inputs == 0 {
                    continue;
                }
                let none = iter::once(Err(String::new()));
                let answer = |answer: &mut Answer<Toy>| answer.extend(none, &identity, &codec);
                let answered = in_flight.answer(message as Sequence, answer);
                prop_assert_eq!(answered.is_some(), model.answer(message));
                if answered.is_some() {
                    complete.insert(message, message as Sequence);
                }
            }
            Step::Finish(n, end) => {
                let Some(message) = count.checked_sub(1 + n) else { continue };
                let Some(sequence) = complete.remove(&message) else { continue };
                let of = match end {
                    End::Reject => super::End::Reject(Rejection::new(Stage::Infer, "refused")),
                    End::Retry => super::End::Retry,
                };
                in_flight.finish(sequence, of);
                model.finish(message, end);
            }
            Step::Take => {
                let expected = std::mem::take(&mut model.ready);
                prop_assert_eq!(ends(in_flight.take_ready()), expected);
            }
        }
        prop_assert_eq!(in_flight.has_ready(), !model.ready.is_empty());
    }
    prop_assert_eq!(ends(in_flight.take_ready()), model.ready);
    Ok(())
}

const CASES: u32 = 5_000;

#[test]
fn messages_end_as_the_model_says_each_once_and_in_the_order_of_its_lane() {
    random(CASES).run(&vec(step(), 0..80), |steps| compare(&steps, None)).unwrap();
}

#[test]
fn every_known_fault_of_the_order_is_found() {
    for fault in FAULTS {
        let found = random(CASES).run(&vec(step(), 0..80), |steps| compare(&steps, Some(fault)));
        assert!(found.is_err(), "{fault:?} was not found");
    }
}
