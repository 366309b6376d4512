//! The offset tracker against a model that keeps everything, over random schedules.

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

use super::*;

/// Mistakes that the comparison must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Commits the highest offset that is done, whatever lies below.
    CommitsTheMaximum,
    /// A message that is handed back stays where it is.
    LosesRetries,
    /// Only the message itself is handed back, not what follows.
    LeavesTheRest,
    /// Goes back to the latest of several hand-backs.
    SeeksTheLatest,
    /// A claim outlives the assignment of its partition.
    IgnoresRevocation,
    /// A transaction takes a message past a hole.
    StagesPastAHole,
    /// Counts a failure for what is pulled back behind the message that failed.
    CountsNeighbours,
}

const FAULTS: [Fault; 7] = [
    Fault::CommitsTheMaximum,
    Fault::LosesRetries,
    Fault::LeavesTheRest,
    Fault::SeeksTheLatest,
    Fault::IgnoresRevocation,
    Fault::StagesPastAHole,
    Fault::CountsNeighbours,
];

/// What a consumer may do next. Numbers choose among the claims given so far, the oldest first.
#[derive(Clone, Debug)]
enum Step {
    Receive,
    Done(usize),
    Stage(usize),
    PullBack(usize),
    Retry(usize),
    Seek,
    Revoke,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Receive),
        4 => (0..8_usize).prop_map(Step::Done),
        2 => (0..8_usize).prop_map(Step::Stage),
        1 => (0..8_usize).prop_map(Step::PullBack),
        1 => (0..8_usize).prop_map(Step::Retry),
        2 => Just(Step::Seek),
        1 => Just(Step::Revoke),
    ]
}

/// Every delivery of one partition that ever was.
#[derive(Default)]
struct Model {
    deliveries: Vec<Delivered>,
    /// The next offset that the consumer reads.
    position: i64,
    /// The last offset that may be committed.
    committed: i64,
    seek: Option<i64>,
    /// How often each offset failed since the partition was assigned.
    failures: HashMap<i64, u32>,
    fault: Option<Fault>,
}

struct Delivered {
    offset: i64,
    is_done: bool,
    standing: Standing,
}

impl Model {
    fn valid(&self, at: usize) -> bool {
        self.deliveries[at].standing == Standing::Valid
    }

    /// Gives the number of the attempt.
    fn receive(&mut self) -> u32 {
        let offset = self.position;
        self.position += 1;
        self.deliveries.push(Delivered { offset, is_done: false, standing: Standing::Valid });
        1 + self.failures.get(&offset).copied().unwrap_or_default()
    }

    fn done(&mut self, at: usize) -> Option<i64> {
        if !self.valid(at) {
            return None;
        }
        self.deliveries[at].is_done = true;
        let valid = || self.deliveries.iter().filter(|d| d.standing == Standing::Valid);
        let first_open = valid().filter(|d| !d.is_done).map(|d| d.offset).min();
        let done = valid().filter(|d| d.is_done).map(|d| d.offset);
        let mark = match (self.fault, first_open) {
            (None | Some(_), None) | (Some(Fault::CommitsTheMaximum), _) => done.max(),
            (_, Some(open)) => done.filter(|offset| *offset < open).max(),
        };
        let mark = mark.filter(|mark| *mark > self.committed)?;
        self.committed = mark;
        // What is committed has no claim any more.
        for delivered in &mut self.deliveries {
            if delivered.standing == Standing::Valid && delivered.offset <= mark {
                delivered.standing = Standing::PulledBack;
            }
        }
        Some(mark)
    }

    fn stage(&mut self, at: usize) -> Standing {
        if !self.valid(at) {
            return self.deliveries[at].standing;
        }
        let offset = self.deliveries[at].offset;
        let hole = self
            .deliveries
            .iter()
            .any(|d| d.standing == Standing::Valid && d.offset < offset && !d.is_done);
        if hole && self.fault != Some(Fault::StagesPastAHole) {
            self.pull_back(at);
            return Standing::PulledBack;
        }
        self.deliveries[at].is_done = true;
        Standing::Valid
    }

    fn pull_back(&mut self, at: usize) -> bool {
        if !self.valid(at) {
            return false;
        }
        if self.fault == Some(Fault::LosesRetries) {
            return true;
        }
        let offset = self.deliveries[at].offset;
        let rest = self.fault != Some(Fault::LeavesTheRest);
        for delivered in &mut self.deliveries {
            let follows = delivered.offset == offset || (rest && delivered.offset > offset);
            if delivered.standing == Standing::Valid && follows {
                delivered.standing = Standing::PulledBack;
            }
        }
        self.seek = Some(match (self.seek, self.fault) {
            (None, _) => offset,
            (Some(other), Some(Fault::SeeksTheLatest)) => other.max(offset),
            (Some(other), _) => other.min(offset),
        });
        true
    }

    fn retry(&mut self, at: usize) -> bool {
        let offset = self.deliveries[at].offset;
        let neighbours = self.fault == Some(Fault::CountsNeighbours);
        let behind = |d: &&Delivered| d.standing == Standing::Valid && d.offset > offset;
        let behind = self.deliveries.iter().filter(behind).map(|d| d.offset);
        let failed: Vec<i64> =
            std::iter::once(offset).chain(behind.filter(|_| neighbours)).collect();
        let counted = self.pull_back(at);
        for offset in failed.into_iter().filter(|_| counted) {
            *self.failures.entry(offset).or_default() += 1;
        }
        counted
    }

    fn revoke(&mut self) {
        self.failures.clear();
        if self.fault != Some(Fault::IgnoresRevocation) {
            self.deliveries.iter_mut().for_each(|d| d.standing = Standing::Stale);
        }
        self.seek = None;
        // The next assignment begins where the group has committed.
        self.position = self.committed + 1;
    }
}

/// Does the steps on both, and compares what each answers and what it holds. With transactions, a
/// message is staged before it is done; without, it is done in any order and never staged.
fn compare(transactions: bool, steps: &[Step], fault: Option<Fault>) -> Result<(), TestCaseError> {
    let mut claims = Claims::default();
    let mut model = Model { committed: -1, fault, ..Model::default() };
    let mut received: Vec<Claim> = Vec::new();
    // The last claims are the ones that steps are about.
    let pick =
        |received: &[Claim], n: usize| received.len().checked_sub(1 + n % received.len().max(1));
    for step in steps {
        match *step {
            Step::Receive if model.seek.is_none() => {
                let (claim, attempt) = claims.receive(0, model.position);
                received.push(claim);
                prop_assert_eq!(attempt, model.receive());
            }
            Step::Receive => {}
            Step::Done(n) => {
                let at = pick(&received, n);
                if let Some(at) = at.filter(|at| !transactions || model.deliveries[*at].is_done) {
                    prop_assert_eq!(claims.done(received[at]), model.done(at));
                }
            }
            Step::Stage(n) => {
                if let Some(at) = pick(&received, n).filter(|_| transactions) {
                    prop_assert_eq!(claims.stage(received[at]), model.stage(at));
                }
            }
            Step::PullBack(n) => {
                if let Some(at) = pick(&received, n) {
                    prop_assert_eq!(claims.pull_back(received[at]), model.pull_back(at));
                }
            }
            Step::Retry(n) => {
                if let Some(at) = pick(&received, n) {
                    prop_assert_eq!(claims.retry(received[at]), model.retry(at));
                }
            }
            Step::Seek => {
                for (partition, offset) in claims.seeks() {
                    prop_assert_eq!((partition, Some(offset)), (0, model.seek));
                    claims.sought(partition, offset);
                    model.position = offset;
                    model.seek = None;
                }
            }
            Step::Revoke => {
                claims.revoke(0);
                model.revoke();
            }
        }
        prop_assert_eq!(claims.is_seeking(0), model.seek.is_some());
        for (claim, delivered) in received.iter().zip(&model.deliveries) {
            prop_assert_eq!(claims.standing(*claim), delivered.standing);
        }
    }
    Ok(())
}

fn schedules() -> impl Strategy<Value = (bool, Vec<Step>)> {
    (any::<bool>(), vec(step(), 0..60))
}

fn runner(cases: u32) -> TestRunner {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    )
}

#[test]
fn the_tracker_does_what_the_model_does() {
    runner(10_000)
        .run(&schedules(), |(transactions, steps)| compare(transactions, &steps, None))
        .unwrap();
}

#[test]
fn every_known_fault_is_found_within_ten_thousand_schedules() {
    for fault in FAULTS {
        let found = runner(10_000)
            .run(&schedules(), |(transactions, steps)| compare(transactions, &steps, Some(fault)));
        assert!(found.is_err(), "{fault:?} was not found");
    }
}
