use std::sync::Arc;

use fmnist_core::{
    Classifier,
    dataset::{Dataset, Origin},
    message::Requests,
};
use frontend_actix::{Config, needs};
use service::{Broker, ConsumerArguments, Role, Survey, config::Document, stderr, stdout};
use sink_sql::Database;

/// What is ready before anything is received.
pub struct Prepared {
    /// The model, loaded and checked.
    pub model: Classifier,
    /// The test set, which ranges index. The training set is not needed and not read.
    pub test_set: Dataset,
    /// The test set was drawn by the library.
    pub is_synthetic: bool,
    /// The database of results, where one is configured; it may be away for now.
    pub database: Option<Database>,
}

impl Prepared {
    /// The messages that are answered, and the form of their results.
    pub fn requests(&self, config: &Config) -> Requests {
        let test_images = Arc::clone(&self.test_set.images);
        Requests::new(&self.model, test_images).with_results(config.results.clone())
    }
}

/// Prints the effective configuration, then loads the model and the test set.
///
/// # Errors
/// When there is no such model, or the data set is damaged.
pub async fn prepare(config: &Config) -> anyhow::Result<Prepared> {
    stderr().line(format_args!("configuration: {}", config.shown()));
    let mut survey = Survey::default();
    let loaded = load(config, &mut survey, false).await;
    survey.conclude()?;
    Ok(loaded.expect("a complete survey has everything"))
}

/// As [`prepare`], and looks for what the consumer needs on its broker; `None` if the arguments ask
/// for no more than to see that.
///
/// # Errors
/// With everything that is missing, and how to make it.
pub(crate) async fn prepare_consumer(
    config: &Config,
    arguments: &ConsumerArguments,
    broker: &dyn Broker,
) -> anyhow::Result<Option<Prepared>> {
    if arguments.config.print(config) {
        return Ok(None);
    }
    stderr().line(format_args!("configuration: {}", config.shown()));
    let mut survey = Survey::default();
    let loaded = load(config, &mut survey, arguments.survey.check).await;
    survey.look_for(broker, Role::Consumer, &arguments.survey).await;
    let found = survey.conclude()?;
    if arguments.survey.check {
        found.iter().for_each(|line| stdout().line(line));
        return Ok(None);
    }
    Ok(loaded)
}

/// With a database that is away, unless that is what is asked.
async fn load(config: &Config, survey: &mut Survey, is_check: bool) -> Option<Prepared> {
    let test_set = needs::test_set(survey, config.data.path.as_deref());
    let model = needs::model(survey, &config.model).await;
    let database = needs::database(survey, &config.database, !is_check).await;
    let (test_set, model) = (test_set?, model?);
    let is_synthetic = test_set.origin == Origin::Synthetic;
    if is_synthetic {
        stderr().line(format_args!(
            "Fashion-MNIST was not found: ranges are over {} synthetic images. \
             `cargo run --release -p training -- download` fetches the real ones.",
            test_set.images.len()
        ));
    }
    Some(Prepared { model, test_set, is_synthetic, database })
}
