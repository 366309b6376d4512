//! What a reader and the sink see of a schedule's messages, and whether that may be.

use std::ops::AddAssign;

use super::{
    State,
    item::{Expected, Item, Place},
};
use crate::toy::Record;

/// What happened in schedules that broke no rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::pipeline::simulation) struct Fate {
    pub(in crate::pipeline::simulation) messages: usize,
    pub(in crate::pipeline::simulation) answered: usize,
    pub(in crate::pipeline::simulation) rejected: usize,
    pub(in crate::pipeline::simulation) duplicates: usize,
    pub(in crate::pipeline::simulation) redelivered: usize,
    pub(in crate::pipeline::simulation) crashes: usize,
    pub(in crate::pipeline::simulation) aborts: usize,
    pub(in crate::pipeline::simulation) exchanges: usize,
    pub(in crate::pipeline::simulation) outages: usize,
}

impl AddAssign for Fate {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.answered += other.answered;
        self.rejected += other.rejected;
        self.duplicates += other.duplicates;
        self.redelivered += other.redelivered;
        self.crashes += other.crashes;
        self.aborts += other.aborts;
        self.exchanges += other.exchanges;
        self.outages += other.outages;
    }
}

impl State {
    /// A reader sees an end of this message.
    pub(in crate::pipeline::simulation) fn ended(&mut self, index: usize, is_answer: bool) {
        let item = &mut self.items[index];
        if is_answer {
            item.answers += 1;
        } else {
            item.letters += 1;
        }
        self.ends.push(index);
    }

    /// The sink is to have a result of this message, and so it has been answered: by one model. Of
    /// large ranges the first received comes first.
    pub(in crate::pipeline::simulation) fn answered(&mut self, record: &Record) {
        let id = &record.id;
        if !record.is_of_one_model() {
            let (named, models) = (&record.model.version, record.said_by.len());
            let broken = format!("{models} models answered message {id}, which names {named}");
            self.broken.get_or_insert(broken);
        }
        let Some(index) = id.parse().ok().filter(|index: &usize| *index < self.items.len()) else {
            return;
        };
        let Place::Leased(lease) = self.items[index].place else { return };
        let is_earlier = |item: &Item| {
            item.is_large
                && matches!(item.place, Place::Leased(other) if other < lease)
                && item.place != Place::Leased(item.answered)
        };
        if self.items[index].is_large
            && let Some(missed) = self.items.iter().position(is_earlier)
        {
            let broken = format!("range {index} was answered before {missed}, received earlier");
            self.broken.get_or_insert(broken);
        }
        self.items[index].answered = lease;
    }

    /// The sink has a result of this message.
    pub(in crate::pipeline::simulation) fn written(&mut self, id: &str) {
        if let Some(item) = id.parse().ok().and_then(|index: usize| self.items.get_mut(index)) {
            item.written += 1;
        }
    }

    /// The order of this message's lane is no longer promised.
    pub(in crate::pipeline::simulation) fn may_be_unordered(&mut self, index: usize) {
        self.unordered.insert(self.items[index].lane);
    }

    pub(in crate::pipeline::simulation) fn aborted(&mut self) {
        self.fate.aborts += 1;
    }

    pub(in crate::pipeline::simulation) fn unfinished(&self) -> String {
        let left = self.items.iter().enumerate().filter(|(_, item)| item.place != Place::Done);
        let left: Vec<_> = left.map(|(index, item)| (index, item.place)).collect();
        self.broken.clone().unwrap_or_else(|| format!("never acknowledged: {left:?}"))
    }

    /// Whether every message came to what it must, in its lane's order, and once where promised.
    pub(in crate::pipeline::simulation) fn judge(&mut self) -> Result<Fate, String> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        for (index, item) in self.items.iter().enumerate() {
            let Item { answers, letters, written, expected, deliveries, .. } = *item;
            let ends = answers + letters;
            if ends == 0 {
                return Err(format!("message {index} is lost after {deliveries} deliveries"));
            }
            let fits = match expected {
                Expected::Answer => letters == 0 && written > 0,
                Expected::DeadLetter => answers == 0,
                Expected::Either => answers == 0 || written > 0,
            };
            if !fits {
                return Err(format!(
                    "message {index}, {expected:?}: {answers} answers, {letters} dead letters, \
                     {written} records"
                ));
            }
            if self.exactly_once && ends > 1 {
                return Err(format!("message {index} has {ends} ends under exactly once"));
            }
            self.fate.answered += usize::from(answers > 0);
            self.fate.rejected += usize::from(letters > 0);
            self.fate.duplicates += ends - 1;
        }
        for (position, &index) in self.ends.iter().enumerate() {
            if self.unordered.contains(&self.items[index].lane) {
                continue;
            }
            if let Some(missed) = self.earlier(index).find(|i| !self.ends[..position].contains(i)) {
                return Err(format!("message {index} ended before {missed} of its lane"));
            }
        }
        Ok(self.fate)
    }
}
