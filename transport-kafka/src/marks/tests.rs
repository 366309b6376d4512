use super::{
    mark::{Alone, Few},
    partition::{FEW, WIDEST_WINDOW},
    *,
};

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
        text: Text::Alone(Alone { offset: 4, crashes: Crashes { count: 1, stage: Stage::Infer } }),
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
    assert_eq!(consumer.end(5).mark, Mark { offset: 9, text: Text::Few(Few { from: 3, to: 9 }) });
}

#[test]
fn many_that_may_have_been_in_flight_come_a_few_at_a_time_and_those_of_a_second_crash_alone() {
    let mut consumer =
        Consumer::start(Kept { mark: Mark { offset: 300, text: Text::Open }, next: 100 });
    for first in [100, 100 + FEW] {
        assert_eq!(consumer.take(0), (first, Admission::Free));
        for offset in first + 1..first + FEW {
            assert_eq!(consumer.take(1), (offset, Admission::Free));
            assert_eq!(consumer.marks.crashes(), None);
        }
        assert_eq!(consumer.take(1).1, Admission::Wait, "the few are in flight");
        let few = Text::Few(Few { from: first, to: first + FEW });
        assert_eq!(consumer.marks.partitions[&0].written, Mark { offset: 300, text: few });
    }
    // The group's own offset is behind.
    let mut consumer = Consumer::start(consumer.crash(150));
    for offset in 150..164 {
        assert_eq!(consumer.take((offset - 150) as usize), (offset, Admission::Free));
    }
    assert_eq!(consumer.take(1).1, Admission::Wait, "the next are to be alone");
    for offset in 164..228 {
        assert_eq!(consumer.take(0), (offset, Admission::Alone));
    }
    let mut consumer = Consumer::start(consumer.end(228));
    for offset in 228..300 {
        let admission = consumer.take((offset - 228) as usize % FEW as usize);
        assert_eq!(admission, (offset, Admission::Free));
    }
    assert_eq!(consumer.take(1).1, Admission::Wait, "suspects are in flight");
    assert_eq!(consumer.take(0), (300, Admission::Free));
    assert_eq!(consumer.marks.partitions[&0].written.text, Text::Open);
    assert_eq!(consumer.end(301).mark.text, Text::Closed);
}

#[test]
fn one_that_was_alone_is_alone_again_and_those_before_and_behind_it_come_a_few_at_a_time() {
    let crashes = Crashes { count: 1, stage: Stage::Infer };
    let text = Text::Alone(Alone { offset: 30, crashes });
    let mut consumer = Consumer::start(Kept { mark: Mark { offset: 300, text }, next: 20 });
    (0..10).for_each(|taken| assert_eq!(consumer.take(taken).1, Admission::Free));
    assert_eq!(consumer.take(1).1, Admission::Wait);
    assert_eq!(consumer.take(0), (30, Admission::Alone));
    assert_eq!(consumer.marks.crashes().map(|crashes| crashes.count), Some(2));
    assert_eq!(consumer.take(0), (31, Admission::Free));
    assert_eq!(consumer.take(1), (32, Admission::Free));
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
