//! The Open Inference Protocol over gRPC, beside the same over HTTP: what Triton's, KServe's and MLServer's gRPC
//! clients speak, and gRPC's health service. Model, batches, limits, token and words are those of the HTTP API
//! ([`Shared`]).
//!
//! ```
//! use std::sync::Arc;
//!
//! use fmnist_core::{Classifier, Supervisor};
//! use frontend_actix::{Frontend, ServerConfig};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = ServerConfig { port: 0, grpc_port: Some(0), ..ServerConfig::default() };
//! let parts = Supervisor::new();
//! let running =
//!     Frontend::new(settings).with_model(Arc::new(Classifier::pretrained()?)).start(&parts)?;
//! println!("gRPC on {}", running.grpc_address().expect("it has a port"));
//! running.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! It stands on hyper, with prost's messages and tonic's statuses. tonic's own server takes a message into memory
//! before anybody is asked whether there is room for it, and unpacks it whole.

mod answer;
mod call;
mod calls;
mod connection;
mod health;
mod inference;
mod message;
mod server;
mod shared;
mod tensors;
pub mod wire;

pub use server::Server;
pub use shared::{Bounds, Fault, Policy, Shared};
pub use tonic::{Code, Status};
