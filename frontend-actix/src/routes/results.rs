use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
    web,
};
use bytes::Bytes;
use fmnist_core::{message::ResultRecord, text};
use futures_util::stream;
use serde::Serialize;
use sink_sql::{Page, Query};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::pictures;
use crate::{answers, error::ApiError, parameters::Parameters, site::Site};

/// Results that are answered where no number is asked for.
const PAGE: usize = 50;
/// Bounds of what is kept, by results and by the predictions in them.
const MAX_RECORDS: usize = 1_000;
const MAX_PREDICTIONS: usize = 50_000;

/// A comment goes out this often, so that proxies keep a quiet stream open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The latest results, oldest first, within bounds. Streams read them here, each at its own pace: one
/// that is too slow misses results and keeps none of them in memory.
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

    /// Newest first.
    fn newest(&self, filter: &Filter) -> (Vec<Arc<ResultRecord>>, usize) {
        let kept = self.kept();
        let records = kept.records.iter().rev().map(|entry| &entry.record);
        let mut matching = records.filter(|record| filter.takes(record));
        let page: Vec<_> =
            matching.by_ref().skip(filter.offset).take(filter.limit).cloned().collect();
        let records = kept.records.iter().map(|entry| &entry.record);
        let total = records.filter(|record| filter.takes(record)).count();
        (page, total)
    }

    /// What follows to a reader of everything before `number`: how many results are gone, or the
    /// first that is there; and from where to read on.
    fn after(&self, number: u64) -> Option<(Event, u64)> {
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
enum Event {
    Result(Bytes),
    Missed(u64),
}

fn event(record: &ResultRecord) -> Bytes {
    let json = serde_json::to_string(record).expect("a result is plain data");
    format!("data: {json}\n\n").into()
}

/// What `GET /results` may be asked for.
#[derive(Debug)]
struct Filter {
    /// Results to skip, newest first.
    offset: usize,
    /// Results to answer.
    limit: usize,
    /// The message's id.
    id: Option<String>,
    /// `kafka`, `pubsub` or `memory`.
    transport: Option<String>,
    /// A label that one of the images got.
    label: Option<String>,
}

impl Filter {
    fn read(query: &Parameters) -> Result<Self, ApiError> {
        query.only(&["limit", "offset", "id", "transport", "label"])?;
        let text = |name| query.get(name).map(str::to_owned);
        Ok(Self {
            offset: query.number("offset")?.unwrap_or(0),
            limit: query.number("limit")?.unwrap_or(PAGE).min(MAX_RECORDS),
            id: text("id"),
            transport: text("transport"),
            // Class names are kept composed, however they are typed.
            label: query.get("label").map(text::name),
        })
    }

    fn takes(&self, record: &ResultRecord) -> bool {
        self.id.as_ref().is_none_or(|id| record.id == *id)
            && self.transport.as_ref().is_none_or(|name| *record.source.transport == **name)
            && self
                .label
                .as_ref()
                .is_none_or(|label| record.predictions.iter().any(|p| p.label == *label))
    }
}

impl From<Filter> for Query {
    fn from(filter: Filter) -> Self {
        let Filter { offset, limit, id, transport, label } = filter;
        Self { offset, limit, id, transport, label }
    }
}

#[derive(Serialize)]
struct Recent {
    /// Results that the filter takes, on all pages; a database counts to 10,000.
    total: usize,
    /// Ranges are over images that were drawn.
    synthetic: bool,
    results: Vec<Arc<ResultRecord>>,
}

/// `GET /results?limit=50&offset=0&id=…&transport=…&label=…`
pub(crate) async fn recent(
    site: web::Data<Site>,
    query: Parameters,
) -> Result<HttpResponse, ApiError> {
    let filter = Filter::read(&query)?;
    let synthetic = site.frontend.is_synthetic;
    let (results, total) = match &site.frontend.database {
        Some(database) => {
            let Page { total, results, .. } = database.results(&filter.into()).await?;
            (results.into_iter().map(Arc::new).collect(), total)
        }
        None => site.history.newest(&filter),
    };
    Ok(HttpResponse::Ok().json(Recent { total, synthetic, results }))
}

/// `GET /results/picture?id=…&index=0`: the image that a message carried, 28×28, from the database.
pub(crate) async fn picture(
    site: web::Data<Site>,
    query: Parameters,
) -> Result<HttpResponse, ApiError> {
    query.only(&["id", "index"])?;
    let (id, _) = (query.required("id")?, query.required("index")?);
    let index = query.number("index")?.unwrap_or_default();
    let unknown = || ApiError::Unknown("this picture was not kept".to_owned());
    let database = site.frontend.database.as_ref().ok_or_else(unknown)?;
    let image = database.picture(id, index).await?.ok_or_else(unknown)?;
    let caching = (header::CACHE_CONTROL, "private, max-age=3600");
    Ok(pictures::png(image.to_png(), caching))
}

/// `GET /results/stream`: one event a result, as it is settled.
pub(crate) async fn stream(
    site: web::Data<Site>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    if site.frontend.results.is_none() {
        return Err(ApiError::Invalid("no results are read in this process".to_owned()));
    }
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header(("x-accel-buffering", "no"));
    if request.method() == Method::HEAD {
        return Ok(answer.finish());
    }
    let (history, stopping) = (Arc::clone(&site.history), site.stopping.clone());
    let pushed = history.next.subscribe();
    let position = *pushed.borrow();
    let reader = Reader { history, pushed, position, stopping, _permit: site.limits.stream()? };
    // The comment tells the reader at once that the stream stands.
    let opening = Bytes::from_static(b": open\n\n");
    let events = stream::unfold((opening, reader), |(mut rest, mut reader)| async {
        if rest.is_empty() {
            rest = reader.next().await?;
        }
        Some((Ok::<_, Infallible>(answers::piece(&mut rest)), (rest, reader)))
    });
    Ok(answer.streaming(events))
}

/// An open stream: its place in the history.
struct Reader {
    history: Arc<History>,
    pushed: watch::Receiver<u64>,
    /// The number of the result that comes next.
    position: u64,
    stopping: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// `None` when the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some((event, position)) = self.history.after(self.position) {
                self.position = position;
                return Some(match event {
                    Event::Result(event) => event,
                    Event::Missed(missed) => format!("event: missed\ndata: {missed}\n\n").into(),
                });
            }
            let position = self.position;
            let pushed = self.pushed.wait_for(|next| *next > position);
            tokio::select! {
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                pushed = tokio::time::timeout(KEEP_ALIVE, pushed) => match pushed {
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) => return None,
                    Err(_) => return Some(Bytes::from_static(b": waiting\n\n")),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fmnist_core::{message::ResultRecord, transport::Source};

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
