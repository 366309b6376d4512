use std::{any::Any, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::Broker;

/// Brokers whose sections a document has no field for; each has the name of its broker.
#[derive(Clone, Debug, Default)]
pub struct Added(Vec<Section>);

#[derive(Clone, Debug)]
struct Section {
    broker: Arc<dyn Broker>,
    shown: Value,
    read: fn(Value) -> Result<Section, Refused>,
}

/// What can't be read, and at which key.
pub(super) type Refused = serde_path_to_error::Error<serde_json::Error>;

impl Added {
    /// No further broker.
    pub(super) const NONE: Self = Self(Vec::new());

    /// Adds a broker as it is without any configuration.
    #[must_use]
    pub fn with<B: Broker + Serialize + DeserializeOwned>(mut self, broker: B) -> Self {
        self.0.push(Section::of(broker));
        self
    }

    /// The brokers, as they were read.
    pub fn brokers(&self) -> impl Iterator<Item = Arc<dyn Broker>> {
        self.0.iter().map(|section| Arc::clone(&section.broker))
    }

    /// The broker of that type, for its consumer.
    pub fn get<B: Broker>(&self) -> Option<&B> {
        self.0.iter().find_map(|section| (&*section.broker as &dyn Any).downcast_ref())
    }

    /// Adds the sections to a document.
    pub(super) fn write(&self, document: &mut Value) {
        for section in &self.0 {
            document[section.broker.name()] = section.shown.clone();
        }
    }

    /// Takes the sections out of a document; of an error, the key with the section in front.
    pub(super) fn read(&self, document: &mut Value) -> Result<Self, (String, serde_json::Error)> {
        let sections = document.as_object_mut().expect("no layer replaces the document");
        let mut read = |section: &Section| {
            let name = section.broker.name();
            let found = sections.remove(name).unwrap_or_default();
            (section.read)(found).map_err(|error| {
                let key = match &*error.path().to_string() {
                    "." => name.to_owned(),
                    path => format!("{name}.{path}"),
                };
                (key, error.into_inner())
            })
        };
        self.0.iter().map(&mut read).collect::<Result<_, _>>().map(Self)
    }
}

impl Section {
    fn of<B: Broker + Serialize + DeserializeOwned>(broker: B) -> Self {
        Self {
            shown: serde_json::to_value(&broker).expect("a configuration is plain data"),
            broker: Arc::new(broker),
            read: |section| serde_path_to_error::deserialize::<_, B>(section).map(Self::of),
        }
    }
}
