//! The shipped models on the official test set.

use std::env;

use fmnist_core::{
    Classifier, ClassifierSlot, Engine, Image, Prediction, Predictor,
    dataset::{self, Dataset, Split},
    drift::{LARGE, MODERATE},
    engine::Kernel,
};

/// The official test set where `FMNIST_DATA` says it is.
fn test_set() -> Option<Dataset> {
    if env::var_os("FMNIST_DATA").is_none() {
        println!("skipped: no official files (set FMNIST_DATA)");
        return None;
    }
    Some(dataset::open(None, Split::Test).expect("FMNIST_DATA holds the official files"))
}

fn accuracy(predictions: &[Prediction], test: &Dataset) -> f64 {
    let right = predictions.iter().zip(test.labels.iter());
    let right = right.filter(|(prediction, label)| prediction.class == usize::from(**label));
    right.count() as f64 / test.labels.len() as f64
}

/// Expected calibration error over 15 bins of equal width.
fn calibration_error(predictions: &[Prediction], test: &Dataset) -> f64 {
    let mut bins = [0.0_f64; 15];
    for (prediction, label) in predictions.iter().zip(test.labels.iter()) {
        let right = f64::from(u8::from(prediction.class == usize::from(*label)));
        let bin = (prediction.probability() * 15.0) as usize;
        bins[bin.min(14)] += f64::from(prediction.probability()) - right;
    }
    bins.iter().map(|gap| gap.abs()).sum::<f64>() / predictions.len() as f64
}

#[test]
fn official_test_set_accuracy_matches_the_metadata() {
    let Some(test) = test_set() else { return };
    assert_eq!(test.images.len(), 10_000);
    for name in ["base", "notebook", "tiny"] {
        let classifier = Classifier::open(name).unwrap();
        let score = classifier.metadata().score.expect("shipped weights were judged");
        let predictions = classifier.classify(&test.images).unwrap();
        let accuracy = accuracy(&predictions, &test);
        let calibration_error = calibration_error(&predictions, &test);
        println!("{name}: accuracy {accuracy}, calibration error {calibration_error}");
        // Another machine's sums may turn an image on the border of two classes.
        assert!((accuracy - score.accuracy).abs() <= 0.0002, "{name}: {accuracy}");
        assert!((calibration_error - score.calibration_error).abs() <= 0.0005);
        assert!(calibration_error <= 0.01, "{name}: {calibration_error}");
        assert!(name != "base" || accuracy >= 0.925, "{accuracy}");
    }
}

#[test]
fn all_engines_and_kernels_agree_on_official_test_images() {
    let Some(test) = test_set() else { return };
    for name in ["base", "notebook", "tiny"] {
        let fused = Classifier::open(name).unwrap();
        let flex = fused.clone().with_engine(Engine::Flex).unwrap();
        let ndarray = fused.clone().with_engine(Engine::NdArray).unwrap();
        let expected = flex.logits(&test.images).unwrap();
        let agrees = |other: &Classifier, images: &[Image], who: &str| {
            let found = other.logits(images).unwrap();
            for (image, (found, expected)) in found.chunks(10).zip(expected.chunks(10)).enumerate()
            {
                let apart = |(found, expected): (&f32, &f32)| (found - expected).abs();
                let apart = found.iter().zip(expected).map(apart).fold(0.0, f32::max);
                assert!(apart <= 1e-4, "{name} on {who}, image {image}: logits {apart} apart");
                assert_eq!(class(found), class(expected), "{name} on {who}, image {image}");
            }
        };
        agrees(&ndarray, &test.images[..100], "ndarray"); // not optimised in tests
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
            agrees(&fused.clone().with_kernel(kernel).unwrap(), &test.images, kernel.name());
        }
    }
}

#[test]
fn int8_loses_at_most_a_tenth_of_a_point() {
    let Some(test) = test_set() else { return };
    for name in ["base", "notebook", "tiny"] {
        let fused = Classifier::open(name).unwrap();
        let exact = accuracy(&fused.classify(&test.images).unwrap(), &test);
        let int8 = fused.with_engine(Engine::Int8).unwrap();
        let accuracy = accuracy(&int8.classify(&test.images).unwrap(), &test);
        println!("{name}: {exact} in f32, {accuracy} in int8");
        assert!(accuracy >= exact - 0.001, "{name}: {exact} in f32, {accuracy} in int8");
    }
}

fn class(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
}

#[test]
fn a_shuffled_test_set_is_no_drift_and_a_brighter_one_or_one_of_shoes_is() {
    const WINDOW: usize = 1_000;
    let Some(test) = test_set() else { return };
    let slot = ClassifierSlot::new(Classifier::pretrained().unwrap(), &test.images, 1);
    // A stride that has no factor in common with the number of images goes through all of them.
    let window = |start: usize| -> Vec<Image> {
        (start..start + WINDOW)
            .map(|n| test.images[n * 7_919 % test.images.len()].clone())
            .collect()
    };
    let largest = |images: &[Image]| {
        slot.predict(images).unwrap();
        slot.drift().and_then(|drift| drift.report()).unwrap().largest()
    };
    for start in (0..10_000).step_by(WINDOW) {
        assert!(largest(&window(start)) < MODERATE, "from {start}");
    }
    let brighter = |image: &Image| {
        Image::from_fn(|row, column| image.pixels()[28 * row + column].saturating_add(60))
    };
    // Until nothing else is in the window.
    for (what, shifted) in [
        ("brighter", window(0).iter().map(brighter).collect::<Vec<_>>()),
        ("shoes", {
            let shoes = test.images.iter().zip(&*test.labels).filter(|(_, label)| **label >= 7);
            shoes
                .filter(|(_, label)| **label != 8)
                .map(|(image, _)| image.clone())
                .take(WINDOW)
                .collect()
        }),
    ] {
        let mut index = 0.0;
        for _ in 0..10 {
            index = largest(&shifted);
        }
        assert!(index > LARGE, "{what}: {index}");
    }
}
