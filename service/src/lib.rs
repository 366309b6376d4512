//! What a program around a model needs to be operated: a configuration, a look at what it needs before it
//! starts, probes, metrics, logs, traces, signals, and a way to read a topic again.
//!
//! Whoever has a [`Predictor`](stream_inference::predict::Predictor) and a
//! [`Codec`](stream_inference::codec::Codec) begins at [`Stream`].

mod audit;
mod backfill;
mod broker;
pub mod config;
mod consume;
mod health;
mod http;
mod lines;
mod logs;
mod metrics;
mod model;
mod outlet;
mod probes;
mod program;
mod redrive;
mod signal;
mod source;
mod stream;
mod survey;
mod traces;

pub use audit::{AuditArguments, Each, History, Topic, Window, Within, print_account, print_ids};
pub use backfill::{Backfill, KafkaSource};
#[cfg(feature = "pubsub")]
pub use broker::pubsub::emulator_from;
pub use broker::{Broker, Later, Producer, Results, Trouble, UnknownBroker, audited, redrive};
pub use config::{Config, ConfigArguments, ConfigError, ProbesConfig, WriteTimeoutMs};
pub use consume::{Consumer, ConsumerArguments, ended, watch};
pub use health::{liveness, trouble};
pub use http::{Serving, StartError, cut_off_stalled};
pub use lines::{UNREAD, Unread, failed, print_line};
pub use logs::{Logs, log_from_env};
pub use metrics::{Metrics, STAGES};
pub use model::{ModelControl, ProbationBatches, SlotConfig, WatchMs};
pub use outlet::{Outlet, stderr, stdout};
pub use probes::Probes;
pub use program::{finish, run_program};
pub use redrive::{Letters, Redrive, RedriveArguments};
pub use signal::{INTERRUPTED, shutdown_signal, shutdown_signal_or};
#[cfg(feature = "pubsub")]
pub use source::PubSubSource;
pub use source::Source;
pub use stream::Stream;
pub use survey::{Incomplete, Role, Survey, SurveyArguments};
pub use traces::Traces;
