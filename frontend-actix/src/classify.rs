use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use fmnist_core::{Image, ModelIdentity, message::PredictionRecord};
use serde::Serialize;

use crate::{error::ApiError, site::Site, upload};

/// How many of the most probable classes an answer lists.
const TOP: usize = 3;

#[derive(Serialize)]
struct Answer {
    model: Arc<ModelIdentity>,
    predictions: Vec<PredictionRecord>,
}

/// `POST /classify`: classified in this process, without a broker.
pub(crate) async fn classify(
    site: web::Data<Site>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let model = site.model().ok_or(ApiError::ModelMissing)?;
    let limit_bytes = site.frontend.settings.max_body_bytes;
    let uploads = upload::receive(&site.limits, &request, payload, limit_bytes).await?;
    let classify = move || {
        let images: Vec<Image> =
            uploads.iter().map(upload::Upload::image).collect::<Result<_, _>>()?;
        let predictions = model.infer(&images).map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "classification failed");
            ApiError::Classification
        })?;
        let predictions = predictions.iter().enumerate();
        Ok::<_, ApiError>(Answer {
            predictions: predictions
                .map(|(index, p)| PredictionRecord::new(index, p, model.labels(), TOP))
                .collect(),
            model: Arc::clone(model.identity()),
        })
    };
    Ok(HttpResponse::Ok().json(site.limits.compute(classify).await?))
}
