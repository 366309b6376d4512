//! What a program needs, looked for before it starts: all that is missing is said at once.

use std::error::Error;

use clap::Args;
use transport_kafka::{KafkaConfig, TopicLayout};
#[cfg(feature = "pubsub")]
use transport_pubsub::{PubSubConfig, PubSubError};

/// The arguments of programs that need topics or subscriptions.
#[derive(Clone, Debug, Args)]
pub struct SurveyArguments {
    /// Look for model, data, topics and subscriptions, say what is missing and how to make it, and stop
    #[arg(long)]
    pub check: bool,
    /// First make the topics and subscriptions that are missing
    #[arg(long)]
    pub create: bool,
    /// Partitions of the topics that --create makes
    #[arg(long, value_name = "N", default_value_t = 4, requires = "create")]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,
    /// Copies of each partition that --create makes [default: the cluster's]
    #[arg(long, value_name = "N", requires = "create")]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub replication: Option<i32>,
    /// Time to acknowledge a message of the subscriptions that --create makes [default: 60, on an
    /// emulator 10]
    #[arg(long, value_name = "SECONDS", requires = "create")]
    #[arg(value_parser = clap::value_parser!(i32).range(10..=600))]
    pub ack_deadline: Option<i32>,
}

/// Whose subscriptions are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives requests, publishes results and dead letters.
    Consumer,
    /// Publishes requests, shows results.
    Page,
}

/// What was found, and what was not. Something else that is needed is put in with [`Survey::add`].
#[derive(Debug, Default)]
pub struct Survey {
    found: Vec<String>,
    missing: Vec<String>,
}

/// What is missing, a line for each with the way to make it good.
#[derive(Debug, thiserror::Error)]
#[error("{}", missing.join("\nerror: "))]
pub struct Incomplete {
    /// The lines.
    pub missing: Vec<String>,
}

impl Survey {
    /// Puts down `what` as found.
    pub fn found(&mut self, what: impl Into<String>) {
        self.found.push(what.into());
    }

    /// Puts down in words what is missing, and how to make it good.
    pub fn lacks(&mut self, what: impl Into<String>) {
        self.missing.push(what.into());
    }

    /// Puts down `what` as found, or what its error says as missing.
    pub fn add<T, E: Error>(&mut self, what: impl Into<String>, found: Result<T, E>) -> Option<T> {
        match found {
            Ok(found) => {
                self.found(what);
                Some(found)
            }
            Err(error) => {
                self.lacks(in_words(&error));
                None
            }
        }
    }

    /// Looks for the topics, after it made those that are missing if that was asked for.
    pub async fn kafka(&mut self, config: &KafkaConfig, role: Role, arguments: &SurveyArguments) {
        let wanted: Vec<&str> = match role {
            Role::Consumer => config.topics().collect(),
            Role::Page => config.topics_of_reader().collect(),
        };
        let what = format!("Kafka at {}: topics {}", config.bootstrap_servers, wanted.join(", "));
        let looked = async {
            if arguments.create {
                let SurveyArguments { partitions, replication, .. } = *arguments;
                let layout = TopicLayout { partitions, replication };
                transport_kafka::create_missing(config, layout).await?;
            }
            match role {
                Role::Consumer => transport_kafka::missing_for_consumer(config).await,
                Role::Page => transport_kafka::missing_for_reader(config).await,
            }
        };
        let looked = looked.await;
        self.add_all(what, looked);
    }

    /// Looks for topics and subscriptions, after it made those that are missing if that was asked
    /// for.
    #[cfg(feature = "pubsub")]
    pub async fn pubsub(&mut self, config: &PubSubConfig, role: Role, arguments: &SurveyArguments) {
        let what = format!(
            "Pub/Sub in project {}: {}",
            config.project_id,
            match role {
                Role::Consumer => format!("subscription {}, its topics", config.subscription_id),
                Role::Page => format!("topic {}", config.topic),
            }
        );
        let looked = async {
            match (arguments.create, arguments.ack_deadline) {
                (false, _) => {}
                (true, None) => transport_pubsub::create_missing(config).await?,
                (true, Some(seconds)) => {
                    transport_pubsub::create_missing_within(config, seconds).await?;
                }
            }
            match role {
                Role::Consumer => transport_pubsub::missing_for_consumer(config).await,
                Role::Page => transport_pubsub::missing_for_reader(config).await,
            }
        };
        let looked: Result<Vec<PubSubError>, PubSubError> = looked.await;
        self.add_all(what, looked);
    }

    fn add_all<E: Error>(&mut self, what: String, looked: Result<Vec<E>, E>) {
        match self.add(what, looked) {
            Some(missing) if !missing.is_empty() => {
                self.found.pop();
                self.missing.extend(missing.iter().map(|error| in_words(error)));
            }
            _ => {}
        }
    }

    /// A line for each thing that was found.
    ///
    /// # Errors
    /// With everything that is missing.
    pub fn conclude(self) -> Result<Vec<String>, Incomplete> {
        match self.missing.is_empty() {
            true => Ok(self.found),
            false => Err(Incomplete { missing: self.missing }),
        }
    }
}

/// The error and its causes, on one line.
fn in_words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        words = format!("{words}: {next}");
        cause = next.source();
    }
    words
}
