//! The page and the API alone; consumers run elsewhere.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use fmnist_core::{Batcher, Supervisor, dataset};
use frontend_actix::{Config, Frontend, connect_brokers, has_pubsub, needs, operate, read_results};
use service::{
    ConfigArguments, INTERRUPTED, Metrics, Role, Survey, SurveyArguments, config::Document,
    run_program, shutdown_signal_or, stderr, stdout,
};

const EXAMPLES: &str = "Examples:
  cargo run --release -p frontend-actix -- --config config.json --port 8080
  cargo run --release -p frontend-actix -- --config config.json --print-config
  FMNIST_KAFKA__BOOTSTRAP_SERVERS=broker:9092 cargo run --release -p frontend-actix -- --check
  FMNIST_SERVER__BIND=0.0.0.0 FMNIST_SERVER__API_TOKEN_FILE=/run/secrets/token \\
      cargo run --release -p frontend-actix";

/// The page and HTTP API of fmnist-stream
#[derive(Parser)]
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run_program(|parts| serve(arguments, parts))
}

async fn serve(arguments: Arguments, parts: Supervisor) -> anyhow::Result<()> {
    let asks = arguments.survey.check || arguments.survey.create;
    let shutdown = shutdown_signal_or(if asks { INTERRUPTED } else { 0 })?;
    let mut config: Config = arguments.config.read()?;
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

    let test_set = dataset::open_or_synthetic(config.data.path.as_deref())?;
    let model = config.model.clone();
    let model = tokio::task::spawn_blocking(move || model.classifier()).await??;
    let metrics = Metrics::install(&parts)?;
    let (slot, control) = operate(&config.model, model, &test_set, &parts).await?;
    let mut frontend = Frontend::new(config.server.clone())
        .with_metrics(metrics)
        .with_model(Arc::new(Batcher::new(slot, &config.batch)))
        .with_control(control, config.model.repository.clone())
        .with_batch(&config.batch)
        .with_test_set(&test_set);
    for broker in connect_brokers(&config).await? {
        frontend = frontend.with_broker(broker);
    }
    if let Some(results) = read_results(&config, &parts) {
        frontend = frontend.with_results(results);
    }

    let mut survey = Survey::default();
    if let Some(database) = needs::database_or_outage(&mut survey, &config.database).await {
        frontend = frontend.with_database(database);
    }
    survey.conclude()?;

    let running = frontend.start(&parts)?;
    stderr().line(format_args!("listening on http://{}", running.address()));
    tokio::select! {
        () = shutdown => {}
        _ = parts.ended() => {}
    }
    running.stop().await;
    Ok(())
}

/// What the page needs of brokers, which at a normal start may be away.
async fn survey(config: &Config, arguments: &SurveyArguments) -> anyhow::Result<Vec<String>> {
    let mut survey = Survey::default();
    needs::test_set(&mut survey, config.data.path.as_deref());
    needs::model(&mut survey, &config.model).await;
    needs::database(&mut survey, &config.database).await;
    survey.kafka(&config.kafka, Role::Page, arguments).await;
    if has_pubsub(config) {
        survey.pubsub(&config.pubsub, Role::Page, arguments).await;
    }
    Ok(survey.conclude()?)
}
