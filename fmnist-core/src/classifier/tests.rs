use std::{fs, num::NonZeroUsize, thread};

use super::{trained::MAX_BATCH, *};
use crate::{
    Image,
    dataset::{self, Split},
    engine::Isa,
    model::Architecture,
    weights::{Weights, WeightsError, sha256, tests::untrained},
};

fn classifier(architecture: Architecture, classes: usize) -> Classifier {
    let bytes = untrained(architecture, classes).to_bytes();
    Classifier::from_bytes(&bytes, Engine::default()).unwrap()
}

fn images(count: usize) -> Vec<Image> {
    dataset::synthetic(Split::Test, count, 7).images.to_vec()
}

fn assert_close(left: &[Prediction], right: &[Prediction]) {
    assert_eq!(left.len(), right.len());
    for (left, right) in left.iter().zip(right) {
        assert_eq!(left.class, right.class);
        for (left, right) in left.probabilities.iter().zip(&right.probabilities) {
            assert!((left - right).abs() < 1e-4, "{left} against {right}");
        }
    }
}

#[test]
fn no_images_give_no_predictions() {
    assert_eq!(classifier(Architecture::Base, 10).classify(&[]).unwrap(), []);
}

#[test]
fn a_batch_gives_what_its_images_give_one_by_one() {
    let (classifier, images) = (classifier(Architecture::Base, 10), images(MAX_BATCH + 3));
    let together = classifier.classify(&images).unwrap();
    let alone: Vec<Prediction> = images
        .iter()
        .flat_map(|image| classifier.classify(std::slice::from_ref(image)).unwrap())
        .collect();
    assert_close(&together, &alone);
}

#[test]
fn probabilities_add_up_to_one_and_the_class_has_the_largest() {
    for prediction in classifier(Architecture::Notebook, 10).classify(&images(32)).unwrap() {
        assert!((prediction.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(prediction.top(1)[0].0, prediction.class);
    }
}

#[test]
fn averaged_with_the_mirror_image_both_sides_of_an_image_have_the_mean_of_their_answers() {
    let plain = classifier(Architecture::Base, 10);
    let images = images(9);
    let mirrored: Vec<Image> = images.iter().map(Image::mirrored).collect();
    let (left, right) = (plain.classify(&images).unwrap(), plain.classify(&mirrored).unwrap());
    assert_ne!(left, right);
    let threads = NonZeroUsize::new(2).unwrap();
    let averaged = plain.with_flip_average(true).with_threads(threads);
    for averaged in [averaged.clone(), averaged.with_kernel(Isa::Portable).unwrap()] {
        let answers = averaged.classify(&images).unwrap();
        assert_eq!(answers, averaged.classify(&mirrored).unwrap());
        for (answer, (left, right)) in answers.iter().zip(left.iter().zip(&right)) {
            for (class, p) in answer.probabilities.iter().enumerate() {
                let mean = (left.probabilities[class] + right.probabilities[class]) / 2.0;
                assert!((p - mean).abs() < 1e-4, "{p}, not {mean}");
            }
            assert_eq!(answer.top(1)[0].0, answer.class);
        }
    }
}

#[test]
fn a_model_may_have_any_number_of_classes() {
    for classes in [1, 2, 23] {
        let classifier = classifier(Architecture::Base, classes);
        assert_eq!(classifier.labels().len(), classes);
        let predictions = classifier.classify(&images(2)).unwrap();
        assert!(predictions.iter().all(|prediction| prediction.probabilities.len() == classes));
    }
}

#[test]
fn threads_share_one_model_and_get_the_same_answers() {
    let (classifier, images) = (classifier(Architecture::Base, 10), images(40));
    let expected = classifier.classify(&images).unwrap();
    let answers = thread::scope(|scope| {
        let ask = || scope.spawn(|| classifier.clone().classify(&images).unwrap());
        let threads: Vec<_> = (0..4).map(|_| ask()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    answers.iter().for_each(|answer| assert_close(answer, &expected));
}

#[test]
fn the_engines_of_f32_agree_on_synthetic_images() {
    let images = images(64);
    for architecture in Architecture::ALL {
        let fused = classifier(architecture, 10);
        let expected = fused.classify(&images).unwrap();
        // Tests have NdArray unoptimised.
        for (engine, count) in [(Engine::Flex, images.len()), (Engine::NdArray, 8)] {
            let other = fused.clone().with_engine(engine).unwrap();
            assert_eq!(other.engine(), engine);
            assert_close(&other.classify(&images[..count]).unwrap(), &expected[..count]);
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_answers() {
    let images = images(200);
    for architecture in Architecture::ALL {
        let one = classifier(architecture, 10).with_threads(NonZeroUsize::MIN);
        let expected = one.logits(&images).unwrap();
        for threads in [2, 3, 7] {
            let several = one.clone().with_threads(NonZeroUsize::new(threads).unwrap());
            assert_eq!(several.logits(&images).unwrap(), expected, "{threads} threads");
        }
    }
}

#[test]
fn a_kernel_can_be_forced() {
    let images = images(64);
    let best = classifier(Architecture::Base, 10);
    let expected = best.classify(&images).unwrap();
    for kernel in Isa::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        let forced = best.clone().with_kernel(kernel).unwrap();
        assert_close(&forced.classify(&images).unwrap(), &expected);
    }
}

#[test]
fn a_forced_kernel_stays_when_the_engine_changes() {
    let fused = Classifier::open("base").unwrap();
    assert_eq!(fused.kernel(), Some(Isa::best()));
    let portable = fused.with_kernel(Isa::Portable).unwrap();
    let int8 = portable.clone().with_engine(Engine::Int8).unwrap();
    assert_eq!(int8.kernel(), Some(Isa::Portable));
    assert_eq!(portable.with_engine(Engine::Flex).unwrap().kernel(), None);
}

#[test]
fn every_prediction_names_the_file_that_it_came_from() {
    let bytes = untrained(Architecture::Base, 10).to_bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    fs::write(&path, &bytes).unwrap();
    let classifier = Classifier::open(path.to_str().unwrap()).unwrap();
    let identity = &classifier.classify(&images(1)).unwrap()[0].model;
    assert_eq!((&*identity.name, &*identity.version), ("w", "test"));
    assert_eq!(identity.sha256, sha256(&bytes));
    assert_eq!(identity, classifier.identity());
}

#[test]
fn a_model_is_called_as_its_file_says_else_as_its_file_is() {
    let mut weights = untrained(Architecture::Tiny, 3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my shoes.v2.safetensors");
    let name = |weights: &Weights| {
        weights.save(&path).unwrap();
        Classifier::load(&path).unwrap().identity().name.clone()
    };
    assert_eq!(name(&weights), "my shoes.v2");
    weights.metadata.name = Some("Stu\u{308}hle".to_owned());
    assert_eq!(name(&weights), "St\u{fc}hle");
    weights.metadata.name = Some("Schuhe".to_owned());
    assert_eq!(name(&weights), "Schuhe");
    let from_bytes = Classifier::from_bytes(&weights.to_bytes(), Engine::default()).unwrap();
    assert_eq!(from_bytes.identity().name, "Schuhe");
    let engine = from_bytes.with_engine(Engine::Flex).unwrap();
    assert_eq!(engine.identity().name, "Schuhe");
    for wrong in ["", "a/b", "a\nb", " a"] {
        weights.metadata.name = Some(wrong.to_owned());
        let message = Weights::from_bytes(&weights.to_bytes()).unwrap_err().to_string();
        assert!(message.contains("which is not a name of 1 to 100 bytes"), "{message}");
    }
    for built_in in Classifier::built_in() {
        assert_eq!(Classifier::open(built_in).unwrap().identity().name, built_in);
    }
}

#[test]
fn an_engine_that_was_left_out_is_named_with_its_feature() {
    let message = ClassifyError::EngineMissing { engine: Engine::Flex }.to_string();
    assert!(message.contains("engine flex") && message.contains("--features flex"), "{message}");
}

#[test]
fn a_model_that_is_nowhere_is_answered_with_the_built_in_names() {
    let message = Classifier::open("nowhere").unwrap_err().to_string();
    assert!(message.contains("\"nowhere\"") && message.ends_with("built in: base, notebook, tiny"));
}

#[test]
fn a_missing_file_is_named() {
    let error = Classifier::load("no/such.safetensors").unwrap_err();
    let ClassifyError::Weights(error) = error else { panic!("{error}") };
    assert!(error.to_string().contains("no/such.safetensors"), "{error}");
}

#[test]
fn other_logits_than_the_golden_ones_refuse_the_model() {
    let mut weights = untrained(Architecture::Base, 10);
    weights.golden[0].1[4] += 0.5;
    let error = Classifier::from_bytes(&weights.to_bytes(), Engine::Flex).unwrap_err();
    assert!(
        matches!(error, ClassifyError::Weights(WeightsError::Golden { image: 0, class: 4, .. })),
        "{error:?}"
    );
}

#[test]
fn outputs_that_overflow_are_an_error_and_no_prediction() {
    let mut weights = untrained(Architecture::Notebook, 10);
    weights.golden.clear();
    weights.tensors.get_mut("hidden.bias").unwrap().values.fill(3e38);
    weights.tensors.get_mut("output.weight").unwrap().values.fill(3e38);
    let classifier = Classifier::from_bytes(&weights.to_bytes(), Engine::Flex).unwrap();
    let message = classifier.classify(&images(3)).unwrap_err().to_string();
    assert!(
        message.starts_with("inference on 3 images failed: image 0: expected finite"),
        "{message}"
    );
}

#[test]
fn engines_are_known_by_their_names() {
    for engine in Engine::ALL {
        assert_eq!(engine.name().parse::<Engine>().unwrap(), engine);
    }
    let message = "cuda".parse::<Engine>().unwrap_err().to_string();
    assert_eq!(message, "no engine is called \"cuda\"; there are fused, int8, flex and ndarray");
}
