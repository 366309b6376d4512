use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix_web::{HttpResponse, http::header, web};
use bytes::Bytes;
use fmnist_core::message::ResultRecord;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use sink_sql::{Page, Query};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};

use crate::{error::ApiError, pictures, site::Site};

/// Bounds of what is kept, by results and by the predictions in them.
const MAX_RECORDS: usize = 1_000;
const MAX_PREDICTIONS: usize = 50_000;

/// A comment goes out this often, so that proxies keep a quiet stream open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The latest results, oldest first, within bounds.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Arc<ResultRecord>>,
    predictions: usize,
}

impl History {
    pub(crate) fn push(&self, record: Arc<ResultRecord>) {
        let mut kept = self.kept();
        kept.predictions += record.predictions.len();
        kept.records.push_back(record);
        while kept.records.len() > MAX_RECORDS
            || (kept.predictions > MAX_PREDICTIONS && kept.records.len() > 1)
        {
            let Some(oldest) = kept.records.pop_front() else { break };
            kept.predictions -= oldest.predictions.len();
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.kept().records.len()
    }

    /// Newest first.
    fn newest(&self, filter: &Filter) -> (Vec<Arc<ResultRecord>>, usize) {
        let kept = self.kept();
        let mut matching = kept.records.iter().rev().filter(|record| filter.takes(record));
        let page: Vec<_> =
            matching.by_ref().skip(filter.offset).take(filter.limit).cloned().collect();
        let total = kept.records.iter().filter(|record| filter.takes(record)).count();
        (page, total)
    }

    /// A panic between two changes leaves at worst a wrong count of predictions.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `GET /results` may be asked for.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Filter {
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

impl Default for Filter {
    fn default() -> Self {
        Self { offset: 0, limit: 50, id: None, transport: None, label: None }
    }
}

impl Filter {
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
        Self { offset, limit: limit.min(MAX_RECORDS), id, transport, label }
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
    filter: Result<web::Query<Filter>, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let filter = filter.map_err(|_| {
        let known = "limit and offset (numbers), id, transport and label";
        ApiError::Invalid(format!("the query may have {known}"))
    })?;
    let synthetic = site.frontend.is_synthetic;
    let (results, total) = match &site.frontend.database {
        Some(database) => {
            let Page { total, results } = database.results(&filter.into_inner().into()).await?;
            (results.into_iter().map(Arc::new).collect(), total)
        }
        None => site.history.newest(&filter),
    };
    Ok(HttpResponse::Ok().json(Recent { total, synthetic, results }))
}

/// Names one image of a result.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pictured {
    /// The message's id.
    id: String,
    /// The prediction's index.
    index: usize,
}

/// `GET /results/picture?id=…&index=0`: the image that a message carried, 28×28, from the database.
pub(crate) async fn picture(
    site: web::Data<Site>,
    pictured: Result<web::Query<Pictured>, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let wanted = "the query has to have id, and index (a number)";
    let pictured = pictured.map_err(|_| ApiError::Invalid(wanted.to_owned()))?;
    let unknown = || ApiError::Unknown("this picture was not kept".to_owned());
    let database = site.frontend.database.as_ref().ok_or_else(unknown)?;
    let image = database.picture(&pictured.id, pictured.index).await?.ok_or_else(unknown)?;
    let caching = (header::CACHE_CONTROL, "private, max-age=3600");
    Ok(pictures::png(image.to_png(), caching))
}

/// `GET /results/stream`: one event a result, as it is settled.
pub(crate) async fn stream(site: web::Data<Site>) -> Result<HttpResponse, ApiError> {
    let Some(results) = &site.frontend.results else {
        return Err(ApiError::Invalid("no results are read in this process".to_owned()));
    };
    let permit = site.limits.stream()?;
    let state = (results.subscribe(), site.stopping.clone(), permit);
    // The comment tells the reader at once that the stream stands.
    let opening = stream::iter([Ok(Bytes::from_static(b": open\n\n"))]);
    let events = stream::unfold(state, |(mut results, mut stopping, permit)| async {
        let event = next_event(&mut results, &mut stopping).await?;
        Some((Ok::<_, Infallible>(event), (results, stopping, permit)))
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(futures_util::StreamExt::chain(opening, events)))
}

/// `None` when the server stops.
async fn next_event(
    results: &mut broadcast::Receiver<Arc<ResultRecord>>,
    stopping: &mut watch::Receiver<bool>,
) -> Option<Bytes> {
    let received = tokio::select! {
        _ = stopping.wait_for(|stopping| *stopping) => return None,
        received = tokio::time::timeout(KEEP_ALIVE, results.recv()) => received,
    };
    match received {
        Ok(Ok(record)) => {
            let json = serde_json::to_string(&*record).expect("a result is plain data");
            Some(format!("data: {json}\n\n").into())
        }
        Ok(Err(RecvError::Lagged(missed))) => {
            Some(format!("event: missed\ndata: {missed}\n\n").into())
        }
        Ok(Err(RecvError::Closed)) => None,
        Err(_) => Some(Bytes::from_static(b": waiting\n\n")),
    }
}
