//! Models that do what a test needs, and requests for them.

use std::sync::Arc;

use fmnist_core::{Image, ModelIdentity, PredictError, testing::FakeModel};
use frontend_grpc::wire::{
    InferTensorContents, ModelInferRequest, model_infer_request::InferInputTensor,
};

pub(crate) const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

pub(crate) const FAILS: u8 = 0;
pub(crate) const IS_AWAY: u8 = 113;

/// Sees a sneaker in everything but two images: on one it fails, with the other it is away.
pub(crate) fn sneakers() -> Arc<FakeModel> {
    let see = |image: &Image| {
        if *image == Image::new([FAILS; Image::PIXELS]) {
            return Err("secret internals".to_owned().into());
        }
        if *image == Image::new([IS_AWAY; Image::PIXELS]) {
            return Err(PredictError::unavailable("secret internals"));
        }
        let mut probabilities = vec![0.0; 10];
        (probabilities[7], probabilities[9]) = (0.75, 0.25);
        Ok((7, probabilities))
    };
    Arc::new(FakeModel::new(ModelIdentity::of_code("sneakers", "1.0"), see))
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
