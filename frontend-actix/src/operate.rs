//! Fashion-MNIST's model in service, as it is configured.

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use fmnist_core::{
    Classifier, ClassifierSlot, Image, Prediction, Supervisor,
    dataset::{Dataset, Origin},
    predict::Predictor,
    slot::Shadow,
};
use serde_json::Value;
use service::ModelControl;

use crate::config::ModelConfig;

/// Puts the classifier into service: looks after `model.watch` and SIGHUP, and has `model.shadow` compared.
/// The images of the test set are what drift compares images with, unless the library drew them: then it
/// looks at answers alone.
///
/// # Errors
/// When the candidate can't be loaded, or has other classes; when the system starts no thread.
///
/// # Panics
/// Outside of a Tokio runtime.
pub async fn operate(
    config: &ModelConfig,
    classifier: Classifier,
    test_set: &Dataset,
    parts: &Supervisor,
) -> anyhow::Result<(ClassifierSlot, ModelControl)> {
    let usual = match test_set.origin {
        Origin::Synthetic => &[],
        _ => &*test_set.images,
    };
    let slot = ClassifierSlot::new(classifier, usual, config.probation_batches);
    if let Some(name) = config.shadow.clone() {
        let (slot, config) = (slot.clone(), config.clone());
        tokio::task::spawn_blocking(move || shadow(&slot, &config, &name)).await??;
    }
    let load = {
        let config = config.clone();
        move |file: Option<&Path>| {
            let loaded = match file {
                None => config.classifier(),
                Some(file) => config.open(file.to_str().ok_or("its name is no UTF-8")?),
            };
            loaded.map_err(|error| format!("{:#}", anyhow::Error::new(error)))
        }
    };
    let show = |image: &Image| {
        let png = BASE64_STANDARD.encode(image.to_png());
        Value::String(format!("data:image/png;base64,{png}"))
    };
    let control = ModelControl::start(&slot, &config.slot(), load, Some(Box::new(show)), parts)?;
    Ok((slot, control))
}

/// Two answers agree where their labels do.
fn shadow(slot: &ClassifierSlot, config: &ModelConfig, name: &str) -> anyhow::Result<()> {
    let candidate = config.open(name)?;
    let labels = candidate.labels().to_vec();
    let shadow = Shadow::by(move |answer: &Prediction| labels[answer.class].clone())
        .with_share(f64::from(config.shadow_percent) / 100.0);
    let identity = slot.identity();
    slot.shadow(candidate, shadow).map_err(|error| {
        anyhow::Error::new(error).context(format!("model.shadow, beside {}", identity.name))
    })
}
