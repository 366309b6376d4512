//! What every request handler shares.

use std::{path::PathBuf, sync::Arc, time::Duration};

use actix_web::web;
use fmnist_core::{Infer, ModelIdentity, Supervisor, message::ResultRecord, pipeline::Pulse, text};
use service::{Broker, Metrics, ModelControl, Producer, UnknownBroker};
use sink_sql::Database;
use tokio::sync::{broadcast, watch};

use crate::{
    config::{Config, ServerConfig},
    error::ApiError,
    gallery::Gallery,
    history::History,
    limits::Limits,
    readiness::Readiness,
};

/// A broker that the page names, and how it is reached where it is configured.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) producer: Option<Producer>,
}

impl Place {
    pub(crate) fn new(broker: &dyn Broker) -> Self {
        Self { name: broker.name(), title: broker.title(), producer: None }
    }

    pub(crate) fn producer(&self) -> Result<&Producer, ApiError> {
        self.producer.as_ref().ok_or(ApiError::BrokerMissing { broker: self.name })
    }
}

/// What the program gave this front end to serve; it stays as it is.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) settings: ServerConfig,
    /// One of each name.
    pub(crate) brokers: Vec<Place>,
    pub(crate) model: Option<Arc<dyn Infer>>,
    /// What becomes of the model, and how it is exchanged.
    pub(crate) control: Option<ModelControl>,
    /// The folder of models that callers may name.
    pub(crate) repository: Option<PathBuf>,
    pub(crate) gallery: Option<Gallery>,
    pub(crate) results: Option<broadcast::Sender<Arc<ResultRecord>>>,
    pub(crate) database: Option<Database>,
    pub(crate) pulses: Vec<Pulse>,
    pub(crate) metrics: Option<Metrics>,
    pub(crate) latency_budget: Option<Duration>,
}

impl Setup {
    pub(crate) fn new(settings: ServerConfig) -> Self {
        let known = Config::default().brokers();
        let brokers = known.iter().map(|broker| Place::new(&**broker)).collect();
        Self { settings, brokers, ..Self::default() }
    }

    /// The brokers that are configured.
    pub(crate) fn producers(&self) -> impl Iterator<Item = &Producer> {
        self.brokers.iter().filter_map(|place| place.producer.as_ref())
    }

    /// How many images ranges index.
    pub(crate) fn test_images(&self) -> usize {
        self.gallery.as_ref().map_or(0, |gallery| gallery.test_set.images.len())
    }

    /// Ranges are over images that were drawn.
    pub(crate) fn is_synthetic(&self) -> bool {
        self.gallery.as_ref().is_some_and(Gallery::is_synthetic)
    }
}

/// The setup, and what changes while it is served.
pub(crate) struct Site {
    pub(crate) setup: Setup,
    pub(crate) history: Arc<History>,
    pub(crate) limits: Limits,
    pub(crate) readiness: Readiness,
    /// True once the server is to stop: open streams end.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Site {
    pub(crate) fn new(
        setup: Setup,
        stopping: watch::Receiver<bool>,
        parts: &Supervisor,
    ) -> web::Data<Self> {
        let limits = Limits::new(&setup.settings, setup.latency_budget);
        let part = parts.part("task that probes brokers and database");
        let readiness =
            Readiness::new(setup.producers().cloned().collect(), setup.database.clone(), part);
        web::Data::new(Self { setup, history: Arc::default(), limits, readiness, stopping })
    }

    /// Whether there is a model, and it is not to stop.
    pub(crate) fn is_serving(&self) -> bool {
        self.setup.model.is_some() && !*self.stopping.borrow()
    }

    /// The broker of that name, which may not be configured.
    pub(crate) fn broker(&self, name: &str) -> Result<&Place, UnknownBroker> {
        let found = self.setup.brokers.iter().find(|place| place.name == name);
        let names = self.setup.brokers.iter().map(|place| place.name);
        found.ok_or_else(|| UnknownBroker::new(name, names))
    }

    /// Whether this is the name of the model in service, or of the one that this process began with:
    /// callers do not follow an exchange.
    pub(crate) fn is_called(&self, name: &str, served: &ModelIdentity) -> bool {
        let name = text::name(name);
        let first = self.setup.control.as_ref().map(ModelControl::name);
        name == served.name || first.is_some_and(|first| name == first)
    }

    pub(crate) fn model(&self) -> Result<Arc<dyn Infer>, ApiError> {
        self.setup.model.clone().ok_or(ApiError::ModelMissing)
    }
}
