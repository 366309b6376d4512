//! Bytes from strangers, one function for each way in. Each refuses what it can't take, or keeps
//! what it promises; the fuzzer's targets call them, and a test of fmnist-core with the corpus.

use std::{cell::OnceCell, fs, sync::Arc};

use fmnist_core::{
    Classifier, Engine, Image, ModelIdentity, Prediction,
    dataset::{self, Split},
    image::{UploadLimits, decode_upload_within},
    label::LABELS,
    message::{InferenceRequest, MAX_IMAGES, Request, decode},
    transport::Attributes,
    weights::Weights,
};

const TEST_IMAGES: usize = 10_000;
const MAX_REASON_BYTES: usize = 1_000;

/// Lines of `name: value`, an empty line, the payload; without an empty line, a payload alone.
fn attributes(bytes: &[u8]) -> (Attributes, Vec<u8>) {
    let mut attributes = Attributes::new();
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\n\n") else {
        return (attributes, bytes.to_vec());
    };
    for line in bytes[..end].split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let Ok(name) = std::str::from_utf8(&line[..colon]) else { continue };
        attributes.push(name, line[colon + 1..].trim_ascii().to_vec());
    }
    (attributes, bytes[end + 2..].to_vec())
}

/// A message of a broker.
pub fn request(bytes: &[u8]) {
    let (attributes, payload) = attributes(bytes);
    read(&attributes, payload);
}

fn read(attributes: &Attributes, payload: Vec<u8>) {
    match decode(attributes, &payload.into(), TEST_IMAGES) {
        Ok(Request::Range { start, end }) => assert!(start < end && end <= TEST_IMAGES),
        Ok(Request::Images(images)) => assert!((1..=MAX_IMAGES).contains(&images.len())),
        Err(rejection) => assert!(rejection.reason.len() <= MAX_REASON_BYTES),
    }
}

/// A CloudEvent, in either of its forms.
pub fn cloud_event(bytes: &[u8]) {
    let structured = [("content-type", "application/cloudevents+json")].into_iter().collect();
    read(&structured, bytes.to_vec());
    let (mut binary, payload) = attributes(bytes);
    binary.push("ce_specversion", "1.0");
    read(&binary, payload);
}

/// A request of the Open Inference Protocol, and its response; what follows the first line is
/// binary.
pub fn inference_protocol(bytes: &[u8]) {
    answer(bytes, None);
    if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        answer(&[&bytes[..end], &bytes[end + 1..]].concat(), Some(end));
    }
    answer(bytes, Some(bytes.len() + 1));
}

fn answer(body: &[u8], json_bytes: Option<usize>) {
    let request = match InferenceRequest::read(body, json_bytes) {
        Ok(request) => request,
        Err(rejection) => return assert!(rejection.reason.len() <= MAX_REASON_BYTES),
    };
    assert!((1..=MAX_IMAGES).contains(&request.images.len()));
    let model = Arc::new(ModelIdentity::of_code("fuzz", "1.0"));
    let mut probabilities = [0.0; LABELS.len()];
    probabilities[7] = 1.0;
    let prediction = Prediction { class: 7, probabilities: probabilities.into(), model };
    let predictions = vec![prediction; request.images.len()];
    let identity = &predictions[0].model;
    let response = request.respond(&predictions, &LABELS.map(str::to_owned), identity);
    assert!(response.json_bytes.is_none_or(|length| length <= response.bytes.len()));
}

/// A data set: damaged images with labels, and damaged labels with images.
pub fn idx(bytes: &[u8]) {
    thread_local!(static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() });
    const IMAGES: u8 = 3;
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, IMAGES, 0, 0, 0, 28, 0, 0, 0, 28];
    images.resize(images.len() + usize::from(IMAGES) * Image::PIXELS, 1);
    let labels = [0, 0, 8, 1, 0, 0, 0, IMAGES, 0, 9, 3];
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a folder")).path();
        for (images, labels) in [(bytes, &labels[..]), (&images, bytes)] {
            fs::write(folder.join("t10k-images-idx3-ubyte"), images).expect("written");
            fs::write(folder.join("t10k-labels-idx1-ubyte"), labels).expect("written");
            if let Ok(found) = dataset::open(Some(folder), Split::Test) {
                assert_eq!(found.images.len(), found.labels.len());
            }
        }
    });
}

/// A picture that somebody uploads.
pub fn picture(bytes: &[u8]) {
    // Small, so that a run of the fuzzer is not spent on preparing large ones.
    let limits = UploadLimits { max_bytes: 1 << 20, max_pixels: 250_000 };
    drop(decode_upload_within(bytes, limits));
}

/// A file of weights: the bytes alone, and as the header of a file whose tensors are there.
pub fn weights(bytes: &[u8]) {
    const TINY: &[u8] = include_bytes!("../../fmnist-core/weights/tiny.safetensors");
    drop(Weights::from_bytes(bytes));
    let (length, rest) = TINY.split_first_chunk().expect("a length");
    let header = usize::try_from(u64::from_le_bytes(*length)).expect("a header in memory");
    let file = [bytes, &rest[header..]].concat();
    if let Ok(model) = Classifier::from_bytes(&file, Engine::Fused) {
        let predictions = model.classify(&[Image::new([0; Image::PIXELS])]).expect("an answer");
        assert_eq!(predictions[0].probabilities.len(), model.labels().len());
    }
}
