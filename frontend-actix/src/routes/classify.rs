//! Pictures that are classified in this process, without a broker.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use fmnist_core::{Image, Infer, ModelIdentity, Prediction, message::PredictionRecord};
use serde::Serialize;

use crate::{
    endpoint::{Endpoint, at},
    error::ApiError,
    guard::Policy::Works,
    site::Site,
    upload,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![at("/classify").post(Works, classify)]
}

/// How many of the most probable classes an answer lists.
const TOP: usize = 3;

#[derive(Serialize)]
struct Answer {
    model: Arc<ModelIdentity>,
    predictions: Vec<PredictionRecord>,
}

/// `POST /classify`
async fn classify(
    site: web::Data<Site>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let model = site.model()?;
    let limit_bytes = site.setup.settings.max_body_bytes;
    let uploads = upload::receive(&site.limits, &request, payload, limit_bytes).await?;
    let place = site.limits.place()?;
    let read = move || uploads.iter().map(upload::Upload::image).collect::<Result<Vec<_>, _>>();
    let images = place.read(read).await?;
    let blank: Vec<bool> = images.iter().map(Image::is_blank).collect();
    let answer = move |model: &dyn Infer, predictions: &[Prediction]| Answer {
        predictions: (0..)
            .zip(predictions.iter().zip(blank))
            .map(|(index, (prediction, blank))| PredictionRecord {
                blank,
                ..PredictionRecord::new(index, prediction, model.labels(), TOP)
            })
            .collect(),
        // Another may serve by now.
        model: predictions.first().map_or_else(|| model.identity(), |one| Arc::clone(&one.model)),
    };
    Ok(HttpResponse::Ok().json(place.infer(&model, images, answer).await?))
}
