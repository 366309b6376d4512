//! The latest results, kept in memory for pages that are opened later and for streams.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use fmnist_core::message::ResultRecord;
use tokio::sync::watch;

/// Bounds of what is kept, by results and by the predictions in them.
pub(crate) const MAX_RECORDS: usize = 1_000;
const MAX_PREDICTIONS: usize = 50_000;

/// Oldest first, within bounds. Streams read them here, each at its own pace: one that is too slow
/// misses results and keeps none of them in memory.
#[derive(Debug)]
pub(crate) struct History {
    kept: Mutex<Kept>,
    /// The number of the next result, from which on there is none.
    next: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Entry>,
    predictions: usize,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    record: Arc<ResultRecord>,
    /// Made for the first stream, and the same for all.
    event: OnceLock<Bytes>,
}

impl Default for History {
    fn default() -> Self {
        Self { kept: Mutex::default(), next: watch::Sender::new(0) }
    }
}

impl History {
    /// Keeps the next result, and lets go of the oldest where there are too many.
    pub(crate) fn push(&self, record: Arc<ResultRecord>) {
        let mut kept = self.kept();
        kept.predictions += record.predictions.len();
        let number = *self.next.borrow();
        kept.records.push_back(Entry { number, record, event: OnceLock::new() });
        while kept.records.len() > MAX_RECORDS
            || (kept.predictions > MAX_PREDICTIONS && kept.records.len() > 1)
        {
            let Some(oldest) = kept.records.pop_front() else { break };
            kept.predictions -= oldest.record.predictions.len();
        }
        // Under the lock, so that no two results get one number.
        self.next.send_replace(number + 1);
    }

    /// Takes note of results that nobody here has seen.
    pub(crate) fn miss(&self, results: u64) {
        let _kept = self.kept();
        self.next.send_modify(|next| *next += results);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.kept().records.len()
    }

    /// Of the results that are asked for, newest first: a page, and how many there are in all.
    pub(crate) fn newest(
        &self,
        offset: usize,
        limit: usize,
        is_asked_for: impl Fn(&ResultRecord) -> bool,
    ) -> (Vec<Arc<ResultRecord>>, usize) {
        let kept = self.kept();
        let records = kept.records.iter().rev().map(|entry| &entry.record);
        let asked_for: Vec<_> = records.filter(|record| is_asked_for(record)).collect();
        let page = asked_for.iter().skip(offset).take(limit).map(|record| Arc::clone(record));
        (page.collect(), asked_for.len())
    }

    /// The number of the next result, whenever there is another.
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.next.subscribe()
    }

    /// What follows to a reader of everything before `number`: how many results are gone, or the
    /// first that is there; and from where to read on.
    pub(crate) fn after(&self, number: u64) -> Option<(Event, u64)> {
        let kept = self.kept();
        let at = kept.records.partition_point(|entry| entry.number < number);
        match kept.records.get(at) {
            Some(entry) if entry.number > number => {
                Some((Event::Missed(entry.number - number), entry.number))
            }
            Some(entry) => {
                let event = entry.event.get_or_init(|| event(&entry.record)).clone();
                Some((Event::Result(event), number + 1))
            }
            None => {
                let next = *self.next.borrow();
                (next > number).then(|| (Event::Missed(next - number), next))
            }
        }
    }

    /// A panic between two changes leaves at worst a wrong count of predictions.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a stream says.
pub(crate) enum Event {
    Result(Bytes),
    Missed(u64),
}

fn event(record: &ResultRecord) -> Bytes {
    let json = serde_json::to_string(record).expect("a result is plain data");
    format!("data: {json}\n\n").into()
}

#[cfg(test)]
mod tests {
    use fmnist_core::transport::Source;

    use super::*;

    fn record(id: u64) -> Arc<ResultRecord> {
        let source = Source {
            transport: "kafka".into(),
            topic: "INFERENCE".into(),
            partition: None,
            offset: None,
            message_id: None,
        };
        let identity = fmnist_core::ModelIdentity {
            name: String::new(),
            version: String::new(),
            sha256: String::new(),
        };
        Arc::new(ResultRecord {
            schema: ResultRecord::SCHEMA,
            id: id.to_string(),
            source,
            model: Arc::new(identity),
            start_idx: None,
            end_idx: None,
            predictions: Vec::new(),
            received_at: String::new(),
            inferred_at: String::new(),
        })
    }

    /// Missed results, then the ids that a reader from `position` gets.
    fn read(history: &History, mut position: u64) -> (u64, Vec<u64>) {
        let (mut missed, mut ids) = (0, Vec::new());
        while let Some((event, next)) = history.after(position) {
            match event {
                Event::Missed(results) => missed += results,
                Event::Result(_) => ids.push(position),
            }
            position = next;
        }
        (missed, ids)
    }

    #[test]
    fn a_reader_that_is_too_slow_misses_results_and_holds_none_of_them() {
        let history = History::default();
        let first = record(0);
        history.push(Arc::clone(&first));
        (1..1_002).for_each(|id| history.push(record(id)));
        assert_eq!(Arc::strong_count(&first), 1, "the history has let it go");
        let (missed, ids) = read(&history, 0);
        assert_eq!((missed, ids), (2, (2..1_002).collect()));
        assert_eq!(read(&history, 1_002), (0, Vec::new()));
    }

    #[test]
    fn results_that_never_came_here_count_as_missed() {
        let history = History::default();
        history.push(record(0));
        history.miss(3);
        history.push(record(4));
        assert_eq!(read(&history, 0), (3, vec![0, 4]));
        history.miss(2);
        assert_eq!(read(&history, 5), (2, Vec::new()));
    }
}
