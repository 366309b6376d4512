//! What is looked at of inputs and answers, and how often each value of it was seen where a model was made.
//! Knows no stream: [`Drift`](super::Drift) compares one with it.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{file::save, predict::Predictor};

/// Bins of a number, of equal share in the baseline.
const BINS: usize = 10;

/// Of an input and its answer.
type Of<P, T> = dyn Fn(&<P as Predictor>::Input, &<P as Predictor>::Output) -> T + Send + Sync;

/// What is looked at of inputs and answers.
pub struct Measures<P: Predictor + ?Sized>(pub(super) Vec<(String, Measure<P>)>);

pub(super) enum Measure<P: Predictor + ?Sized> {
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
pub struct Baseline(pub(super) BTreeMap<String, Expected>);

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
        save(self, path)
    }

    /// Reads what [`Baseline::save`] wrote.
    ///
    /// # Errors
    /// If the file can't be read, or is none.
    pub fn load(path: &Path) -> io::Result<Self> {
        let baseline: Self = serde_json::from_slice(&fs::read(path)?)?;
        match baseline.0.iter().find(|(_, expected)| !expected.is_whole()) {
            None => Ok(baseline),
            Some((name, _)) => {
                let odd = format!("{name}: expected ascending edges, one more than counts");
                Err(io::Error::new(io::ErrorKind::InvalidData, odd))
            }
        }
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
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Classes(_) => true,
            Self::Numbers { edges, counts } => {
                edges.len() == counts.len() + 1 && edges.is_sorted() && !counts.is_empty()
            }
        }
    }
}

/// The bin of a number, and whether it is outside of all.
pub(super) fn bin(edges: &[f64], value: f64) -> (usize, bool) {
    let bins = edges.len() - 1;
    let at = edges.partition_point(|edge| *edge <= value).saturating_sub(1).min(bins - 1);
    (at, !(edges[0]..=edges[bins]).contains(&value))
}
