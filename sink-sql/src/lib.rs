//! Keeps the results of a pipeline of `fmnist-core` in SQLite or PostgreSQL, each once.
//!
//! [`Database`] is a [`Sink`](fmnist_core::pipeline::Sink): a message is acknowledged after its
//! rows are committed. A message that comes again finds its rows there and adds none, because their
//! key is the result's id and the image's index. While the database is away nothing is acknowledged;
//! the pipeline fills up, waits, and goes on where it was.
//!
//! ```no_run
//! # async fn consume() -> Result<(), sink_sql::DatabaseError> {
//! use sink_sql::{Database, DatabaseConfig, Query};
//!
//! let url = Some("sqlite:results.db".to_owned());
//! let database = Database::open(&DatabaseConfig { url, ..DatabaseConfig::default() }).await?;
//! // Pipeline::new(…).with_sink(database.clone())
//! let page = database.results(&Query { limit: 10, ..Query::default() }).await?;
//! println!("{} of {} results", page.results.len(), page.total);
//! # Ok(())
//! # }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod database;
mod error;
mod read;
mod tables;
mod write;

pub use config::DatabaseConfig;
pub use database::Database;
pub use error::DatabaseError;
pub use read::{Page, Query};

// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
