//! The clients of Pub/Sub: where the server is, and who we are.

pub(crate) mod topic;

use std::{fmt, fs, path::Path, time::Duration};

use google_cloud_auth::credentials::{self, Credentials, anonymous, service_account};
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_pubsub::{
    client::{BasePublisher, SchemaService, Subscriber, SubscriptionAdmin, TopicAdmin},
    retry_policy::RetryableErrors,
};
use stream_inference::text;

use crate::{PubSubConfig, PubSubError, connect::topic::Topic};

/// How long the client goes on trying one publish; a caller that waits longer hears its error.
pub(crate) const PUBLISH_RETRIES: Duration = Duration::from_secs(10);

/// Where the server is and who we are: what every client of one process shares.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) config: PubSubConfig,
    pub(crate) endpoint: String,
    credentials: Credentials,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The client that a builder makes for a connection: Google's builders have these methods and no trait of
/// them.
macro_rules! client {
    ($connection:expr, $builder:expr) => {
        $builder
            .with_endpoint(&$connection.endpoint)
            .with_credentials($connection.credentials.clone())
            .build()
            .await
            .map_err(|error| unbuilt(&$connection.endpoint, error))
    };
}

impl Connection {
    /// Finds credentials: the emulator's, then the key file's, then the application's default ones
    /// (`GOOGLE_APPLICATION_CREDENTIALS`, gcloud's, the platform's).
    pub(crate) fn new(config: &PubSubConfig) -> Result<Self, PubSubError> {
        if config.project_id.is_empty() {
            return Err(PubSubError::NoProject);
        }
        // For all clients of this process; where the program has chosen another, that stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let endpoint = config
            .emulator
            .as_ref()
            .map_or_else(|| "https://pubsub.googleapis.com".to_owned(), |e| e.endpoint());
        let credentials = match (&config.emulator, &config.key_file) {
            (Some(_), _) => anonymous::Builder::new().build(),
            (None, Some(path)) => key_file(path)?,
            (None, None) => credentials::Builder::default()
                .build()
                .map_err(|error| unbuilt(&endpoint, error))?,
        };
        Ok(Self { config: config.clone(), endpoint, credentials })
    }

    pub(crate) async fn topic_admin(&self) -> Result<TopicAdmin, PubSubError> {
        client!(self, TopicAdmin::builder())
    }

    pub(crate) async fn subscription_admin(&self) -> Result<SubscriptionAdmin, PubSubError> {
        client!(self, SubscriptionAdmin::builder())
    }

    /// The only client that asks for rights; those on topics, too.
    pub(crate) async fn rights(&self) -> Result<SchemaService, PubSubError> {
        client!(self, SchemaService::builder())
    }

    pub(crate) async fn subscriber(&self) -> Result<Subscriber, PubSubError> {
        client!(self, Subscriber::builder())
    }

    pub(crate) async fn topic(&self, topic: &str) -> Result<Topic, PubSubError> {
        let retries = RetryableErrors.with_time_limit(PUBLISH_RETRIES);
        let client = client!(self, BasePublisher::builder().with_retry_policy(retries))?;
        Ok(Topic::new(client, self.config.topic_name(topic)))
    }
}

fn key_file(path: &Path) -> Result<Credentials, PubSubError> {
    let failed = |problem, source| PubSubError::KeyFile { path: path.to_owned(), problem, source };
    let text = fs::read(path).map_err(|error| failed("cannot be read", error.into()))?;
    let text = text::without_mark(&text).map_err(|e| failed("is not JSON", e.into()))?;
    let key = serde_json::from_slice(text).map_err(|e| failed("is not JSON", e.into()))?;
    service_account::Builder::new(key)
        .build()
        .map_err(|error| failed("is not a service account's key", error.into()))
}

fn unbuilt(endpoint: &str, error: impl std::error::Error + Send + Sync + 'static) -> PubSubError {
    PubSubError::Client { endpoint: endpoint.to_owned(), source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Emulator;

    fn config() -> PubSubConfig {
        PubSubConfig { project_id: "demo".to_owned(), ..PubSubConfig::default() }
    }

    #[test]
    fn the_emulator_comes_before_the_key_file() {
        let config = PubSubConfig {
            key_file: Some("no-such-file.json".into()),
            emulator: Some(Emulator::new("127.0.0.1:8085").unwrap()),
            ..config()
        };
        assert_eq!(Connection::new(&config).unwrap().endpoint, "http://127.0.0.1:8085");
    }

    #[test]
    fn a_bad_key_file_is_named_with_its_problem() {
        let config = |path: &str| PubSubConfig { key_file: Some(path.into()), ..config() };
        let missing = Connection::new(&config("no-such-file.json")).unwrap_err();
        assert_eq!(missing.to_string(), "pubsub.key_file no-such-file.json: cannot be read");
        let not_json = Connection::new(&config(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")));
        assert!(not_json.unwrap_err().to_string().ends_with("Cargo.toml: is not JSON"));
    }

    #[test]
    fn a_missing_project_is_refused() {
        let error = Connection::new(&PubSubConfig::default()).unwrap_err();
        assert!(error.to_string().contains("pubsub.project_id"), "{error}");
    }
}
