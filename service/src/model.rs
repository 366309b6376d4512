//! The model of a program, as those see it who operate it.

use std::{
    cmp::Reverse,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stream_inference::{
    Supervisor,
    drift::{LARGE, MODERATE},
    predict::{ModelIdentity, Predictor},
    settings::{Whole, none_if_empty},
    slot::{Change, Difference, ModelSlot, ShadowReport, SwapError, Watch},
};

/// What [`SlotConfig::watch_ms`] may be.
pub type WatchMs = Whole<100, 86_400_000>;
/// What [`SlotConfig::probation_batches`] may be.
pub type ProbationBatches = Whole<0, 1_000_000>;

/// How the model is exchanged while messages run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SlotConfig {
    /// A file that is looked at for a new model; without it, none. It is taken by its content, once that
    /// is the same at two looks.
    #[serde(deserialize_with = "none_if_empty")]
    pub watch: Option<PathBuf>,
    /// How often, in milliseconds.
    #[serde(with = "WatchMs")]
    pub watch_ms: u64,
    /// Batches during which the model before a new one stands by, answers what that one fails on, and then
    /// takes its place again.
    #[serde(with = "ProbationBatches")]
    pub probation_batches: usize,
}

impl Default for SlotConfig {
    fn default() -> Self {
        Self { watch: None, watch_ms: 10_000, probation_batches: 100 }
    }
}

/// Makes a model: of a file, or as it is configured.
type Load<P> = dyn Fn(Option<&Path>) -> Result<P, String> + Send + Sync;
type Show<P> = dyn Fn(&<P as Predictor>::Input) -> Value + Send + Sync;

/// A model in service that can be looked at, exchanged and taken back. Clones are the same.
#[derive(Clone)]
pub struct ModelControl(Arc<dyn Control>);

trait Control: Send + Sync {
    fn name(&self) -> &str;
    fn state(&self, shows_inputs: bool) -> Value;
    fn changes(&self) -> Vec<Change>;
    fn load(&self, file: Option<&Path>) -> Result<Arc<ModelIdentity>, SwapError>;
    fn roll_back(&self, reason: &str) -> Result<Arc<ModelIdentity>, SwapError>;
    fn promote(&self) -> Result<Arc<ModelIdentity>, SwapError>;
}

struct Controlled<P: Predictor> {
    slot: ModelSlot<P>,
    name: String,
    load: Arc<Load<P>>,
    show: Option<Box<Show<P>>>,
    /// The file that is looked after, and serves at the next start where it is there.
    watched: Option<PathBuf>,
    _watch: Option<Watch>,
}

impl ModelControl {
    /// Controls a slot whose models `load` makes, of a file or as it is configured. Looks after the
    /// configured file, and loads anew at SIGHUP (on Unix, and unless stderr is a terminal, whose end that
    /// signal tells). `show` makes JSON of an input on which a candidate differs; without it none is shown.
    ///
    /// # Errors
    /// When the system starts no thread, or does not let this process listen.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start<P: Predictor>(
        slot: &ModelSlot<P>,
        config: &SlotConfig,
        load: impl Fn(Option<&Path>) -> Result<P, String> + Send + Sync + 'static,
        show: Option<Box<Show<P>>>,
        parts: &Supervisor,
    ) -> io::Result<Self> {
        stream_inference::slot::describe();
        let load: Arc<Load<P>> = Arc::new(load);
        let watch = config.watch.as_ref().map(|path| {
            let load = Arc::clone(&load);
            let interval = Duration::from_millis(config.watch_ms);
            slot.watch(path, interval, move |path| load(Some(path)), parts)
        });
        let control = Self(Arc::new(Controlled {
            slot: slot.clone(),
            name: slot.identity().name.clone(),
            load,
            show,
            watched: config.watch.clone(),
            _watch: watch.transpose()?,
        }));
        #[cfg(unix)]
        if !io::stderr().is_terminal() {
            control.reload_at_hangup(parts)?;
        }
        Ok(control)
    }

    #[cfg(unix)]
    fn reload_at_hangup(&self, parts: &Supervisor) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (control, part) = (self.clone(), parts.part("task that loads the model at SIGHUP"));
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            let _part = part;
            while hangup.recv().await.is_some() {
                tracing::info!("SIGHUP: the model is loaded anew");
                // What became of it is in the log and in the history.
                let _ = control.load(None).await;
            }
        });
        Ok(())
    }

    /// What the model was called that served at the start.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// What serves, what became of models before and after it, how a candidate does, how far the stream
    /// has moved.
    pub fn state(&self) -> Value {
        self.0.state(true)
    }

    /// As [`ModelControl::state`], without any input.
    pub fn numbers(&self) -> Value {
        self.0.state(false)
    }

    /// What went wrong with the model that was to serve last; `None` where it serves.
    pub fn trouble(&self) -> Option<String> {
        let change = self.0.changes().pop()?;
        Some(format!("{}: {}", change.kind.name().replace('_', " "), change.kind.reason()?))
    }

    /// Verifies a model and puts it into service: that of a file, or without one what a process that starts
    /// now would serve, the file that is watched, or else the configured model, loaded anew.
    ///
    /// # Errors
    /// [`SwapError`]; the model in service goes on.
    pub async fn load(&self, file: Option<PathBuf>) -> Result<Arc<ModelIdentity>, SwapError> {
        self.blocking(move |control| control.load(file.as_deref())).await
    }

    /// Puts the last good model before the present one into service again.
    ///
    /// # Errors
    /// [`SwapError::NoPredecessor`].
    pub async fn roll_back(&self, reason: String) -> Result<Arc<ModelIdentity>, SwapError> {
        self.blocking(move |control| control.roll_back(&reason)).await
    }

    /// Puts the candidate into service.
    ///
    /// # Errors
    /// [`SwapError::NoCandidate`] and [`SwapError::Refused`].
    pub async fn promote(&self) -> Result<Arc<ModelIdentity>, SwapError> {
        self.blocking(|control| control.promote()).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&dyn Control) -> T + Send + 'static,
    ) -> T {
        let control = Arc::clone(&self.0);
        let acted = tokio::task::spawn_blocking(move || act(&*control)).await;
        acted.expect("a model's panics are caught")
    }
}

impl<P: Predictor> Control for Controlled<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn state(&self, shows_inputs: bool) -> Value {
        let changes = self.slot.changes_so_far();
        json!({
            "model": identity(&self.slot.identity()),
            "probation_batches": self.slot.on_probation(),
            "changes": changes.iter().map(change).collect::<Vec<_>>(),
            "candidate": self.slot.shadow_report().map(|report| {
                candidate(&report, self.show.as_deref().filter(|_| shows_inputs))
            }),
            "drift": self.slot.drift().and_then(|drift| drift.report()).map(|report| {
                let verdict = match report.largest() {
                    LARGE.. => "large",
                    MODERATE.. => "moderate",
                    _ => "none",
                };
                let indexes: serde_json::Map<String, Value> =
                    report.indexes.into_iter().map(|(name, index)| (name, index.into())).collect();
                json!({
                    "inputs": report.inputs,
                    "indexes": indexes,
                    "unusual": report.unusual,
                    "verdict": verdict,
                })
            }),
        })
    }

    fn changes(&self) -> Vec<Change> {
        self.slot.changes_so_far()
    }

    fn load(&self, file: Option<&Path>) -> Result<Arc<ModelIdentity>, SwapError> {
        let file = file.or(self.watched.as_deref().filter(|watched| watched.exists()));
        let load = |_: &Path| (self.load)(file);
        self.slot.swap_file(file.unwrap_or(Path::new("the configured model")), load)
    }

    fn roll_back(&self, reason: &str) -> Result<Arc<ModelIdentity>, SwapError> {
        self.slot.roll_back(reason)
    }

    fn promote(&self) -> Result<Arc<ModelIdentity>, SwapError> {
        self.slot.promote()
    }
}

fn identity(identity: &ModelIdentity) -> Value {
    let ModelIdentity { name, version, sha256, .. } = identity;
    json!({ "name": name, "version": version, "sha256": sha256 })
}

fn change(change: &Change) -> Value {
    let Change { at, from, to, kind } = change;
    json!({
        "at": at.to_string(),
        "change": kind.name(),
        "from": identity(from),
        "to": to.as_deref().map(identity),
        "reason": kind.reason(),
    })
}

fn candidate<I>(
    report: &ShadowReport<I>,
    show: Option<&(dyn Fn(&I) -> Value + Send + Sync)>,
) -> Value {
    let pair = |([served, candidate], inputs): (&[String; 2], &u64)| json!({ "served": served, "candidate": candidate, "inputs": inputs });
    let difference = |difference: &Arc<Difference<I>>| {
        json!({
            "served": difference.served,
            "candidate": difference.candidate,
            "input": show.map(|show| show(&difference.input)),
        })
    };
    let differences = show.iter().flat_map(|_| report.differences.iter().map(difference));
    let mut pairs: Vec<_> = report.disagreements.iter().collect();
    pairs.sort_by_key(|(_, inputs)| Reverse(**inputs));
    json!({
        "model": identity(&report.candidate),
        "compared": report.compared,
        "agreement": report.agreement(),
        "failed": report.failed,
        "skipped": report.skipped,
        "time_ratio": report.time_ratio(),
        "disagreements": pairs.into_iter().map(pair).collect::<Vec<_>>(),
        "differences": differences.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use stream_inference::{
        drift::{Baseline, Drift, Measures},
        predict::{Function, PredictError, function},
        slot::Shadow,
    };

    use super::*;

    type Model = Arc<dyn Predictor<Input = f64, Output = f64>>;

    fn model(version: &str, factor: f64) -> Model {
        let model: Function<_, f64, f64> =
            function(ModelIdentity::of_code("doubled", version), move |batch: &[f64]| {
                Ok::<_, PredictError>(batch.iter().map(|x| factor * x).collect())
            });
        Arc::new(model)
    }

    fn slot() -> ModelSlot<Model> {
        let measures = || Measures::new().number("x", |x: &f64, _: &f64| *x);
        let usual: Vec<f64> = (0..1_000).map(f64::from).collect();
        let baseline = Baseline::of(&measures(), &usual, &usual);
        let drift = Drift::new(measures(), move |_: &Model| Some(baseline.clone()));
        ModelSlot::new(model("1", 2.0)).with_drift(drift.with_window(1_000))
    }

    fn control_of(slot: &ModelSlot<Model>, parts: &Supervisor) -> ModelControl {
        let load = |file: Option<&Path>| match file.and_then(Path::to_str) {
            None => Ok(model("2", 2.0)),
            Some(file) => Err(format!("{file} is no model")),
        };
        let show: Box<Show<Model>> = Box::new(|x| json!(x));
        ModelControl::start(slot, &SlotConfig::default(), load, Some(show), parts).unwrap()
    }

    /// Of a model that can be loaded anew, and no file.
    pub(crate) fn control(parts: &Supervisor) -> ModelControl {
        control_of(&slot(), parts)
    }

    #[tokio::test]
    async fn what_is_done_to_a_model_is_seen_with_its_reasons() {
        let (slot, parts) = (slot(), Supervisor::new());
        let control = control_of(&slot, &parts);
        assert_eq!(control.trouble(), None);
        assert_eq!(control.load(None).await.unwrap().version, "1");
        assert_eq!(control.state()["probation_batches"], 100);
        assert_eq!(control.roll_back("a whim".to_owned()).await.unwrap().version, "2");
        assert_eq!(control.trouble().as_deref(), Some("rolled back: a whim"));
        assert!(control.promote().await.is_err());
        let state = control.state();
        let changes = state["changes"].as_array().unwrap();
        let told: Vec<_> = changes.iter().map(|change| &change["change"]).collect();
        assert_eq!(told, ["swapped", "rolled_back"]);
        assert_eq!(changes[1]["to"]["version"], "1");
        assert_eq!((&state["drift"], &state["candidate"]), (&Value::Null, &Value::Null));
    }

    #[tokio::test]
    async fn what_is_loaded_anew_is_the_watched_file_where_there_is_one() {
        let folder = std::env::temp_dir().join(format!("anew-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("model");
        let config =
            SlotConfig { watch: Some(path.clone()), watch_ms: 86_400_000, ..SlotConfig::default() };
        let load = |file: Option<&Path>| Ok(model(file.map_or("configured", |_| "watched"), 2.0));
        let parts = Supervisor::new();
        let control = ModelControl::start(&slot(), &config, load, None, &parts).unwrap();
        for (is_there, version) in [(false, "configured"), (true, "watched")] {
            if is_there {
                std::fs::write(&path, "2").unwrap();
            }
            control.load(None).await.unwrap();
            assert_eq!(control.state()["model"]["version"], version);
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn an_index_of_a_model_that_serves_no_longer_does_not_go_on_to_alarm() {
        let (recorder, metrics) = crate::Metrics::on_a_thread();
        let slot = slot();
        let told =
            || metrics.text().lines().find_map(|l| l.strip_prefix(INDEX)?.parse::<f64>().ok());
        const INDEX: &str = "fmnist_drift_index{measure=\"x\"} ";
        metrics::with_local_recorder(&recorder, || slot.predict(&[7.0; 1_000]).unwrap());
        assert!(told().is_some_and(|index| index > LARGE), "{:?}", told());
        slot.swap(model("2", 2.0)).unwrap();
        metrics::with_local_recorder(&recorder, || slot.predict(&[7.0; 10]).unwrap());
        assert!(told().is_some_and(f64::is_nan), "{:?}", told());
    }

    #[tokio::test]
    async fn drift_and_a_candidate_are_seen_and_inputs_only_where_they_may_be() {
        let (slot, parts) = (slot(), Supervisor::new());
        let control = control_of(&slot, &parts);
        let half = Shadow::by(|answer: &f64| answer.to_string()).with_share(1.0);
        slot.shadow(model("3", 1.0), half).unwrap();
        slot.predict(&[7.0; 1_000]).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while control.state()["candidate"]["compared"] != 1_000 {
            assert!(std::time::Instant::now() < deadline, "{:#}", control.state());
            tokio::task::yield_now().await;
        }
        let state = control.state();
        assert_eq!(state["drift"]["verdict"], "large");
        let candidate = &state["candidate"];
        assert_eq!(candidate["agreement"], 0.0);
        let pair = json!({ "served": "14", "candidate": "7", "inputs": 1_000 });
        assert_eq!(candidate["disagreements"], json!([pair]));
        let difference = json!({ "served": "14", "candidate": "7", "input": 7.0 });
        assert_eq!(candidate["differences"][0], difference);
        assert_eq!(control.numbers()["candidate"]["differences"], json!([]));
        assert_eq!(control.promote().await.unwrap().version, "1");
        assert_eq!(control.state()["model"]["version"], "3");
    }
}
