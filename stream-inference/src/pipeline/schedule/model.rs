//! The schedule against a model that takes one input at a time, over random arrivals.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::pipeline::tests::random;

/// Inputs of ranges; messages that carry their own number them from here on.
const STORED: usize = 60;

/// Mistakes that the comparison must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Large messages take turns, so that none ends before all but do.
    AdvancesInLockstep,
    /// A message of any size waits for those before it.
    LetsSmallOnesWait,
    /// Small messages leave nothing of a batch to large ones.
    StarvesLargeOnes,
    /// What is left of a message after its turn is forgotten.
    LosesTheRest,
    /// The next turn begins with the input that ended the last.
    TakesAnInputTwice,
    /// A message is taken from its end.
    Reverses,
    /// A batch is one input too large.
    OverfillsTheBatch,
    /// A message that comes late is served first.
    PrefersTheLatest,
}

const FAULTS: [Fault; 8] = [
    Fault::AdvancesInLockstep,
    Fault::LetsSmallOnesWait,
    Fault::StarvesLargeOnes,
    Fault::LosesTheRest,
    Fault::TakesAnInputTwice,
    Fault::Reverses,
    Fault::OverfillsTheBatch,
    Fault::PrefersTheLatest,
];

#[derive(Clone, Debug)]
enum Step {
    /// A range of what is stored.
    Range {
        start: usize,
        inputs: usize,
    },
    /// A message that carries so many inputs.
    Carry {
        inputs: usize,
    },
    Batch {
        max_inputs: usize,
    },
    /// In the order of reception.
    Oldest {
        max_inputs: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let range = (0..STORED)
        .prop_flat_map(|start| (Just(start), 1..=STORED - start))
        .prop_map(|(start, inputs)| Step::Range { start, inputs });
    prop_oneof![
        2 => range,
        1 => (1..6_usize).prop_map(|inputs| Step::Carry { inputs }),
        1 => Just(Step::Carry { inputs: 1 }),
        4 => (1..12_usize).prop_map(|max_inputs| Step::Batch { max_inputs }),
        1 => (1..12_usize).prop_map(|max_inputs| Step::Oldest { max_inputs }),
    ]
}

/// The inputs of each message, in its order.
type Shares = BTreeMap<Sequence, Vec<usize>>;

/// Inputs of a batch when messages are read: above and below those of the batches that are taken.
const MAX_INPUTS: usize = 8;

/// Every message that waits, in the order of reception, and the inputs that it still has.
#[derive(Default)]
struct Model {
    waiting: Vec<(Sequence, VecDeque<usize>, Size)>,
    /// Quarters of an input that the large messages have let others have.
    owed: usize,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Small,
    Large,
}

impl Model {
    fn push(&mut self, sequence: Sequence, inputs: VecDeque<usize>) {
        let size = if inputs.len() * 4 <= MAX_INPUTS * 3 { Size::Small } else { Size::Large };
        let place = match self.fault {
            Some(Fault::PrefersTheLatest) => 0,
            _ => self.waiting.len(),
        };
        self.waiting.insert(place, (sequence, inputs, size));
    }

    fn inputs(&self) -> usize {
        self.waiting.iter().map(|(_, inputs, _)| inputs.len()).sum()
    }

    fn first(&self, wanted: Size) -> Option<usize> {
        self.waiting.iter().position(|(_, _, size)| *size == wanted)
    }

    /// One input at a time: of the first small message, except for a quarter of the inputs, which
    /// are the first large message's.
    fn next_batch(&mut self, max_inputs: usize) -> Option<Shares> {
        let room = max_inputs + usize::from(self.fault == Some(Fault::OverfillsTheBatch));
        self.owed = match (self.first(Size::Large), self.fault) {
            (None, _) | (_, Some(Fault::StarvesLargeOnes)) => 0,
            (Some(_), _) => self.owed + max_inputs,
        };
        let mut shares = Shares::new();
        let mut left = room.min(self.inputs());
        let mut reserved = (self.owed / 4).min(left);
        while left > 0 {
            let (small, large) = (self.first(Size::Small), self.first(Size::Large));
            let (message, is_large) = match (small, large) {
                _ if self.fault == Some(Fault::LetsSmallOnesWait) => (0, false),
                (Some(small), Some(_)) if left > reserved => (small, false),
                (_, Some(large)) => (large, true),
                (Some(small), None) => (small, false),
                (None, None) => break,
            };
            if is_large {
                reserved = reserved.saturating_sub(1);
                self.owed = self.owed.saturating_sub(4);
            }
            left -= 1;
            self.take(message, &mut shares);
        }
        if self.first(Size::Large).is_none() {
            self.owed = 0;
        }
        (!shares.is_empty()).then_some(shares)
    }

    /// One input at a time, of whatever message came first.
    fn oldest(&mut self, max_inputs: usize) -> Option<Shares> {
        let mut shares = Shares::new();
        for _ in 0..max_inputs.min(self.inputs()) {
            self.take(0, &mut shares);
        }
        (!shares.is_empty()).then_some(shares)
    }

    fn take(&mut self, message: usize, shares: &mut Shares) {
        let (sequence, inputs, size) = &mut self.waiting[message];
        let (sequence, size) = (*sequence, *size);
        let input = match self.fault {
            Some(Fault::Reverses) => inputs.pop_back(),
            Some(Fault::TakesAnInputTwice) if inputs.len() % 3 == 2 => inputs.front().copied(),
            _ => inputs.pop_front(),
        };
        shares.entry(sequence).or_default().extend(input);
        let loses = self.fault == Some(Fault::LosesTheRest) && shares.len() > 3;
        if inputs.is_empty() || loses {
            self.waiting.remove(message);
        } else if self.fault == Some(Fault::AdvancesInLockstep) && size == Size::Large {
            let unfinished = self.waiting.remove(message);
            self.waiting.push(unfinished);
        }
    }
}

/// Whose each input is; fails where the shares don't divide the inputs.
fn shares(batch: &Batch<usize>) -> Result<Shares, TestCaseError> {
    let mut inputs = batch.inputs.iter().copied();
    let mut shares = Shares::new();
    for &(sequence, count) in &batch.shares {
        prop_assert!(count > 0);
        let share: Vec<usize> = inputs.by_ref().take(count).collect();
        prop_assert_eq!(share.len(), count);
        shares.entry(sequence).or_default().extend(share);
    }
    prop_assert_eq!(inputs.count(), 0, "inputs of nobody");
    Ok(shares)
}

/// A batch's shares, where there is one; fails where it is too large.
fn found(batch: Option<Batch<usize>>, max_inputs: usize) -> Result<Option<Shares>, TestCaseError> {
    let found = batch.as_ref().map(shares).transpose()?;
    let size = found.iter().flat_map(Shares::values).map(Vec::len).sum::<usize>();
    prop_assert!(size <= max_inputs, "{size} inputs in a batch of {max_inputs}");
    Ok(found)
}

/// Does the steps on both, takes what is left, and compares every batch.
fn compare(steps: &[Step], fault: Option<Fault>) -> Result<(), TestCaseError> {
    let mut schedule = Schedule::default();
    let mut model = Model { fault, ..Model::default() };
    let mut next = STORED;
    let rest = std::iter::repeat_n(&Step::Batch { max_inputs: 7 }, steps.len() * 10);
    for (sequence, step) in (0..).zip(steps.iter().chain(rest)) {
        let inputs = match *step {
            Step::Range { start, inputs } => {
                model.push(sequence, (start..start + inputs).collect());
                start..start + inputs
            }
            Step::Carry { inputs } => {
                model.push(sequence, (next..next + inputs).collect());
                next += inputs;
                next - inputs..next
            }
            Step::Batch { max_inputs } => {
                let first = |size| model.first(size).map(|first| model.waiting[first].0);
                let (small, large) = (first(Size::Small), first(Size::Large));
                let found = found(schedule.next_batch(max_inputs), max_inputs)?;
                let has =
                    |message: Sequence| found.as_ref().is_some_and(|f| f.contains_key(&message));
                // Batches of one input alternate: the first small message has three of four.
                prop_assert!(small.is_none_or(has) || max_inputs == 1, "a small one had to wait");
                prop_assert!(large.is_none_or(has) || max_inputs < 4, "a large one had nothing");
                prop_assert_eq!(found, model.next_batch(max_inputs));
                prop_assert_eq!(schedule.inputs(), model.inputs());
                continue;
            }
            Step::Oldest { max_inputs } => {
                let found = found(schedule.oldest(max_inputs), max_inputs)?;
                prop_assert_eq!(found, model.oldest(max_inputs));
                prop_assert_eq!(schedule.inputs(), model.inputs());
                continue;
            }
        };
        schedule.push(sequence, inputs, Instant::now(), MAX_INPUTS);
        prop_assert_eq!(schedule.inputs(), model.inputs());
    }
    prop_assert_eq!(schedule.inputs(), 0, "inputs were never taken");
    Ok(())
}

const CASES: u32 = 2_000;

#[test]
fn the_schedule_takes_what_the_model_takes_and_neither_small_nor_large_messages_starve() {
    random(CASES).run(&vec(step(), 0..25), |steps| compare(&steps, None)).unwrap();
}

#[test]
fn every_known_fault_of_a_schedule_is_found() {
    for fault in FAULTS {
        let found = random(CASES).run(&vec(step(), 0..25), |steps| compare(&steps, Some(fault)));
        assert!(found.is_err(), "{fault:?} was not found");
    }
}
