//! What every request handler shares.

use std::{path::PathBuf, sync::Arc, time::Duration};

use actix_web::web;
use fmnist_core::{Infer, ModelIdentity, Supervisor, message::ResultRecord, pipeline::Pulse, text};
use service::{Metrics, ModelControl};
use sink_sql::Database;
use tokio::sync::{broadcast, watch};

use crate::{
    broker::{Broker, BrokerKind},
    config::ServerConfig,
    error::ApiError,
    gallery::Gallery,
    history::History,
    limits::Limits,
    readiness::Readiness,
};

/// What the program gave this front end to serve; it stays as it is.
pub(crate) struct Setup {
    pub(crate) settings: ServerConfig,
    /// One of each kind at most.
    pub(crate) brokers: Vec<Broker>,
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
    pub(crate) const fn new(settings: ServerConfig) -> Self {
        Self {
            settings,
            brokers: Vec::new(),
            model: None,
            control: None,
            repository: None,
            gallery: None,
            results: None,
            database: None,
            pulses: Vec::new(),
            metrics: None,
            latency_budget: None,
        }
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
        let readiness = Readiness::new(setup.brokers.clone(), setup.database.clone(), part);
        web::Data::new(Self { setup, history: Arc::default(), limits, readiness, stopping })
    }

    pub(crate) fn broker(&self, kind: BrokerKind) -> Result<&Broker, ApiError> {
        let found = self.setup.brokers.iter().find(|broker| broker.kind() == kind);
        found.ok_or(ApiError::BrokerMissing { broker: kind })
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
