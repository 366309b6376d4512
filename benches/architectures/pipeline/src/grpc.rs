use anyhow::Context;
use fmnist_core::{Image, PredictError};
use tokio::runtime::Handle;
use tonic::{
    Code, Request, Status,
    client::Grpc as Client,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::remote::{LONGEST_REQUEST, MODEL, Server, floats};

const INFER: PathAndQuery = PathAndQuery::from_static("/inference.GRPCInferenceService/ModelInfer");

/// The protocol over gRPC, with raw contents both ways.
pub(crate) struct Grpc {
    channel: Channel,
    runtime: Handle,
    byte_strings: bool,
}

impl Grpc {
    pub(crate) fn new(host: &str, byte_strings: bool) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{host}"))
            .with_context(|| format!("the address {host}"))?
            .timeout(LONGEST_REQUEST);
        let runtime = Handle::current();
        Ok(Self { channel: endpoint.connect_lazy(), runtime, byte_strings })
    }

    fn request(&self, images: &[Image]) -> InferRequest {
        let count = images.len() as i64;
        let mut raw = Vec::with_capacity(images.len() * (Image::PIXELS + 4));
        for image in images {
            if self.byte_strings {
                raw.extend_from_slice(&(Image::PIXELS as u32).to_le_bytes());
            }
            raw.extend_from_slice(image.pixels());
        }
        let (datatype, shape) = match self.byte_strings {
            true => ("BYTES", vec![count, 1]),
            false => ("UINT8", vec![count, 1, 28, 28]),
        };
        let image = Tensor { name: "image".to_owned(), datatype: datatype.to_owned(), shape };
        let probabilities = RequestedOutput { name: "probabilities".to_owned() };
        InferRequest {
            model_name: MODEL.to_owned(),
            inputs: vec![image],
            outputs: vec![probabilities],
            raw_input_contents: vec![raw],
        }
    }

    async fn infer(&self, request: InferRequest) -> Result<InferResponse, Status> {
        let mut client = Client::new(self.channel.clone());
        let away = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        client.ready().await.map_err(away)?;
        let codec = ProstCodec::<InferRequest, InferResponse>::default();
        client.unary(Request::new(request), INFER, codec).await.map(tonic::Response::into_inner)
    }
}

impl Server for Grpc {
    fn probabilities(&self, images: &[Image]) -> Result<Vec<f32>, PredictError> {
        let answer = self.runtime.block_on(self.infer(self.request(images)));
        // A server that starts again does not know its model at first, which it had when this one began.
        let answer = answer.map_err(|status| match status.code() {
            Code::InvalidArgument => PredictError::from(status.to_string()),
            _ => PredictError::unavailable(status.to_string()),
        })?;
        let raw = answer.raw_output_contents.first();
        let raw = raw.ok_or_else(|| "an answer without raw contents".to_owned())?;
        Ok(floats(raw))
    }
}

// What is used of the protocol's `ModelInferRequest` and `ModelInferResponse`, by its tags.

#[derive(Clone, PartialEq, prost::Message)]
struct InferRequest {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Tensor>,
    #[prost(message, repeated, tag = "6")]
    outputs: Vec<RequestedOutput>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    raw_input_contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Tensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequestedOutput {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InferResponse {
    #[prost(bytes = "vec", repeated, tag = "6")]
    raw_output_contents: Vec<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_image_is_784_numbers_or_a_string_with_its_length_before_it() {
        let images = [Image::new([1; Image::PIXELS]), Image::new([2; Image::PIXELS])];
        let request = |byte_strings| {
            let client = Grpc::new("127.0.0.1:1", byte_strings).expect("an address");
            let mut request = client.request(&images);
            let input = request.inputs.remove(0);
            (input.datatype, input.shape, request.raw_input_contents.remove(0))
        };
        let (datatype, shape, raw) = request(false);
        assert_eq!((&*datatype, &*shape, raw.len()), ("UINT8", &[2, 1, 28, 28][..], 1568));
        let (datatype, shape, raw) = request(true);
        assert_eq!((&*datatype, &*shape, raw.len()), ("BYTES", &[2, 1][..], 1576));
        assert_eq!((&raw[..5], &raw[788..793]), (&[16, 3, 0, 0, 1][..], &[16, 3, 0, 0, 2][..]));
    }
}
