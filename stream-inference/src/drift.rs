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

mod baseline;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use metrics::gauge;

pub use baseline::{Baseline, Expected, Measures};
use baseline::{Measure, bin};

use crate::{
    lock::Sound,
    names,
    predict::{ModelIdentity, Predictor, Served},
    shield::shielded,
};

/// Answers that are compared, unless told otherwise.
const WINDOW: usize = 10_000;
/// From so many on, the index of a stream that has not moved is well below [`MODERATE`].
const LEAST: usize = 1_000;
/// How often the gauges are set: every so many-th of the window.
const STEPS: usize = 50;

/// An index from which on a stream has moved a little, by the rule of thumb of credit scoring (N. Siddiqi,
/// *Credit Risk Scorecards*, 2006).
pub const MODERATE: f64 = 0.1;
/// An index from which on a stream is another one, by the same rule.
pub const LARGE: f64 = 0.2;

/// The baseline of a model, where it has one.
type BaselineOf<P> = dyn Fn(&P) -> Option<Baseline> + Send + Sync;

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
        self.watched.lock().sound().as_ref().and_then(|watched| watched.report(&self.measures))
    }

    /// Takes note of a batch.
    pub(crate) fn observe(&self, model: &P, inputs: &[P::Input], served: &Served<P::Output>) {
        // Foreign code, and so without the lock; its panic is not to cost an answer.
        let measured = shielded(|| {
            let columns = self.columns(model, &served.model);
            if columns.is_empty() {
                return;
            }
            let pairs = inputs.iter().zip(&served.outputs);
            let rows: Vec<Row> =
                pairs.map(|(input, output)| row(&self.measures, &columns, input, output)).collect();
            let mut watched = self.watched.lock().sound();
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
        if let Some(columns) = known(&self.watched.lock().sound()) {
            return columns;
        }
        let columns = self.begin(model);
        let mut watched = self.watched.lock().sound();
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

    /// Sets the gauges.
    fn tell<P: Predictor + ?Sized>(&self, measures: &Measures<P>) {
        if let Some(report) = self.report(measures) {
            set(report.indexes, report.unusual);
        }
    }

    /// What was told of a model that another follows is true no longer, and must not go on to alarm.
    fn forget<P: Predictor + ?Sized>(&self, measures: &Measures<P>) {
        if self.seen.len() >= LEAST {
            let name = |column: &Column| measures.0[column.measure].0.clone();
            set(self.columns.iter().map(|column| (name(column), f64::NAN)), f64::NAN);
        }
    }
}

fn set(indexes: impl IntoIterator<Item = (String, f64)>, unusual: f64) {
    for (name, index) in indexes {
        gauge!(names::metric("drift_index"), "measure" => name).set(index);
    }
    gauge!(names::metric("unusual_inputs")).set(unusual);
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
    names::describe_gauge(
        "drift_index",
        "Population stability index of a measure over the latest answers, against the model's baseline.",
    );
    names::describe_gauge(
        "unusual_inputs",
        "Share of the latest inputs with a number outside of all that the baseline has seen.",
    );
}
