//! A message of a schedule: what it asks for, where it is, and what became of it.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{
    pipeline::simulation::{MAX_INPUTS, STORED},
    transport::Outbound,
};

/// What a message must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Answer,
    DeadLetter,
    /// It fails at times.
    Either,
}

#[derive(Debug)]
pub(in crate::pipeline::simulation) struct Item {
    pub(in crate::pipeline::simulation) lane: Option<u8>,
    pub(in crate::pipeline::simulation) message: Outbound,
    pub(super) expected: Expected,
    /// Of a range that no batch takes whole, and that is in no lane.
    pub(super) is_large: bool,
    pub(in crate::pipeline::simulation) place: Place,
    /// Under which lease it was answered, or may have been answered by two models.
    pub(super) answered: u64,
    pub(super) deliveries: u32,
    pub(in crate::pipeline::simulation) answers: usize,
    pub(super) written: usize,
    pub(in crate::pipeline::simulation) letters: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline::simulation) enum Place {
    Waiting,
    Leased(u64),
    /// An outcome was accepted, and is not yet confirmed.
    Settling(u64),
    /// Acknowledged.
    Done,
}

fn range(start: u64, end: u64) -> Vec<u8> {
    format!(r#"{{"start_idx": {start}, "end_idx": {end}}}"#).into_bytes()
}

impl Item {
    /// In no lane, and of more inputs than most batches take.
    pub(super) fn large_range(rng: &mut ChaCha8Rng) -> Self {
        let inputs = rng.random_range(MAX_INPUTS..=u64::from(STORED));
        Self::new(None, range(0, inputs), Expected::Answer, inputs)
    }

    pub(super) fn random(rng: &mut ChaCha8Rng) -> Self {
        let raw = |value: u8| vec![value; 800];
        let (payload, expected, inputs) = match rng.random_range(0..10) {
            0 => (b"{\"start_idx\": ".to_vec(), Expected::DeadLetter, 0),
            1 => (raw(255), Expected::DeadLetter, 1),
            2 => (raw(254), Expected::Either, 1),
            3..=5 => {
                let start = rng.random_range(0..u64::from(STORED));
                let end = rng.random_range(start..=u64::from(STORED)) + 1;
                let is_in_range = end <= u64::from(STORED);
                let expected = if is_in_range { Expected::Answer } else { Expected::DeadLetter };
                (range(start, end), expected, end - start)
            }
            _ => (raw(rng.random_range(0..100)), Expected::Answer, 1),
        };
        let lane = [None, Some(0), Some(0), Some(1)][rng.random_range(0..4)];
        Self::new(lane, payload, expected, inputs)
    }

    fn new(lane: Option<u8>, payload: Vec<u8>, expected: Expected, inputs: u64) -> Self {
        let is_answered = expected == Expected::Answer;
        Self {
            lane,
            is_large: is_answered && lane.is_none() && inputs >= MAX_INPUTS,
            answered: 0,
            message: Outbound { payload: payload.into(), ..Outbound::default() },
            expected,
            place: Place::Waiting,
            deliveries: 0,
            answers: 0,
            written: 0,
            letters: 0,
        }
    }
}
