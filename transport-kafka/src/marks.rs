//! What was in flight when a consumer ended without a farewell, by marks that survive it.
//!
//! A mark is an offset of the input topic, with a text as its metadata, in a group of its own that
//! nobody joins: `GROUP.in-flight`. So no mark can move the group's own offsets.
//!
//! | text | the offset | says |
//! |---|---|---|
//! | `open` | the first that is not handed out | a consumer works on what lies below |
//! | `few from=X to=Y` | the end of the suspects | those from X to before Y are in flight, and nothing else |
//! | `alone from=X crashes=N stage=S` | the end of the suspects | X alone is in flight, at stage S, and was so at N unclean ends |
//! | nothing | any | the last consumer of the partition ended well |
//!
//! Who finds `open` knows that the process before it died, and of what: the messages below the mark are
//! suspects. They are taken a few at a time, with nothing else in flight, each few marked before they are
//! handed out; who finds `few`, or no more suspects than that, takes those one at a time, each marked as `alone`. So a process that was killed
//! for no message's sake costs its successor some round trips, and not one for each message that it may
//! have had.

pub(crate) mod keeper;
mod mark;
mod partition;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use stream_inference::transport::{Crashes, Stage};

pub(crate) use mark::{Mark, Text};
pub(crate) use partition::Admission;
use partition::{Partition, Turn};

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
    /// The suspects whose turn it is; once handed out, in flight until nothing is.
    turn: Option<(i32, Turn)>,
    is_closing: bool,
    /// There may be suspects.
    is_suspicious: bool,
    /// Where marks can't be written there are none: every message is free.
    is_disabled: bool,
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
        if !found.is_read || found.is_leaving || self.is_closing {
            return Admission::Wait;
        }
        if found.is_suspect(offset) {
            if is_idle {
                self.turn = Some((partition, found.suspect(offset)));
            }
            return match self.turn {
                Some((of, _)) if of != partition || found.written != found.wanted => {
                    Admission::Wait
                }
                Some((_, Turn::Few { to })) if offset < to => Admission::Free,
                Some((_, Turn::Alone(_))) if is_idle => Admission::Alone,
                _ => Admission::Wait,
            };
        }
        if self.turn.is_some() {
            return Admission::Wait;
        }
        found.admit(offset)
    }

    /// Takes note that the message was handed out.
    pub(crate) fn handed_out(&mut self, partition: i32, offset: i64) {
        if let Some(found) = self.partitions.get_mut(&partition) {
            found.next = offset + 1;
        }
    }

    /// Takes note that nothing is in flight: what was so by itself has come to its end.
    pub(crate) fn rest(&mut self) {
        if let Some((partition, _)) = self.turn.take()
            && let Some(found) = self.partitions.get_mut(&partition)
        {
            found.wanted = found.resting(found.next);
        }
    }

    /// Whether there are suspects, or some in flight by themselves.
    pub(crate) fn is_suspicious(&mut self) -> bool {
        if self.is_suspicious {
            let mut partitions = self.partitions.values();
            self.is_suspicious =
                self.turn.is_some() || partitions.any(|found| found.is_suspect(found.next));
        }
        self.is_suspicious
    }

    /// Whether the message may have been in flight at an unclean end.
    pub(crate) fn is_suspect(&self, partition: i32, offset: i64) -> bool {
        self.partitions.get(&partition).is_some_and(|found| found.is_suspect(offset))
    }

    /// Of the message that is in flight alone: how often it was so at an unclean end.
    pub(crate) fn crashes(&self) -> Option<Crashes> {
        match self.turn {
            Some((_, Turn::Alone(alone))) => Some(alone.crashes),
            _ => None,
        }
    }

    /// Wants to be marked that the message that is in flight alone enters `stage`.
    pub(crate) fn enter(&mut self, stage: Stage) {
        let Some((partition, Turn::Alone(alone))) = &mut self.turn else { return };
        alone.crashes.stage = stage;
        if let Some(found) = self.partitions.get_mut(partition) {
            found.wanted.text = Text::Alone(*alone);
        }
    }

    /// What is to be read or written, by partition.
    pub(crate) fn tasks(&self) -> Vec<Task> {
        if self.is_disabled {
            return Vec::new();
        }
        let task = |(&partition, found): (&i32, &Partition)| {
            if !found.is_read {
                return (!self.is_closing).then_some(Task::Read { partition });
            }
            let mark = found.wanted;
            (mark != found.written).then_some(Task::Write { partition, mark })
        };
        self.partitions.iter().filter_map(task).collect()
    }

    /// Takes what the consumer before this one left; `end` is that of the partition.
    pub(crate) fn read(&mut self, partition: i32, found: Mark, end: i64) {
        let Some(own) = self.partitions.get_mut(&partition).filter(|own| !own.is_read) else {
            return;
        };
        own.read(found, end);
        if own.is_suspect(own.next) {
            self.is_suspicious = true;
            tracing::warn!(
                partition,
                from = own.next,
                to = own.suspects_end,
                "the consumer before this one did not end well: what it may have had in flight is \
                 taken a few messages at a time, and those that are few already one at a time"
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
        let unended = match self.turn {
            Some((of, Turn::Alone(alone))) if of == partition => Some(alone.offset),
            _ => None,
        };
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
        self.turn.take_if(|(of, _)| *of == partition);
    }

    /// Goes on without marks.
    pub(crate) fn disable(&mut self) {
        (self.is_disabled, self.is_suspicious) = (true, false);
    }
}
