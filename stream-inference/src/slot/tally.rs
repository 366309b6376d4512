//! How a candidate did: what is counted beside the model in service, and told as a report and in metrics.

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use metrics::{Counter, Gauge, counter, gauge};

use crate::{names, predict::ModelIdentity};

/// Inputs that are kept because the two models differ on them.
const KEPT: usize = 24;
/// Pairs of classes that are counted apart, so that memory and series have an end whatever names classes.
const PAIRS: usize = 1_000;
/// Both classes of any other pair.
const OTHER: &str = "(other)";

/// How a candidate did so far, beside the model that serves: another begins anew.
#[derive(Clone, Debug)]
pub struct ShadowReport<I> {
    /// Who it is.
    pub candidate: Arc<ModelIdentity>,
    /// Inputs that both answered.
    pub compared: u64,
    /// Those on which both are of one class.
    pub agreed: u64,
    /// Inputs that the candidate failed on.
    pub failed: u64,
    /// Inputs of its share that it was not given, because messages waited.
    pub skipped: u64,
    /// What both took for what was compared: the model in service, and the candidate.
    pub took: [Duration; 2],
    /// How often the model in service said the first and the candidate the second; beyond the first 1,000
    /// pairs both are `(other)`.
    pub disagreements: BTreeMap<[String; 2], u64>,
    /// The latest inputs on which they differ, the oldest first.
    pub differences: Vec<Arc<Difference<I>>>,
}

/// An input on which two models differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<I> {
    /// The input.
    pub input: I,
    /// What the model in service says.
    pub served: String,
    /// What the candidate says.
    pub candidate: String,
}

impl<I> ShadowReport<I> {
    /// The share of compared inputs on which both are of one class; `None` before the first.
    pub fn agreement(&self) -> Option<f64> {
        (self.compared > 0).then(|| self.agreed as f64 / self.compared as f64)
    }

    /// The candidate's time over that of the model in service.
    pub fn time_ratio(&self) -> Option<f64> {
        let [served, candidate] = self.took.map(|took| took.as_secs_f64());
        (served > 0.0 && candidate > 0.0).then(|| candidate / served)
    }
}

impl<I> ShadowReport<I> {
    /// Of a candidate that was compared with nothing yet.
    fn of(candidate: Arc<ModelIdentity>) -> Self {
        let (compared, agreed, failed, skipped) = (0, 0, 0, 0);
        let (disagreements, differences) = (BTreeMap::new(), Vec::new());
        let took = [Duration::ZERO; 2];
        Self { candidate, compared, agreed, failed, skipped, took, disagreements, differences }
    }
}

/// The account of a candidate, beside one model at a time, with its series.
pub(super) struct Tally<I> {
    /// Batches that wait for the candidate.
    pub(super) waiting: usize,
    /// The model that what follows is compared with.
    beside: Option<Arc<ModelIdentity>>,
    /// Has pairs of 0 that were counted beside an earlier model alone.
    report: ShadowReport<I>,
    /// Of the recorder that there is when the candidate comes.
    agreed: Counter,
    failed: Counter,
    skipped: Counter,
    time_ratio: Gauge,
}

impl<I> Tally<I> {
    pub(super) fn of(candidate: Arc<ModelIdentity>) -> Self {
        Self {
            waiting: 0,
            beside: None,
            report: ShadowReport::of(candidate),
            agreed: inputs("agreed"),
            failed: inputs("failed"),
            skipped: inputs("skipped"),
            time_ratio: gauge!(names::metric("shadow_time_ratio")),
        }
    }

    /// This tally beside that model: where it was another before, it begins anew.
    pub(super) fn beside(&mut self, model: &Arc<ModelIdentity>) -> &mut Self {
        if self.beside.as_ref() != Some(model) {
            let mut known = mem::take(&mut self.report.disagreements);
            // Their series are there for good, and so they go on to count among those that may be.
            known.values_mut().for_each(|inputs| *inputs = 0);
            let begun = ShadowReport::of(Arc::clone(&self.report.candidate));
            self.report = ShadowReport { disagreements: known, ..begun };
            self.beside = Some(Arc::clone(model));
        }
        self
    }

    /// So many inputs were not given to the candidate.
    pub(super) fn skip(&mut self, inputs: usize) {
        self.report.skipped += inputs as u64;
        self.skipped.increment(inputs as u64);
    }

    /// The candidate failed on so many inputs.
    pub(super) fn fail(&mut self, inputs: usize) {
        self.report.failed += inputs as u64;
        self.failed.increment(inputs as u64);
    }

    /// Both answered these inputs: what the model in service said of each, and the candidate.
    pub(super) fn add(
        &mut self,
        inputs: Vec<I>,
        served: Vec<String>,
        found: Vec<String>,
        took: [Duration; 2],
    ) {
        let report = &mut self.report;
        report.compared += inputs.len() as u64;
        report.took = [0, 1].map(|who| report.took[who] + took[who]);
        let mut agreed = 0;
        for ((input, served), candidate) in inputs.into_iter().zip(served).zip(found) {
            if served == candidate {
                agreed += 1;
                continue;
            }
            let mut pair = [served.clone(), candidate.clone()];
            if report.disagreements.len() >= PAIRS && !report.disagreements.contains_key(&pair) {
                pair = [OTHER.to_owned(), OTHER.to_owned()];
            }
            let [first, second] = pair.clone();
            counter!(
                names::metric("shadow_disagreements_total"),
                "served" => first, "candidate" => second
            )
            .increment(1);
            *report.disagreements.entry(pair).or_default() += 1;
            if report.differences.len() == KEPT {
                report.differences.remove(0);
            }
            report.differences.push(Arc::new(Difference { input, served, candidate }));
        }
        report.agreed += agreed;
        self.agreed.increment(agreed);
        let [served, candidate] = report.took.map(|took| took.as_secs_f64());
        if served > 0.0 {
            self.time_ratio.set(candidate / served);
        }
    }

    pub(super) fn report(&self) -> ShadowReport<I> {
        let ShadowReport { compared, agreed, failed, skipped, took, .. } = self.report;
        let counted = self.report.disagreements.iter().filter(|(_, inputs)| **inputs > 0);
        ShadowReport {
            candidate: Arc::clone(&self.report.candidate),
            disagreements: counted.map(|(pair, inputs)| (pair.clone(), *inputs)).collect(),
            differences: self.report.differences.clone(),
            compared,
            agreed,
            failed,
            skipped,
            took,
        }
    }
}

pub(super) fn describe() {
    names::describe_counter(
        "shadow_total",
        "Inputs of a candidate's share: agreed, failed, or skipped because messages waited.",
    );
    names::describe_counter(
        "shadow_disagreements_total",
        "Inputs on which the model in service and the candidate differ.",
    );
    names::describe_gauge(
        "shadow_time_ratio",
        "The candidate's time over that of the model in service.",
    );
    for outcome in ["agreed", "failed", "skipped"] {
        inputs(outcome).increment(0);
    }
}

fn inputs(outcome: &'static str) -> Counter {
    counter!(names::metric("shadow_total"), "outcome" => outcome)
}
