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
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
        crate::save(self, path)
    }

    /// Reads what [`Baseline::save`] wrote.
    ///
    /// # Errors
    /// If the file can't be read, or is none.
    pub fn load(path: &Path) -> io::Result<Self> {
        let baseline: Self = serde_json::from_slice(&fs::read(path)?)?;
        let odd = |(name, expected): (&String, &Expected)| match expected.is_whole() {
            true => Ok(()),
            false => {
                let odd = format!("{name}: expected ascending edges, one more than counts");
                Err(io::Error::new(io::ErrorKind::InvalidData, odd))
            }
        };
        baseline.0.iter().try_for_each(odd)?;
        Ok(baseline)
    }
}

impl Expected {
    /// Bins of equal share; fewer where values repeat, and one that repeats much has a bin of its own.
    pub fn of_numbers(mut values: Vec<f64>) -> Self {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let Some(last) = values.len().checked_sub(1) else {
            return Self::Numbers { edges: vec![0.0, 0.0], counts: vec![0] };
        };
        let quantiles: Vec<f64> = (0..=BINS).map(|n| values[n * last / BINS]).collect();
        let mut edges = quantiles.clone();
        edges.dedup();
        for pair in quantiles.windows(2).filter(|pair| pair[0] == pair[1] && pair[0] < values[last])
        {
            edges.push(values[values.partition_point(|value| *value <= pair[0])]);
        }
        edges.sort_by(f64::total_cmp);
        edges.dedup();
        if quantiles[BINS - 1] == values[last] {
            edges.push(values[last]);
        }
        let mut counts = vec![0; edges.len() - 1];
        for value in values {
            counts[bin(&edges, value).0] += 1;
        }
        Self::Numbers { edges, counts }
    }

    /// Whether a number has a bin; classes always have.
    fn is_whole(&self) -> bool {
        match self {
            Self::Classes(_) => true,
            Self::Numbers { edges, counts } => {
                edges.len() == counts.len() + 1 && edges.is_sorted() && !counts.is_empty()
            }
        }
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
    columns: Arc<[Column]>,
    /// How many of the window are in each bin of each column.
    found: Vec<Vec<u64>>,
    /// The oldest first.
    seen: VecDeque<Row>,
    unusual: usize,
    since_told: usize,
}

/// The bin of each column, and whether the input is unusual.
type Row = (Box<[u32]>, bool);

/// One measure that has a baseline.
struct Column {
    /// Which of the measures.
    measure: usize,
    classes: BTreeMap<String, u32>,
    edges: Vec<f64>,
    expected: Vec<u64>,
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
    /// The index of the measure that has moved most.
    pub fn largest(&self) -> f64 {
        self.indexes.iter().map(|(_, index)| *index).fold(0.0, f64::max)
    }

    /// Whether the stream is another one: an index of [`LARGE`] at least.
    pub fn is_large(&self) -> bool {
        self.largest() >= LARGE
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
        self.watched().as_ref().and_then(|watched| watched.report(&self.measures))
    }

    /// Takes note of a batch.
    pub(crate) fn observe(&self, model: &P, inputs: &[P::Input], served: &Served<P::Output>) {
        // Foreign code, and so without the lock; its panic is not to cost an answer.
        let measured = crate::slot::shielded(|| {
            let columns = self.columns(model, &served.model);
            if columns.is_empty() {
                return;
            }
            let pairs = inputs.iter().zip(&served.outputs);
            let rows: Vec<Row> =
                pairs.map(|(input, output)| row(&self.measures, &columns, input, output)).collect();
            let mut watched = self.watched();
            // Another model may have begun its window meanwhile.
            if let Some(watched) = &mut *watched
                && Arc::ptr_eq(&watched.columns, &columns)
            {
                watched.since_told += rows.len();
                rows.into_iter().for_each(|row| watched.add(row, self.window));
                if watched.since_told * STEPS >= self.window {
                    watched.since_told = 0;
                    watched.tell(&self.measures);
                }
            }
        });
        if let Err(reason) = measured {
            tracing::warn!(reason, "a measure of drift failed; its batch is not counted");
        }
    }

    /// What is compared of this model's answers; begins a window where they are the first.
    fn columns(&self, model: &P, identity: &Arc<ModelIdentity>) -> Arc<[Column]> {
        let known = |watched: &Option<Watched>| {
            let of_it = watched.as_ref().filter(|watched| watched.model == *identity);
            of_it.map(|watched| Arc::clone(&watched.columns))
        };
        if let Some(columns) = known(&self.watched()) {
            return columns;
        }
        let columns = self.begin(model);
        let mut watched = self.watched();
        if let Some(columns) = known(&watched) {
            return columns;
        }
        if let Some(before) = &*watched {
            before.forget(&self.measures);
        }
        *watched = Some(Watched {
            model: Arc::clone(identity),
            found: columns.iter().map(|column| vec![0; column.expected.len()]).collect(),
            columns: Arc::clone(&columns),
            seen: VecDeque::new(),
            unusual: 0,
            since_told: 0,
        });
        columns
    }

    fn begin(&self, model: &P) -> Arc<[Column]> {
        let baseline = (self.baseline)(model).unwrap_or_default();
        let column = |(measure, (name, of)): (usize, &(String, Measure<P>))| {
            let column = |classes, edges, expected| Column { measure, classes, edges, expected };
            match (of, baseline.0.get(name)?) {
                (Measure::Class(_), Expected::Classes(counts)) => {
                    let classes = counts.keys().cloned().zip(0..).collect();
                    // The last is any other class.
                    let expected = counts.values().copied().chain([0]).collect();
                    Some(column(classes, Vec::new(), expected))
                }
                (Measure::Number(_), expected @ Expected::Numbers { edges, counts })
                    if expected.is_whole() =>
                {
                    Some(column(BTreeMap::new(), edges.clone(), counts.clone()))
                }
                _ => {
                    let reason = "the baseline has another kind of it, or no bins";
                    tracing::warn!(measure = name, reason, "a measure of drift is left out");
                    None
                }
            }
        };
        self.measures.0.iter().enumerate().filter_map(column).collect()
    }

    fn watched(&self) -> MutexGuard<'_, Option<Watched>> {
        // Nothing under the lock panics.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn row<P: Predictor + ?Sized>(
    measures: &Measures<P>,
    columns: &[Column],
    input: &P::Input,
    output: &P::Output,
) -> Row {
    let mut is_unusual = false;
    let place = |column: &Column| match &measures.0[column.measure].1 {
        Measure::Class(of) => {
            let other = column.classes.len() as u32;
            column.classes.get(&of(input, output)).copied().unwrap_or(other)
        }
        Measure::Number(of) => {
            let (at, is_outside) = bin(&column.edges, of(input, output));
            is_unusual |= is_outside;
            at as u32
        }
    };
    (columns.iter().map(place).collect(), is_unusual)
}

impl Watched {
    fn add(&mut self, row: Row, window: usize) {
        if self.seen.len() == window
            && let Some((gone, was_unusual)) = self.seen.pop_front()
        {
            for (found, bin) in self.found.iter_mut().zip(gone) {
                found[bin as usize] -= 1;
            }
            self.unusual -= usize::from(was_unusual);
        }
        for (found, bin) in self.found.iter_mut().zip(&row.0) {
            found[*bin as usize] += 1;
        }
        self.unusual += usize::from(row.1);
        self.seen.push_back(row);
    }

    fn report<P: Predictor + ?Sized>(&self, measures: &Measures<P>) -> Option<DriftReport> {
        let inputs = self.seen.len();
        if inputs < LEAST {
            return None;
        }
        let index = |(column, found): (&Column, &Vec<u64>)| {
            let name = measures.0[column.measure].0.clone();
            (name, stability_index(&column.expected, found))
        };
        Some(DriftReport {
            model: Arc::clone(&self.model),
            inputs,
            indexes: self.columns.iter().zip(&self.found).map(index).collect(),
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

    /// What was told of a model that another follows is true no longer, and must not go on to alarm.
    fn forget<P: Predictor + ?Sized>(&self, measures: &Measures<P>) {
        if self.seen.len() < LEAST {
            return;
        }
        for column in &*self.columns {
            let name = measures.0[column.measure].0.clone();
            gauge!(names::metric("drift_index"), "measure" => name).set(f64::NAN);
        }
        gauge!(names::metric("unusual_inputs")).set(f64::NAN);
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
