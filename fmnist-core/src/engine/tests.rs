mod int8_reference;

use std::{
    num::NonZeroUsize,
    sync::{Arc, LazyLock},
};

use burn::tensor::Device;
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{
    target::{ByteMethod, Target},
    *,
};
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

/// Random weights with batch statistics as if it had been trained, and its activations.
fn scrambled(architecture: Architecture, classes: usize, seed: u64) -> Weights {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = untrained(architecture, classes);
    for (name, tensor) in &mut weights.tensors {
        let range = match name.rsplit('.').next() {
            Some("gamma" | "running_var") => 0.5..1.5,
            Some("beta" | "bias" | "running_mean") => -0.3..0.3,
            _ => -0.15..0.15,
        };
        tensor.values.iter_mut().for_each(|value| *value = random.random_range(range.clone()));
    }
    weights.metadata.activations = activations(&weights, &images(100)).unwrap();
    weights
}

/// Drawn images, and those that a shortcut would get wrong: blank, full, and noise.
fn probes() -> Vec<Image> {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut probes = images(40);
    probes.extend([0, 255].map(|pixel| Image::new([pixel; Image::PIXELS])));
    probes.extend((0..5).map(|_| Image::from_fn(|_, _| random.random())));
    probes
}

#[test]
fn every_kernel_computes_what_burn_computes() {
    let images = probes();
    for architecture in Architecture::ALL {
        for (seed, classes) in [(1, 10), (2, 1), (3, 16), (4, 23), (5, 70)] {
            let weights = scrambled(architecture, classes, seed);
            let expected = burns(&weights, &images);
            for kernel in kernels() {
                let plan = Plan::compile(&weights, Precision::F32, kernel).unwrap();
                for (index, (found, expected)) in
                    logits(&plan, &images).iter().zip(&expected).enumerate()
                {
                    // Sums of random weights have no scale of their own as trained ones have.
                    let close = (found - expected).abs() <= 1e-4 * (1.0 + expected.abs());
                    assert!(close, "{architecture} {kernel} {index}: {found}, not {expected}");
                }
            }
        }
    }
}

#[test]
fn int8_is_the_same_to_the_last_bit_on_every_kernel() {
    let images = probes();
    for architecture in Architecture::ALL {
        for (seed, classes) in [(1, 10), (2, 1), (3, 16), (4, 23)] {
            let weights = scrambled(architecture, classes, seed);
            let plan = |kernel| Plan::compile(&weights, Precision::Int8, kernel).unwrap();
            let expected = logits(&plan(Kernel::Portable), &images);
            assert!(expected.iter().all(|logit| logit.is_finite()));
            for kernel in kernels() {
                assert_eq!(logits(&plan(kernel), &images), expected, "{architecture} {kernel}");
            }
            let by = |isa, method| {
                let target = Target { isa, method };
                Plan::compile_for(target, &weights, Precision::Int8).unwrap()
            };
            let (portable, best) = (Kernel::Portable, Kernel::best());
            let plans = [
                ("directly", by(portable, ByteMethod::Direct)),
                ("with tiles in software", by(portable, ByteMethod::Tiles)),
                ("by the best's registers", by(best, ByteMethod::Direct)),
                ("by the best's registers, filtered", by(best, ByteMethod::Winograd)),
                ("best", plan(best)),
            ];
            // Images are the rows of a matrix, up to sixteen.
            for ((name, plan), count) in plans.iter().flat_map(|plan| {
                [1, 3, 4, 15, 16, 17, 31, 33, images.len()].map(|count| (plan, count))
            }) {
                let expected = &expected[..count * classes];
                assert_eq!(
                    logits(plan, &images[..count]),
                    expected,
                    "{architecture} {name} {count}"
                );
            }
        }
    }
}

#[test]
fn int8_is_what_a_slow_reference_computes_to_the_last_bit() {
    let images = &probes()[..8];
    for architecture in Architecture::ALL {
        for seed in [9, 10] {
            let weights = scrambled(architecture, 10, seed);
            let plan = Plan::compile(&weights, Precision::Int8, Kernel::best()).unwrap();
            for image in images {
                let found = logits(&plan, std::slice::from_ref(image));
                assert_eq!(found, int8_reference::logits(&weights, image), "{architecture}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a weights file may say, it is a plan that computes, or an error.
    #[test]
    fn any_tensors_compile_or_are_refused(
        architecture in prop::sample::select(Architecture::ALL.to_vec()),
        int8 in any::<bool>(),
        classes in 1_usize..40,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..7, any::<f32>()), 0..4),
    ) {
        let mut weights = calibrated(architecture).clone();
        weights.metadata.classes.resize(classes, "class".to_owned());
        for (index, change, value) in changes {
            let name = index.get(&weights.tensors.keys().cloned().collect::<Vec<_>>()).clone();
            let tensor = weights.tensors.get_mut(&name).expect("it was just listed");
            match change {
                0 => drop(weights.tensors.remove(&name)),
                1 => tensor.shape.reverse(),
                2 => tensor.shape.push(1),
                3 => tensor.values.fill(value),
                4 => tensor.values.truncate(tensor.values.len() / 2),
                5 => weights.metadata.normalisation.deviation = value,
                _ => weights.metadata.activations.values_mut().for_each(|largest| *largest = value),
            }
        }
        let precision = if int8 { Precision::Int8 } else { Precision::F32 };
        for kernel in kernels() {
            if let Ok(plan) = Plan::compile(&weights, precision, kernel) {
                logits(&plan, &images(2));
            }
        }
    }
}

/// One network of each architecture, scrambled once.
fn calibrated(architecture: Architecture) -> &'static Weights {
    static NETWORKS: LazyLock<Vec<Weights>> = LazyLock::new(|| {
        Architecture::ALL.map(|architecture| scrambled(architecture, 10, 12)).into()
    });
    let index = Architecture::ALL.iter().position(|each| *each == architecture);
    &NETWORKS[index.expect("all are there")]
}

#[test]
fn int8_stays_close_to_the_network() {
    let images = images(100);
    for architecture in Architecture::ALL {
        let weights = scrambled(architecture, 10, 7);
        let int8 = Plan::compile(&weights, Precision::Int8, Kernel::best()).unwrap();
        let (found, expected) = (logits(&int8, &images), burns(&weights, &images));
        let spread = expected.iter().fold(0.0_f32, |spread, logit| spread.max(logit.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 0.05 * spread, "{found}, not {expected}");
        }
    }
}

#[test]
fn a_batch_gives_what_its_images_give_one_by_one() {
    let images = probes();
    for architecture in Architecture::ALL {
        let weights = scrambled(architecture, 10, 8);
        for precision in [Precision::F32, Precision::Int8] {
            for kernel in kernels() {
                let plan = Plan::compile(&weights, precision, kernel).unwrap();
                let alone =
                    images.iter().flat_map(|image| logits(&plan, std::slice::from_ref(image)));
                assert_eq!(alone.collect::<Vec<_>>(), logits(&plan, &images), "{kernel}");
            }
        }
    }
}

#[test]
fn a_network_that_was_not_calibrated_is_refused_for_int8_by_its_first_layer() {
    let error = Plan::compile(&untrained(Architecture::Base, 10), Precision::Int8, Kernel::best());
    let message = error.unwrap_err().to_string();
    assert!(message.starts_with("layer stem: expected its largest activation"), "{message}");
    assert!(message.contains("training calibrate"), "{message}");
}

#[test]
fn bad_tensors_are_named() {
    let compile = |change: &dyn Fn(&mut Weights)| {
        let mut weights = untrained(Architecture::Base, 10);
        change(&mut weights);
        Plan::compile(&weights, Precision::F32, Kernel::best()).unwrap_err().to_string()
    };
    let missing = compile(&|weights| drop(weights.tensors.remove("stem.norm.beta")));
    assert_eq!(missing, "expected tensor stem.norm.beta, found none of that name");
    let extra = compile(&|weights| {
        let tensor = weights.tensors["stem.norm.beta"].clone();
        weights.tensors.insert("stem.more".to_owned(), tensor);
    });
    assert_eq!(extra, "expected no tensor stem.more, found one");
    let shape = compile(&|weights| {
        weights.tensors.get_mut("output.weight").unwrap().shape = vec![10, 288];
    });
    assert_eq!(shape, "tensor output.weight: expected shape [288, 10], found [10, 288]");
    let variance = compile(&|weights| {
        weights.tensors.get_mut("stem.norm.running_var").unwrap().values[3] = -1.0;
    });
    assert!(variance.starts_with("tensor stem.norm.running_var: expected finite"), "{variance}");
}

#[test]
fn kernels_are_known_by_their_names() {
    for kernel in kernels() {
        assert_eq!(kernel.name().parse::<Kernel>().unwrap(), kernel);
    }
    let message = "sse9".parse::<Kernel>().unwrap_err().to_string();
    assert!(message.starts_with("no kernel is called \"sse9\""), "{message}");
    assert!(message.ends_with("portable"), "{message}");
}

#[test]
fn callers_that_share_helpers_get_their_own_logits() {
    let plan = scrambled(Architecture::Base, 10, 8);
    let plan = Arc::new(Plan::compile(&plan, Precision::F32, Kernel::best()).unwrap());
    let threads = Threads::new(NonZeroUsize::new(3).unwrap());
    let images = images(90);
    let ask = |first: usize| {
        let images = &images[first..first + 60];
        let expected = logits(&plan, images);
        for _ in 0..50 {
            let mut found = vec![f32::NAN; expected.len()];
            threads.logits(&plan, images, &mut found);
            assert_eq!(found, expected);
        }
    };
    std::thread::scope(|scope| {
        for first in [0, 10, 20, 30] {
            scope.spawn(move || ask(first));
        }
    });
}
