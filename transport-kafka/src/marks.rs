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
mod mark;
mod partition;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use stream_inference::transport::{Crashes, Stage};

use mark::Alone;
pub(crate) use mark::{Mark, Text};
pub(crate) use partition::Admission;
use partition::Partition;

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
        if found.is_suspect(offset) && is_idle {
            self.alone = Some((partition, found.suspect(offset)));
            let is_marked = found.written == found.wanted;
            return if is_marked { Admission::Alone } else { Admission::Wait };
        }
        if found.is_suspect(offset) || self.alone.is_some() {
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
