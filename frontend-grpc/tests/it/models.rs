//! Models that do what a test needs, and requests for them.

use std::sync::{
    Arc, Condvar, Mutex,
    mpsc::{Receiver, SyncSender, sync_channel},
};

use fmnist_core::{Image, Infer, ModelIdentity, PredictError, Prediction, Predictor};
use frontend_grpc::wire::{
    InferTensorContents, ModelInferRequest, model_infer_request::InferInputTensor,
};

pub(crate) const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// Sees a sneaker in everything but two images: on one it fails, with the other it is away.
pub(crate) struct Sneakers {
    labels: Vec<String>,
    identity: Arc<ModelIdentity>,
}

pub(crate) const FAILS: u8 = 0;
pub(crate) const IS_AWAY: u8 = 113;

pub(crate) fn sneakers() -> Arc<Sneakers> {
    let identity = ModelIdentity {
        name: "sneakers".to_owned(),
        version: "1.0".to_owned(),
        sha256: "0".repeat(64),
    };
    let labels = fmnist_core::label::LABELS.map(str::to_owned).into();
    Arc::new(Sneakers { labels, identity: Arc::new(identity) })
}

impl Predictor for Sneakers {
    type Input = Image;
    type Output = Prediction;

    fn predict(&self, images: &[Image]) -> Result<Vec<Prediction>, PredictError> {
        let has = |pixel| images.contains(&Image::new([pixel; Image::PIXELS]));
        if has(FAILS) {
            return Err("secret internals".to_owned().into());
        }
        if has(IS_AWAY) {
            return Err(PredictError::unavailable("secret internals"));
        }
        let mut probabilities = [0.0; 10];
        (probabilities[7], probabilities[9]) = (0.75, 0.25);
        let model = Arc::clone(&self.identity);
        let prediction = Prediction { class: 7, probabilities: probabilities.into(), model };
        Ok(vec![prediction; images.len()])
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.identity)
    }
}

impl Infer for Sneakers {
    fn labels(&self) -> &[String] {
        &self.labels
    }
}

/// Says when a batch has begun, and holds it until it is opened.
pub(crate) struct Gate {
    model: Arc<Sneakers>,
    begun: SyncSender<()>,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn new() -> (Arc<Self>, Receiver<()>) {
        let (begun, begins) = sync_channel(8);
        let (is_open, opened) = (Mutex::new(false), Condvar::new());
        (Arc::new(Self { model: sneakers(), begun, is_open, opened }), begins)
    }

    pub(crate) fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl Predictor for Gate {
    type Input = Image;
    type Output = Prediction;

    fn predict(&self, images: &[Image]) -> Result<Vec<Prediction>, PredictError> {
        self.begun.send(()).unwrap();
        let shut = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(shut, |is_open| !*is_open).unwrap());
        self.model.predict(images)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        self.model.identity()
    }
}

impl Infer for Gate {
    fn labels(&self) -> &[String] {
        self.model.labels()
    }
}

pub(crate) fn input(datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: "image".to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..InferInputTensor::default()
    }
}

/// For `model`, of images whose pixels are all the same.
pub(crate) fn request(model: &str, pixels: &[u8]) -> ModelInferRequest {
    let numbers = pixels.iter().flat_map(|&pixel| [u32::from(pixel); Image::PIXELS]).collect();
    let contents = InferTensorContents { uint_contents: numbers, ..InferTensorContents::default() };
    let shape = [pixels.len() as i64, 1, 28, 28];
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![InferInputTensor { contents: Some(contents), ..input("UINT8", &shape) }],
        ..ModelInferRequest::default()
    }
}
