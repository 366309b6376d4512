//! The page and the API as a program; consumers run elsewhere.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use fmnist_core::{Batcher, Supervisor, dataset};
use service::{
    ConfigArguments, INTERRUPTED, Metrics, Role, Survey, SurveyArguments, config::Document,
    run_program, shutdown_signal_or, stderr, stdout,
};

use crate::{Config, Frontend, RunningFrontend, needs, operate, read_results};

const EXAMPLES: &str = "Examples:
  cargo run --release -p frontend-actix -- --config config.json --port 8080
  cargo run --release -p frontend-actix -- --config config.json --print-config
  FMNIST_KAFKA__BOOTSTRAP_SERVERS=broker:9092 cargo run --release -p frontend-actix -- --check
  FMNIST_SERVER__BIND=0.0.0.0 FMNIST_SERVER__API_TOKEN_FILE=/run/secrets/token \\
      cargo run --release -p frontend-actix";

/// The page and HTTP API of fmnist-stream
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    survey: SurveyArguments,
    /// The port to listen on, over the configuration's
    #[arg(long)]
    port: Option<u16>,
}

/// Runs the program over these defaults, to which brokers may be added, and returns its exit code.
pub fn run(defaults: Config) -> ExitCode {
    let arguments = Arguments::parse();
    run_program(|parts| serve(arguments, defaults, parts))
}

async fn serve(arguments: Arguments, defaults: Config, parts: Supervisor) -> anyhow::Result<()> {
    let asks = arguments.survey.check || arguments.survey.create;
    let shutdown = shutdown_signal_or(if asks { INTERRUPTED } else { 0 })?;
    let mut config = arguments.config.read_over(defaults)?;
    if let Some(port) = arguments.port {
        config.server.port = port;
        config.origins.record("server.port", "--port");
    }
    if arguments.config.print(&config) {
        return Ok(());
    }
    if asks {
        let found = survey(&config, &arguments.survey).await?;
        if arguments.survey.check {
            found.iter().for_each(|line| stdout().line(line));
            return Ok(());
        }
    }
    stderr().line(format_args!("configuration: {}", config.shown()));
    let running = start(&config, &parts).await?;
    stderr().line(format_args!("listening on http://{}", running.address()));
    tokio::select! {
        () = shutdown => {}
        _ = parts.ended() => {}
    }
    running.stop().await;
    Ok(())
}

/// Starts the page of this configuration, with its model and whatever brokers there are.
///
/// # Errors
/// When there is no such model, a broker or the database can't be set up, or the port is taken.
pub async fn start(config: &Config, parts: &Supervisor) -> anyhow::Result<RunningFrontend> {
    let test_set = dataset::open_or_synthetic(config.data.path.as_deref())?;
    let model = config.model.clone();
    let model = tokio::task::spawn_blocking(move || model.classifier()).await??;
    let metrics = Metrics::install(parts)?;
    let (slot, control) = operate(&config.model, model, &test_set, parts).await?;
    let mut frontend = Frontend::new(config.server.clone())
        .with_metrics(metrics)
        .with_model(Arc::new(Batcher::new(slot, &config.batch)))
        .with_control(control, config.model.repository.clone())
        .with_batch(&config.batch)
        .with_test_set(&test_set)
        .with_brokers(config)
        .await?;
    if let Some(results) = read_results(config, parts) {
        frontend = frontend.with_results(results);
    }

    let mut survey = Survey::default();
    if let Some(database) = needs::database(&mut survey, &config.database, true).await {
        frontend = frontend.with_database(database);
    }
    survey.conclude()?;
    Ok(frontend.start(parts)?)
}

/// Looks for what the page needs; of brokers, which at a normal start may be away, too.
///
/// # Errors
/// With all that is missing.
pub async fn survey(config: &Config, arguments: &SurveyArguments) -> anyhow::Result<Vec<String>> {
    let mut survey = Survey::default();
    needs::test_set(&mut survey, config.data.path.as_deref());
    needs::model(&mut survey, &config.model).await;
    needs::database(&mut survey, &config.database, false).await;
    for broker in config.brokers().iter().filter(|broker| broker.is_configured()) {
        survey.look_for(&**broker, Role::Page, arguments).await;
    }
    Ok(survey.conclude()?)
}
