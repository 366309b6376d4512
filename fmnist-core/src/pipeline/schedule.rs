use std::{collections::VecDeque, ops::Range, time::Instant};

use crate::{image::Image, message::Request};

/// Names a message while it is in flight; counts receptions.
pub(crate) type Sequence = u64;

/// One inference call: images of several messages, and whose they are.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) images: Vec<Image>,
    /// When the images that waited longest were read.
    pub(crate) since: Instant,
    /// Consecutive shares of `images`: message and number of images.
    pub(crate) shares: Vec<(Sequence, usize)>,
}

/// Images that wait for inference, cut into fair shares.
///
/// Messages take turns. In each turn a message gives an equal share of the room left in the batch,
/// so that a message of 10,000 images delays a message of one by at most one batch.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    waiting: VecDeque<(Sequence, Instant, Images)>,
    images: usize,
}

#[derive(Debug)]
enum Images {
    OfTestSet(Range<usize>),
    Carried(std::vec::IntoIter<Image>),
}

impl Images {
    fn len(&self) -> usize {
        match self {
            Self::OfTestSet(range) => range.len(),
            Self::Carried(images) => images.len(),
        }
    }
}

impl Schedule {
    /// Adds the images of a message that was read at `decoded`.
    pub(crate) fn push(&mut self, sequence: Sequence, request: Request, decoded: Instant) {
        let images = match request {
            Request::Range { start, end } => Images::OfTestSet(start..end),
            Request::Images(images) => Images::Carried(images.into_iter()),
        };
        self.images += images.len();
        self.waiting.push_back((sequence, decoded, images));
    }

    /// Messages with images that wait.
    pub(crate) fn messages(&self) -> usize {
        self.waiting.len()
    }

    /// Images that wait.
    pub(crate) fn images(&self) -> usize {
        self.images
    }

    /// Takes up to `max_images` images; `None` when none wait.
    pub(crate) fn next_batch(&mut self, max_images: usize, test_images: &[Image]) -> Option<Batch> {
        if self.images == 0 {
            return None;
        }
        let since = self.waiting.front()?.1;
        let mut batch = Batch { images: Vec::new(), since, shares: Vec::new() };
        let mut room = max_images.max(1).min(self.images);
        batch.images.reserve_exact(room);
        while room > 0 {
            let turn = (room / self.waiting.len()).max(1);
            for _ in 0..self.waiting.len().min(room) {
                let Some((sequence, decoded, mut images)) = self.waiting.pop_front() else { break };
                batch.since = batch.since.min(decoded);
                let count = turn.min(images.len());
                match &mut images {
                    Images::OfTestSet(range) => {
                        let end = range.start + count;
                        batch.images.extend_from_slice(&test_images[range.start..end]);
                        range.start = end;
                    }
                    Images::Carried(images) => batch.images.extend(images.take(count)),
                }
                batch.shares.push((sequence, count));
                room -= count;
                self.images -= count;
                if images.len() > 0 {
                    self.waiting.push_back((sequence, decoded, images));
                }
            }
        }
        Some(batch)
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    fn test_set() -> Vec<Image> {
        (0..100).map(|i| Image::new([i; Image::PIXELS])).collect()
    }

    fn range(start: usize, end: usize) -> Request {
        Request::Range { start, end }
    }

    #[test]
    fn a_single_image_behind_a_large_range_is_in_the_next_batch() {
        let (mut schedule, images) = (Schedule::default(), test_set());
        schedule.push(1, range(0, 100), Instant::now());
        assert_eq!(schedule.next_batch(8, &images).map(|b| b.shares), Some(vec![(1, 8)]));
        schedule.push(2, range(50, 51), Instant::now());
        let batch = schedule.next_batch(8, &images).expect("images wait");
        assert!(batch.shares.contains(&(2, 1)), "{:?}", batch.shares);
        assert_eq!(batch.images.len(), 8);
    }

    #[test]
    fn every_image_is_taken_once_and_in_its_messages_order() {
        let (mut schedule, images) = (Schedule::default(), test_set());
        for (sequence, (start, end)) in (0..).zip([(0, 37), (5, 6), (10, 100), (3, 8)]) {
            schedule.push(sequence, range(start, end), Instant::now());
        }
        schedule.push(4, Request::Images(images[20..25].to_vec()), Instant::now());
        let mut taken: Vec<Vec<u8>> = vec![Vec::new(); 5];
        while let Some(batch) = schedule.next_batch(16, &images) {
            assert!(batch.images.len() <= 16);
            let mut images = batch.images.iter();
            for (sequence, count) in batch.shares {
                let share = images.by_ref().take(count).map(|image| image.pixels()[0]);
                taken[sequence as usize].extend(share);
            }
            assert_eq!(images.len(), 0);
        }
        let expected: [Vec<u8>; 5] =
            [(0..37).collect(), vec![5], (10..100).collect(), (3..8).collect(), (20..25).collect()];
        assert_eq!(taken, expected);
        assert_eq!(schedule.images(), 0);
    }

    #[test]
    fn more_messages_than_room_are_served_in_the_order_of_arrival() {
        let (mut schedule, images) = (Schedule::default(), test_set());
        let now = Instant::now();
        (0..10).for_each(|sequence| schedule.push(sequence, range(0, 1), now));
        let shares = |s: &mut Schedule| s.next_batch(4, &images).map(|b| b.shares);
        assert_eq!(shares(&mut schedule), Some(vec![(0, 1), (1, 1), (2, 1), (3, 1)]));
        assert_eq!(shares(&mut schedule), Some(vec![(4, 1), (5, 1), (6, 1), (7, 1)]));
        assert_eq!(shares(&mut schedule), Some(vec![(8, 1), (9, 1)]));
        assert_eq!(shares(&mut schedule), None);
    }
}
