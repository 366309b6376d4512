//! The test set's pictures and classes, and what the model sees of a picture.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use fmnist_core::{dataset::Dataset, image::sheet_png};
use serde::Serialize;

use crate::{
    endpoint::{Endpoint, at},
    error::ApiError,
    gallery::Gallery,
    guard::Policy::{Reads, Works},
    parameters::Parameters,
    site::Site,
    upload,
};

/// Images that one sheet may show.
const MAX_SHEET: usize = 250;
/// Images side by side in a sheet; a shorter range makes a narrower one.
const SHEET_COLUMNS: usize = 10;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        at("/images/{index}.png").get(Reads, one),
        at("/images.png").get(Reads, sheet),
        at("/labels").get(Reads, truth),
        at("/prepare").post(Works, prepare),
    ]
}

/// `GET /images/{index}.png`: a test image, 28×28.
async fn one(
    site: web::Data<Site>,
    index: web::Path<String>,
    query: Parameters,
) -> Result<HttpResponse, ApiError> {
    let gallery = gallery(&site)?;
    let images = &gallery.test_set.images;
    let index = index.into_inner();
    let image =
        index.parse::<usize>().ok().and_then(|index| images.get(index)).ok_or_else(|| {
            ApiError::Unknown(format!(
                "there is no image {index:?}: the test set has 0 to {}",
                images.len().saturating_sub(1)
            ))
        })?;
    Ok(png(image.to_png(), caching(gallery, &query)))
}

/// `GET /images.png?start_idx=S&end_idx=E`: the images of a range, ten a row.
async fn sheet(site: web::Data<Site>, query: Parameters) -> Result<HttpResponse, ApiError> {
    let gallery = gallery(&site)?;
    let images = &gallery.test_set.images;
    let (start, end) = query.range(images.len())?;
    let images = &images[start.value..end.value];
    if images.len() > MAX_SHEET {
        let asked = images.len();
        return Err(ApiError::Invalid(format!(
            "a sheet has {MAX_SHEET} images at most, found {asked}"
        )));
    }
    Ok(png(sheet_png(images, SHEET_COLUMNS.min(images.len())), caching(gallery, &query)))
}

#[derive(Serialize)]
struct Truth<'a> {
    synthetic: bool,
    /// The class names.
    classes: &'a [String],
    /// The class of each image.
    labels: &'a [u8],
}

/// `GET /labels`: the true class of each test image.
async fn truth(site: web::Data<Site>, query: Parameters) -> Result<HttpResponse, ApiError> {
    let gallery = gallery(&site)?;
    let Dataset { labels, classes, .. } = &gallery.test_set;
    let truth = Truth { synthetic: gallery.is_synthetic(), classes, labels };
    Ok(HttpResponse::Ok().insert_header(caching(gallery, &query)).json(truth))
}

/// `POST /prepare`: what the model would see of a picture, 28×28.
async fn prepare(
    site: web::Data<Site>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let limit_bytes = site.setup.settings.max_body_bytes;
    let uploads = upload::receive(&site.limits, &request, payload, limit_bytes).await?;
    let upload = upload::one(uploads)?;
    let prepare = move || upload.image().map(|image| image.to_png());
    let prepared = site.limits.place()?.read(prepare).await?;
    Ok(HttpResponse::Ok().content_type(PNG).body(prepared))
}

const PNG: &str = "image/png";

/// The test set may be another one when the server runs again, so only an address with the version may
/// be kept.
fn caching(gallery: &Gallery, query: &Parameters) -> (header::HeaderName, &'static str) {
    let is_versioned = query.get("set").is_some_and(|set| set == gallery.version);
    let text = if is_versioned { "private, max-age=31536000, immutable" } else { "no-cache" };
    (header::CACHE_CONTROL, text)
}

fn gallery(site: &Site) -> Result<&Gallery, ApiError> {
    let gallery = site.setup.gallery.as_ref();
    gallery.ok_or_else(|| ApiError::Unknown("there is no test set in this process".to_owned()))
}

pub(super) fn png(bytes: Vec<u8>, caching: (header::HeaderName, &'static str)) -> HttpResponse {
    HttpResponse::Ok().content_type(PNG).insert_header(caching).body(bytes)
}
