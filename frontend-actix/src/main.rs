//! The page and the API alone; consumers run elsewhere.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use fmnist_core::{Batcher, dataset};
use frontend_actix::{
    Config, Frontend, Metrics, connect_brokers, log_from_env, read_results, shutdown_signal,
};

/// The page and HTTP API of fmnist-stream
#[derive(Parser)]
struct Arguments {
    /// The configuration, as config.example.json
    #[arg(long)]
    config: Option<PathBuf>,
    /// The port to listen on, over the configuration's
    #[arg(long)]
    port: Option<u16>,
}

#[tokio::main]
async fn main() -> ExitCode {
    log_from_env();
    match serve(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let mut config = Config::from_env(arguments.config.as_deref())?;
    config.server.port = arguments.port.unwrap_or(config.server.port);
    eprintln!("configuration: {}", config.shown());

    let test_set = dataset::open_or_synthetic(config.data.path.as_deref())?;
    let model = config.model.clone();
    let model = tokio::task::spawn_blocking(move || model.classifier()).await??;
    let model = Arc::new(Batcher::new(model, &config.batch));
    let mut frontend = Frontend::new(config.server.clone())
        .with_metrics(Metrics::install()?)
        .with_model(model)
        .with_test_set(&test_set);
    for broker in connect_brokers(&config).await? {
        frontend = frontend.with_broker(broker);
    }
    if let Some(results) = read_results(&config) {
        frontend = frontend.with_results(results);
    }

    let running = frontend.start()?;
    eprintln!("listening on http://{}", running.address());
    shutdown.await;
    running.stop().await;
    Ok(())
}
