//! What was in flight when a consumer ended without a farewell, by marks that survive it.
//!
//! A mark is an offset of the input topic, with a text as its metadata, in a group of its own that
//! nobody joins: `GROUP.in-flight`. So no mark can move the group's own offsets.
//!
//! | text | the offset | says |
//! |---|---|---|
//! | `open` | the first that is not handed out | a consumer works on what lies below |
//! | `alone from=X crashes=N stage=S` | the end of the suspects | X alone is in flight, at stage S, and was so at N unclean ends |
//! | nothing | any | the last consumer of the partition ended well |
//!
//! Who finds `open` knows that the process before it died, and of what: the messages below the mark are
//! suspects and are taken one at a time, each marked as `alone` before it is handed out.

pub(crate) mod keeper;

use std::{collections::HashMap, fmt};

use stream_inference::transport::{Crashes, Stage};

/// A mark is renewed when a quarter of its messages are handed out, so that a fast consumer need not wait
/// for the next; it doubles each time that it held somebody up.
const FIRST_WINDOW: i64 = 2_048;
const WIDEST_WINDOW: i64 = 8_192;

/// What the metadata of a mark says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Text {
    #[default]
    Closed,
    Open,
    Alone(Alone),
}

/// A message that is in flight alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alone {
    offset: i64,
    crashes: Crashes,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => Ok(()),
            Self::Open => f.write_str("open"),
            Self::Alone(Alone { offset, crashes: Crashes { count, stage } }) => {
                write!(f, "alone from={offset} crashes={count} stage={stage}")
            }
        }
    }
}

impl Text {
    /// Anything else is no mark, and so as good as none.
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split(' ');
        let first = words.next();
        let mut value = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
        let mut alone = || {
            let (offset, count) = (value("from")?.parse().ok()?, value("crashes")?.parse().ok()?);
            let name = value("stage")?;
            let stage = Stage::ALL.into_iter().find(|stage| stage.as_str() == name)?;
            Some(Alone { offset, crashes: Crashes { count, stage } })
        };
        match first {
            Some("open") => Self::Open,
            Some("alone") => alone().map_or(Self::Closed, Self::Alone),
            _ => Self::Closed,
        }
    }
}

/// A mark as it is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) offset: i64,
    pub(crate) text: Text,
}

/// Whether a message may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Free,
    /// By itself, with nothing else in flight.
    Alone,
    /// A mark has to be written first, or something is in flight that may not be.
    Wait,
}

/// What is to be done so that somebody gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Read { partition: i32 },
    Write { partition: i32, mark: Mark },
}

/// The marks of the partitions that this consumer has messages of.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    partitions: HashMap<i32, Partition>,
    /// The suspect whose turn it is; once handed out, in flight until nothing is.
    alone: Option<(i32, Alone)>,
    is_closing: bool,
    /// There may be suspects.
    is_suspicious: bool,
    /// Where marks can't be written there are none: every message is free.
    is_disabled: bool,
}

#[derive(Debug)]
struct Partition {
    /// Whether the mark of the consumer before this one is known.
    is_read: bool,
    /// Nothing of it is handed out any more.
    is_leaving: bool,
    /// The first offset that is not handed out.
    next: i64,
    window: i64,
    /// One past the last suspect.
    suspects_end: i64,
    /// What was alone in flight at an unclean end.
    crashed: Option<Alone>,
    written: Mark,
    wanted: Mark,
}

impl Marks {
    /// Whether the message, the next of its partition, may be handed out; if not, [`Marks::tasks`]
    /// says what helps. `is_idle` says that nothing is in flight.
    pub(crate) fn admit(&mut self, partition: i32, offset: i64, is_idle: bool) -> Admission {
        if self.is_disabled {
            return Admission::Free;
        }
        if is_idle {
            self.rest();
        }
        let found = self.partitions.entry(partition).or_insert_with(|| Partition::new(offset));
        found.next = offset;
        match found.is_read && !found.is_leaving && !self.is_closing {
            true if found.is_suspect(offset) && is_idle => {
                let alone = found.suspect(offset);
                self.alone = Some((partition, alone));
                match found.written == found.wanted {
                    true => Admission::Alone,
                    false => Admission::Wait,
                }
            }
            true if self.alone.is_none() && !found.is_suspect(offset) => found.admit(offset),
            _ => Admission::Wait,
        }
    }

    /// Takes note that the message was handed out.
    pub(crate) fn handed_out(&mut self, partition: i32, offset: i64) {
        if let Some(found) = self.partitions.get_mut(&partition) {
            found.next = offset + 1;
        }
    }

    /// Takes note that nothing is in flight: what was so alone has come to its end.
    pub(crate) fn rest(&mut self) {
        if let Some((partition, _)) = self.alone.take()
            && let Some(found) = self.partitions.get_mut(&partition)
        {
            found.wanted = found.resting(found.next);
        }
    }

    /// Whether there are suspects, or one that was in flight alone.
    pub(crate) fn is_suspicious(&mut self) -> bool {
        if self.is_suspicious {
            let mut partitions = self.partitions.values();
            self.is_suspicious =
                self.alone.is_some() || partitions.any(|found| found.is_suspect(found.next));
        }
        self.is_suspicious
    }

    /// Whether the message may have been in flight at an unclean end.
    pub(crate) fn is_suspect(&self, partition: i32, offset: i64) -> bool {
        self.partitions.get(&partition).is_some_and(|found| found.is_suspect(offset))
    }

    /// Of the message that is in flight alone: how often it was so at an unclean end.
    pub(crate) fn crashes(&self) -> Option<Crashes> {
        self.alone.map(|(_, alone)| alone.crashes)
    }

    /// Wants to be marked that the message that is in flight alone enters `stage`.
    pub(crate) fn enter(&mut self, stage: Stage) {
        let Some((partition, alone)) = &mut self.alone else { return };
        alone.crashes.stage = stage;
        if let Some(found) = self.partitions.get_mut(partition) {
            found.wanted.text = Text::Alone(*alone);
        }
    }

    /// What is to be read or written, by partition.
    pub(crate) fn tasks(&self) -> Vec<Task> {
        let task = |(&partition, found): (&i32, &Partition)| match found.is_read {
            false if self.is_closing => None,
            false => Some(Task::Read { partition }),
            true if found.wanted == found.written => None,
            true => Some(Task::Write { partition, mark: found.wanted }),
        };
        match self.is_disabled {
            true => Vec::new(),
            false => self.partitions.iter().filter_map(task).collect(),
        }
    }

    /// Takes what the consumer before this one left; `end` is that of the partition.
    pub(crate) fn read(&mut self, partition: i32, found: Mark, end: i64) {
        let Some(own) = self.partitions.get_mut(&partition).filter(|own| !own.is_read) else {
            return;
        };
        own.is_read = true;
        (own.written, own.wanted) = (found, found);
        if found.text == Text::Closed {
            return;
        }
        own.suspects_end = found.offset.min(end);
        if let Text::Alone(mut alone) = found.text {
            alone.crashes.count += 1;
            own.crashed = Some(alone);
        }
        if own.is_suspect(own.next) {
            self.is_suspicious = true;
            tracing::warn!(
                partition,
                from = own.next,
                to = own.suspects_end,
                "the consumer before this one did not end well: what it may have had in flight is \
                 taken one message at a time"
            );
        }
    }

    /// Takes note that a mark is committed.
    pub(crate) fn written(&mut self, partition: i32, mark: Mark) {
        if let Some(found) = self.partitions.get_mut(&partition) {
            found.written = mark;
        }
    }

    /// Wants a partition's mark as it is to be found by the next consumer, if this one goes now.
    pub(crate) fn farewell(&mut self, partition: i32) {
        let unended = self.alone.filter(|(of, _)| *of == partition).map(|(_, alone)| alone.offset);
        if let Some(found) = self.partitions.get_mut(&partition).filter(|found| found.is_read) {
            found.wanted = found.resting(unended.unwrap_or(found.next));
            found.is_leaving = true;
        }
    }

    /// Whether the partition's mark is as it is wanted.
    pub(crate) fn is_kept(&self, partition: i32) -> bool {
        self.partitions.get(&partition).is_none_or(|found| found.wanted == found.written)
    }

    /// Wants the farewells of all partitions, and nothing any more.
    pub(crate) fn close(&mut self) {
        self.is_closing = true;
        let all: Vec<i32> = self.partitions.keys().copied().collect();
        all.into_iter().for_each(|partition| self.farewell(partition));
    }

    pub(crate) fn revoke(&mut self, partition: i32) {
        self.partitions.remove(&partition);
        self.alone.take_if(|(of, _)| *of == partition);
    }

    /// Goes on without marks.
    pub(crate) fn disable(&mut self) {
        (self.is_disabled, self.is_suspicious) = (true, false);
    }
}

impl Partition {
    fn new(first: i64) -> Self {
        Self {
            is_read: false,
            is_leaving: false,
            next: first,
            window: FIRST_WINDOW,
            suspects_end: 0,
            crashed: None,
            written: Mark::default(),
            wanted: Mark::default(),
        }
    }

    fn is_suspect(&self, offset: i64) -> bool {
        offset < self.suspects_end
    }

    /// Wants the mark of a suspect whose turn it is.
    fn suspect(&mut self, offset: i64) -> Alone {
        let crashed = self.crashed.filter(|crashed| crashed.offset == offset);
        let first = Crashes { count: 0, stage: Stage::Decode };
        let alone = crashed.unwrap_or(Alone { offset, crashes: first });
        self.wanted = Mark { offset: self.suspects_end, text: Text::Alone(alone) };
        alone
    }

    /// What the next consumer is to find if `next` is the first message that did not end: suspects
    /// that are left, and a count that it will come to as well.
    fn resting(&self, next: i64) -> Mark {
        let offset = self.suspects_end;
        let text = match self.crashed.filter(|crashed| crashed.offset >= next) {
            _ if !self.is_suspect(next) => Text::Closed,
            None => Text::Open,
            Some(Alone { offset, crashes: Crashes { count, stage } }) => {
                Text::Alone(Alone { offset, crashes: Crashes { count: count - 1, stage } })
            }
        };
        Mark { offset, text }
    }

    fn admit(&mut self, offset: i64) -> Admission {
        let is_open = self.written.text == Text::Open && self.wanted.text == Text::Open;
        let is_free = is_open && offset < self.written.offset;
        if is_open && !is_free && self.wanted == self.written {
            self.window = (self.window * 2).min(WIDEST_WINDOW);
        }
        // Renewed in time, so that nobody waits for it.
        if self.wanted.text != Text::Open || offset + self.window / 4 * 3 > self.wanted.offset {
            self.wanted = Mark { offset: offset + self.window, text: Text::Open };
        }
        if is_free { Admission::Free } else { Admission::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A consumer of one partition, whose marks are written at once.
    struct Consumer {
        marks: Marks,
        next: i64,
    }

    /// What survives a consumer.
    #[derive(Clone, Copy, Default)]
    struct Kept {
        mark: Mark,
        /// The group's own offset.
        next: i64,
    }

    const END: i64 = 1_000;

    impl Consumer {
        fn start(kept: Kept) -> Self {
            let mut marks = Marks::default();
            assert_eq!(marks.admit(0, kept.next, true), Admission::Wait);
            assert_eq!(marks.tasks(), [Task::Read { partition: 0 }]);
            marks.read(0, kept.mark, END);
            Self { marks, next: kept.next }
        }

        fn keep(&mut self) {
            for task in self.marks.tasks() {
                let Task::Write { partition, mark } = task else { panic!("{task:?}") };
                self.marks.written(partition, mark);
            }
        }

        /// Takes the next message, `in_flight` being there already.
        fn take(&mut self, in_flight: usize) -> (i64, Admission) {
            let offset = self.next;
            let mut admission = self.marks.admit(0, offset, in_flight == 0);
            if admission == Admission::Wait {
                self.keep();
                admission = self.marks.admit(0, offset, in_flight == 0);
            }
            if admission != Admission::Wait {
                self.marks.handed_out(0, offset);
                self.next += 1;
            }
            (offset, admission)
        }

        fn crash(self, next: i64) -> Kept {
            Kept { mark: self.marks.partitions[&0].written, next }
        }

        fn end(mut self, next: i64) -> Kept {
            self.marks.close();
            self.keep();
            self.crash(next)
        }
    }

    #[test]
    fn nothing_is_handed_out_that_no_mark_tells_of() {
        let mut consumer = Consumer::start(Kept::default());
        for number in 0..END {
            let (offset, admission) = consumer.take(1);
            assert_eq!((offset, admission), (number, Admission::Free));
            let Mark { offset: marked, text } = consumer.marks.partitions[&0].written;
            assert!(text == Text::Open && marked > offset, "{text:?} {marked} at {offset}");
            assert!(marked <= offset + WIDEST_WINDOW, "{marked} at {offset}");
        }
    }

    #[test]
    fn a_consumer_that_ended_well_leaves_no_suspects() {
        let mut consumer = Consumer::start(Kept::default());
        for in_flight in 0..9 {
            consumer.take(in_flight);
        }
        let mut next = Consumer::start(consumer.end(5));
        assert_eq!(next.take(0), (5, Admission::Free));
        assert_eq!(next.take(1), (6, Admission::Free));
    }

    #[test]
    fn after_a_crash_what_was_in_flight_is_taken_alone_and_the_rest_is_free() {
        let mut consumer = Consumer::start(Kept::default());
        for in_flight in 0..9 {
            consumer.take(in_flight);
        }
        let mut kept = consumer.crash(0);
        // There is nothing behind these.
        kept.mark.offset = kept.mark.offset.min(9);
        let mut next = Consumer::start(kept);
        for offset in 0..9 {
            assert_eq!(next.take(0), (offset, Admission::Alone));
            assert_eq!(next.marks.crashes().map(|crashes| crashes.count), Some(0));
            assert_eq!(next.take(1).1, Admission::Wait, "something is in flight");
        }
        assert_eq!(next.take(0), (9, Admission::Free));
        assert_eq!(next.marks.crashes(), None);
        assert_eq!(next.take(1), (10, Admission::Free));
    }

    #[test]
    fn only_the_message_that_is_alone_in_flight_counts_a_crash_and_its_last_stage() {
        let mut kept = Kept { mark: Mark { offset: 9, text: Text::Open }, next: 0 };
        for count in 0..3 {
            let mut consumer = Consumer::start(kept);
            while consumer.next < 4 {
                let (_, admission) = consumer.take(0);
                assert_eq!(admission, Admission::Alone);
                assert_eq!(consumer.marks.crashes().map(|c| c.count), Some(0));
            }
            assert_eq!(consumer.take(0), (4, Admission::Alone));
            let crashes = consumer.marks.crashes().expect("it is alone");
            assert_eq!(crashes.count, count);
            let stage = if count == 0 { Stage::Decode } else { Stage::Infer };
            assert_eq!(crashes.stage, stage);
            consumer.marks.enter(Stage::Infer);
            consumer.keep();
            // The group's offset may be behind, by what was not committed yet.
            kept = consumer.crash(3 - i64::from(count));
        }
    }

    #[test]
    fn a_polite_end_in_between_neither_counts_nor_forgets() {
        let mark = Mark {
            offset: 9,
            text: Text::Alone(Alone {
                offset: 4,
                crashes: Crashes { count: 1, stage: Stage::Infer },
            }),
        };
        let mut kept = Kept { mark, next: 3 };
        for taken in [0, 1, 2, 0] {
            let mut consumer = Consumer::start(kept);
            (0..taken).for_each(|_| assert_eq!(consumer.take(0).1, Admission::Alone));
            kept = consumer.end(3);
            assert_eq!(kept.mark, mark);
        }
        let mut consumer = Consumer::start(kept);
        (0..2).for_each(|_| assert_eq!(consumer.take(0).1, Admission::Alone));
        assert_eq!(consumer.marks.crashes().map(|crashes| crashes.count), Some(2));
        // It came to its end: what is left are suspects without a count.
        consumer.marks.rest();
        assert_eq!(consumer.end(5).mark, Mark { offset: 9, text: Text::Open });
    }

    #[test]
    fn while_suspects_are_taken_other_partitions_wait() {
        let mut consumer = Consumer::start(Kept::default());
        assert_eq!(consumer.take(0), (0, Admission::Free));
        assert_eq!(consumer.marks.admit(1, 5, false), Admission::Wait);
        consumer.marks.read(1, Mark { offset: 6, text: Text::Open }, END);
        assert!(consumer.marks.is_suspect(1, 5) && !consumer.marks.is_suspect(1, 6));
        assert_eq!(consumer.marks.admit(1, 5, false), Admission::Wait, "something is in flight");
        assert_eq!(consumer.marks.admit(1, 5, true), Admission::Wait, "it is not marked");
        consumer.keep();
        assert_eq!(consumer.marks.admit(1, 5, true), Admission::Alone);
        consumer.marks.handed_out(1, 5);
        assert_eq!(consumer.take(1).1, Admission::Wait);
        assert_eq!(consumer.take(0), (1, Admission::Free));
    }

    #[test]
    fn a_mark_is_read_as_it_was_written_and_anything_else_is_none() {
        let crashes = Crashes { count: 2, stage: Stage::Infer };
        for text in [Text::Closed, Text::Open, Text::Alone(Alone { offset: 7, crashes })] {
            assert_eq!(Text::parse(&text.to_string()), text);
        }
        let shown = Text::Alone(Alone { offset: 7, crashes }).to_string();
        assert_eq!(shown, "alone from=7 crashes=2 stage=INFER");
        for odd in
            ["closed", "alone", "alone from=x crashes=1 stage=INFER", "alone from=1 crashes=1"]
        {
            assert_eq!(Text::parse(odd), Text::Closed, "{odd}");
        }
    }
}
