//! How near a consumer that reads up to an end has come to it.

use std::collections::HashMap;

/// The ends of all partitions that are read.
#[derive(Debug)]
pub(crate) struct Ends(HashMap<i32, End>);

/// What is known of a partition since it was assigned.
#[derive(Debug)]
struct End {
    /// The first offset that is not received.
    offset: i64,
    /// Nothing more comes before the end: what lies there may have expired, may have been compacted
    /// away, or be the mark of a transaction, so that no last message tells.
    is_reached: bool,
    /// The last message before the end that came.
    last: Option<i64>,
    /// The last of the unbroken run of messages that are done.
    done: Option<i64>,
    /// The group's place is at the end.
    is_committed: bool,
}

impl Ends {
    pub(crate) fn new(ends: impl Iterator<Item = (i32, i64)>) -> Self {
        let begin = |(partition, offset)| {
            let (last, done) = (None, None);
            (partition, End { offset, is_reached: false, last, done, is_committed: false })
        };
        Self(ends.map(begin).collect())
    }

    /// Takes note of a message that came; returns whether it lies before its partition's end.
    pub(crate) fn admits(&mut self, partition: i32, offset: i64) -> bool {
        let Some(end) = self.0.get_mut(&partition) else { return false };
        let is_before = offset < end.offset;
        if is_before {
            end.last = end.last.max(Some(offset));
        } else {
            end.is_reached = true;
        }
        is_before
    }

    /// Takes note that everything on the partition came.
    pub(crate) fn reached(&mut self, partition: i32) {
        self.change(partition, |end| end.is_reached = true);
    }

    /// Takes note of how far the partition's messages are done.
    pub(crate) fn done(&mut self, partition: i32, offset: i64) {
        self.change(partition, |end| end.done = Some(offset));
    }

    /// Takes note that the group's place is at the partition's end.
    pub(crate) fn committed(&mut self, partition: i32) {
        self.change(partition, |end| end.is_committed = true);
    }

    /// Forgets a revoked partition: its next owner begins at what is committed.
    pub(crate) fn revoke(&mut self, partition: i32) {
        self.change(partition, |end| {
            (end.is_reached, end.last, end.done) = (false, None, None);
        });
    }

    fn change(&mut self, partition: i32, change: impl FnOnce(&mut End)) {
        if let Some(end) = self.0.get_mut(&partition) {
            change(end);
        }
    }

    /// Partitions of which everything before the end is done, with the end, until it is committed.
    pub(crate) fn finished(&self) -> Vec<(i32, i64)> {
        let is_finished = |end: &&End| end.is_reached && end.last == end.done && !end.is_committed;
        let finished = self.0.iter().filter(|(_, end)| is_finished(end));
        finished.map(|(&partition, end)| (partition, end.offset)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_finished_once_nothing_more_comes_and_all_that_came_is_done() {
        let mut ends = Ends::new([(0, 10)].into_iter());
        assert!(ends.admits(0, 3) && ends.admits(0, 7));
        ends.done(0, 3);
        ends.reached(0);
        assert_eq!(ends.finished(), []);
        ends.done(0, 7);
        assert_eq!(ends.finished(), [(0, 10)]);
        ends.committed(0);
        assert_eq!(ends.finished(), []);
    }

    #[test]
    fn a_message_behind_the_end_tells_that_nothing_more_comes_before_it() {
        let mut ends = Ends::new([(0, 10)].into_iter());
        assert!(!ends.admits(0, 12));
        assert!(!ends.admits(1, 0), "not a partition that is read");
        assert_eq!(ends.finished(), [(0, 10)]);
    }

    #[test]
    fn what_was_received_before_a_revocation_is_not_waited_for() {
        let mut ends = Ends::new([(0, 10)].into_iter());
        assert!(ends.admits(0, 3));
        ends.reached(0);
        ends.revoke(0);
        assert_eq!(ends.finished(), []);
        ends.reached(0);
        assert_eq!(ends.finished(), [(0, 10)]);
    }
}
