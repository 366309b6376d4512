//! `training import` against a plain computation in Keras's own layouts.

use std::{collections::HashMap, fs, process::Command};

use fmnist_core::{
    Classifier, Engine, Image,
    dataset::{Split, synthetic},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};

use crate::write_data;

const CHANNELS: usize = 32;
const SIDE: usize = 13;
const HIDDEN: usize = 100;
const CLASSES: usize = 10;

/// Random weights of the notebook's model as Keras keeps them.
struct Keras {
    /// `[3, 3, 1, 32]`
    conv_kernel: Vec<f32>,
    conv_bias: Vec<f32>,
    /// `[13 · 13 · 32, 100]`
    hidden_kernel: Vec<f32>,
    hidden_bias: Vec<f32>,
    /// `[100, 10]`
    output_kernel: Vec<f32>,
    output_bias: Vec<f32>,
}

impl Keras {
    fn random(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut values = |count: usize, limit: f32| {
            (0..count).map(|_| random.random_range(-limit..limit)).collect()
        };
        Self {
            conv_kernel: values(9 * CHANNELS, 0.6),
            conv_bias: values(CHANNELS, 0.2),
            hidden_kernel: values(SIDE * SIDE * CHANNELS * HIDDEN, 0.03),
            hidden_bias: values(HIDDEN, 0.2),
            output_kernel: values(HIDDEN * CLASSES, 0.3),
            output_bias: values(CLASSES, 0.2),
        }
    }

    fn to_file(&self) -> Vec<u8> {
        let classes = self.output_bias.len();
        let bytes = |values: &[f32]| -> Vec<u8> {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
        let parts: [(&str, Vec<usize>, Vec<u8>); 6] = [
            ("conv.kernel", vec![3, 3, 1, CHANNELS], bytes(&self.conv_kernel)),
            ("conv.bias", vec![CHANNELS], bytes(&self.conv_bias)),
            ("hidden.kernel", vec![SIDE * SIDE * CHANNELS, HIDDEN], bytes(&self.hidden_kernel)),
            ("hidden.bias", vec![HIDDEN], bytes(&self.hidden_bias)),
            ("output.kernel", vec![HIDDEN, classes], bytes(&self.output_kernel)),
            ("output.bias", vec![classes], bytes(&self.output_bias)),
        ];
        let views = parts.iter().map(|(name, shape, bytes)| {
            (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
        });
        safetensors::serialize(views, None::<HashMap<String, String>>).expect("a file")
    }

    /// Conv2D, ReLU, MaxPooling2D, Flatten, Dense, ReLU, Dense: height, width, channel throughout.
    fn logits(&self, image: &Image) -> Vec<f64> {
        let pixel = |y: usize, x: usize| f64::from(image.pixels()[y * 28 + x]) / 255.0;
        let convolved = |y: usize, x: usize, channel: usize| {
            let mut sum = f64::from(self.conv_bias[channel]);
            for (dy, dx) in (0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx))) {
                let weight = self.conv_kernel[(dy * 3 + dx) * CHANNELS + channel];
                sum += f64::from(weight) * pixel(y + dy, x + dx);
            }
            sum.max(0.0)
        };
        let mut flat = Vec::new();
        for (y, x) in (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (y, x))) {
            for channel in 0..CHANNELS {
                let window = [(0, 0), (0, 1), (1, 0), (1, 1)];
                let values = window.map(|(dy, dx)| convolved(2 * y + dy, 2 * x + dx, channel));
                flat.push(values.into_iter().fold(0.0, f64::max));
            }
        }
        let hidden = dense(&flat, &self.hidden_kernel, &self.hidden_bias);
        let hidden: Vec<f64> = hidden.into_iter().map(|value| value.max(0.0)).collect();
        dense(&hidden, &self.output_kernel, &self.output_bias)
    }
}

fn dense(input: &[f64], kernel: &[f32], bias: &[f32]) -> Vec<f64> {
    let output = |output: usize| {
        let products = input.iter().enumerate();
        let products = products.map(|(row, x)| x * f64::from(kernel[row * bias.len() + output]));
        f64::from(bias[output]) + products.sum::<f64>()
    };
    (0..bias.len()).map(output).collect()
}

#[test]
fn imported_weights_compute_what_keras_computes() {
    let folder = tempfile::tempdir().expect("a folder");
    write_data(folder.path());
    let keras = Keras::random(1);
    fs::write(folder.path().join("keras.safetensors"), keras.to_file()).expect("written");
    let import = |file: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_training"));
        command.args(["import", file, "--version", "old", "--data", "."]);
        command.current_dir(folder.path()).output().expect("started")
    };
    let output = import("keras.safetensors");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let fused = Classifier::load(folder.path().join("notebook.safetensors")).expect("loaded");
    assert_eq!(fused.identity().version, "old");
    let images = synthetic(Split::Test, 20, 9).images;
    let flex = fused.clone().with_engine(Engine::Flex).expect("flex");
    for classifier in [fused, flex] {
        let found = classifier.logits(&images).expect("computed");
        for (image, found) in images.iter().zip(found.chunks(CLASSES)) {
            for (expected, found) in keras.logits(image).into_iter().zip(found) {
                let apart = (expected - f64::from(*found)).abs();
                assert!(apart < 1e-4, "{expected}, not {found} on {}", classifier.engine());
            }
        }
    }

    let nine = Keras { output_kernel: vec![0.0; 9 * HIDDEN], output_bias: vec![0.0; 9], ..keras };
    let mut file = nine.to_file();
    fs::write(folder.path().join("nine.safetensors"), &file).expect("written");
    file.truncate(100);
    fs::write(folder.path().join("cut.safetensors"), file).expect("written");
    let refused = |file| String::from_utf8_lossy(&import(file).stderr).into_owned();
    let message = refused("nine.safetensors");
    assert!(
        message.contains("output.kernel: expected shape [100, 10], found [100, 9]"),
        "{message}"
    );
    assert!(refused("cut.safetensors").contains("cut.safetensors is not the notebook's network"));
}
