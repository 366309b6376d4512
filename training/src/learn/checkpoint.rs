//! A run on disk: everything that the next step needs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use burn::{module::Module, optim::ModuleOptimizer, store::ModuleRecord};
use fmnist_core::{
    model::Network,
    weights::{NamedTensor, Tensors},
};
use serde_json::Value;

use crate::{
    learn::{history::Epoch, recipe::Recipe, schedule::Plateau},
    place,
};

/// Everything that decides what a run leaves behind.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Plan {
    pub(crate) recipe: Recipe,
    pub(crate) seed: u64,
    /// Parts that a batch is cut into.
    pub(crate) threads: usize,
    /// Whether Burn's autodiff computes everything.
    pub(crate) burn: bool,
    /// The identity of the teacher, if there is one.
    pub(crate) teacher: Option<String>,
    /// SHA-256 of the images that are trained on, and of their labels.
    pub(crate) data_sha256: String,
}

/// What a run is besides its tensors.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct State {
    pub(crate) plan: Plan,
    /// Steps done; with the seed it decides every random choice to come.
    pub(crate) step: usize,
    /// Of the losses of the epoch's steps so far.
    pub(crate) loss_sum: f64,
    /// Right answers of the epoch's steps so far.
    pub(crate) right: usize,
    pub(crate) plateau: Option<Plateau>,
    /// The epochs that have ended.
    pub(crate) history: Vec<Epoch>,
    /// What the steps took.
    #[serde(default)]
    pub(crate) seconds: f64,
}

const MODEL: &str = "model.bpk";
const OPTIMISER: &str = "optimiser.bpk";
const AVERAGE: &str = "average.json";
/// CBOR, which gives every float back as it was, as JSON does not.
const STATE: &str = "state.cbor";

/// Where the newest checkpoint of a folder lies.
fn current(folder: &Path) -> PathBuf {
    folder.join("current")
}

/// Writes a checkpoint beside the last one, then puts it in its place.
pub(crate) fn save(
    folder: &Path,
    network: &Network,
    optimiser: &ModuleOptimizer,
    average: Option<&Tensors>,
    state: &State,
) -> Result<()> {
    let (current, beside, old) = (current(folder), folder.join("partial"), folder.join("previous"));
    let _ = fs::remove_dir_all(&beside);
    place::create_folder(&beside)?;

    network.clone().into_record().save(beside.join(MODEL))?;
    optimiser.save(beside.join(OPTIMISER))?;
    if let Some(average) = average {
        let flat: Vec<(&String, &[usize], Vec<u32>)> = average
            .iter()
            .map(|(name, tensor)| {
                (name, &*tensor.shape, tensor.values.iter().map(|v| v.to_bits()).collect())
            })
            .collect();
        fs::write(beside.join(AVERAGE), serde_json::to_vec(&flat)?)?;
    }
    let mut bytes = Vec::new();
    ciborium::into_writer(state, &mut bytes).context("cannot write the state")?;
    fs::write(beside.join(STATE), bytes)?;

    if current.exists() {
        let _ = fs::remove_dir_all(&old);
        fs::rename(&current, &old)?;
    }
    fs::rename(&beside, &current)?;
    let _ = fs::remove_dir_all(&old);
    Ok(())
}

/// The newest whole checkpoint of a folder: the last but one where a run was killed between the two
/// renames.
pub(crate) fn newest(folder: &Path) -> Option<PathBuf> {
    let places = [current(folder), folder.join("previous")];
    places.into_iter().find(|place| place.join(STATE).exists())
}

/// Removes the checkpoints of a run whose weights are written, so that the next run may begin.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    while let Some(place) = newest(folder) {
        fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    Ok(())
}

/// Reads the newest checkpoint of a folder; it must be of the run that `expected` describes.
pub(crate) fn load(
    folder: &Path,
    network: Network,
    optimiser: ModuleOptimizer,
    expected: &State,
) -> Result<(Network, ModuleOptimizer, Option<Tensors>, State)> {
    let place = newest(folder).with_context(|| format!("no checkpoint in {}", folder.display()))?;
    let state: State = ciborium::from_reader(&*fs::read(place.join(STATE))?)
        .with_context(|| format!("{} is damaged", place.join(STATE).display()))?;
    if state.plan != expected.plan {
        bail!(
            "the checkpoint in {} is of another run:{}",
            folder.display(),
            differences(
                &serde_json::to_value(&expected.plan)?,
                &serde_json::to_value(&state.plan)?
            )
        );
    }
    let network = network.try_load_record(ModuleRecord::load(place.join(MODEL))?)?;
    let optimiser = optimiser.load(place.join(OPTIMISER))?;
    let average = match fs::read(place.join(AVERAGE)) {
        Ok(json) => Some(read_average(&json)?),
        Err(_) => None,
    };
    Ok((network, optimiser, average, state))
}

/// Names the fields that are not the same, down to the innermost.
fn differences(expected: &Value, found: &Value) -> String {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected
            .iter()
            .filter(|(name, value)| found.get(*name) != Some(value))
            .map(|(name, value)| {
                let inner = differences(value, found.get(name).unwrap_or(&Value::Null));
                if value.is_object() { inner } else { format!(" {name}{inner}") }
            })
            .collect(),
        _ => format!(" expected {expected}, found {found};"),
    }
}

fn read_average(json: &[u8]) -> Result<Tensors> {
    let flat: Vec<(String, Vec<usize>, Vec<u32>)> = serde_json::from_slice(json)?;
    Ok(flat
        .into_iter()
        .map(|(name, shape, bits)| {
            (name, NamedTensor { shape, values: bits.into_iter().map(f32::from_bits).collect() })
        })
        .collect())
}
