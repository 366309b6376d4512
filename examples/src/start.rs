use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use fmnist_core::{
    Classifier,
    dataset::{Dataset, Origin},
    pipeline::Pulse,
};
use frontend_actix::{BrokerKind, Config, ConfigArguments, Probes, Role, Survey, SurveyArguments};
use sink_sql::Database;

/// The arguments of the two consumers.
#[derive(Debug, Parser)]
pub struct ConsumerArguments {
    /// What to read.
    #[command(flatten)]
    pub config: ConfigArguments,
    /// What to look for.
    #[command(flatten)]
    pub survey: SurveyArguments,
}

/// What is ready before anything is received.
pub struct Prepared {
    /// The model, loaded and checked.
    pub model: Arc<Classifier>,
    /// The test set, which ranges index. The training set is not needed and not read.
    pub test_set: Dataset,
    /// The test set was drawn by the library.
    pub is_synthetic: bool,
    /// The database of results, where one is configured.
    pub database: Option<Database>,
}

/// Prints the effective configuration, then loads the model and the test set.
///
/// # Errors
/// When there is no such model, or the data set is damaged.
pub async fn prepare(config: &Config) -> anyhow::Result<Prepared> {
    eprintln!("configuration: {}", config.shown());
    let mut survey = Survey::default();
    let loaded = load(config, &mut survey).await;
    survey.conclude()?;
    Ok(loaded.expect("a complete survey has everything"))
}

/// As [`prepare`], and looks for what the consumer needs on its broker; `None` if the arguments ask
/// for no more than to see that.
///
/// # Errors
/// With everything that is missing, and how to make it.
pub async fn prepare_consumer(
    config: &Config,
    arguments: &ConsumerArguments,
    broker: BrokerKind,
) -> anyhow::Result<Option<Prepared>> {
    if arguments.config.print(config) {
        return Ok(None);
    }
    eprintln!("configuration: {}", config.shown());
    let mut survey = Survey::default();
    let loaded = load(config, &mut survey).await;
    match broker {
        BrokerKind::Kafka => survey.kafka(&config.kafka, Role::Consumer, &arguments.survey).await,
        BrokerKind::PubSub => {
            survey.pubsub(&config.pubsub, Role::Consumer, &arguments.survey).await
        }
    }
    let found = survey.conclude()?;
    if arguments.survey.check {
        found.iter().for_each(|line| println!("{line}"));
        return Ok(None);
    }
    Ok(loaded)
}

async fn load(config: &Config, survey: &mut Survey) -> Option<Prepared> {
    let test_set = survey.test_set(config.data.path.as_deref());
    let model = survey.model(&config.model).await;
    let database = survey.database(&config.database).await;
    let (test_set, model) = (test_set?, Arc::new(model?));
    let is_synthetic = test_set.origin == Origin::Synthetic;
    if is_synthetic {
        eprintln!(
            "Fashion-MNIST was not found: ranges are over {} synthetic images. \
             `cargo run --release -p training -- download` fetches the real ones.",
            test_set.images.len()
        );
    }
    Some(Prepared { model, test_set, is_synthetic, database })
}

/// Asks a pipeline every ten seconds whether it gets on, so that a stall is in the log.
pub fn watch(pulse: &Pulse) {
    let pulse = pulse.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(10));
        loop {
            ticks.tick().await;
            pulse.vitals();
        }
    });
}

/// The pulse of a consumer's pipeline, watched, and its probes, where there is a port for them.
///
/// # Errors
/// When the port is taken.
pub fn observe(config: &Config) -> anyhow::Result<(Pulse, Probes)> {
    let pulse = Pulse::default();
    watch(&pulse);
    let probes = Probes::start(&config.server, &pulse)?;
    if let Some(address) = probes.address() {
        eprintln!("probes and metrics on http://{address}");
    }
    Ok((pulse, probes))
}

/// The exit code, after the error was told in words.
pub fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
