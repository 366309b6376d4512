//! A broker as every program knows it: a section of the configuration that says what can be done there.
//!
//! Page, survey, redrive and audit ask it for nothing but this, so that a further one is its crate and a line
//! in a program; a consumer, besides, is given its [`Source`](crate::Source).

mod kafka;
mod producer;
#[cfg(feature = "pubsub")]
pub(crate) mod pubsub;

use std::{any::Any, fmt, process::ExitCode, sync::Arc};

use anyhow::bail;
use bytes::Bytes;
use stream_inference::transport::TransportError;

pub use producer::{Later, Producer, Trouble};

use crate::{
    ConfigError, History, Letters, RedriveArguments, Role, SurveyArguments, config::Origins,
    failed, lines::wrong_arguments,
};

/// What can be done with a broker, of which this is the section of the configuration.
pub trait Broker: Any + fmt::Debug + Send + Sync {
    /// What paths, forms, results and metrics call it; its section, too.
    fn name(&self) -> &'static str;

    /// What people call it.
    fn title(&self) -> &'static str;

    /// Whether there is one for programs that take whatever brokers they find.
    fn is_configured(&self) -> bool {
        true
    }

    /// Whether such a program goes on, with a warning, where it can't be set up.
    fn is_optional(&self) -> bool {
        false
    }

    /// Refuses values that are well-formed one by one and yet can't work.
    ///
    /// # Errors
    /// With the key, and where its value came from: [`ConfigError::rule`].
    fn check(&self, origins: &Origins) -> Result<(), ConfigError>;

    /// Where results go that no codec sends elsewhere.
    fn results_topic(&self) -> Option<&str>;

    /// Where results go that a codec sends elsewhere.
    fn routes(&self) -> &[String] {
        &[]
    }

    /// Connects for publishing requests to one that may be away for now.
    fn producer(&self) -> Later<'_, anyhow::Result<Producer>>;

    /// Connects for reading results as they come; `None` where none can be read.
    fn results(&self) -> Option<Later<'_, anyhow::Result<Box<dyn Results>>>>;

    /// What [`Broker::missing`] looks for, in words.
    fn needs(&self, role: Role) -> String;

    /// What is needed and not there, each with the way to make it.
    fn missing(&self, role: Role) -> Later<'_, anyhow::Result<Vec<anyhow::Error>>>;

    /// Makes what is not there.
    fn create<'a>(&'a self, arguments: &'a SurveyArguments) -> Later<'a, anyhow::Result<()>>;

    /// Its dead letters, to be sent again.
    ///
    /// # Errors
    /// Where they can't be.
    fn letters(&self) -> anyhow::Result<&dyn Letters> {
        bail!("dead letters of {} can't be sent again from here", self.name())
    }

    /// Its messages, to be read again.
    ///
    /// # Errors
    /// Where it keeps none.
    fn history(&self) -> anyhow::Result<&dyn History> {
        bail!("{} keeps no messages that could be read again", self.name())
    }
}

/// Results as they come.
pub trait Results: Send {
    /// Waits for the next result, as it was published. Cancel safe.
    fn next(&mut self) -> Later<'_, Result<Bytes, TransportError>>;
}

/// No broker has that name.
#[derive(Debug, thiserror::Error)]
#[error("there is no broker {name:?}: expected {expected}")]
pub struct UnknownBroker {
    name: String,
    expected: String,
}

impl UnknownBroker {
    /// With the names that there are.
    pub fn new<'n>(name: &str, expected: impl Iterator<Item = &'n str>) -> Self {
        Self { name: name.to_owned(), expected: expected.collect::<Vec<_>>().join(" or ") }
    }
}

/// The broker called `name`.
///
/// # Errors
/// With the names that there are.
fn named<'b>(brokers: &'b [Arc<dyn Broker>], name: &str) -> Result<&'b dyn Broker, UnknownBroker> {
    let found = brokers.iter().find(|broker| broker.name() == name);
    let names = brokers.iter().map(|broker| broker.name());
    found.map(|broker| &**broker).ok_or_else(|| UnknownBroker::new(name, names))
}

/// Sends the dead letters again that are asked for. Returns the exit code of
/// [`RedriveArguments::send_again`], or 2 where the broker has none to send.
///
/// # Panics
/// Outside of a Tokio runtime.
pub async fn redrive(brokers: &[Arc<dyn Broker>], arguments: &RedriveArguments) -> ExitCode {
    let broker = named(brokers, &arguments.broker).map_err(Into::into);
    match broker.and_then(Broker::letters) {
        Ok(letters) => arguments.send_again(letters).await,
        Err(error) => wrong_arguments(&error),
    }
}

/// Audits what the broker `name` keeps. Returns the exit code: 0 where `audit` returns that every message has
/// exactly one end, 3 where not, 1 after an error, 2 where there is no such broker or it keeps nothing.
pub fn audited(
    brokers: &[Arc<dyn Broker>],
    name: &str,
    audit: impl FnOnce(&dyn History) -> anyhow::Result<bool>,
) -> ExitCode {
    let broker = named(brokers, name).map_err(Into::into);
    let history = match broker.and_then(Broker::history) {
        Ok(history) => history,
        Err(error) => return wrong_arguments(&error),
    };
    match audit(history) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => failed(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, NoSettings};

    #[test]
    fn what_no_broker_can_be_audited_for_is_a_wrong_argument() {
        let brokers = Config::<NoSettings>::default().brokers();
        let audit = |name, exact: anyhow::Result<bool>| audited(&brokers, name, |_| exact);
        assert_eq!(audit("rabbit", Ok(true)), ExitCode::from(2));
        #[cfg(feature = "pubsub")]
        assert_eq!(audit("pubsub", Ok(true)), ExitCode::from(2));
        assert_eq!(audit("kafka", Ok(true)), ExitCode::SUCCESS);
        assert_eq!(audit("kafka", Ok(false)), ExitCode::from(3));
        assert_eq!(audit("kafka", Err(anyhow::anyhow!("away"))), ExitCode::FAILURE);
    }
}
