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

use crate::recipe::Plateau;

/// What a run is besides its tensors.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct State {
    pub(crate) architecture: String,
    pub(crate) seed: u64,
    pub(crate) epochs: usize,
    pub(crate) batch: usize,
    /// Steps done; with the seed it decides every random choice to come.
    pub(crate) step: usize,
    pub(crate) plateau: Option<Plateau>,
}

const MODEL: &str = "model.bpk";
const OPTIMISER: &str = "optimiser.bpk";
const AVERAGE: &str = "average.json";
const STATE: &str = "state.json";

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
    fs::create_dir_all(&beside).with_context(|| format!("cannot create {}", beside.display()))?;

    // Copying to a network without autodiff folds in the running statistics of the last step.
    let _ = network.valid();
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
    fs::write(beside.join(STATE), serde_json::to_vec_pretty(state)?)?;

    let _ = fs::remove_dir_all(&old);
    if current.exists() {
        fs::rename(&current, &old)?;
    }
    fs::rename(&beside, &current)?;
    let _ = fs::remove_dir_all(&old);
    Ok(())
}

/// Reads the newest checkpoint of a folder; it must be of the run that `expected` describes.
pub(crate) fn load(
    folder: &Path,
    network: Network,
    optimiser: ModuleOptimizer,
    expected: &State,
) -> Result<(Network, ModuleOptimizer, Option<Tensors>, State)> {
    let place = [current(folder), folder.join("previous")]
        .into_iter()
        .find(|place| place.join(STATE).exists())
        .with_context(|| format!("no checkpoint in {}", folder.display()))?;
    let state: State = serde_json::from_slice(&fs::read(place.join(STATE))?)?;
    let same = |a: &State| (a.architecture.clone(), a.seed, a.epochs, a.batch);
    if same(&state) != same(expected) {
        bail!(
            "the checkpoint in {} is of {:?}; this run would be {:?} (model, seed, epochs, batch)",
            folder.display(),
            same(&state),
            same(expected)
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

fn read_average(json: &[u8]) -> Result<Tensors> {
    let flat: Vec<(String, Vec<usize>, Vec<u32>)> = serde_json::from_slice(json)?;
    Ok(flat
        .into_iter()
        .map(|(name, shape, bits)| {
            (name, NamedTensor { shape, values: bits.into_iter().map(f32::from_bits).collect() })
        })
        .collect())
}
