//! The batcher against a model that takes one image at a time, over random arrivals.

use std::collections::BTreeMap;

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

use super::*;

/// Images of the test set; messages that carry their own number them from here on.
const TEST_IMAGES: usize = 60;

/// Mistakes that the comparison must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A message keeps its turn until all its images are taken.
    TakesMessagesWhole,
    /// What is left of a message after its turn is forgotten.
    LosesTheRest,
    /// The next turn begins with the image that ended the last.
    TakesAnImageTwice,
    /// A message is taken from its end.
    Reverses,
    /// A batch is one image too large.
    OverfillsTheBatch,
    /// A message that comes late is served first.
    PrefersTheLatest,
}

const FAULTS: [Fault; 6] = [
    Fault::TakesMessagesWhole,
    Fault::LosesTheRest,
    Fault::TakesAnImageTwice,
    Fault::Reverses,
    Fault::OverfillsTheBatch,
    Fault::PrefersTheLatest,
];

#[derive(Clone, Debug)]
enum Step {
    /// A range of the test set.
    Range {
        start: usize,
        images: usize,
    },
    /// A message that carries so many images.
    Carry {
        images: usize,
    },
    Batch {
        max_images: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let range = (0..TEST_IMAGES)
        .prop_flat_map(|start| (Just(start), 1..=TEST_IMAGES - start))
        .prop_map(|(start, images)| Step::Range { start, images });
    prop_oneof![
        2 => range,
        1 => (1..6_usize).prop_map(|images| Step::Carry { images }),
        1 => Just(Step::Carry { images: 1 }),
        4 => (1..12_usize).prop_map(|max_images| Step::Batch { max_images }),
    ]
}

/// The images of each message, in its order.
type Shares = BTreeMap<Sequence, Vec<usize>>;

/// Every message that waits, and the images that it still has.
#[derive(Default)]
struct Model {
    waiting: VecDeque<(Sequence, VecDeque<usize>)>,
    fault: Option<Fault>,
}

impl Model {
    fn push(&mut self, sequence: Sequence, images: VecDeque<usize>) {
        match self.fault {
            Some(Fault::PrefersTheLatest) => self.waiting.push_front((sequence, images)),
            _ => self.waiting.push_back((sequence, images)),
        }
    }

    fn images(&self) -> usize {
        self.waiting.iter().map(|(_, images)| images.len()).sum()
    }

    /// One image of each message in turn, until the batch is full or none wait.
    fn next_batch(&mut self, max_images: usize) -> Option<Shares> {
        let mut shares = Shares::new();
        let room = max_images + usize::from(self.fault == Some(Fault::OverfillsTheBatch));
        for _ in 0..room {
            let Some((sequence, mut images)) = self.waiting.pop_front() else { break };
            let image = match self.fault {
                Some(Fault::Reverses) => images.pop_back(),
                Some(Fault::TakesAnImageTwice) if images.len() % 3 == 2 => images.front().copied(),
                _ => images.pop_front(),
            };
            shares.entry(sequence).or_default().extend(image);
            match self.fault {
                _ if images.is_empty() => {}
                Some(Fault::LosesTheRest) if shares.len() > 3 => {}
                Some(Fault::TakesMessagesWhole) => self.waiting.push_front((sequence, images)),
                _ => self.waiting.push_back((sequence, images)),
            }
        }
        (!shares.is_empty()).then_some(shares)
    }
}

fn image(number: usize) -> Image {
    Image::from_fn(|row, _| number.to_le_bytes()[row % 8])
}

fn number(image: &Image) -> usize {
    usize::from(image.pixels()[0]) + 256 * usize::from(image.pixels()[Image::WIDTH])
}

/// Whose each image is; fails where the shares don't divide the images.
fn shares(batch: &Batch) -> Result<Shares, TestCaseError> {
    let mut images = batch.images.iter().map(number);
    let mut shares = Shares::new();
    for &(sequence, count) in &batch.shares {
        prop_assert!(count > 0);
        let share: Vec<usize> = images.by_ref().take(count).collect();
        prop_assert_eq!(share.len(), count);
        shares.entry(sequence).or_default().extend(share);
    }
    prop_assert_eq!(images.count(), 0, "images of nobody");
    Ok(shares)
}

/// Does the steps on both, takes what is left, and compares every batch.
fn compare(steps: &[Step], fault: Option<Fault>) -> Result<(), TestCaseError> {
    let test_images: Vec<Image> = (0..TEST_IMAGES).map(image).collect();
    let mut schedule = Schedule::default();
    let mut model = Model { fault, ..Model::default() };
    let mut next = TEST_IMAGES;
    // Single images, and how many messages waited when they came.
    let mut singles: BTreeMap<Sequence, usize> = BTreeMap::new();
    let rest = std::iter::repeat_n(&Step::Batch { max_images: 7 }, steps.len() * 10);
    for (sequence, step) in (0..).zip(steps.iter().chain(rest)) {
        let request = match *step {
            Step::Range { start, images } => {
                model.push(sequence, (start..start + images).collect());
                Request::Range { start, end: start + images }
            }
            Step::Carry { images } => {
                if images == 1 {
                    singles.insert(sequence, model.waiting.len());
                }
                model.push(sequence, (next..next + images).collect());
                next += images;
                Request::Images((next - images..next).map(image).collect())
            }
            Step::Batch { max_images } => {
                let batch = schedule.next_batch(max_images, &test_images);
                let found = batch.as_ref().map(shares).transpose()?;
                let size = found.iter().flat_map(Shares::values).map(Vec::len).sum::<usize>();
                prop_assert!(size <= max_images, "{size} images in a batch of {max_images}");
                for (sequence, ahead) in &mut singles {
                    let is_served = found.as_ref().is_some_and(|f| f.contains_key(sequence));
                    prop_assert!(is_served || *ahead >= max_images, "{sequence} had to wait");
                    *ahead = if is_served { usize::MAX } else { *ahead - max_images };
                }
                singles.retain(|_, ahead| *ahead < usize::MAX);
                prop_assert_eq!(found, model.next_batch(max_images));
                prop_assert_eq!(schedule.images(), model.images());
                continue;
            }
        };
        schedule.push(sequence, request, Instant::now());
        prop_assert_eq!(schedule.images(), model.images());
    }
    prop_assert_eq!(schedule.images(), 0, "images were never taken");
    Ok(())
}

fn runner(cases: u32) -> TestRunner {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

const CASES: u32 = 2_000;

#[test]
fn the_batcher_takes_what_the_model_takes_and_a_single_image_waits_for_one_batch() {
    runner(CASES).run(&vec(step(), 0..25), |steps| compare(&steps, None)).unwrap();
}

#[test]
fn every_known_fault_of_a_batcher_is_found() {
    for fault in FAULTS {
        let found = runner(CASES).run(&vec(step(), 0..25), |steps| compare(&steps, Some(fault)));
        assert!(found.is_err(), "{fault:?} was not found");
    }
}
