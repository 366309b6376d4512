use burn::tensor::Device;

use super::*;
use crate::{
    dataset::{self, Split},
    image::Image,
    model::Architecture,
    weights::{Weights, tests::untrained},
};

fn images(count: usize) -> Vec<Image> {
    dataset::synthetic(Split::Test, count, 11).images.to_vec()
}

fn logits(plan: &Plan, images: &[Image]) -> Vec<f32> {
    let mut logits = vec![f32::NAN; images.len() * plan.classes()];
    plan.logits(images, &mut logits);
    logits
}

fn burns(weights: &Weights, images: &[Image]) -> Vec<f32> {
    let device = Device::flex();
    let input = weights.metadata.normalisation.tensor(images, &device);
    weights.network(&device).unwrap().forward(input).into_data().iter::<f32>().collect()
}

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
}

#[test]
fn every_kernel_computes_what_burn_computes() {
    let images = images(70);
    for architecture in Architecture::ALL {
        let weights = untrained(architecture, 10);
        let expected = burns(&weights, &images);
        for kernel in kernels() {
            let found = logits(&Plan::compile(&weights, kernel).unwrap(), &images);
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let close = (found - expected).abs() <= 1e-4;
                assert!(close, "{architecture} {kernel} {index}: {found} against {expected}");
            }
        }
    }
}
