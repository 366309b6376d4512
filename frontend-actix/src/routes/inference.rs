//! The Open Inference Protocol, version 2: what KServe's, Triton's and MLServer's clients speak.
//!
//! The protocol's bodies are `fmnist_core::message`'s; a response with binary outputs says in
//! `Inference-Header-Content-Length` where they begin.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use fmnist_core::{
    Infer,
    message::{InferenceRequest, OUTPUTS},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    endpoint::{Endpoint, at},
    error::ApiError,
    guard::Policy::{Probes, Reads, Works},
    inference,
    site::Site,
    upload,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        at("/v2").get(Reads, server),
        at("/v2/health/live").get(Probes, live),
        at("/v2/health/ready").get(Probes, ready),
        at("/v2/repository/index").post(Reads, index),
        at("/v2/models/{name}").get(Reads, metadata),
        at("/v2/models/{name}/ready").get(Reads, model_ready),
        at("/v2/models/{name}/infer").post(Works, infer),
        at("/v2/models/{name}/versions/{version}").get(Reads, metadata),
        at("/v2/models/{name}/versions/{version}/ready").get(Reads, model_ready),
        at("/v2/models/{name}/versions/{version}/infer").post(Works, infer),
    ]
}

/// Where the JSON of a body with binary tensors ends.
const JSON_LENGTH: &str = "inference-header-content-length";

/// The model of a path, of any version or of one.
#[derive(Deserialize)]
struct ModelPath {
    name: String,
    version: Option<String>,
}

async fn server() -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "name": "fmnist-stream",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "classification", "model_repository"],
    }))
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "live": true }))
}

/// Ready for this protocol, which needs no broker; `/readyz` asks them, too.
async fn ready(site: web::Data<Site>) -> HttpResponse {
    let is_ready = site.is_serving();
    let body = json!({ "ready": is_ready });
    if is_ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

async fn index(site: web::Data<Site>) -> HttpResponse {
    let model = site.setup.model.as_ref();
    let entry = |model: &Arc<dyn Infer>| {
        let identity = model.identity();
        json!({ "name": identity.name, "version": identity.version, "state": "READY", "reason": "" })
    };
    HttpResponse::Ok().json(model.map(entry).into_iter().collect::<Vec<Value>>())
}

async fn metadata(
    site: web::Data<Site>,
    path: web::Path<ModelPath>,
) -> Result<HttpResponse, ApiError> {
    let model = named(&site, &path)?;
    let (identity, classes) = (model.identity(), model.labels().len());
    let outputs = OUTPUTS.map(|output| {
        let shape = output.declared_shape(classes);
        json!({ "name": output.name(), "datatype": output.datatype(), "shape": shape })
    });
    Ok(HttpResponse::Ok().json(json!({
        "name": identity.name,
        "versions": [identity.version],
        "platform": "fmnist-stream",
        "inputs": [{ "name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28] }],
        "outputs": outputs,
    })))
}

async fn model_ready(
    site: web::Data<Site>,
    path: web::Path<ModelPath>,
) -> Result<HttpResponse, ApiError> {
    let model = named(&site, &path)?;
    Ok(HttpResponse::Ok().json(json!({ "name": model.identity().name, "ready": true })))
}

async fn infer(
    site: web::Data<Site>,
    path: web::Path<ModelPath>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let model = named(&site, &path)?;
    let json_bytes = json_length(&request)?;
    if let Some(found) = upload::media_type(request.headers())
        && (found.starts_with("multipart/") || found.starts_with("image/"))
    {
        let expected = "application/json or application/octet-stream";
        return Err(ApiError::MediaType { expected, found });
    }
    let limit_bytes = site.setup.settings.max_body_bytes;
    let body = upload::body(&site.limits, &request, payload, limit_bytes).await?;
    let read = move || {
        let request = InferenceRequest::read(&body.bytes, json_bytes)
            .map_err(|rejection| ApiError::Invalid(rejection.reason))?;
        Ok((model, request))
    };
    let answer = inference::infer(&site, read, InferenceRequest::respond).await?;
    Ok(match answer.json_bytes {
        Some(json_bytes) => HttpResponse::Ok()
            .insert_header((JSON_LENGTH, json_bytes))
            .content_type("application/octet-stream")
            .body(answer.bytes),
        None => HttpResponse::Ok().content_type("application/json").body(answer.bytes),
    })
}

fn named(site: &Site, path: &ModelPath) -> Result<Arc<dyn Infer>, ApiError> {
    inference::named(site, &path.name, path.version.as_deref())
}

fn json_length(request: &HttpRequest) -> Result<Option<usize>, ApiError> {
    let Some(value) = request.headers().get(JSON_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    let reason = || ApiError::Invalid(format!("expected a number of bytes in {JSON_LENGTH}"));
    length.map(Some).ok_or_else(reason)
}
