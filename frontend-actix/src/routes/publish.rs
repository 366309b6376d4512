use actix_web::{HttpRequest, HttpResponse, web};
use fmnist_core::{
    image::is_picture,
    transport::{Attributes, Outbound, TraceContext},
};
use serde_json::{Value, json};
use service::stdout;

use super::page;
use crate::{
    BrokerKind,
    broker::Index,
    error::ApiError,
    parameters::{Parameters, digits},
    site::Site,
    upload,
};

/// Larger ones don't fit into a Kafka message with its envelope.
const MAX_IMAGE_BYTES: usize = 900_000;

/// `GET` and `POST /BROKER/push-to-consumer?start_idx=S&end_idx=E`
pub(crate) async fn push_range(
    site: web::Data<Site>,
    broker: web::Path<String>,
    query: Parameters,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let kind = page::broker(&broker)?;
    let (start, end) = range(&query, site.frontend.test_images)?;
    let id = send(&site, &request, kind, kind.range_message(&start, &end)).await?;
    tracing::debug!(%id, start = start.value, end = end.value, "published");
    let index = |index: Index| match kind {
        BrokerKind::Kafka => Value::from(index.value),
        BrokerKind::PubSub => Value::from(index.text),
    };
    Ok(HttpResponse::Ok().json(Answer {
        message_queue: kind.name(),
        start_idx: index(start),
        end_idx: index(end),
    }))
}

/// The old answer, members in the old order.
#[derive(serde::Serialize)]
struct Answer {
    message_queue: &'static str,
    start_idx: Value,
    end_idx: Value,
}

/// `POST /BROKER/images`
pub(crate) async fn push_image(
    site: web::Data<Site>,
    broker: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let kind = page::broker(&broker)?;
    let limit_bytes = site.frontend.settings.max_body_bytes.min(MAX_IMAGE_BYTES);
    let uploads = upload::receive(&site.limits, &request, payload, limit_bytes).await?;
    let upload = upload::one(uploads)?;
    let upload = site.limits.place()?.read(move || upload.image().map(|_| upload)).await?;
    let content_type = (!is_picture(&upload.bytes)).then_some("application/octet-stream");
    let attributes: Attributes =
        content_type.into_iter().map(|value| ("content-type", value)).collect();
    let message = Outbound { attributes, payload: upload.bytes.clone(), ..Outbound::default() };
    let id = send(&site, &request, kind, message).await?;
    Ok(HttpResponse::Ok().json(json!({ "message_queue": kind.name(), "id": id })))
}

/// Publishes in the trace of the request, waits for the confirmation, and prints the old producer's
/// lines.
async fn send(
    site: &Site,
    request: &HttpRequest,
    kind: BrokerKind,
    mut message: Outbound,
) -> Result<String, ApiError> {
    let mut headers = Attributes::default();
    let is_trace = |name: &str| name.ends_with("traceparent") || name.ends_with("tracestate");
    for (name, value) in request.headers().iter().filter(|(name, _)| is_trace(name.as_str())) {
        headers.push(name.to_string(), value.as_bytes().to_vec());
    }
    if let Some(trace) = TraceContext::read(&headers) {
        trace.write(&mut message.attributes);
    }
    let published = site.broker(kind)?.publish(message).await;
    let id = published.map_err(|error| ApiError::publish(kind, error))?;
    // Whoever reads them, or does not, the message is confirmed.
    stdout().print(kind.sent_lines(&id));
    Ok(id)
}

/// `0 <= start < end <= images`
pub(crate) fn range(query: &Parameters, images: usize) -> Result<(Index, Index), ApiError> {
    let index = |name: &str| {
        let text = query.required(name)?;
        let value = digits(text);
        let value =
            value.ok_or_else(|| ApiError::Invalid(format!("{name} is not an index: {text:?}")))?;
        Ok::<_, ApiError>(Index { text: text.to_owned(), value })
    };
    let (start, end) = (index("start_idx")?, index("end_idx")?);
    if start.value < end.value && end.value <= images {
        return Ok((start, end));
    }
    Err(ApiError::Invalid(format!(
        "expected 0 <= start_idx < end_idx <= {images}, found {} and {}",
        start.value, end.value
    )))
}
