//! How far a stream has moved from what a model was made on.
//!
//! ```
//! use stream_inference::{
//!     drift::{Baseline, Drift, Measures},
//!     predict::{ModelIdentity, PredictError, Predictor, function},
//!     slot::ModelSlot,
//! };
//!
//! let model = function(ModelIdentity::of_code("large", "1"), |batch: &[f64]| {
//!     Ok::<_, PredictError>(batch.iter().map(|x| *x > 50.0).collect())
//! });
//! let measures = || {
//!     Measures::new()
//!         .number("amount", |x: &f64, _: &bool| *x)
//!         .class("large", |_, is_large: &bool| is_large.to_string())
//! };
//! // Where the model is made; `save` and `load` keep it beside the model.
//! let inputs: Vec<f64> = (0..2_000).map(|n| f64::from(n % 100)).collect();
//! let baseline = Baseline::of(&measures(), &inputs, &model.predict(&inputs)?);
//! // Where it serves.
//! let slot = ModelSlot::new(model)
//!     .with_drift(Drift::new(measures(), move |_| Some(baseline.clone())).with_window(1_000));
//! slot.predict(&inputs)?;
//! let report = slot.drift().and_then(|drift| drift.report()).expect("enough inputs");
//! assert!(report.indexes.iter().all(|(_, index)| *index < 0.1) && report.unusual == 0.0);
//! # Ok::<(), PredictError>(())
//! ```

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use metrics::{describe_gauge, gauge};
use serde::{Deserialize, Serialize};

use crate::{
    names,
    predict::{ModelIdentity, Predictor, Served},
};

/// Answers that are compared, unless told otherwise.
const WINDOW: usize = 10_000;
/// From so many on, the index of a stream that has not moved is well below [`MODERATE`].
const LEAST: usize = 1_000;
/// How often the gauges are set: every so many-th of the window.
const STEPS: usize = 50;
/// Bins of a number, of equal share in the baseline.
const BINS: usize = 10;

/// An index from which on a stream has moved a little, by the rule of thumb of credit scoring (N. Siddiqi,
/// *Credit Risk Scorecards*, 2006).
pub const MODERATE: f64 = 0.1;
/// An index from which on a stream is another one, by the same rule.
pub const LARGE: f64 = 0.2;

/// Of an input and its answer.
type Of<P, T> = dyn Fn(&<P as Predictor>::Input, &<P as Predictor>::Output) -> T + Send + Sync;

/// The baseline of a model, where it has one.
type BaselineOf<P> = dyn Fn(&P) -> Option<Baseline> + Send + Sync;

/// What is looked at of inputs and answers.
pub struct Measures<P: Predictor + ?Sized>(Vec<(String, Measure<P>)>);

enum Measure<P: Predictor + ?Sized> {
    Class(Box<Of<P, String>>),
    Number(Box<Of<P, f64>>),
}

impl<P: Predictor + ?Sized> Default for Measures<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P: Predictor + ?Sized> Measures<P> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A class of the input or the answer, such as the label.
    #[must_use]
    pub fn class(
        mut self,
        name: &str,
        of: impl Fn(&P::Input, &P::Output) -> String + Send + Sync + 'static,
    ) -> Self {
        self.0.push((name.to_owned(), Measure::Class(Box::new(of))));
        self
    }

    /// A number of the input or the answer, such as an amount or a probability.
    #[must_use]
    pub fn number(
        mut self,
        name: &str,
        of: impl Fn(&P::Input, &P::Output) -> f64 + Send + Sync + 'static,
    ) -> Self {
        self.0.push((name.to_owned(), Measure::Number(Box::new(of))));
        self
    }
}

/// What the measures were on the data that a model was made on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline(BTreeMap<String, Expected>);

/// How often which value was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Expected {
    /// By class.
    Classes(BTreeMap<String, u64>),
    /// By bins of a number: `counts[n]` from `edges[n]` up to, but without, `edges[n + 1]`, the last one
    /// with its end. What is outside of the first and the last edge is unusual.
    Numbers {
        /// In ascending order, one more than counts.
        edges: Vec<f64>,
        /// Of each bin.
        counts: Vec<u64>,
    },
}

impl Baseline {
    /// Measures these inputs and their answers.
    ///
    /// # Panics
    /// If there are not as many answers as inputs.
    pub fn of<P: Predictor + ?Sized>(
        measures: &Measures<P>,
        inputs: &[P::Input],
        outputs: &[P::Output],
    ) -> Self {
        assert_eq!(inputs.len(), outputs.len(), "an answer for each input");
        let pairs = || inputs.iter().zip(outputs);
        let expected = |measure: &Measure<P>| match measure {
            Measure::Class(of) => {
                let mut counts = BTreeMap::new();
                for (input, output) in pairs() {
                    *counts.entry(of(input, output)).or_default() += 1;
                }
                Expected::Classes(counts)
            }
            Measure::Number(of) => {
                Expected::of_numbers(pairs().map(|(input, output)| of(input, output)).collect())
            }
        };
        Self(measures.0.iter().map(|(name, measure)| (name.clone(), expected(measure))).collect())
    }

    /// Adds what is expected of a measure, in place of what is there.
    #[must_use]
    pub fn with(mut self, name: &str, expected: Expected) -> Self {
        self.0.insert(name.to_owned(), expected);
        self
    }

    /// Writes it as JSON, whole at once.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let half = path.with_extension("half");
        fs::write(&half, serde_json::to_vec(self)?)?;
        fs::rename(half, path)
    }

    /// Reads what [`Baseline::save`] wrote.
    ///
    /// # Errors
    /// If the file can't be read, or is none.
    pub fn load(path: &Path) -> io::Result<Self> {
        let baseline: Self = serde_json::from_slice(&fs::read(path)?)?;
        let odd = |(name, expected): (&String, &Expected)| match expected {
            Expected::Numbers { edges, counts }
                if edges.len() != counts.len() + 1 || !edges.is_sorted() || counts.is_empty() =>
            {
                let odd = format!("{name}: expected ascending edges, one more than counts");
                Err(io::Error::new(io::ErrorKind::InvalidData, odd))
            }
            _ => Ok(()),
        };
        baseline.0.iter().try_for_each(odd)?;
        Ok(baseline)
    }
}

impl Expected {
    /// Bins of equal share; fewer where values repeat.
    pub fn of_numbers(mut values: Vec<f64>) -> Self {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let Some(last) = values.len().checked_sub(1) else {
            return Self::Numbers { edges: vec![0.0, 0.0], counts: vec![0] };
        };
        let mut edges: Vec<f64> = (0..=BINS).map(|n| values[n * last / BINS]).collect();
        edges.dedup();
        if edges.len() == 1 {
            edges.push(edges[0]);
        }
        let mut counts = vec![0; edges.len() - 1];
        for value in values {
            counts[bin(&edges, value).0] += 1;
        }
        Self::Numbers { edges, counts }
    }
}

/// The bin of a number, and whether it is outside of all.
fn bin(edges: &[f64], value: f64) -> (usize, bool) {
    let bins = edges.len() - 1;
    let at = edges.partition_point(|edge| *edge <= value).saturating_sub(1).min(bins - 1);
    (at, !(edges[0]..=edges[bins]).contains(&value))
}

/// Compares the latest answers with the [`Baseline`] of the model that gave them; goes into a
/// [`ModelSlot`](crate::slot::ModelSlot).
///
/// The index of a measure is the population stability index, the sum of `(p - q) ln(p / q)` over classes or
/// bins, where `p` is their share in the window and `q` in the baseline.
pub struct Drift<P: Predictor> {
    measures: Measures<P>,
    baseline: Box<BaselineOf<P>>,
    window: usize,
    watched: Mutex<Option<Watched>>,
}

/// What is known of one model's answers.
struct Watched {
    model: Arc<ModelIdentity>,
    columns: Vec<Column>,
    /// The bin of each measure and whether the input is unusual, the oldest first.
    seen: VecDeque<(Box<[u16]>, bool)>,
    unusual: usize,
    since_told: usize,
}

/// One measure that has a baseline.
struct Column {
    /// Which of the measures.
    measure: usize,
    classes: BTreeMap<String, u16>,
    edges: Vec<f64>,
    expected: Vec<u64>,
    found: Vec<u64>,
}

/// How far the latest answers are from the baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct DriftReport {
    /// The model that gave them.
    pub model: Arc<ModelIdentity>,
    /// How many they are.
    pub inputs: usize,
    /// The index of each measure; below [`MODERATE`] nothing has moved.
    pub indexes: Vec<(String, f64)>,
    /// The share of inputs of which a number is outside of all that the baseline has seen, 0.0 to 1.0.
    pub unusual: f64,
}

impl DriftReport {
    /// Whether the stream is another one: an index of [`LARGE`] at least.
    pub fn is_large(&self) -> bool {
        self.indexes.iter().any(|(_, index)| *index >= LARGE)
    }
}

impl<P: Predictor> Drift<P> {
    /// Compares these measures with what `baseline` says of the model in service, over its last 10,000
    /// answers unless told otherwise. Measures that the baseline does not have are left out.
    pub fn new(
        measures: Measures<P>,
        baseline: impl Fn(&P) -> Option<Baseline> + Send + Sync + 'static,
    ) -> Self {
        Self { measures, baseline: Box::new(baseline), window: WINDOW, watched: Mutex::new(None) }
    }

    /// Compares so many of the latest answers, at least 1,000: fewer differ by chance.
    #[must_use]
    pub fn with_window(mut self, answers: usize) -> Self {
        self.window = answers.max(LEAST);
        self
    }

    /// How far the latest answers are from the baseline; `None` before there are 1,000, and for a model
    /// without a baseline.
    pub fn report(&self) -> Option<DriftReport> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.as_ref().and_then(|watched| watched.report(&self.measures))
    }

    /// Takes note of a batch.
    pub(crate) fn observe(&self, model: &P, inputs: &[P::Input], served: &Served<P::Output>) {
        // Foreign code, whose panic is not to cost an answer.
        let found = crate::slot::shielded(|| {
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            let watched = match &mut *watched {
                Some(watched) if watched.model == served.model => watched,
                place => place.insert(self.watch(model, Arc::clone(&served.model))),
            };
            for (input, output) in inputs.iter().zip(&served.outputs) {
                watched.add(&self.measures, input, output, self.window);
            }
            watched.since_told += inputs.len();
            if watched.since_told * STEPS >= self.window {
                watched.since_told = 0;
                watched.tell(&self.measures);
            }
        });
        if let Err(reason) = found {
            tracing::warn!(reason, "a measure of drift failed; its batch is not counted");
        }
    }

    fn watch(&self, model: &P, identity: Arc<ModelIdentity>) -> Watched {
        let baseline = (self.baseline)(model).unwrap_or_default();
        let column = |(measure, (name, _)): (usize, &(String, Measure<P>))| {
            let empty = Column {
                measure,
                classes: BTreeMap::new(),
                edges: Vec::new(),
                expected: Vec::new(),
                found: Vec::new(),
            };
            match baseline.0.get(name)? {
                Expected::Classes(counts) => {
                    let classes = counts.keys().cloned().zip(0..).collect();
                    // The last is any other class.
                    let expected: Vec<u64> = counts.values().copied().chain([0]).collect();
                    Some(Column { classes, found: vec![0; expected.len()], expected, ..empty })
                }
                Expected::Numbers { edges, counts } => Some(Column {
                    edges: edges.clone(),
                    expected: counts.clone(),
                    found: vec![0; counts.len()],
                    ..empty
                }),
            }
        };
        let columns = self.measures.0.iter().enumerate().filter_map(column).collect();
        let seen = VecDeque::with_capacity(self.window);
        Watched { model: identity, columns, seen, unusual: 0, since_told: 0 }
    }
}

impl Watched {
    fn add<P: Predictor + ?Sized>(
        &mut self,
        measures: &Measures<P>,
        input: &P::Input,
        output: &P::Output,
        window: usize,
    ) {
        if self.columns.is_empty() {
            return;
        }
        let mut is_unusual = false;
        let place = |column: &Column| match &measures.0[column.measure].1 {
            Measure::Class(of) => {
                let other = column.classes.len() as u16;
                column.classes.get(&of(input, output)).copied().unwrap_or(other)
            }
            Measure::Number(of) => {
                let (at, is_outside) = bin(&column.edges, of(input, output));
                is_unusual |= is_outside;
                at as u16
            }
        };
        let bins: Box<[u16]> = self.columns.iter().map(place).collect();
        if self.seen.len() == window
            && let Some((gone, was_unusual)) = self.seen.pop_front()
        {
            for (column, bin) in self.columns.iter_mut().zip(gone) {
                column.found[usize::from(bin)] -= 1;
            }
            self.unusual -= usize::from(was_unusual);
        }
        for (column, bin) in self.columns.iter_mut().zip(&bins) {
            column.found[usize::from(*bin)] += 1;
        }
        self.unusual += usize::from(is_unusual);
        self.seen.push_back((bins, is_unusual));
    }

    fn report<P: Predictor + ?Sized>(&self, measures: &Measures<P>) -> Option<DriftReport> {
        let inputs = self.seen.len();
        if inputs < LEAST {
            return None;
        }
        let index = |column: &Column| {
            let name = measures.0[column.measure].0.clone();
            (name, stability_index(&column.expected, &column.found))
        };
        Some(DriftReport {
            model: Arc::clone(&self.model),
            inputs,
            indexes: self.columns.iter().map(index).collect(),
            unusual: self.unusual as f64 / inputs as f64,
        })
    }

    fn tell<P: Predictor + ?Sized>(&self, measures: &Measures<P>) {
        let Some(report) = self.report(measures) else { return };
        for (name, index) in report.indexes {
            gauge!(names::metric("drift_index"), "measure" => name).set(index);
        }
        gauge!(names::metric("unusual_inputs")).set(report.unusual);
    }
}

/// Half an observation in a bin that has none keeps the logarithm finite.
fn stability_index(expected: &[u64], found: &[u64]) -> f64 {
    let shares = |counts: &[u64]| {
        let counts = counts.iter().map(|count| (*count as f64).max(0.5)).collect::<Vec<_>>();
        let sum: f64 = counts.iter().sum();
        counts.into_iter().map(move |count| count / sum).collect::<Vec<_>>()
    };
    let pairs = shares(found).into_iter().zip(shares(expected));
    pairs.map(|(p, q)| (p - q) * (p / q).ln()).sum()
}

pub(crate) fn describe() {
    describe_gauge!(
        names::metric("drift_index"),
        "Population stability index of a measure over the latest answers, against the model's baseline."
    );
    describe_gauge!(
        names::metric("unusual_inputs"),
        "Share of the latest inputs with a number outside of all that the baseline has seen."
    );
}
