//! The `pubsub` section of the configuration.

use std::{env, ffi::OsString, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use stream_inference::settings::{RULE, none_if_empty};

use crate::PubSubError;

/// The `pubsub` section of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PubSubConfig {
    /// A service account's key file; without, the application default credentials are used.
    #[serde(deserialize_with = "none_if_empty")]
    pub key_file: Option<PathBuf>,
    /// The Google Cloud project; any name of three characters or more on the emulator.
    pub project_id: String,
    /// Where the consumer receives.
    pub subscription_id: String,
    /// What the subscription is attached to, and where producers publish.
    pub topic: String,
    /// Where results go; `null` where only a sink records them.
    #[serde(deserialize_with = "none_if_empty")]
    pub results_topic: Option<String>,
    /// Topics that results may go to besides, where the codec chooses one for each.
    pub routes: Vec<String>,
    /// Where a stand-alone page reads results; each message is shown to one reader only.
    #[serde(deserialize_with = "none_if_empty")]
    pub results_subscription_id: Option<String>,
    /// Where messages go that can't be answered. It needs a subscription, or they are lost.
    pub dead_letter_topic: String,
    /// `at_least_once`: Pub/Sub has no transaction over a result and an acknowledgement.
    pub guarantee: PubSubGuarantee,
    /// The emulator, instead of Google's servers; comes from the environment, never from a file.
    #[serde(skip)]
    pub emulator: Option<Emulator>,
}

/// Where results go that are configured to go elsewhere or nowhere, and are read nevertheless.
pub(crate) const RESULTS_TOPIC: &str = "MODEL-INFERENCE-RESULTS";

impl Default for PubSubConfig {
    fn default() -> Self {
        Self {
            key_file: None,
            project_id: String::new(),
            subscription_id: "vectorai-subscription".to_owned(),
            topic: "MODEL-INFERENCE".to_owned(),
            results_topic: Some(RESULTS_TOPIC.to_owned()),
            routes: Vec::new(),
            results_subscription_id: None,
            dead_letter_topic: "MODEL-INFERENCE-DEAD-LETTERS".to_owned(),
            guarantee: PubSubGuarantee::AtLeastOnce,
            emulator: None,
        }
    }
}

/// See [`PubSubConfig::guarantee`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("enum" = ["at_least_once"])))]
#[serde(try_from = "String", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PubSubGuarantee {
    /// A message is acknowledged after its result is confirmed; a crash repeats some results.
    AtLeastOnce,
}

impl TryFrom<String> for PubSubGuarantee {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match name.as_str() {
            "at_least_once" => Ok(Self::AtLeastOnce),
            "exactly_once" => {
                Err("pubsub.guarantee can't be exactly_once: Pub/Sub's exactly-once \
                delivery covers the way to the consumer, and nothing joins the result that the \
                consumer publishes to its acknowledgement; use at_least_once and drop duplicates \
                by id, or Kafka")
            }
            _ => Err("pubsub.guarantee: expected at_least_once"),
        }
    }
}

impl PubSubConfig {
    /// The defaults, with the emulator of `PUBSUB_EMULATOR_HOST` and the project of
    /// `PUBSUB_PROJECT_ID` or else `GOOGLE_CLOUD_PROJECT`.
    ///
    /// # Errors
    /// See [`Emulator::from_env`].
    pub fn from_env() -> Result<Self, PubSubError> {
        let project = ["PUBSUB_PROJECT_ID", "GOOGLE_CLOUD_PROJECT"];
        Ok(Self {
            project_id: project.into_iter().find_map(variable).unwrap_or_default(),
            emulator: Emulator::from_env()?,
            ..Self::default()
        })
    }

    /// The topics of results: that of those without one of their own, where there is one, and the
    /// routes.
    pub(crate) fn result_topics(&self) -> impl Iterator<Item = &String> {
        self.results_topic.iter().chain(&self.routes)
    }

    /// Whether the settings go together, which needs no server: names that Pub/Sub takes, nothing that is
    /// read and written, no subscription with two readers, and what is no result is not read as one, nor
    /// the reverse.
    ///
    /// # Errors
    /// Names the key, and what is wrong with its value.
    pub fn check(&self) -> Result<(), PubSubError> {
        const EXPECTED: &str = "up to 255 letters, digits and -._~+%, a letter first";
        const SHARED: &str =
            "each message would be seen by the consumer or by the page, and not by the other";
        const READ_AGAIN: &str = "what the consumer writes there it would read again, for ever";
        let topic = ("pubsub.topic", Some(&self.topic));
        let subscription = ("pubsub.subscription_id", Some(&self.subscription_id));
        let outputs = [
            ("pubsub.results_topic", self.results_topic.as_ref()),
            ("pubsub.dead_letter_topic", Some(&self.dead_letter_topic)),
        ];
        let results = ("pubsub.results_subscription_id", self.results_subscription_id.as_ref());
        let routes = self.routes.iter().map(|route| ("pubsub.routes", Some(route)));
        for (key, name) in [topic, subscription, results].into_iter().chain(outputs).chain(routes) {
            if let Some(name) = name.filter(|name| !is_name(name)) {
                let rule = format!("{RULE}{EXPECTED}, found {name:?}");
                return Err(PubSubError::Rule { key, rule });
            }
        }
        let pairs = [
            (subscription, results, SHARED),
            (topic, outputs[0], READ_AGAIN),
            (topic, outputs[1], READ_AGAIN),
        ];
        for ((key, name), (other, found), reason) in pairs {
            if let Some(found) = found.filter(|found| Some(*found) == name) {
                return Err(PubSubError::Same { key, other, found: found.clone(), reason });
            }
        }
        for (index, route) in self.routes.iter().enumerate() {
            let problem = match Some(route) {
                // The consumer would read it again, for ever.
                Some(route) if *route == self.topic => "is pubsub.topic already",
                route if route == self.results_topic.as_ref() => "is pubsub.results_topic already",
                _ if *route == self.dead_letter_topic => "is pubsub.dead_letter_topic already",
                _ if self.routes[..index].contains(route) => "stands there twice",
                _ => continue,
            };
            return Err(PubSubError::Route { topic: route.clone(), problem });
        }
        Ok(())
    }

    /// `projects/PROJECT/topics/TOPIC`.
    pub fn topic_name(&self, topic: &str) -> String {
        format!("projects/{}/topics/{topic}", self.project_id)
    }

    /// `projects/PROJECT/subscriptions/SUBSCRIPTION`.
    pub fn subscription_name(&self, subscription: &str) -> String {
        format!("projects/{}/subscriptions/{subscription}", self.project_id)
    }
}

/// As Pub/Sub's documents say of topics and subscriptions.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+%".contains(&byte);
    name.len() <= 255
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(allowed)
}

/// The value of an environment variable; one that is empty counts as not set.
fn variable(name: &str) -> Option<String> {
    set(env::var_os(name))
}

fn set(value: Option<OsString>) -> Option<String> {
    value.filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
}

/// The address of a Pub/Sub emulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulator {
    host: String,
}

impl Emulator {
    const VARIABLE: &str = "PUBSUB_EMULATOR_HOST";

    /// An emulator at `HOST:PORT`.
    ///
    /// # Errors
    /// [`PubSubError::EmulatorHost`] when there is nothing in `host`, or more than host and port.
    pub fn new(host: &str) -> Result<Self, PubSubError> {
        let bare = host.trim().trim_start_matches("http://").trim_end_matches('/');
        if bare.is_empty() || bare.contains(|c: char| c == '/' || c.is_whitespace()) {
            return Err(PubSubError::EmulatorHost { found: host.to_owned() });
        }
        Ok(Self { host: bare.to_owned() })
    }

    /// The emulator of `PUBSUB_EMULATOR_HOST`, which Google's Rust client does not read itself;
    /// `None` where the variable is not set, or empty.
    ///
    /// # Errors
    /// As [`Emulator::new`].
    pub fn from_env() -> Result<Option<Self>, PubSubError> {
        variable(Self::VARIABLE).map(|host| Self::new(&host)).transpose()
    }

    /// The address for clients; `http` means no TLS.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.host)
    }
}

/// One whose address is known.
impl From<SocketAddr> for Emulator {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_once_is_refused_with_the_reason() {
        let asked = serde_json::from_str::<PubSubConfig>(r#"{"guarantee": "exactly_once"}"#);
        let error = asked.expect_err("refused").to_string();
        assert!(error.contains("nothing joins the result") && error.contains("Kafka"), "{error}");
        let default = serde_json::to_value(PubSubConfig::default()).expect("JSON");
        assert_eq!(default["guarantee"], "at_least_once");
    }

    #[test]
    fn the_old_section_is_read_with_its_meanings() {
        let config: PubSubConfig = serde_json::from_str(
            r#"{"key_file": "vcai-creds.json", "project_id": "shop",
                "subscription_id": "vectorai-subscription", "topic": "MODEL-INFERENCE"}"#,
        )
        .unwrap();
        let expected = PubSubConfig {
            key_file: Some("vcai-creds.json".into()),
            project_id: "shop".to_owned(),
            ..PubSubConfig::default()
        };
        assert_eq!(config, expected);
        assert_eq!(config.topic_name(&config.topic), "projects/shop/topics/MODEL-INFERENCE");
        assert_eq!(
            config.subscription_name(&config.subscription_id),
            "projects/shop/subscriptions/vectorai-subscription"
        );
    }

    #[test]
    fn an_empty_section_has_the_documented_defaults() {
        let config: PubSubConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, PubSubConfig::default());
        assert_eq!(config.results_topic.as_deref(), Some("MODEL-INFERENCE-RESULTS"));
        assert_eq!(config.dead_letter_topic, "MODEL-INFERENCE-DEAD-LETTERS");
        assert_eq!(config.results_subscription_id, None);
    }

    #[test]
    fn a_null_results_topic_means_none() {
        let config: PubSubConfig = serde_json::from_str(r#"{"results_topic": null}"#).unwrap();
        assert_eq!(config.results_topic, None);
    }

    #[test]
    fn names_that_pubsub_does_not_take_are_refused_with_their_key() {
        for id in ["", "1st", "a b", "projects/p/subscriptions/s", &"s".repeat(256)] {
            let subscription_id = id.to_owned();
            let config = PubSubConfig { subscription_id, ..PubSubConfig::default() };
            let error = config.check().expect_err("refused").to_string();
            let rule = "pubsub.subscription_id has to be up to 255 letters, digits and -._~+%";
            assert_eq!(error, format!("{rule}, a letter first, found {id:?}"));
        }
    }

    #[test]
    fn what_would_be_read_twice_is_refused_with_both_keys() {
        let default = PubSubConfig::default;
        let results_subscription_id = Some(default().subscription_id);
        let circle = "what the consumer writes there it would read again, for ever";
        for (config, keys, reason) in [
            (
                PubSubConfig { results_subscription_id, ..default() },
                "pubsub.subscription_id and pubsub.results_subscription_id are both",
                "seen by the consumer or by the page, and not by the other",
            ),
            (
                PubSubConfig { results_topic: Some(default().topic), ..default() },
                "pubsub.topic and pubsub.results_topic are both",
                circle,
            ),
            (
                PubSubConfig { dead_letter_topic: default().topic, ..default() },
                "pubsub.topic and pubsub.dead_letter_topic are both",
                circle,
            ),
        ] {
            let error = config.check().expect_err("refused").to_string();
            assert!(error.starts_with(keys) && error.ends_with(reason), "{error}");
        }
    }

    #[test]
    fn a_route_is_a_topic_of_its_own() {
        let with = |routes: [&str; 2]| PubSubConfig {
            routes: routes.map(str::to_owned).into(),
            ..PubSubConfig::default()
        };
        let config = with(["REVIEWS", "ALERTS"]);
        config.check().expect("topics of their own");
        let topics: Vec<_> = config.result_topics().collect();
        assert_eq!(topics, ["MODEL-INFERENCE-RESULTS", "REVIEWS", "ALERTS"]);
        for (routes, problem) in [
            (["A", "MODEL-INFERENCE"], "\"MODEL-INFERENCE\" is pubsub.topic already"),
            (["A", "MODEL-INFERENCE-RESULTS"], "is pubsub.results_topic already"),
            (["MODEL-INFERENCE-DEAD-LETTERS", "A"], "is pubsub.dead_letter_topic already"),
            (["A", "A"], "pubsub.routes: \"A\" stands there twice; remove it"),
            (
                ["A", ""],
                "pubsub.routes has to be up to 255 letters, digits and -._~+%, a letter first",
            ),
        ] {
            let error = with(routes).check().expect_err("refused").to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = serde_json::from_str::<PubSubConfig>(r#"{"subscripton_id": "x"}"#).unwrap_err();
        assert!(error.to_string().contains("subscripton_id"), "{error}");
    }

    #[test]
    fn an_emulator_is_reached_without_tls() {
        for host in ["127.0.0.1:8085", "http://127.0.0.1:8085", " 127.0.0.1:8085/"] {
            assert_eq!(Emulator::new(host).unwrap().endpoint(), "http://127.0.0.1:8085", "{host}");
        }
    }

    #[test]
    fn a_variable_that_is_set_and_empty_counts_as_not_set() {
        assert_eq!(set(Some("".into())), None);
        assert_eq!(set(None), None);
        assert_eq!(set(Some("127.0.0.1:8085".into())).as_deref(), Some("127.0.0.1:8085"));
    }

    #[test]
    fn an_empty_emulator_address_is_refused_by_name() {
        for host in ["", "  ", "http://", "a b", "https://shop/x"] {
            let error = Emulator::new(host).unwrap_err().to_string();
            assert!(error.contains("PUBSUB_EMULATOR_HOST"), "{error}");
        }
    }
}
