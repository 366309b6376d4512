//! The marks of one partition: the one that is written, the one that is wanted, and the suspects that the
//! consumer before this one left.

use stream_inference::transport::{Crashes, Stage};

use super::mark::{Alone, Mark, Text};

/// A mark is renewed when a quarter of its messages are handed out, so that a fast consumer need not wait
/// for the next; it doubles each time that it held somebody up.
const FIRST_WINDOW: i64 = 2_048;
pub(super) const WIDEST_WINDOW: i64 = 8_192;

/// Whether a message may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Free,
    /// By itself, with nothing else in flight.
    Alone,
    /// A mark has to be written first, or something is in flight that may not be.
    Wait,
}

/// What is known of a partition since it was assigned.
#[derive(Debug)]
pub(super) struct Partition {
    /// Whether the mark of the consumer before this one is known.
    pub(super) is_read: bool,
    /// Nothing of it is handed out any more.
    pub(super) is_leaving: bool,
    /// The first offset that is not handed out.
    pub(super) next: i64,
    window: i64,
    /// One past the last suspect.
    pub(super) suspects_end: i64,
    /// What was alone in flight at an unclean end.
    pub(super) crashed: Option<Alone>,
    pub(super) written: Mark,
    pub(super) wanted: Mark,
}

impl Partition {
    pub(super) fn new(first: i64) -> Self {
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

    pub(super) fn is_suspect(&self, offset: i64) -> bool {
        offset < self.suspects_end
    }

    /// Wants the mark of a suspect whose turn it is.
    pub(super) fn suspect(&mut self, offset: i64) -> Alone {
        let crashed = self.crashed.filter(|crashed| crashed.offset == offset);
        let first = Crashes { count: 0, stage: Stage::Decode };
        let alone = crashed.unwrap_or(Alone { offset, crashes: first });
        self.wanted = Mark { offset: self.suspects_end, text: Text::Alone(alone) };
        alone
    }

    /// What the next consumer is to find if `next` is the first message that did not end: suspects
    /// that are left, and a count that it will come to as well.
    pub(super) fn resting(&self, next: i64) -> Mark {
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

    pub(super) fn admit(&mut self, offset: i64) -> Admission {
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
