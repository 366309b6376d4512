//! The model of a program, as those see it who operate it.

#[cfg(test)]
pub(crate) mod tests;

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
