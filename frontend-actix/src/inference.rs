//! A request of the Open Inference Protocol, however it comes.

use std::{mem, sync::Arc, time::Instant};

use fmnist_core::{Infer, ModelIdentity, Prediction, message::InferenceRequest};

use crate::{error::ApiError, metrics, site::Site};

/// The model of that name, in that version if one is asked for.
pub(crate) fn named(
    site: &Site,
    name: &str,
    version: Option<&str>,
) -> Result<Arc<dyn Infer>, ApiError> {
    let model = site.model()?;
    let identity = model.identity();
    let is_asked_for = site.is_called(name, &identity)
        && version.is_none_or(|version| version == identity.version);
    if is_asked_for {
        return Ok(model);
    }
    let (name, version) = (&identity.name, &identity.version);
    Err(ApiError::Unknown(format!("no such model here; there is {name}, version {version}")))
}

/// What `write` makes of the model's answers to what `read` gives, each on a blocking thread; the three
/// stages are timed.
pub(crate) async fn infer<O: Send + 'static>(
    site: &Site,
    read: impl FnOnce() -> Result<(Arc<dyn Infer>, InferenceRequest), ApiError> + Send + 'static,
    write: impl FnOnce(&InferenceRequest, &[Prediction], &[String], &ModelIdentity) -> O
    + Send
    + 'static,
) -> Result<O, ApiError> {
    let place = site.limits.place()?;
    let read = move || {
        let begun = Instant::now();
        let (model, mut request) = read()?;
        let images = mem::take(&mut request.images);
        Ok((model, request, images, begun.elapsed()))
    };
    let (model, request, images, reading) = place.read(read).await?;
    let begun = Instant::now();
    let answer = move |model: &dyn Infer, predictions: &[Prediction]| {
        let inferred = Instant::now();
        // Another may serve by now.
        let served = predictions.first().map_or_else(|| model.identity(), |one| one.model.clone());
        let answer = write(&request, predictions, model.labels(), &served);
        (answer, served, [reading, inferred - begun, inferred.elapsed()])
    };
    let (answer, served, stages) = place.infer(&model, images, answer).await?;
    metrics::inferred(served.name.clone(), stages);
    Ok(answer)
}
