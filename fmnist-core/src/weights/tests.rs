use std::collections::BTreeMap;

use burn::tensor::Device;

use super::*;
use crate::model::{Network, Normalisation};

/// A valid file's content in memory: random weights, one golden image.
pub(crate) fn untrained(architecture: Architecture, classes: usize) -> Weights {
    let device = Device::flex();
    let network = Network::new(architecture, classes, &device);
    let metadata = Metadata {
        format: FORMAT,
        architecture: architecture.name().to_owned(),
        version: "test".to_owned(),
        input_shape: [1, 28, 28],
        normalisation: Normalisation { mean: 0.25, deviation: 0.5 },
        classes: (0..classes).map(|class| format!("class {class}")).collect(),
        temperature: 1.5,
        activations: BTreeMap::new(),
        baseline: None,
        name: None,
        score: None,
        origin: None,
    };
    let image = Image::from_fn(|row, column| (row * 9 + column) as u8);
    let input = metadata.normalisation.tensor(std::slice::from_ref(&image), &device);
    let logits = network.forward(input).into_data().iter::<f32>().collect();
    Weights { metadata, tensors: tensors_of(&network), golden: vec![(image, logits)] }
}

fn error_of(weights: &Weights) -> WeightsError {
    Weights::from_bytes(&weights.to_bytes())
        .and_then(|weights| weights.network(&Device::flex()))
        .expect_err("the file is bad")
}

#[test]
fn what_is_written_is_read_again_for_every_architecture() {
    for architecture in Architecture::ALL {
        let weights = untrained(architecture, 10);
        let bytes = weights.to_bytes();
        assert_eq!(Weights::from_bytes(&bytes).unwrap(), weights);
        assert_eq!(bytes, weights.to_bytes());
    }
}

#[test]
fn parameters_are_as_many_as_the_documentation_says() {
    let count = |architecture| {
        let tensors = untrained(architecture, 10).tensors;
        let statistic = |name: &str| name.contains("running");
        let parameters = tensors.iter().filter(|(name, _)| !statistic(name));
        parameters.map(|(_, tensor)| tensor.values.len()).sum::<usize>()
    };
    assert_eq!(count(Architecture::Notebook), 542_230);
    assert_eq!(count(Architecture::Base), 78_746);
    assert_eq!(count(Architecture::Tiny), 15_882);
    assert_eq!(count(Architecture::Large), 298_474);
}

#[test]
fn multiply_adds_are_as_many_as_the_documentation_says() {
    /// Of every convolution and dense layer, by the side of the map that it computes.
    fn count(architecture: Architecture, side: impl Fn(&str) -> usize) -> usize {
        let tensors = untrained(architecture, 10).tensors;
        let weights = tensors.iter().filter(|(name, _)| name.ends_with(".weight"));
        weights.map(|(name, tensor)| tensor.values.len() * side(name).pow(2)).sum()
    }
    let side = |sides: [usize; 4]| {
        move |name: &str| match name.split('.').nth(1).and_then(|number| number.parse().ok()) {
            Some(block) => sides[usize::min(block, 3)],
            None if name.starts_with("stem") => 28,
            None => 1,
        }
    };
    assert_eq!(count(Architecture::Tiny, side([14, 7, 3, 0])), 798_912);
    assert_eq!(count(Architecture::Base, side([14, 7, 3, 0])), 4_915_520);
    assert_eq!(count(Architecture::Large, side([14, 14, 7, 3])), 31_238_272);
}

#[test]
fn a_saved_file_replaces_the_old_one_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let weights = untrained(Architecture::Base, 3);
    fs::write(&path, "old").unwrap();
    weights.save(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), weights.to_bytes());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_cut_anywhere_is_refused_with_its_length() {
    let bytes = untrained(Architecture::Base, 10).to_bytes();
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        let error = Weights::from_bytes(&bytes[..length]).unwrap_err();
        assert!(
            matches!(error, WeightsError::Format { length_bytes, .. } if length_bytes == length)
        );
        assert!(error.to_string().contains(&format!("found {length} bytes")), "{error}");
    }
}

#[test]
fn an_unknown_architecture_is_named_beside_the_known_ones() {
    let mut weights = untrained(Architecture::Base, 10);
    weights.metadata.architecture = "huge".to_owned();
    let message = error_of(&weights).to_string();
    assert_eq!(message, "expected architecture notebook or base or tiny or large, found \"huge\"");
}

#[test]
fn another_architectures_tensors_are_refused_by_name() {
    let mut weights = untrained(Architecture::Base, 10);
    weights.metadata.architecture = "notebook".to_owned();
    assert_eq!(
        error_of(&weights).to_string(),
        "expected tensor conv.weight, found none of that name"
    );
}

#[test]
fn a_wrong_shape_is_refused_with_both_shapes() {
    let mut weights = untrained(Architecture::Notebook, 10);
    let tensor = weights.tensors.get_mut("hidden.weight").unwrap();
    tensor.shape = vec![100, 5408];
    assert_eq!(
        error_of(&weights).to_string(),
        "tensor hidden.weight: expected shape [5408, 100], found [100, 5408]"
    );
}

#[test]
fn as_many_outputs_as_classes_are_expected() {
    let mut weights = untrained(Architecture::Base, 10);
    weights.metadata.classes.push("eleventh".to_owned());
    weights.golden[0].1.push(0.0);
    assert_eq!(
        error_of(&weights).to_string(),
        "tensor output.weight: expected shape [288, 11], found [288, 10]"
    );
}

#[test]
fn a_tensor_too_many_is_refused_by_name() {
    let mut weights = untrained(Architecture::Base, 10);
    let extra = NamedTensor { shape: vec![1], values: vec![0.0] };
    weights.tensors.insert("extra".to_owned(), extra);
    assert_eq!(error_of(&weights).to_string(), "expected no tensor extra, found one");
}

#[test]
fn a_weight_that_is_not_finite_is_refused_with_its_place() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut weights = untrained(Architecture::Base, 10);
        weights.tensors.get_mut("output.weight").unwrap().values[17] = value;
        assert_eq!(
            error_of(&weights).to_string(),
            format!("tensor output.weight: expected finite values, found {value} at position 17")
        );
    }
}

#[test]
fn metadata_that_cannot_be_meant_is_refused() {
    let refused = |change: fn(&mut Metadata), found: &str| {
        let mut weights = untrained(Architecture::Base, 10);
        change(&mut weights.metadata);
        let message = error_of(&weights).to_string();
        assert!(message.ends_with(found), "{message}");
    };
    refused(|metadata| metadata.format = 2, "expected metadata `fmnist`, format 1, found format 2");
    refused(|metadata| metadata.temperature = 0.0, "a deviation that is not positive");
    refused(|metadata| metadata.normalisation.deviation = -1.0, "a deviation that is not positive");
    refused(
        |metadata| metadata.input_shape = [1, 32, 32],
        "expected shape [1, 28, 28], found [1, 32, 32]",
    );
}

#[test]
fn metadata_of_before_the_baseline_are_read_and_written_as_they_were() {
    let mut weights = untrained(Architecture::Tiny, 3);
    let old = serde_json::to_string(&weights.metadata).unwrap();
    assert!(!old.contains("baseline"));
    assert_eq!(serde_json::from_str::<Metadata>(&old).unwrap(), weights.metadata);

    let baseline = Baseline { answers: vec![3, 0, 2], probabilities: vec![0; Baseline::BINS] };
    weights.metadata.baseline = Some(baseline);
    assert_eq!(Weights::from_bytes(&weights.to_bytes()).unwrap(), weights);
    weights.metadata.baseline.as_mut().unwrap().answers.pop();
    let message = Weights::from_bytes(&weights.to_bytes()).unwrap_err().to_string();
    assert!(message.ends_with("found a baseline of another number of classes"), "{message}");
}

#[test]
fn a_baseline_counts_classes_and_probabilities() {
    let model = std::sync::Arc::new(crate::ModelIdentity {
        name: String::new(),
        version: String::new(),
        sha256: String::new(),
    });
    let answer = |class: usize, probability: f32| {
        let mut probabilities = vec![0.0; 3];
        probabilities[class] = probability;
        crate::Prediction { class, probabilities: probabilities.into(), model: model.clone() }
    };
    let counted = Baseline::of(&[answer(0, 1.0), answer(2, 0.97), answer(2, 0.4)], 3);
    assert_eq!(counted.answers, [1, 0, 2]);
    let expected = (0..Baseline::BINS).map(|bin| match bin {
        8 => 1,
        19 => 2,
        _ => 0,
    });
    assert!(counted.probabilities.into_iter().eq(expected));
}

#[test]
fn a_safetensors_file_of_another_program_is_refused() {
    let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    let bytes = safetensors::serialize([("x", view)], None).unwrap();
    let message = Weights::from_bytes(&bytes).unwrap_err().to_string();
    assert_eq!(message, "expected metadata `fmnist`, format 1, found none");
}

#[test]
fn weights_of_another_type_are_refused() {
    let metadata = serde_json::to_string(&untrained(Architecture::Base, 10).metadata).unwrap();
    let view = TensorView::new(Dtype::F16, vec![1], &[0; 2]).unwrap();
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), metadata)]);
    let bytes = safetensors::serialize([("x", view)], Some(metadata)).unwrap();
    let message = Weights::from_bytes(&bytes).unwrap_err().to_string();
    assert_eq!(message, "tensor x: expected F32, found F16");
}
