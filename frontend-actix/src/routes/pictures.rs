use std::hash::{DefaultHasher, Hash, Hasher};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use fmnist_core::{
    dataset::{Dataset, Origin},
    image::sheet_png,
};
use serde::Serialize;

use super::publish;
use crate::{error::ApiError, parameters::Parameters, site::Site, upload};

/// Images that one sheet may show.
const MAX_SHEET: usize = 250;
/// Images side by side in a sheet; a shorter range makes a narrower one.
const SHEET_COLUMNS: usize = 10;

/// The test set that ranges index, as pictures with their true classes.
pub(crate) struct Gallery {
    pub(crate) test_set: Dataset,
    /// Names the content, so that addresses that carry it never change their meaning.
    pub(crate) version: String,
}

impl Gallery {
    pub(crate) fn new(test_set: &Dataset) -> Self {
        let mut hasher = DefaultHasher::new();
        test_set.labels.hash(&mut hasher);
        test_set.images.iter().for_each(|image| image.pixels().hash(&mut hasher));
        Self { test_set: test_set.clone(), version: format!("{:016x}", hasher.finish()) }
    }

    /// The test set may be another one when the server runs again, so only an address with the
    /// version may be kept.
    fn caching(&self, query: &Parameters) -> (header::HeaderName, &'static str) {
        let is_versioned = query.get("set").is_some_and(|set| set == self.version);
        (
            header::CACHE_CONTROL,
            if is_versioned { "private, max-age=31536000, immutable" } else { "no-cache" },
        )
    }
}

/// `GET /images/{index}.png`: a test image, 28×28.
pub(crate) async fn one(
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
    Ok(png(image.to_png(), gallery.caching(&query)))
}

/// `GET /images.png?start_idx=S&end_idx=E`: the images of a range, ten a row.
pub(crate) async fn sheet(
    site: web::Data<Site>,
    query: Parameters,
) -> Result<HttpResponse, ApiError> {
    let gallery = gallery(&site)?;
    let images = &gallery.test_set.images;
    let (start, end) = publish::range(&query, images.len())?;
    let images = &images[start.value..end.value];
    if images.len() > MAX_SHEET {
        let asked = images.len();
        return Err(ApiError::Invalid(format!(
            "a sheet has {MAX_SHEET} images at most, found {asked}"
        )));
    }
    Ok(png(sheet_png(images, SHEET_COLUMNS.min(images.len())), gallery.caching(&query)))
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
pub(crate) async fn truth(
    site: web::Data<Site>,
    query: Parameters,
) -> Result<HttpResponse, ApiError> {
    let gallery = gallery(&site)?;
    let Dataset { labels, classes, origin, .. } = &gallery.test_set;
    let truth = Truth { synthetic: *origin == Origin::Synthetic, classes, labels };
    Ok(HttpResponse::Ok().insert_header(gallery.caching(&query)).json(truth))
}

/// `POST /prepare`: what the model would see of a picture, 28×28.
pub(crate) async fn prepare(
    site: web::Data<Site>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let limit_bytes = site.frontend.settings.max_body_bytes;
    let uploads = upload::receive(&site.limits, &request, payload, limit_bytes).await?;
    let upload = upload::one(uploads)?;
    let prepare = move || upload.image().map(|image| image.to_png());
    let prepared = site.limits.place()?.read(prepare).await?;
    Ok(HttpResponse::Ok().content_type(PNG).body(prepared))
}

const PNG: &str = "image/png";

fn gallery(site: &Site) -> Result<&Gallery, ApiError> {
    let gallery = site.frontend.gallery.as_ref();
    gallery.ok_or_else(|| ApiError::Unknown("there is no test set in this process".to_owned()))
}

pub(crate) fn png(bytes: Vec<u8>, caching: (header::HeaderName, &'static str)) -> HttpResponse {
    HttpResponse::Ok().content_type(PNG).insert_header(caching).body(bytes)
}
