//! A web page and HTTP API around the classifier: publishes requests to a broker, classifies uploads, shows
//! results as they come.
//!
//! ```
//! use std::sync::Arc;
//!
//! use fmnist_core::{Classifier, Supervisor, dataset, transport::memory::MemoryBroker};
//! use frontend_actix::{Frontend, ServerConfig};
//! use service::Producer;
//!
//! # #[actix_web::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let queue = MemoryBroker::new("INFERENCE");
//! let frontend = Frontend::new(ServerConfig { port: 0, ..ServerConfig::default() })
//!     .with_broker(Producer::new("kafka", queue.publisher()))
//!     .with_model(Arc::new(Classifier::pretrained()?))
//!     .with_test_set(&dataset::open_or_synthetic(None)?);
//!
//! let parts = Supervisor::new();
//! let running = frontend.start(&parts)?;
//! println!("listening on {}", running.address());
//! running.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! Whoever asks a broker for something hears 200 only after the broker confirmed the message.
//! Foreign web pages can't make a visitor's browser publish: the checks are in `guard`.

mod answers;
pub mod config;
mod endpoint;
mod error;
mod frontend;
mod gallery;
mod grpc;
mod guard;
mod history;
mod inference;
mod legacy;
mod limits;
mod line;
mod metrics;
pub mod needs;
mod operate;
mod parameters;
mod program;
mod readiness;
mod results;
mod routes;
mod server;
mod site;
mod start_error;
mod upload;

pub use config::{Config, ConfigError, ServerConfig};
pub use frontend::Frontend;
pub use operate::operate;
pub use program::{run, start, survey};
pub use results::read_results;
pub use server::RunningFrontend;
pub use start_error::StartError;
