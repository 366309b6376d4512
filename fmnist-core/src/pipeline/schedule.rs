use std::{collections::VecDeque, ops::Range, time::Instant};

#[cfg(test)]
use super::simulation;
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

/// Images that wait for inference, as two queues.
///
/// A message is small if its images fit into a batch beside what large ones are owed. Small messages
/// come first, so that one waits for at most one batch of large ones. Large messages have a quarter of
/// each batch while small ones wait, and all that those leave, so that neither starves. In each
/// queue the first received finishes first: messages that progress side by side would all end last.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    small: VecDeque<Waiting>,
    large: VecDeque<Waiting>,
    images: usize,
    /// What large messages are owed, in images times [`LARGE_SHARE`].
    owed: usize,
}

/// Large messages have one image in so many while small ones wait.
const LARGE_SHARE: usize = 4;

/// A message with images that wait.
#[derive(Debug)]
struct Waiting {
    sequence: Sequence,
    decoded: Instant,
    images: Images,
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
    /// Adds the images of a message that was read at `decoded`, while a batch may have `max_images`.
    pub(crate) fn push(
        &mut self,
        sequence: Sequence,
        request: Request,
        decoded: Instant,
        max_images: usize,
    ) {
        let images = match request {
            Request::Range { start, end } => Images::OfTestSet(start..end),
            Request::Images(images) => Images::Carried(images.into_iter()),
        };
        self.images += images.len();
        let queue = match images.len() <= max_images - max_images / LARGE_SHARE {
            true => &mut self.small,
            false => &mut self.large,
        };
        queue.push_back(Waiting { sequence, decoded, images });
    }

    /// Messages with images that wait.
    pub(crate) fn messages(&self) -> usize {
        self.small.len() + self.large.len()
    }

    /// Images that wait.
    pub(crate) fn images(&self) -> usize {
        self.images
    }

    /// Takes up to `max_images` images; `None` when none wait.
    pub(crate) fn next_batch(&mut self, max_images: usize, test_images: &[Image]) -> Option<Batch> {
        let (mut batch, mut room) = self.begin(max_images)?;
        // A batch of one image can't be shared, so what is owed adds up over batches.
        let owed = self.owed + max_images.max(1);
        let reserved = if self.large.is_empty() { 0 } else { (owed / LARGE_SHARE).min(room) };
        room -= batch.take(&mut self.small, room - reserved, test_images);
        let taken = batch.take(&mut self.large, room, test_images);
        let owed = owed.saturating_sub(LARGE_SHARE * taken);
        self.owed = if self.large.is_empty() { 0 } else { owed };
        #[cfg(test)]
        if simulation::is_planted(simulation::Fault::LargeRangesInLockstep) {
            self.large.rotate_left(self.large.len().min(1));
        }
        // Where fewer images of large messages wait than were reserved.
        batch.take(&mut self.small, room - taken, test_images);
        Some(batch)
    }

    /// As [`Schedule::next_batch`], strictly in the order of reception: the oldest messages, and so
    /// the first of their lanes, are completed before any other is begun.
    pub(crate) fn oldest(&mut self, max_images: usize, test_images: &[Image]) -> Option<Batch> {
        let (mut batch, mut room) = self.begin(max_images)?;
        while room > 0 {
            let queue = match (self.small.front(), self.large.front()) {
                (Some(small), Some(large)) if small.sequence > large.sequence => &mut self.large,
                (Some(_), _) => &mut self.small,
                (None, _) => &mut self.large,
            };
            let taken = batch.take_first(queue, room, test_images);
            if taken == 0 {
                break;
            }
            room -= taken;
        }
        Some(batch)
    }

    /// An empty batch, and the room in it, which is filled from now on.
    fn begin(&mut self, max_images: usize) -> Option<(Batch, usize)> {
        let first = self.small.front().or(self.large.front())?;
        let room = max_images.max(1).min(self.images);
        self.images -= room;
        let images = Vec::with_capacity(room);
        Some((Batch { images, since: first.decoded, shares: Vec::new() }, room))
    }
}

impl Batch {
    /// Takes up to `room` images from the front of a queue; answers how many.
    fn take(&mut self, queue: &mut VecDeque<Waiting>, room: usize, test_images: &[Image]) -> usize {
        let mut left = room;
        while left > 0 && !queue.is_empty() {
            left -= self.take_first(queue, left, test_images);
        }
        room - left
    }

    /// Takes up to `room` images of the first message of a queue; answers how many.
    fn take_first(
        &mut self,
        queue: &mut VecDeque<Waiting>,
        room: usize,
        test_images: &[Image],
    ) -> usize {
        let Some(Waiting { sequence, decoded, images }) = queue.front_mut() else { return 0 };
        let count = room.min(images.len());
        match images {
            Images::OfTestSet(range) => {
                let end = range.start + count;
                self.images.extend_from_slice(&test_images[range.start..end]);
                range.start = end;
            }
            Images::Carried(images) => self.images.extend(images.take(count)),
        }
        self.since = if self.shares.is_empty() { *decoded } else { self.since.min(*decoded) };
        self.shares.push((*sequence, count));
        if images.len() == 0 {
            queue.pop_front();
        }
        count
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of a batch.
    const MAX: usize = 16;

    fn test_set() -> Vec<Image> {
        (0..100).map(|i| Image::new([i; Image::PIXELS])).collect()
    }

    fn range(start: usize, end: usize) -> Request {
        Request::Range { start, end }
    }

    /// A schedule of ranges from 0, of so many images each.
    fn schedule(lengths: &[usize]) -> Schedule {
        let mut schedule = Schedule::default();
        for (sequence, &length) in (0..).zip(lengths) {
            schedule.push(sequence, range(0, length), Instant::now(), MAX);
        }
        schedule
    }

    fn shares(schedule: &mut Schedule, max_images: usize) -> Vec<(Sequence, usize)> {
        schedule.next_batch(max_images, &test_set()).map(|batch| batch.shares).unwrap_or_default()
    }

    #[test]
    fn a_single_image_behind_a_large_range_is_in_the_next_batch() {
        let mut schedule = schedule(&[100]);
        assert_eq!(shares(&mut schedule, MAX), [(0, 16)]);
        schedule.push(1, range(50, 51), Instant::now(), MAX);
        assert_eq!(shares(&mut schedule, MAX), [(1, 1), (0, 15)]);
    }

    #[test]
    fn of_large_ranges_the_first_received_finishes_first() {
        let mut schedule = schedule(&[40, 40, 40]);
        let taken: Vec<_> = (0..8).map(|_| shares(&mut schedule, MAX)).collect();
        let expected = [
            vec![(0, 16)],
            vec![(0, 16)],
            vec![(0, 8), (1, 8)],
            vec![(1, 16)],
            vec![(1, 16)],
            vec![(2, 16)],
            vec![(2, 16)],
            vec![(2, 8)],
        ];
        assert_eq!(taken, expected);
    }

    #[test]
    fn a_large_range_has_a_quarter_of_each_batch_however_many_small_ones_wait() {
        let mut schedule = schedule(&[100]);
        (1..100).for_each(|n| schedule.push(n, range(0, 1), Instant::now(), MAX));
        for _ in 0..6 {
            let large = shares(&mut schedule, MAX).into_iter().find(|(message, _)| *message == 0);
            assert_eq!(large, Some((0, 4)));
        }
        // Of batches of one image, every fourth.
        let batches: Vec<_> = (0..8).flat_map(|_| shares(&mut schedule, 1)).collect();
        let large: Vec<_> = batches.iter().map(|(message, _)| *message == 0).collect();
        assert_eq!(large, [false, false, false, true, false, false, false, true]);
    }

    #[test]
    fn what_fits_into_three_quarters_of_a_batch_is_small() {
        let mut schedule = schedule(&[100, 13, 12]);
        assert_eq!(shares(&mut schedule, MAX), [(2, 12), (0, 4)]);
    }

    #[test]
    fn every_image_is_taken_once_and_in_its_messages_order() {
        let (mut schedule, images) = (Schedule::default(), test_set());
        for (sequence, (start, end)) in (0..).zip([(0, 37), (5, 6), (10, 100), (3, 8)]) {
            schedule.push(sequence, range(start, end), Instant::now(), MAX);
        }
        schedule.push(4, Request::Images(images[20..25].to_vec()), Instant::now(), MAX);
        let mut taken: Vec<Vec<u8>> = vec![Vec::new(); 5];
        while let Some(batch) = schedule.next_batch(MAX, &images) {
            assert!(batch.images.len() <= MAX);
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
        let mut schedule = schedule(&[1; 10]);
        assert_eq!(shares(&mut schedule, 4), [(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(shares(&mut schedule, 4), [(4, 1), (5, 1), (6, 1), (7, 1)]);
        assert_eq!(shares(&mut schedule, 4), [(8, 1), (9, 1)]);
        assert_eq!(shares(&mut schedule, 4), []);
    }

    #[test]
    fn the_oldest_are_taken_whatever_their_size() {
        let mut schedule = schedule(&[2, 40, 3]);
        let shares = |schedule: &mut Schedule| {
            schedule.oldest(MAX, &test_set()).map(|batch| batch.shares).unwrap_or_default()
        };
        let taken: Vec<_> = (0..4).map(|_| shares(&mut schedule)).collect();
        assert_eq!(taken, [vec![(0, 2), (1, 14)], vec![(1, 16)], vec![(1, 10), (2, 3)], vec![]]);
    }
}
