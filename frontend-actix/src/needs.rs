//! What programs around Fashion-MNIST need, looked for by a [`Survey`] before they start.

use std::path::Path;

use fmnist_core::{
    Classifier,
    dataset::{self, Dataset, Origin},
};
use service::Survey;
use sink_sql::{Database, DatabaseConfig};

use crate::config::ModelConfig;

/// Loads the model.
pub async fn model(survey: &mut Survey, config: &ModelConfig) -> Option<Classifier> {
    let wanted = config.clone();
    let loaded = tokio::task::spawn_blocking(move || wanted.classifier()).await;
    let loaded = loaded.expect("loading a model does not panic");
    survey.add(format!("model {} on {}", config.model_name, config.engine), loaded)
}

/// Opens the test set; images that the library draws will do.
pub fn test_set(survey: &mut Survey, path: Option<&Path>) -> Option<Dataset> {
    let test_set = dataset::open_or_synthetic(path);
    let what = match &test_set {
        Ok(Dataset { origin: Origin::Synthetic, images, .. }) => format!(
            "data: none, so {} images are drawn; `cargo run --release -p training -- download` \
             fetches the real ones",
            images.len()
        ),
        Ok(Dataset { origin, images, .. }) => {
            format!("data: {} images in {origin}", images.len())
        }
        Err(_) => String::new(),
    };
    survey.add(what, test_set)
}

/// Opens the database, where one is configured, and makes its tables; where it `may_be_away` for now, it is
/// taken as it is then, for [`Database::wait`] to wait for.
pub async fn database(
    survey: &mut Survey,
    config: &DatabaseConfig,
    may_be_away: bool,
) -> Option<Database> {
    let url = config.shown_url()?;
    let opened = match Database::open(config).await {
        Err(error) if may_be_away && error.is_outage() => Database::new(config),
        opened => opened,
    };
    survey.add(format!("database {url}"), opened)
}
