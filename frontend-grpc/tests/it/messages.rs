//! What is wrong with messages, and the codings they may come in.

use std::io::Write;

use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use fmnist_core::Image;
use frontend_grpc::{
    Code,
    wire::{InferTensorContents, ModelInferRequest, model_infer_request::InferInputTensor},
};
use prost::Message;
use serde_json::json;

use crate::{
    client::{Client, framed},
    json,
    models::{FAILS, INFER, IS_AWAY, input, request, sneakers},
    served, settings,
};

#[tokio::test]
async fn a_tensor_that_does_not_fit_is_an_invalid_argument_in_the_words_of_http() {
    let running = served(settings(), sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let zeros = |count: usize| vec![0_u32; count];
    let wrong = [
        ("image", "UINT8", vec![1, 1, 28, 27], zeros(756)),
        ("image", "UINT8", vec![0, 784], zeros(0)),
        ("image", "UINT8", vec![10_001, 784], zeros(784)),
        ("image", "UINT8", vec![1, 784], zeros(783)),
        ("image", "UINT8", vec![1, 784], vec![256; 784]),
        ("picture", "UINT8", vec![1, 784], zeros(784)),
    ];
    for (name, datatype, shape, data) in wrong {
        let (_, told) = json(
            running.address(),
            "POST /v2/models/sneakers/infer",
            &json!({ "inputs": [{ "name": name, "datatype": datatype, "shape": shape, "data": data }] }),
        );
        let contents =
            InferTensorContents { uint_contents: data, ..InferTensorContents::default() };
        let tensor = InferInputTensor {
            name: name.to_owned(),
            contents: Some(contents),
            ..input(datatype, &shape)
        };
        let asked = ModelInferRequest { inputs: vec![tensor], ..request("sneakers", &[]) };
        let status = client.refused(INFER, &asked).await;
        assert_eq!(
            (status.code(), json!(status.message())),
            (Code::InvalidArgument, told["error"].clone())
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn what_only_this_encoding_can_get_wrong_is_said_too() {
    let running = served(settings(), sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let raw = Bytes::from_static(&[1; Image::PIXELS]);
    let good = request("sneakers", &[1]);
    let tensor = |contents| InferInputTensor { contents, ..input("UINT8", &[1, 784]) };
    let with = |inputs: Vec<InferInputTensor>, raw_input_contents: Vec<Bytes>| ModelInferRequest {
        inputs,
        raw_input_contents,
        ..request("sneakers", &[])
    };
    let elsewhere =
        InferTensorContents { int_contents: vec![1; 784], ..InferTensorContents::default() };
    let wrong = [
        (with(vec![], vec![]), "expected one input, image, found []"),
        (
            with(vec![tensor(None); 2], vec![]),
            "expected one input, image, found [\"image\", \"image\"]",
        ),
        (with(vec![tensor(None)], vec![]), "input image has no data"),
        (
            with(vec![tensor(None)], vec![raw.clone(); 2]),
            "expected raw_input_contents of 1 inputs, found 2",
        ),
        (
            with(good.inputs.clone(), vec![raw.clone()]),
            "input image has contents and raw_input_contents",
        ),
        (
            with(vec![tensor(None)], vec![raw.slice(1..)]),
            "expected 784 bytes for this shape, found 783",
        ),
        (
            with(vec![tensor(Some(elsewhere))], vec![]),
            "expected UINT8 in uint_contents, found another field",
        ),
        (
            with(vec![input("FP16", &[1, 784])], vec![raw.clone()]),
            "expected datatype FP32 or UINT8, found \"FP16\"",
        ),
        (
            with(vec![input("UINT8", &[-1, 784])], vec![raw.clone()]),
            "expected shape [n, 1, 28, 28], found [-1, 784]",
        ),
        // A few bytes each, and a hundred times as much in memory.
        (with(vec![InferInputTensor::default(); 5_000], vec![]), "expected at most 1000 fields"),
        (
            with(
                vec![tensor(Some(InferTensorContents {
                    bytes_contents: vec![Bytes::new(); 5_000],
                    ..InferTensorContents::default()
                }))],
                vec![],
            ),
            "expected at most 1000 fields",
        ),
        (with(vec![input("UINT8", &[1; 5_000])], vec![]), "expected a shape of four dimensions"),
    ];
    for (asked, expected) in wrong {
        let status = client.refused(INFER, &asked).await;
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, expected));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_message_that_is_none_is_an_invalid_argument() {
    let running = served(settings(), sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let good = request("sneakers", &[1]).encode_to_vec();
    let wrong = [
        (vec![], "expected one message, found none"),
        (vec![Bytes::from_static(&[0, 0])], "expected one message, found none"),
        (vec![framed(0, &good), framed(0, &good)], "expected one message, found more"),
        (vec![framed(0, &good).slice(..100)], "expected a message of "),
        (vec![framed(7, &good)], "expected 0 or 1 before a message, found 7"),
        (vec![framed(0, &good[..100])], "the message can't be read"),
        (vec![framed(0, b"\x0b")], "expected no groups in the message"),
        (vec![framed(0, b"\x0a\x01\xff")], "the message can't be read: "),
    ];
    for (pieces, expected) in wrong {
        let status = client.send(INFER, pieces).await.status;
        assert_eq!(status.code(), Code::InvalidArgument, "{expected}");
        assert!(status.message().starts_with(expected), "{status}");
    }
    running.stop().await;
}

#[tokio::test]
async fn packed_messages_are_unpacked_as_far_as_a_message_may_go() {
    let limit = 100_000;
    let settings = frontend_actix::ServerConfig { max_body_bytes: limit, ..settings() };
    let running = served(settings, sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let good = request("sneakers", &[1]).encode_to_vec();
    let bomb = vec![0; 100 * limit];
    let gzip = |bytes: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let deflate = |bytes: &[u8]| {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let send = async |coding: &str, is_packed: u8, message: &[u8]| {
        let client = client.clone().with("grpc-encoding", coding);
        client.send(INFER, [framed(is_packed, message)]).await.status
    };
    for (coding, packed, bomb) in
        [("gzip", gzip(&good), gzip(&bomb)), ("deflate", deflate(&good), deflate(&bomb))]
    {
        assert!(bomb.len() < limit);
        assert_eq!(send(coding, 1, &packed).await.code(), Code::Ok, "{coding}");
        // A client may leave a message as it is.
        assert_eq!(send(coding, 0, &good).await.code(), Code::Ok, "{coding}");
        let status = send(coding, 1, &bomb).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{coding}");
        assert_eq!(status.message(), "the body is larger than 100000 bytes");
        let status = send(coding, 1, &good).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{coding}");
        assert_eq!(status.message(), "the message is not packed as grpc-encoding says");
    }
    let status = send("zstd", 1, &good).await;
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "expected grpc-encoding gzip, deflate or identity, found zstd");
    assert_eq!(status.metadata().get("grpc-accept-encoding").unwrap(), "identity,gzip,deflate");
    running.stop().await;
}

#[tokio::test]
async fn a_model_that_fails_is_an_internal_error_and_one_that_is_away_unavailable() {
    let running = served(settings(), sneakers());
    let client = Client::connect(running.grpc_address().unwrap()).await;
    let failed = client.refused(INFER, &request("sneakers", &[FAILS])).await;
    assert_eq!((failed.code(), failed.message()), (Code::Internal, "classification failed"));
    let away = client.refused(INFER, &request("sneakers", &[IS_AWAY])).await;
    let expected = "the model can't answer now; try again later";
    assert_eq!((away.code(), away.message()), (Code::Unavailable, expected));
    assert_eq!(away.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
    running.stop().await;
}
