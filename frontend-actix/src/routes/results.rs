//! The results that consumers wrote: the latest, their pictures, and those to come.

use std::{convert::Infallible, sync::Arc, time::Duration};

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
use crate::{
    answers,
    endpoint::{Endpoint, at},
    error::ApiError,
    guard::Policy::Reads,
    history::{Event, History, MAX_RECORDS},
    parameters::Parameters,
    site::Site,
};

/// Results that are answered where no number is asked for.
const PAGE: usize = 50;

/// A comment goes out this often, so that proxies keep a quiet stream open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        at("/results").get(Reads, recent),
        at("/results/picture").get(Reads, picture),
        at("/results/stream").get(Reads, stream),
    ]
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
async fn recent(site: web::Data<Site>, query: Parameters) -> Result<HttpResponse, ApiError> {
    let filter = Filter::read(&query)?;
    let synthetic = site.setup.is_synthetic();
    let (results, total) = match &site.setup.database {
        Some(database) => {
            let Page { total, results, .. } = database.results(&filter.into()).await?;
            (results.into_iter().map(Arc::new).collect(), total)
        }
        None => site.history.newest(filter.offset, filter.limit, |record| filter.takes(record)),
    };
    Ok(HttpResponse::Ok().json(Recent { total, synthetic, results }))
}

/// `GET /results/picture?id=…&index=0`: the image that a message carried, 28×28, from the database.
async fn picture(site: web::Data<Site>, query: Parameters) -> Result<HttpResponse, ApiError> {
    query.only(&["id", "index"])?;
    let (id, _) = (query.required("id")?, query.required("index")?);
    let index = query.number("index")?.unwrap_or_default();
    let unknown = || ApiError::Unknown("this picture was not kept".to_owned());
    let database = site.setup.database.as_ref().ok_or_else(unknown)?;
    let image = database.picture(id, index).await?.ok_or_else(unknown)?;
    let caching = (header::CACHE_CONTROL, "private, max-age=3600");
    Ok(pictures::png(image.to_png(), caching))
}

/// `GET /results/stream`: one event a result, as it is settled.
async fn stream(site: web::Data<Site>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    if site.setup.results.is_none() {
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
    let pushed = history.follow();
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
