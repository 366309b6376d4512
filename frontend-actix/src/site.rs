use std::{sync::Arc, time::Duration};

use actix_web::web;
use fmnist_core::{
    Infer, Supervisor,
    dataset::{Dataset, Origin},
    message::ResultRecord,
    pipeline::{BatchConfig, Pulse},
};
use service::{Metrics, ModelControl};
use sink_sql::Database;
use tokio::sync::{broadcast, watch};

use crate::{
    Broker, BrokerKind, RunningFrontend, ServerConfig, StartError,
    error::ApiError,
    limits::Limits,
    routes::{health::Readiness, pictures::Gallery, results::History},
    server,
};

/// The page and the API before they are started: what they publish to, classify with and show.
pub struct Frontend {
    pub(crate) settings: ServerConfig,
    pub(crate) brokers: Vec<Broker>,
    pub(crate) model: Option<Arc<dyn Infer>>,
    pub(crate) control: Option<ModelControl>,
    pub(crate) test_images: usize,
    pub(crate) is_synthetic: bool,
    pub(crate) gallery: Option<Gallery>,
    pub(crate) results: Option<broadcast::Sender<Arc<ResultRecord>>>,
    pub(crate) database: Option<Database>,
    pub(crate) pulses: Vec<Pulse>,
    pub(crate) metrics: Option<Metrics>,
    pub(crate) latency_budget: Option<Duration>,
}

impl Frontend {
    /// A front end without brokers, model or results.
    pub const fn new(settings: ServerConfig) -> Self {
        Self {
            settings,
            brokers: Vec::new(),
            model: None,
            control: None,
            test_images: 0,
            is_synthetic: false,
            gallery: None,
            results: None,
            database: None,
            pulses: Vec::new(),
            metrics: None,
            latency_budget: None,
        }
    }

    /// Adds a broker to publish to, one of each kind at most.
    #[must_use]
    pub fn with_broker(mut self, broker: Broker) -> Self {
        self.brokers.retain(|other| other.kind() != broker.kind());
        self.brokers.push(broker);
        self
    }

    /// Adds the model of `POST /classify`.
    #[must_use]
    pub fn with_model(mut self, model: Arc<dyn Infer>) -> Self {
        self.model = Some(model);
        self
    }

    /// Shows by this what becomes of the model of [`Frontend::with_model`], and lets callers exchange it.
    #[must_use]
    pub fn with_control(mut self, control: ModelControl) -> Self {
        self.control = Some(control);
        self
    }

    /// Lets no request wait longer for its turn than this model's callers are meant to wait for their
    /// answers, see [`BatchConfig::latency_budget_ms`].
    #[must_use]
    pub fn with_batch(mut self, batch: &BatchConfig) -> Self {
        self.latency_budget = batch.latency_budget_ms.map(Duration::from_millis);
        self
    }

    /// Adds the test set that ranges index, and whose pictures and true labels the page shows.
    #[must_use]
    pub fn with_test_set(mut self, test_set: &Dataset) -> Self {
        self.test_images = test_set.images.len();
        self.is_synthetic = test_set.origin == Origin::Synthetic;
        self.gallery = Some(Gallery::new(test_set));
        self
    }

    /// Adds the results that the page shows as they come. A page that reads too slowly misses some.
    #[must_use]
    pub fn with_results(mut self, results: broadcast::Sender<Arc<ResultRecord>>) -> Self {
        self.results = Some(results);
        self
    }

    /// Answers `GET /results` from this database, instead of from the latest results in memory.
    #[must_use]
    pub fn with_database(mut self, database: Database) -> Self {
        self.database = Some(database);
        self
    }

    /// Answers `/metrics` with these.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Adds a pipeline of this process, whose stall turns `/livez` red.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Pulse) -> Self {
        self.pulses.push(pulse);
        self
    }

    /// Binds the port and serves on threads of its own. The tasks beside them are among the program's
    /// `parts`.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(self, parts: &Supervisor) -> Result<RunningFrontend, StartError> {
        if let Some(database) = self.database.clone() {
            // One that is away for now gets its tables once it is there.
            let part = parts.part("task that waits for the database");
            tokio::spawn(async move {
                if let Err(error) = database.wait().await {
                    tracing::error!(error = &error as &dyn std::error::Error, "no database");
                }
                part.done();
            });
        }
        server::start(self, parts)
    }
}

/// What every request handler shares.
pub(crate) struct Site {
    pub(crate) frontend: Frontend,
    pub(crate) history: Arc<History>,
    pub(crate) limits: Limits,
    pub(crate) readiness: Readiness,
    /// True once the server is to stop: open streams end.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Site {
    pub(crate) fn new(
        frontend: Frontend,
        stopping: watch::Receiver<bool>,
        parts: &Supervisor,
    ) -> web::Data<Self> {
        let limits = Limits::new(&frontend.settings, frontend.latency_budget);
        let part = parts.part("task that probes brokers and database");
        let readiness = Readiness::new(frontend.brokers.clone(), frontend.database.clone(), part);
        web::Data::new(Self { frontend, history: Arc::default(), limits, readiness, stopping })
    }

    pub(crate) fn broker(&self, kind: BrokerKind) -> Result<&Broker, ApiError> {
        let found = self.frontend.brokers.iter().find(|broker| broker.kind() == kind);
        found.ok_or(ApiError::BrokerMissing { broker: kind })
    }

    pub(crate) fn model(&self) -> Option<Arc<dyn Infer>> {
        self.frontend.model.clone()
    }
}
