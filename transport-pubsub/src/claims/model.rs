//! The claims between a server that delivers a key's messages in order, and again from where one was
//! given back, and a consumer that settles in rounds, as `Settler` does.

use std::collections::{BTreeSet, HashSet, VecDeque};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

use super::*;

const KEYS: [&str; 2] = ["a", "b"];
const MESSAGES: usize = 5;

/// Mistakes that the judge must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A message is settled although an earlier one was given back.
    IgnoresPullBacks,
    /// The lane does not hear that a message was given back.
    GivesBackSilently,
    /// The lane hears of every pull-back only once the next round begins.
    GivesBackLate,
    /// What follows a message whose result was not confirmed is acknowledged.
    AcknowledgesPastAFailure,
}

const FAULTS: [Fault; 4] = [
    Fault::IgnoresPullBacks,
    Fault::GivesBackSilently,
    Fault::GivesBackLate,
    Fault::AcknowledgesPastAFailure,
];

#[derive(Clone, Debug)]
enum Step {
    /// The server sends a key's next message ahead.
    Send(usize),
    /// The consumer takes the oldest that was sent.
    Receive,
    /// A round of so many outcomes begins; those with a set bit are retries.
    Begin(usize, u8),
    /// The oldest result of the round is confirmed, or not.
    Confirm(bool),
    /// A message is dropped without an outcome.
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..KEYS.len()).prop_map(Step::Send),
        4 => Just(Step::Receive),
        2 => (1..5_usize, any::<u8>(), any::<u8>()).prop_map(|(n, a, b)| Step::Begin(n, a & b)),
        4 => prop_oneof![3 => Just(true), 1 => Just(false)].prop_map(Step::Confirm),
        1 => (0..4_usize).prop_map(Step::Drop),
    ]
}

/// A key and the number of its message.
type Message = (usize, usize);

struct World {
    claims: Claims,
    now: Instant,
    /// The next message of each key that the server sends.
    cursors: [usize; KEYS.len()],
    sent: VecDeque<Message>,
    received: Vec<(Message, Claim)>,
    round: VecDeque<(Message, Claim)>,
    /// Keys of which a result of this round was not confirmed.
    failed: HashSet<usize>,
    /// Given back, but the lane has not heard of it.
    late: Vec<Claim>,
    acknowledged: BTreeSet<Message>,
    fault: Option<Fault>,
}

impl World {
    fn new(fault: Option<Fault>) -> Self {
        Self {
            claims: Claims::default(),
            now: Instant::now(),
            cursors: [0; KEYS.len()],
            sent: VecDeque::new(),
            received: Vec::new(),
            round: VecDeque::new(),
            failed: HashSet::new(),
            late: Vec::new(),
            acknowledged: BTreeSet::new(),
            fault,
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Send(key) => self.send(key),
            Step::Receive => self.receive(),
            Step::Begin(count, retries) if self.round.is_empty() => self.begin(count, retries),
            Step::Begin(..) => {}
            Step::Confirm(is_confirmed) => self.confirm(is_confirmed)?,
            Step::Drop(n) if n < self.received.len() => {
                let (message, claim) = self.received.remove(n);
                self.give_back(message, claim);
            }
            Step::Drop(_) => {}
        }
        Ok(())
    }

    fn send(&mut self, key: usize) {
        while self.acknowledged.contains(&(key, self.cursors[key])) {
            self.cursors[key] += 1;
        }
        if self.cursors[key] < MESSAGES {
            self.sent.push_back((key, self.cursors[key]));
            self.cursors[key] += 1;
        }
    }

    fn receive(&mut self) {
        let Some((key, number)) = self.sent.pop_front() else { return };
        match self.claims.enter(KEYS[key], &number.to_string(), self.now) {
            Some(claim) => self.received.push(((key, number), claim)),
            None => self.resend((key, number)),
        }
    }

    fn begin(&mut self, count: usize, retries: u8) {
        for claim in std::mem::take(&mut self.late) {
            self.claims.pull_back(&claim, self.now);
        }
        self.failed.clear();
        let batch: Vec<_> = self.received.drain(..count.min(self.received.len())).collect();
        for (n, (message, claim)) in batch.into_iter().enumerate() {
            let is_current =
                self.claims.is_current(&claim) || self.fault == Some(Fault::IgnoresPullBacks);
            match is_current && retries & (1 << n) == 0 {
                true => self.round.push_back((message, claim)),
                false => self.give_back(message, claim),
            }
        }
    }

    fn confirm(&mut self, is_confirmed: bool) -> Result<(), TestCaseError> {
        let Some((message, claim)) = self.round.pop_front() else { return Ok(()) };
        let (key, number) = message;
        let follows =
            self.failed.contains(&key) && self.fault != Some(Fault::AcknowledgesPastAFailure);
        if !is_confirmed || follows {
            self.failed.insert(key);
            self.give_back(message, claim);
            return Ok(());
        }
        self.claims.leave(&claim);
        self.acknowledged.insert(message);
        let before = (0..number).find(|before| !self.acknowledged.contains(&(key, *before)));
        prop_assert_eq!(before, None, "acknowledged before {}/{}", KEYS[key], number);
        Ok(())
    }

    fn give_back(&mut self, message: Message, claim: Claim) {
        match self.fault {
            Some(Fault::GivesBackSilently) => self.claims.leave(&claim),
            Some(Fault::GivesBackLate) => self.late.push(claim),
            _ => self.claims.pull_back(&claim, self.now),
        }
        self.resend(message);
    }

    /// The server sends the message again, and all that follow it; what it sent before stays sent.
    fn resend(&mut self, (key, number): Message) {
        self.cursors[key] = self.cursors[key].min(number);
    }

    /// Everything is settled from now on, and must come to its end.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        for turn in 0..500 {
            if self.acknowledged.len() == KEYS.len() * MESSAGES && self.is_at_rest() {
                return Ok(());
            }
            (0..KEYS.len()).for_each(|key| self.send(key));
            while !self.sent.is_empty() {
                self.receive();
            }
            if self.round.is_empty() {
                self.begin(1, 0);
            }
            self.confirm(true)?;
            // A lane may wait for a message that another delivery of it has acknowledged. Nothing
            // is on its way now: a lane that opens again takes what comes first.
            if turn == 250 {
                self.now += MAX_WAIT;
            }
        }
        Err(TestCaseError::fail(format!("only {:?} came to an end", self.acknowledged)))
    }

    fn is_at_rest(&self) -> bool {
        self.sent.is_empty() && self.received.is_empty() && self.round.is_empty()
    }
}

fn judge(steps: &[Step], fault: Option<Fault>) -> Result<(), TestCaseError> {
    let mut world = World::new(fault);
    steps.iter().try_for_each(|step| world.take(step))?;
    world.finish()?;
    // A lane that waits for what has been acknowledged is forgotten at another's next pull-back.
    let other = world.claims.enter("c", "0", world.now).expect("a new lane waits for nothing");
    world.claims.pull_back(&other, world.now + MAX_WAIT);
    let kept = world.claims.lock().keys().map(|key| key.to_string()).collect::<Vec<_>>();
    prop_assert_eq!(kept, ["c"]);
    Ok(())
}

fn runner(cases: u32) -> TestRunner {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

const CASES: u32 = 10_000;

#[test]
fn a_keys_messages_are_acknowledged_in_order_whatever_is_given_back() {
    runner(CASES).run(&vec(step(), 0..60), |steps| judge(&steps, None)).unwrap();
}

#[test]
fn every_known_fault_of_a_lane_is_found() {
    for fault in FAULTS {
        let found = runner(CASES).run(&vec(step(), 0..60), |steps| judge(&steps, Some(fault)));
        assert!(found.is_err(), "{fault:?} was not found");
    }
}
