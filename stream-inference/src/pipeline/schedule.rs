//! Which inputs go into the next batch. Pipelines and the batcher push messages and take batches; small
//! messages come before large ones, and none of either starves.

use std::{collections::VecDeque, time::Instant};

#[cfg(test)]
use super::simulation;
use crate::shield::shielded;

/// Names a message while it is in flight; counts receptions.
pub(crate) type Sequence = u64;

/// One inference call: inputs of several messages, and whose they are.
#[derive(Debug)]
pub(crate) struct Batch<I> {
    pub(crate) inputs: Vec<I>,
    /// When the inputs that waited longest were read.
    pub(crate) since: Instant,
    /// Consecutive shares of `inputs`: message and number of inputs.
    pub(crate) shares: Vec<(Sequence, usize)>,
    /// Messages that had fewer inputs than was said, and how many never come.
    pub(crate) short: Vec<(Sequence, usize)>,
}

/// Inputs that wait for inference, as two queues.
///
/// A message is small if its inputs fit into a batch beside what large ones are owed. Small messages
/// come first, so that one waits for at most one batch of large ones. Large messages have a quarter of
/// each batch while small ones wait, and all that those leave, so that neither starves. In each
/// queue the first received finishes first: in turns, 134 messages of 10,000 inputs would all end after
/// a minute, and none before.
#[derive(Debug)]
pub(crate) struct Schedule<S> {
    small: VecDeque<Waiting<S>>,
    large: VecDeque<Waiting<S>>,
    inputs: usize,
    /// What large messages are owed, in inputs times [`LARGE_SHARE`].
    owed: usize,
}

/// Large messages have one input in so many while small ones wait.
const LARGE_SHARE: usize = 4;

/// A message with inputs that wait.
#[derive(Debug)]
struct Waiting<S> {
    sequence: Sequence,
    decoded: Instant,
    inputs: S,
    /// Inputs that it has left, as was said at first.
    left: usize,
}

impl<S> Default for Schedule<S> {
    fn default() -> Self {
        Self { small: VecDeque::new(), large: VecDeque::new(), inputs: 0, owed: 0 }
    }
}

impl<S: ExactSizeIterator> Schedule<S> {
    /// Adds the inputs of a message that was read at `decoded`, while a batch may have `max_inputs`.
    pub(crate) fn push(
        &mut self,
        sequence: Sequence,
        inputs: S,
        decoded: Instant,
        max_inputs: usize,
    ) {
        let left = inputs.len();
        self.inputs += left;
        let is_small = left <= max_inputs - max_inputs / LARGE_SHARE;
        let queue = if is_small { &mut self.small } else { &mut self.large };
        queue.push_back(Waiting { sequence, decoded, inputs, left });
    }

    /// Takes a message out of those that wait; returns how many inputs it had left.
    pub(crate) fn remove(&mut self, sequence: Sequence) -> usize {
        let mut left = 0;
        for queue in [&mut self.small, &mut self.large] {
            queue.retain(|waiting| {
                let is_it = waiting.sequence == sequence;
                left += if is_it { waiting.left } else { 0 };
                !is_it
            });
        }
        self.inputs -= left;
        left
    }

    /// Messages with inputs that wait.
    pub(crate) fn messages(&self) -> usize {
        self.small.len() + self.large.len()
    }

    /// Inputs that wait.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Takes up to `max_inputs` inputs; `None` when none wait.
    pub(crate) fn next_batch(&mut self, max_inputs: usize) -> Option<Batch<S::Item>> {
        let (mut batch, mut room) = self.begin(max_inputs)?;
        // A batch of one input can't be shared, so what is owed adds up over batches.
        let owed = self.owed + max_inputs;
        let reserved = if self.large.is_empty() { 0 } else { (owed / LARGE_SHARE).min(room) };
        room -= batch.take(&mut self.small, room - reserved);
        let taken = batch.take(&mut self.large, room);
        let owed = owed.saturating_sub(LARGE_SHARE * taken);
        self.owed = if self.large.is_empty() { 0 } else { owed };
        #[cfg(test)]
        if simulation::is_planted(simulation::Fault::LargeRangesInLockstep) {
            self.large.rotate_left(self.large.len().min(1));
        }
        // Where fewer inputs of large messages wait than were reserved.
        batch.take(&mut self.small, room - taken);
        Some(self.taken(batch))
    }

    /// As [`Schedule::next_batch`], strictly in the order of reception: the oldest messages, and so
    /// the first of their lanes, are completed before any other is begun.
    pub(crate) fn oldest(&mut self, max_inputs: usize) -> Option<Batch<S::Item>> {
        let (mut batch, mut room) = self.begin(max_inputs)?;
        while room > 0 && self.messages() > 0 {
            let queue = match (self.small.front(), self.large.front()) {
                (Some(small), Some(large)) if small.sequence > large.sequence => &mut self.large,
                (Some(_), _) => &mut self.small,
                (None, _) => &mut self.large,
            };
            room -= batch.take_first(queue, room);
        }
        Some(self.taken(batch))
    }

    /// An empty batch, and the room in it, which is filled from now on.
    fn begin(&mut self, max_inputs: usize) -> Option<(Batch<S::Item>, usize)> {
        let first = self.small.front().or(self.large.front())?;
        let room = max_inputs.min(self.inputs);
        let (inputs, since) = (Vec::with_capacity(room), first.decoded);
        Some((Batch { inputs, since, shares: Vec::new(), short: Vec::new() }, room))
    }

    fn taken(&mut self, batch: Batch<S::Item>) -> Batch<S::Item> {
        let missing: usize = batch.short.iter().map(|(_, missing)| missing).sum();
        self.inputs -= batch.inputs.len() + missing;
        batch
    }
}

impl<I> Batch<I> {
    /// Takes up to `room` inputs from the front of a queue; returns how many.
    fn take<S: ExactSizeIterator<Item = I>>(
        &mut self,
        queue: &mut VecDeque<Waiting<S>>,
        room: usize,
    ) -> usize {
        let mut left = room;
        while left > 0 && !queue.is_empty() {
            left -= self.take_first(queue, left);
        }
        room - left
    }

    /// Takes up to `room` inputs of the first message of a queue; returns how many.
    fn take_first<S: ExactSizeIterator<Item = I>>(
        &mut self,
        queue: &mut VecDeque<Waiting<S>>,
        room: usize,
    ) -> usize {
        let Some(Waiting { sequence, decoded, inputs, left }) = queue.front_mut() else { return 0 };
        let (count, before) = (room.min(*left), self.inputs.len());
        // The iterator is a codec's own: what it does wrong is its message's fault alone.
        let take = || self.inputs.extend(inputs.by_ref().take(count));
        let is_whole = shielded(take).is_ok();
        let taken = self.inputs.len() - before;
        *left -= taken;
        self.since = if self.shares.is_empty() { *decoded } else { self.since.min(*decoded) };
        if taken > 0 {
            self.shares.push((*sequence, taken));
        }
        if !is_whole || taken < count {
            self.short.push((*sequence, *left));
            queue.pop_front();
        } else if *left == 0 {
            queue.pop_front();
        }
        taken
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    /// Inputs of a batch.
    const MAX: usize = 16;

    /// A schedule of ranges from 0, of so many inputs each.
    fn schedule(lengths: &[usize]) -> Schedule<Range<usize>> {
        let mut schedule = Schedule::default();
        for (sequence, &length) in (0..).zip(lengths) {
            schedule.push(sequence, 0..length, Instant::now(), MAX);
        }
        schedule
    }

    fn shares(schedule: &mut Schedule<Range<usize>>, max_inputs: usize) -> Vec<(Sequence, usize)> {
        schedule.next_batch(max_inputs).map(|batch| batch.shares).unwrap_or_default()
    }

    #[test]
    fn a_single_input_behind_a_large_range_is_in_the_next_batch() {
        let mut schedule = schedule(&[100]);
        assert_eq!(shares(&mut schedule, MAX), [(0, 16)]);
        schedule.push(1, 50..51, Instant::now(), MAX);
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
        (1..100).for_each(|n| schedule.push(n, 0..1, Instant::now(), MAX));
        for _ in 0..6 {
            let large = shares(&mut schedule, MAX).into_iter().find(|(message, _)| *message == 0);
            assert_eq!(large, Some((0, 4)));
        }
        // Of batches of one input, every fourth.
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
    fn every_input_is_taken_once_and_in_its_messages_order() {
        let mut schedule = Schedule::default();
        let messages = [0..37, 5..6, 10..100, 3..8, 20..25];
        for (sequence, inputs) in (0..).zip(messages.clone()) {
            schedule.push(sequence, inputs, Instant::now(), MAX);
        }
        let mut taken: Vec<Vec<usize>> = vec![Vec::new(); messages.len()];
        while let Some(batch) = schedule.next_batch(MAX) {
            assert!(batch.inputs.len() <= MAX);
            let mut inputs = batch.inputs.into_iter();
            for (sequence, count) in batch.shares {
                taken[sequence as usize].extend(inputs.by_ref().take(count));
            }
            assert_eq!(inputs.len(), 0);
        }
        assert_eq!(taken, messages.map(Vec::from_iter));
        assert_eq!(schedule.inputs(), 0);
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
        let shares = |schedule: &mut Schedule<_>| {
            schedule.oldest(MAX).map(|batch| batch.shares).unwrap_or_default()
        };
        let taken: Vec<_> = (0..4).map(|_| shares(&mut schedule)).collect();
        assert_eq!(taken, [vec![(0, 2), (1, 14)], vec![(1, 16)], vec![(1, 10), (2, 3)], vec![]]);
    }
}
