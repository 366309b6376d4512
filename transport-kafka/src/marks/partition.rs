//! The marks of one partition: the one that is written, the one that is wanted, and the suspects that the
//! consumer before this one left.

use stream_inference::transport::{Crashes, Stage};

use super::mark::{Alone, Few, Mark, Text};

/// A mark is renewed when a quarter of its messages are handed out, so that a fast consumer need not wait
/// for the next; it doubles each time that it held somebody up.
const FIRST_WINDOW: i64 = 2_048;
pub(super) const WIDEST_WINDOW: i64 = 8_192;
/// So many suspects are in flight together, with nothing else, before one of them is alone: about the root of
/// a window, so that neither the groups nor the messages of one are many.
pub(super) const FEW: i64 = 64;

/// Whether a message may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Free,
    /// By itself, with nothing else in flight.
    Alone,
    /// A mark has to be written first, or something is in flight that may not be.
    Wait,
}

/// Suspects that are handed out with nothing else in flight.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    Alone(Alone),
    /// Those before `to`.
    Few {
        to: i64,
    },
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
    /// Those of the suspects that were in flight with few others, or that are few themselves.
    pub(super) few: Option<Few>,
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
            few: None,
            crashed: None,
            written: Mark::default(),
            wanted: Mark::default(),
        }
    }

    pub(super) fn is_suspect(&self, offset: i64) -> bool {
        offset < self.suspects_end
    }

    /// Takes over what the consumer before this one left; `end` is that of the partition.
    pub(super) fn read(&mut self, found: Mark, end: i64) {
        self.is_read = true;
        (self.written, self.wanted) = (found, found);
        if found.text == Text::Closed {
            return;
        }
        self.suspects_end = found.offset.min(end);
        match found.text {
            Text::Few(few) => self.few = Some(few),
            _ if self.suspects_end - self.next <= FEW => {
                self.few = Some(Few { from: self.next, to: self.suspects_end });
            }
            _ => {}
        }
        if let Text::Alone(mut alone) = found.text {
            alone.crashes.count += 1;
            self.crashed = Some(alone);
        }
    }

    /// Wants the mark of suspects whose turn it is, from this one on.
    pub(super) fn suspect(&mut self, offset: i64) -> Turn {
        let crashed = self.crashed.filter(|crashed| crashed.offset == offset);
        let is_of_few = self.few.is_some_and(|few| (few.from..few.to).contains(&offset));
        let (turn, text) = if crashed.is_some() || is_of_few {
            let first = Crashes { count: 0, stage: Stage::Decode };
            let alone = crashed.unwrap_or(Alone { offset, crashes: first });
            (Turn::Alone(alone), Text::Alone(alone))
        } else {
            let singled_out =
                [self.crashed.map(|alone| alone.offset), self.few.map(|few| few.from)];
            let ends = singled_out.into_iter().flatten().filter(|end| *end > offset);
            let to = ends.fold(self.suspects_end.min(offset + FEW), i64::min);
            (Turn::Few { to }, Text::Few(Few { from: offset, to }))
        };
        self.wanted = Mark { offset: self.suspects_end, text };
        turn
    }

    /// What the next consumer is to find if `next` is the first message that did not end: suspects
    /// that are left, and what is known of one that it will come to as well.
    pub(super) fn resting(&self, next: i64) -> Mark {
        let offset = self.suspects_end;
        let few = self.few.filter(|few| next < few.to);
        let text = match (self.crashed.filter(|crashed| crashed.offset >= next), few) {
            _ if !self.is_suspect(next) => Text::Closed,
            (Some(Alone { offset, crashes: Crashes { count, stage } }), _) => {
                Text::Alone(Alone { offset, crashes: Crashes { count: count - 1, stage } })
            }
            (None, Some(few)) => Text::Few(few),
            (None, None) => Text::Open,
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
