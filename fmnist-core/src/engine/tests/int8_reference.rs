//! What [`Precision::Int8`](crate::engine::Precision) means, written as slowly and as plainly as it
//! can be: whole maps, one channel at a time, no packing and no plan.

use crate::{image::Image, model::Architecture, weights::Weights};

/// `[channels, side, side]`
#[derive(Clone)]
struct Map<T> {
    side: usize,
    channels: Vec<Vec<T>>,
}

/// A layer in real units: `weights[output][input][tap]`.
struct Layer {
    weights: Vec<Vec<Vec<f64>>>,
    bias: Vec<f64>,
}

/// The logits of one image.
pub(super) fn logits(weights: &Weights, image: &Image) -> Vec<f32> {
    match weights.architecture().unwrap() {
        Architecture::Notebook => notebook(weights, image),
        Architecture::Base => {
            let blocks = [([16, 32], true), ([32, 48], true), ([48, 32], false)];
            residual(weights, image, &blocks)
        }
        Architecture::Tiny => tiny(weights, image),
        Architecture::Large => {
            let blocks = [([32, 64], false), ([64, 64], true), ([64, 64], true), ([64, 64], false)];
            residual(weights, image, &blocks)
        }
    }
}

fn notebook(weights: &Weights, image: &Image) -> Vec<f32> {
    let conv = Layer {
        weights: split(tensor(weights, "conv.weight"), 32, 1),
        bias: tensor(weights, "conv.bias"),
    };
    let x = stem(weights, "conv", &conv, image, false);
    let hidden = dense(weights, "hidden", 5408, 100);
    let x = relu_layer(weights, "hidden", &hidden, &flatten(&x), step(weights, "conv"), None);
    output(weights, &x, step(weights, "hidden"))
}

/// Blocks of so many input and output channels, some of which pool.
fn residual(weights: &Weights, image: &Image, blocks: &[([usize; 2], bool)]) -> Vec<f32> {
    let width = blocks[0].0[0];
    let mut x = stem(weights, "stem", &conv_norm(weights, "stem", width, 1), image, true);
    let mut input_step = step(weights, "stem");
    for (block, &([inputs, outputs], pools)) in blocks.iter().enumerate() {
        let name = |layer: &str| format!("blocks.{block}.{layer}");
        let first = conv_norm(weights, &name("first"), outputs, inputs);
        let mut second = conv_norm(weights, &name("second"), outputs, outputs);
        let mut skip = conv_norm(weights, &name("skip"), outputs, inputs);
        // The sum has one bias, in the steps of its result.
        skip.bias.iter_mut().zip(&second.bias).for_each(|(skip, second)| *skip += second);
        second.bias.fill(0.0);
        let residual = linear(&skip, &x, input_step, step(weights, &name("second")));
        let middle = relu_layer(weights, &name("first"), &first, &x, input_step, None);
        let middle_step = step(weights, &name("first"));
        x = relu_layer(weights, &name("second"), &second, &middle, middle_step, Some(&residual));
        input_step = step(weights, &name("second"));
        if pools {
            x = pool(&x);
        }
    }
    output(weights, &x, input_step)
}

fn tiny(weights: &Weights, image: &Image) -> Vec<f32> {
    let mut x = stem(weights, "stem", &conv_norm(weights, "stem", 16, 1), image, true);
    let mut input_step = step(weights, "stem");
    for (layer, [inputs, outputs]) in [[16, 16], [16, 24], [24, 32]].into_iter().enumerate() {
        let name = format!("layers.{layer}");
        let conv = conv_norm(weights, &name, outputs, inputs);
        x = relu_layer(weights, &name, &conv, &x, input_step, None);
        input_step = step(weights, &name);
        if layer < 2 {
            x = pool(&x);
        }
    }
    output(weights, &x, input_step)
}

fn output(weights: &Weights, x: &Map<u8>, input_step: f64) -> Vec<f32> {
    let x = flatten(x);
    let output = dense(weights, "output", x.channels.len(), weights.metadata.classes.len());
    linear(&output, &x, input_step, 1.0).channels.concat()
}

/// What a step of a layer's activations is worth.
fn step(weights: &Weights, name: &str) -> f64 {
    f64::from(weights.metadata.activations[name]) / 255.0
}

fn tensor(weights: &Weights, name: &str) -> Vec<f64> {
    weights.tensors[name].values.iter().copied().map(f64::from).collect()
}

fn split(values: Vec<f64>, outputs: usize, inputs: usize) -> Vec<Vec<Vec<f64>>> {
    let taps = values.len() / (outputs * inputs);
    let of_output = |values: &[f64]| values.chunks(taps).map(<[f64]>::to_vec).collect();
    values.chunks(inputs * taps).map(of_output).collect()
}

/// Burn's dense weights are `[inputs, outputs]`.
fn dense(weights: &Weights, name: &str, inputs: usize, outputs: usize) -> Layer {
    let values = tensor(weights, &format!("{name}.weight"));
    let of_output =
        |output| (0..inputs).map(|input| vec![values[input * outputs + output]]).collect();
    Layer {
        weights: (0..outputs).map(of_output).collect(),
        bias: tensor(weights, &format!("{name}.bias")),
    }
}

fn conv_norm(weights: &Weights, name: &str, outputs: usize, inputs: usize) -> Layer {
    let part = |part: &str| tensor(weights, &format!("{name}.{part}"));
    let (gamma, beta) = (part("norm.gamma"), part("norm.beta"));
    let (mean, variance) = (part("norm.running_mean"), part("norm.running_var"));
    let mut layer =
        Layer { weights: split(part("conv.weight"), outputs, inputs), bias: Vec::new() };
    for (output, filters) in layer.weights.iter_mut().enumerate() {
        let scale = gamma[output] / (variance[output] + 1e-5).sqrt();
        filters.iter_mut().flatten().for_each(|weight| *weight *= scale);
        layer.bias.push(beta[output] - mean[output] * scale);
    }
    layer
}

/// Weights in steps of their output's own, ±127 at most, and what a step is worth.
fn quantised(filters: &[Vec<f64>]) -> (Vec<Vec<i32>>, f64) {
    let largest =
        filters.iter().flatten().fold(0.0_f64, |largest, weight| largest.max(weight.abs()));
    let step = if largest > 0.0 { largest / 127.0 } else { 1.0 };
    let steps = |filter: &Vec<f64>| {
        filter.iter().map(|weight| (weight / step).round_ties_even() as i32).collect()
    };
    (filters.iter().map(steps).collect(), step)
}

/// Sums of products at every position, `around` standing outside of the map.
fn sums(filters: &[Vec<i32>], input: &Map<u8>, around: Option<u8>) -> Vec<i32> {
    let reach = filters[0].len().isqrt() / 2;
    let inset = if around.is_some() { 0 } else { reach };
    let mut sums = Vec::new();
    for row in inset..input.side - inset {
        for column in inset..input.side - inset {
            let mut sum = 0;
            for (filter, channel) in filters.iter().zip(&input.channels) {
                for (tap, weight) in filter.iter().enumerate() {
                    let row = (row + tap / (2 * reach + 1)).checked_sub(reach);
                    let column = (column + tap % (2 * reach + 1)).checked_sub(reach);
                    let inside = |at: Option<usize>| at.filter(|at| *at < input.side);
                    let value = match (inside(row), inside(column)) {
                        (Some(row), Some(column)) => channel[row * input.side + column],
                        _ => around.expect("the convolution stays inside"),
                    };
                    sum += weight * i32::from(value);
                }
            }
            sums.push(sum);
        }
    }
    sums
}

/// A layer's sums as numbers, in steps of its output.
fn linear(layer: &Layer, input: &Map<u8>, input_step: f64, output_step: f64) -> Map<f32> {
    let mut channels = Vec::new();
    for (filters, bias) in layer.weights.iter().zip(&layer.bias) {
        let (filters, weight_step) = quantised(filters);
        let scale = (input_step * weight_step / output_step) as f32;
        let bias = (bias / output_step) as f32;
        let sums = sums(&filters, input, Some(0));
        channels.push(sums.into_iter().map(|sum| sum as f32 * scale + bias).collect());
    }
    Map { side: input.side, channels }
}

/// The same with ReLU, in bytes; a residual has the bias in it.
fn relu_layer(
    weights: &Weights,
    name: &str,
    layer: &Layer,
    input: &Map<u8>,
    input_step: f64,
    residual: Option<&Map<f32>>,
) -> Map<u8> {
    let mut numbers = linear(layer, input, input_step, step(weights, name));
    if let Some(residual) = residual {
        for (numbers, residual) in numbers.channels.iter_mut().zip(&residual.channels) {
            numbers.iter_mut().zip(residual).for_each(|(number, residual)| *number += residual);
        }
    }
    let bytes = |channel: &Vec<f32>| channel.iter().copied().map(byte).collect();
    Map { side: numbers.side, channels: numbers.channels.iter().map(bytes).collect() }
}

fn byte(number: f32) -> u8 {
    number.clamp(0.0, 255.0).round_ties_even() as u8
}

/// The first layer, over pixels, pooled.
fn stem(weights: &Weights, name: &str, layer: &Layer, image: &Image, padded: bool) -> Map<u8> {
    let mean = f64::from(weights.metadata.normalisation.mean);
    let deviation = f64::from(weights.metadata.normalisation.deviation);
    let pixels = Map { side: 28, channels: vec![image.pixels().to_vec()] };
    let around = padded.then_some((mean * 255.0).round_ties_even() as u8);
    let mut channels = Vec::new();
    let mut side = 0;
    for (filters, bias) in layer.weights.iter().zip(&layer.bias) {
        let bias = bias - filters[0].iter().sum::<f64>() * mean / deviation;
        let over_pixels = filters[0].iter().map(|weight| weight / (255.0 * deviation)).collect();
        let (filters, weight_step) = quantised(&[over_pixels]);
        let sums = sums(&filters, &pixels, around);
        let scale = (weight_step / step(weights, name)) as f32;
        let bias = (bias / step(weights, name)) as f32;
        side = sums.len().isqrt();
        channels.push(sums.into_iter().map(|sum| byte(sum as f32 * scale + bias)).collect());
    }
    pool(&Map { side, channels })
}

/// 2×2 maxima; a last odd row or column is left out.
fn pool(input: &Map<u8>) -> Map<u8> {
    let side = input.side / 2;
    let of_channel = |channel: &Vec<u8>| {
        let largest = |index: usize| {
            let first = index / side * 2 * input.side + index % side * 2;
            let below = first + input.side;
            channel[first].max(channel[first + 1]).max(channel[below]).max(channel[below + 1])
        };
        (0..side * side).map(largest).collect()
    };
    Map { side, channels: input.channels.iter().map(of_channel).collect() }
}

/// Every number a channel of one position.
fn flatten(input: &Map<u8>) -> Map<u8> {
    Map { side: 1, channels: input.channels.iter().flatten().map(|&byte| vec![byte]).collect() }
}
