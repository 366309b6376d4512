//! The model in service: how it is, and another in its place, by the protocol of Triton's model repository.

use std::path::{Path, PathBuf};

use actix_web::{HttpRequest, HttpResponse, web};
use fmnist_core::{slot::SwapError, text};
use serde::Deserialize;
use service::ModelControl;

use crate::{
    endpoint::{Endpoint, at},
    error::ApiError,
    guard::Policy::{Reads, Works},
    site::Site,
    upload,
};

/// A request that names a file is a line.
const MAX_BODY_BYTES: usize = 64 << 10;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        at("/model").get(Reads, show),
        at("/v2/repository/models/{name}/load").post(Works, load),
        at("/v2/repository/models/{name}/unload").post(Works, unload),
        at("/v2/repository/models/{name}/promote").post(Works, promote),
    ]
}

/// `GET /model`: what serves, what became of models before it, its candidate, drift.
async fn show(site: web::Data<Site>) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(control(&site)?.state()))
}

/// What Triton's clients send; other parameters, such as a `config`, are refused.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LoadRequest {
    parameters: LoadParameters,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LoadParameters {
    /// A file of the folder `model.repository`.
    file: Option<String>,
}

/// `POST /v2/repository/models/{name}/load`: verifies a file of the repository and puts it into service.
async fn load(
    site: web::Data<Site>,
    name: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let control = named(&site, &name)?;
    let folder = site.setup.repository.as_deref().ok_or_else(|| {
        ApiError::Unknown("there is no folder of models: configure model.repository".to_owned())
    })?;
    let body = upload::body(&site.limits, &request, payload, MAX_BODY_BYTES).await?;
    // An empty body asks for nothing.
    let bytes = if body.bytes.is_empty() { b"{}" } else { &body.bytes[..] };
    let asked: LoadRequest = serde_json::from_slice(bytes).map_err(|error| {
        ApiError::Invalid(format!("expected {{\"parameters\": {{\"file\": NAME}}}}: {error}"))
    })?;
    let file =
        asked.parameters.file.unwrap_or_else(|| format!("{}.safetensors", text::name(&name)));
    answer(&control, control.load(Some(within(folder, &file)?)).await)
}

/// `POST /v2/repository/models/{name}/unload`: the last good model before the present one serves again.
async fn unload(site: web::Data<Site>, name: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let control = named(&site, &name)?;
    answer(&control, control.roll_back("it was unloaded".to_owned()).await)
}

/// `POST /v2/repository/models/{name}/promote`: the candidate serves.
async fn promote(site: web::Data<Site>, name: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let control = named(&site, &name)?;
    answer(&control, control.promote().await)
}

fn answer<T>(
    control: &ModelControl,
    swapped: Result<T, SwapError>,
) -> Result<HttpResponse, ApiError> {
    match swapped {
        Ok(_) => Ok(HttpResponse::Ok().json(control.state())),
        Err(error) => Err(ApiError::Invalid(error.to_string())),
    }
}

/// A file of this folder, and of no other.
fn within(folder: &Path, file: &str) -> Result<PathBuf, ApiError> {
    let is_bare = !file.is_empty()
        && !file.starts_with('.')
        && file.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    if !is_bare {
        let expected = "expected the bare name of a file: letters, digits, `-`, `_` and `.`";
        return Err(ApiError::Invalid(format!("{expected}, found {file:?}")));
    }
    Ok(folder.join(file))
}

fn control(site: &Site) -> Result<&ModelControl, ApiError> {
    site.setup.control.as_ref().ok_or(ApiError::ModelMissing)
}

/// The control of the model in service, if that is its name.
fn named(site: &Site, name: &str) -> Result<ModelControl, ApiError> {
    let served = site.model()?.identity();
    if site.is_called(name, &served) {
        return control(site).cloned();
    }
    Err(ApiError::Unknown(format!("no such model here; there is {}", served.name)))
}
