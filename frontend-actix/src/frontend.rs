use std::{path::PathBuf, sync::Arc, time::Duration};

use fmnist_core::{
    Infer, Supervisor,
    dataset::Dataset,
    message::ResultRecord,
    pipeline::{BatchConfig, Pulse},
};
use service::{Metrics, ModelControl, Producer};
use sink_sql::Database;
use tokio::sync::broadcast;

use crate::{
    config::{Config, ServerConfig},
    gallery::Gallery,
    server::{self, RunningFrontend},
    site::{Place, Setup},
    start_error::StartError,
};

/// The page and the API before they are started: what they publish to, classify with and show.
pub struct Frontend {
    pub(crate) setup: Setup,
}

impl Frontend {
    /// A front end without brokers, model or results.
    pub fn new(settings: ServerConfig) -> Self {
        Self { setup: Setup::new(settings) }
    }

    /// Adds a broker to publish to, one of each name at most.
    #[must_use]
    pub fn with_broker(mut self, producer: Producer) -> Self {
        let name = producer.name();
        let brokers = &mut self.setup.brokers;
        match brokers.iter_mut().find(|place| place.name == name) {
            Some(place) => place.producer = Some(producer),
            None => brokers.push(Place { name, title: name, producer: Some(producer) }),
        }
        self
    }

    /// Names all brokers of the configuration, and adds those that there are. One that may be missing is left
    /// out with a warning where it can't be set up.
    ///
    /// # Errors
    /// When another can't be.
    pub async fn with_brokers(mut self, config: &Config) -> anyhow::Result<Self> {
        self.setup.brokers.clear();
        for broker in config.brokers() {
            let mut place = Place::new(&*broker);
            if broker.is_configured() {
                match broker.producer().await {
                    Ok(producer) => place.producer = Some(producer),
                    Err(error) if broker.is_optional() => {
                        tracing::warn!(error = &*error, "{} is left out", broker.title());
                    }
                    Err(error) => return Err(error),
                }
            }
            self.setup.brokers.push(place);
        }
        Ok(self)
    }

    /// Adds the model of `POST /classify`.
    #[must_use]
    pub fn with_model(mut self, model: Arc<dyn Infer>) -> Self {
        self.setup.model = Some(model);
        self
    }

    /// Shows by this what becomes of the model of [`Frontend::with_model`], and lets callers take it back,
    /// promote its candidate, and put files of the folder `repository` into its place.
    #[must_use]
    pub fn with_control(mut self, control: ModelControl, repository: Option<PathBuf>) -> Self {
        self.setup.control = Some(control);
        self.setup.repository = repository;
        self
    }

    /// Lets no request wait longer for its turn than this model's callers are meant to wait for their
    /// answers, see [`BatchConfig::latency_budget_ms`].
    #[must_use]
    pub fn with_batch(mut self, batch: &BatchConfig) -> Self {
        self.setup.latency_budget = batch.latency_budget_ms.map(Duration::from_millis);
        self
    }

    /// Adds the test set that ranges index, and whose pictures and true labels the page shows.
    #[must_use]
    pub fn with_test_set(mut self, test_set: &Dataset) -> Self {
        self.setup.gallery = Some(Gallery::new(test_set));
        self
    }

    /// Adds the results that the page shows as they come. A page that reads too slowly misses some.
    #[must_use]
    pub fn with_results(mut self, results: broadcast::Sender<Arc<ResultRecord>>) -> Self {
        self.setup.results = Some(results);
        self
    }

    /// Answers `GET /results` from this database, instead of from the latest results in memory.
    #[must_use]
    pub fn with_database(mut self, database: Database) -> Self {
        self.setup.database = Some(database);
        self
    }

    /// Answers `/metrics` with these.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.setup.metrics = Some(metrics);
        self
    }

    /// Adds a pipeline of this process, whose stall turns `/livez` red.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Pulse) -> Self {
        self.setup.pulses.push(pulse);
        self
    }

    /// Binds the port and serves on threads of its own. The tasks beside them are among the program's
    /// `parts`.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(self, parts: &Supervisor) -> Result<RunningFrontend, StartError> {
        if let Some(database) = self.setup.database.clone() {
            // One that is away for now gets its tables once it is there.
            let part = parts.part("task that waits for the database");
            tokio::spawn(async move {
                if let Err(error) = database.wait().await {
                    tracing::error!(error = &error as &dyn std::error::Error, "no database");
                }
                part.done();
            });
        }
        server::start(self.setup, parts)
    }
}
