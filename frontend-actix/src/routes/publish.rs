//! What goes to a broker, for a consumer to classify.

use actix_web::{HttpRequest, HttpResponse, web};
use fmnist_core::{
    image::is_picture,
    transport::{Attributes, Outbound, TraceContext},
};
use serde_json::json;

use crate::{
    endpoint::{Endpoint, at},
    error::ApiError,
    guard::Policy::Works,
    legacy::{self, RangeAnswer},
    parameters::Parameters,
    site::{Place, Site},
    upload,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        // Old producers push with GET as well as with POST.
        at("/{broker}/push-to-consumer").get(Works, push_range).post(Works, push_range),
        at("/{broker}/images").post(Works, push_image),
    ]
}

/// Larger ones don't fit into a Kafka message with its envelope.
const MAX_IMAGE_BYTES: usize = 900_000;

/// `GET` and `POST /BROKER/push-to-consumer?start_idx=S&end_idx=E`
async fn push_range(
    site: web::Data<Site>,
    broker: web::Path<String>,
    query: Parameters,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let broker = site.broker(&broker)?;
    let (start, end) = query.range(site.setup.test_images())?;
    let message = legacy::range_message(broker.name, &start, &end);
    let id = send(broker, &request, message).await?;
    tracing::debug!(%id, start = start.value, end = end.value, "published");
    Ok(HttpResponse::Ok().json(RangeAnswer::new(broker.name, start, end)))
}

/// `POST /BROKER/images`
async fn push_image(
    site: web::Data<Site>,
    broker: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let broker = site.broker(&broker)?;
    let limit_bytes = site.setup.settings.max_body_bytes.min(MAX_IMAGE_BYTES);
    let uploads = upload::receive(&site.limits, &request, payload, limit_bytes).await?;
    let upload = upload::one(uploads)?;
    let upload = site.limits.place()?.read(move || upload.image().map(|_| upload)).await?;
    let content_type = (!is_picture(&upload.bytes)).then_some("application/octet-stream");
    let attributes: Attributes =
        content_type.into_iter().map(|value| ("content-type", value)).collect();
    let message = Outbound { attributes, payload: upload.bytes.clone(), ..Outbound::default() };
    let id = send(broker, &request, message).await?;
    Ok(HttpResponse::Ok().json(json!({ "message_queue": broker.name, "id": id })))
}

/// Publishes in the trace of the request, and waits for the confirmation.
async fn send(
    broker: &Place,
    request: &HttpRequest,
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
    let published = broker.producer()?.publish(message).await;
    let id = published.map_err(|error| ApiError::publish(broker.name, error))?;
    legacy::print_sent(broker.name, &id);
    Ok(id)
}
