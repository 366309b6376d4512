//! The calls of the protocol, beside what HTTP answers.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use fmnist_core::{Batcher, Classifier, Image, pipeline::BatchConfig};
use frontend_grpc::{
    Code,
    wire::{
        InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
        ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse,
        ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
        ServerReadyRequest, ServerReadyResponse,
        infer_parameter::ParameterChoice,
        model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
        model_metadata_response::TensorMetadata,
    },
};
use serde_json::{Value, json};

use crate::{
    client::Client,
    http, json,
    models::{INFER, input, request, sneakers},
    served, settings,
};

#[tokio::test]
async fn what_is_served_is_described_as_http_describes_it() {
    let running = served(settings(), sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let service = |method: &str| format!("/inference.GRPCInferenceService/{method}");
    let live: ServerLiveResponse =
        client.call(&service("ServerLive"), &ServerLiveRequest {}).await.unwrap();
    let ready: ServerReadyResponse =
        client.call(&service("ServerReady"), &ServerReadyRequest {}).await.unwrap();
    assert!(live.live && ready.ready);

    let server: ServerMetadataResponse =
        client.call(&service("ServerMetadata"), &ServerMetadataRequest {}).await.unwrap();
    let (_, told) = json(running.address(), "GET /v2", &Value::Null);
    assert_eq!(
        (json!(server.name), json!(server.version)),
        (told["name"].clone(), told["version"].clone())
    );
    let told = told["extensions"].as_array().unwrap();
    assert_eq!(server.extensions, ["classification"]);
    assert!(server.extensions.iter().all(|extension| told.contains(&json!(extension))));

    for version in ["", "1.0"] {
        let (name, version) = ("sneakers".to_owned(), version.to_owned());
        let asked = ModelReadyRequest { name: name.clone(), version: version.clone() };
        let ready: ModelReadyResponse = client.call(&service("ModelReady"), &asked).await.unwrap();
        assert!(ready.ready);
        let asked = ModelMetadataRequest { name, version };
        let model: ModelMetadataResponse =
            client.call(&service("ModelMetadata"), &asked).await.unwrap();
        let tensors = |all: &[TensorMetadata]| {
            let one = |t: &TensorMetadata| json!({ "name": t.name, "datatype": t.datatype, "shape": t.shape });
            all.iter().map(one).collect::<Vec<_>>()
        };
        let model = json!({ "name": model.name, "versions": model.versions,
            "platform": model.platform, "inputs": tensors(&model.inputs),
            "outputs": tensors(&model.outputs) });
        assert_eq!(model, json(running.address(), "GET /v2/models/sneakers", &Value::Null).1);
    }
    running.stop().await;
}

#[tokio::test]
async fn another_model_or_version_is_not_found_in_the_words_of_http() {
    let running = served(settings(), sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let (status, told) = json(running.address(), "GET /v2/models/base", &Value::Null);
    assert_eq!(
        (status, &told["error"]),
        (404, &json!("no such model here; there is sneakers, version 1.0"))
    );
    for (name, version) in [("base", ""), ("sneakers", "2.0")] {
        let (name, version) = (name.to_owned(), version.to_owned());
        let asked = ModelInferRequest { model_version: version.clone(), ..request(&name, &[1]) };
        let refused = [
            client.refused(INFER, &asked).await,
            client
                .refused(
                    "/inference.GRPCInferenceService/ModelReady",
                    &ModelReadyRequest { name: name.clone(), version: version.clone() },
                )
                .await,
            client
                .refused(
                    "/inference.GRPCInferenceService/ModelMetadata",
                    &ModelMetadataRequest { name, version },
                )
                .await,
        ];
        for status in refused {
            assert_eq!(
                (status.code(), json!(status.message())),
                (Code::NotFound, told["error"].clone())
            );
        }
    }
    running.stop().await;
}

/// Three images with every pixel there is.
fn pixels() -> Vec<u8> {
    (0..3 * Image::PIXELS).map(|i| (i * 7 + i / Image::PIXELS) as u8).collect()
}

/// The binary outputs of the HTTP API: probabilities, classes and labels.
fn over_http(address: std::net::SocketAddr, datatype: &str, bytes: &[u8]) -> [Vec<u8>; 3] {
    let text = json!({
        "inputs": [{ "name": "image", "datatype": datatype, "shape": [3, 1, 28, 28],
            "parameters": { "binary_data_size": bytes.len() } }],
        "parameters": { "binary_data_output": true },
    })
    .to_string();
    let head = format!("inference-header-content-length: {}\r\n", text.len());
    let body = [text.as_bytes(), bytes].concat();
    let (head, body) = http(address, "POST /v2/models/base/infer", &head, &body);
    let line = head.lines().find_map(|line| line.strip_prefix("inference-header-content-length: "));
    let (text, mut rest) = body.split_at(line.unwrap().parse().unwrap());
    let document: Value = serde_json::from_slice(text).unwrap();
    [0, 1, 2].map(|output| {
        let size = &document["outputs"][output]["parameters"]["binary_data_size"];
        let (output, after) = rest.split_at(size.as_u64().unwrap() as usize);
        rest = after;
        output.to_vec()
    })
}

#[tokio::test]
async fn raw_and_typed_tensors_are_answered_as_over_http_to_the_last_bit() {
    let model = Batcher::new(Classifier::pretrained().unwrap(), &BatchConfig::default());
    let running = served(settings(), Arc::new(model));
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let pixels = pixels();
    let floats: Vec<f32> = pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
    let float_bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
    let typed = [
        (
            "UINT8",
            pixels.clone(),
            InferTensorContents {
                uint_contents: pixels.iter().map(|&pixel| pixel.into()).collect(),
                ..InferTensorContents::default()
            },
        ),
        (
            "FP32",
            float_bytes,
            InferTensorContents { fp32_contents: floats, ..InferTensorContents::default() },
        ),
    ];
    for (datatype, bytes, contents) in typed {
        let expected = over_http(running.address(), datatype, &bytes);
        let asked = ModelInferRequest {
            model_name: "base".to_owned(),
            id: "17".to_owned(),
            inputs: vec![input(datatype, &[3, 1, 28, 28])],
            raw_input_contents: vec![bytes.into()],
            ..ModelInferRequest::default()
        };
        let raw: ModelInferResponse = client.call(INFER, &asked).await.unwrap();
        assert_eq!((&*raw.model_name, &*raw.id), ("base", "17"));
        assert_eq!(raw.raw_output_contents, expected);
        let described: Vec<_> = raw
            .outputs
            .iter()
            .map(|output| (&*output.name, &*output.datatype, &*output.shape, &output.contents))
            .collect();
        assert_eq!(
            described,
            [
                ("probabilities", "FP32", &[3, 10][..], &None),
                ("class", "INT64", &[3], &None),
                ("label", "BYTES", &[3], &None),
            ]
        );

        let typed_input =
            InferInputTensor { contents: Some(contents), ..input(datatype, &[3, 784]) };
        let asked = ModelInferRequest {
            inputs: vec![typed_input],
            raw_input_contents: Vec::new(),
            ..asked
        };
        let typed: ModelInferResponse = client.call(INFER, &asked).await.unwrap();
        assert_eq!(typed.raw_output_contents, Vec::<Bytes>::new());
        let [probabilities, classes, labels] =
            [0, 1, 2].map(|output: usize| typed.outputs[output].contents.clone().unwrap());
        let bytes: Vec<u8> =
            probabilities.fp32_contents.iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(bytes, expected[0]);
        let bytes: Vec<u8> =
            classes.int64_contents.iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(bytes, expected[1]);
        let with_length = |text: &Bytes| [&(text.len() as u32).to_le_bytes()[..], &**text].concat();
        let bytes: Vec<u8> = labels.bytes_contents.iter().flat_map(with_length).collect();
        assert_eq!(bytes, expected[2]);
    }
    running.stop().await;
}

#[tokio::test]
async fn outputs_come_as_they_are_asked_for_and_probabilities_as_classifications() {
    let running = served(settings(), sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let output = |name: &str, parameters: &[(&str, ParameterChoice)]| InferRequestedOutputTensor {
        name: name.to_owned(),
        parameters: parameters
            .iter()
            .map(|(name, value)| {
                let parameter_choice = Some(value.clone());
                ((*name).to_owned(), InferParameter { parameter_choice })
            })
            .collect::<HashMap<_, _>>(),
    };
    let two = ("classification", ParameterChoice::Int64Param(2));
    let asked = ModelInferRequest {
        outputs: vec![output("class", &[]), output("probabilities", std::slice::from_ref(&two))],
        ..request("sneakers", &[1])
    };
    let answer: ModelInferResponse = client.call(INFER, &asked).await.unwrap();
    assert_eq!(answer.id, "");
    let [class, top] = &answer.outputs[..] else { panic!("{answer:?}") };
    assert_eq!(class.contents.as_ref().unwrap().int64_contents, [7]);
    assert_eq!((&*top.datatype, &*top.shape), ("BYTES", &[1, 2][..]));
    let top = &top.contents.as_ref().unwrap().bytes_contents;
    assert_eq!(top, &["0.750000:7:Sneaker", "0.250000:9:Ankle boot"].map(Bytes::from));

    let many = ("classification", ParameterChoice::StringParam("many".to_owned()));
    let region = ("shared_memory_region", ParameterChoice::StringParam("r".to_owned()));
    let wrong = [
        (
            vec![output("logits", &[])],
            "expected outputs among probabilities, class, label, found \"logits\"",
        ),
        (vec![output("class", &[]); 2], "expected each output once, found \"class\" twice"),
        (
            vec![output("label", &[two])],
            "expected classification of probabilities alone, found of label",
        ),
        (vec![output("class", &[many])], "expected a number of classes as classification"),
        (vec![output("class", &[region])], "shared memory is not offered for output class"),
    ];
    for (outputs, expected) in wrong {
        let asked = ModelInferRequest { outputs, ..request("sneakers", &[1]) };
        let status = client.refused(INFER, &asked).await;
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, expected));
    }
    running.stop().await;
}
