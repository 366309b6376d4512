//! librdkafka's own log, as `tracing` events of the target `librdkafka`.

use std::time::Duration;

use rdkafka::{config::RDKafkaLogLevel, consumer::ConsumerContext, error::KafkaError};

/// How often the same trouble is said.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The context of clients that have nothing else to do.
#[derive(Clone)]
pub(crate) struct Logged;

/// Makes events of what a client tells this context.
macro_rules! logged {
    ($context:ty) => {
        impl rdkafka::ClientContext for $context {
            fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
                $crate::connect::log::line(level, facility, message);
            }

            fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
                $crate::connect::log::failure(&error, reason);
            }
        }
    };
}

pub(crate) use logged;

logged!(Logged);

impl ConsumerContext for Logged {}

/// One line of the log.
pub(crate) fn line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    use RDKafkaLogLevel as Level;
    match level {
        Level::Emerg | Level::Alert | Level::Critical | Level::Error => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        Level::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
        Level::Notice | Level::Info => tracing::info!(target: "librdkafka", facility, "{message}"),
        Level::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// A client-wide error. Who polls or publishes gets it too; this is for a closer look.
pub(crate) fn failure(error: &KafkaError, reason: &str) {
    tracing::debug!(target: "librdkafka", %error, "{reason}");
}
