//! The old notebook's weights: Keras's layouts turned into those of this project.
//!
//! `scripts/keras_to_safetensors.py` does the first half, out of the `.h5` file. Keras convolves
//! `[height, width, input, output]` and flattens `[height, width, channel]`; the network here convolves
//! `[output, input, height, width]` and flattens `[channel, height, width]`. Keras's model ends with a
//! softmax, ours with what goes into it.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use fmnist_core::{
    Classifier, Engine,
    dataset::{self, Split},
    model::{Architecture, Network, Normalisation},
    weights::{self, Metadata, NamedTensor, Tensors, Weights, with_tensors},
};
use safetensors::{Dtype, SafeTensors};

use crate::{
    commands::{calibrate::measure_activations, evaluate::judge},
    console::say,
    data::{self, open_test},
    place,
};

/// Channels, and rows or columns, of what the notebook's network flattens.
const CHANNELS: usize = 32;
const SIDE: usize = 13;
const HIDDEN: usize = 100;
const GOLDEN_IMAGES: usize = 8;

#[derive(clap::Args)]
pub(crate) struct ImportArguments {
    /// What training/scripts/keras_to_safetensors.py made of a Keras model
    file: PathBuf,
    /// Where the weights go
    #[arg(long, default_value = "notebook.safetensors")]
    out: PathBuf,
    /// Version that predictions carry
    #[arg(long, default_value = "1.0")]
    version: String,
    #[arg(long, value_name = "DIR", help = data::HELP)]
    data: Option<PathBuf>,
}

pub(crate) fn run(arguments: &ImportArguments) -> Result<()> {
    place::expect_file(&arguments.out)?;
    let path = &arguments.file;
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let train = dataset::open(arguments.data.as_deref(), Split::Train)?;
    let tensors = converted(&bytes, train.classes.len())
        .with_context(|| format!("{} is not the notebook's network", path.display()))?;

    let normalisation = Normalisation { mean: 0.0, deviation: 1.0 };
    let golden = &train.images[..GOLDEN_IMAGES.min(train.images.len())];
    let device = Device::flex();
    let network = Network::new(Architecture::Notebook, train.classes.len(), &device);
    let network = with_tensors(network, tensors.clone())?;
    let logits = network.forward(normalisation.tensor(golden, &device)).into_data();
    let logits: Vec<f32> = logits.iter::<f32>().collect();
    let rows = logits.chunks(train.classes.len()).map(<[f32]>::to_vec);
    let metadata = Metadata {
        format: weights::FORMAT,
        name: None,
        architecture: Architecture::Notebook.to_string(),
        version: arguments.version.clone(),
        input_shape: [1, 28, 28],
        normalisation,
        classes: train.classes.to_vec(),
        // What it was trained on is not known, so there is nothing held out to fit it on.
        temperature: 1.0,
        activations: BTreeMap::new(),
        baseline: None,
        score: None,
        origin: None,
    };
    let golden = golden.iter().cloned().zip(rows).collect();
    let mut weights = Weights { metadata, tensors, golden };
    measure_activations(&mut weights, &train)?;
    let classifier = Classifier::from_bytes(&weights.to_bytes(), Engine::default())?;
    let test = open_test(arguments.data.as_deref(), &classifier)?;
    let score = judge(&classifier, &test)?.0;
    weights.metadata.score = Some(score);
    weights.save(&arguments.out)?;
    say!("accuracy {:.2} % on the test set", 100.0 * score.accuracy)?;
    say!("weights in {}", arguments.out.display())
}

/// Reads Keras's tensors and gives them the places of the network's.
fn converted(bytes: &[u8], classes: usize) -> Result<Tensors> {
    let file = SafeTensors::deserialize(bytes)?;
    let conv = take(&file, "conv.kernel", &[3, 3, 1, CHANNELS])?;
    let hidden = take(&file, "hidden.kernel", &[SIDE * SIDE * CHANNELS, HIDDEN])?;
    let output = take(&file, "output.kernel", &[HIDDEN, classes])?;

    let taps = 3 * 3;
    let conv_weight = (0..CHANNELS).flat_map(|channel| {
        let conv = &conv;
        (0..taps).map(move |tap| conv[tap * CHANNELS + channel])
    });
    let positions = SIDE * SIDE;
    let hidden_weight = (0..CHANNELS * positions).flat_map(|row| {
        let (channel, position) = (row / positions, row % positions);
        hidden[(position * CHANNELS + channel) * HIDDEN..][..HIDDEN].iter().copied()
    });
    let bias = |name: &str, length: usize| {
        Ok::<_, anyhow::Error>(tensor(&[length], take(&file, name, &[length])?))
    };
    let named = [
        ("conv.weight", tensor(&[CHANNELS, 1, 3, 3], conv_weight.collect())),
        ("conv.bias", bias("conv.bias", CHANNELS)?),
        ("hidden.weight", tensor(&[CHANNELS * positions, HIDDEN], hidden_weight.collect())),
        ("hidden.bias", bias("hidden.bias", HIDDEN)?),
        ("output.weight", tensor(&[HIDDEN, classes], output)),
        ("output.bias", bias("output.bias", classes)?),
    ];
    Ok(named.map(|(name, tensor)| (name.to_owned(), tensor)).into())
}

fn tensor(shape: &[usize], values: Vec<f32>) -> NamedTensor {
    NamedTensor { shape: shape.to_vec(), values }
}

fn take(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let view = file.tensor(name).with_context(|| format!("expected tensor {name}"))?;
    ensure!(
        view.shape() == shape,
        "tensor {name}: expected shape {shape:?}, found {:?}",
        view.shape()
    );
    if view.dtype() != Dtype::F32 {
        bail!("tensor {name}: expected F32, found {:?}", view.dtype());
    }
    let (chunks, _) = view.data().as_chunks::<4>();
    let values: Vec<f32> = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    ensure!(values.iter().all(|value| value.is_finite()), "tensor {name}: expected finite values");
    Ok(values)
}
