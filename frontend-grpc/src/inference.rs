//! What the Open Inference Protocol's calls say.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use fmnist_core::{
    Infer, ModelIdentity, Prediction,
    message::{InferenceRequest, OUTPUTS, OutputData},
};

use crate::{
    message::{Received, framed},
    shared::Shared,
    tensors,
    wire::{
        InferTensorContents, ModelInferResponse, ModelMetadataResponse, ServerMetadataResponse,
        model_infer_response::InferOutputTensor, model_metadata_response::TensorMetadata,
    },
};

pub(crate) fn server() -> ServerMetadataResponse {
    ServerMetadataResponse {
        name: "fmnist-stream".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: vec!["classification".to_owned()],
    }
}

pub(crate) fn model(model: &dyn Infer) -> ModelMetadataResponse {
    let (identity, classes) = (model.identity(), model.labels().len());
    let tensor = |name: &str, datatype: &str, shape: &[i64]| TensorMetadata {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
    };
    let outputs = OUTPUTS
        .map(|output| tensor(output.name(), output.datatype(), &output.declared_shape(classes)));
    ModelMetadataResponse {
        name: identity.name.clone(),
        versions: vec![identity.version.clone()],
        platform: "fmnist-stream".to_owned(),
        inputs: vec![tensor("image", "FP32", &[-1, 1, 28, 28])],
        outputs: outputs.into(),
    }
}

/// Reads the request, has it classified with whatever else waits, and writes the response.
pub(crate) async fn infer<S: Shared>(
    shared: &Arc<S>,
    message: Received,
) -> Result<Bytes, S::Refusal> {
    let models = Arc::clone(shared);
    let read = move || {
        let asked = tensors::request(&message)?;
        let model = models.model(&asked.model_name, &asked.model_version)?;
        Ok((model, tensors::read(asked)?))
    };
    shared.infer(read, respond).await
}

/// Outputs as bytes where the inputs were.
fn respond(
    request: &InferenceRequest,
    predictions: &[Prediction],
    labels: &[String],
    model: &ModelIdentity,
) -> Bytes {
    let mut response = ModelInferResponse {
        model_name: model.name.clone(),
        model_version: model.version.clone(),
        id: request.id.clone().unwrap_or_default(),
        ..ModelInferResponse::default()
    };
    for &(output, as_bytes) in &request.outputs {
        let contents = match as_bytes {
            true => {
                let mut bytes = Vec::new();
                output.append(&mut bytes, predictions, labels);
                response.raw_output_contents.push(bytes.into());
                None
            }
            false => Some(contents(output.data(predictions, labels))),
        };
        let shape = output.shape(predictions.len(), labels.len()).into_iter();
        response.outputs.push(InferOutputTensor {
            name: output.name().to_owned(),
            datatype: output.datatype().to_owned(),
            shape: shape.map(|dimension| dimension as i64).collect(),
            parameters: HashMap::new(),
            contents,
        });
    }
    framed(&response)
}

fn contents(data: OutputData<'_>) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    match data {
        OutputData::Fp32(numbers) => contents.fp32_contents = numbers,
        OutputData::Int64(numbers) => contents.int64_contents = numbers,
        OutputData::Bytes(texts) => {
            contents.bytes_contents =
                texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect();
        }
    }
    contents
}
