//! The Open Inference Protocol over HTTP.

use super::*;

const INFER: &str = "/v2/models/sneakers/infer";

fn request(count: usize) -> Value {
    let pixels: Vec<u8> = (0..count * Image::PIXELS).map(|i| i as u8).collect();
    let input = json!({ "name": "image", "datatype": "UINT8", "shape": [count, 1, 28, 28],
        "data": pixels });
    json!({ "id": "17", "inputs": [input] })
}

async fn post(path: &str, body: &Value) -> (StatusCode, Value) {
    answer(World::new().call(TestRequest::post().uri(path).set_json(body)).await).await
}

#[actix_web::test]
async fn every_image_gets_probabilities_class_and_label() {
    for path in [INFER, "/v2/models/sneakers/versions/1.0/infer"] {
        let (status, body) = post(path, &request(2)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!((&body["id"], &body["model_name"]), (&json!("17"), &json!("sneakers")));
        let [probabilities, class, label] = [0, 1, 2].map(|output| &body["outputs"][output]);
        assert_eq!(probabilities["shape"], json!([2, 10]));
        assert_eq!(probabilities["data"][7], json!(0.75));
        assert_eq!((&class["datatype"], &class["data"]), (&json!("INT64"), &json!([7, 7])));
        assert_eq!(label["data"], json!(["Sneaker", "Sneaker"]));
    }
}

#[actix_web::test]
async fn bytes_come_in_and_go_out_behind_the_json() {
    let text = json!({
        "inputs": [{ "name": "image", "datatype": "UINT8", "shape": [1, 1, 28, 28],
            "parameters": { "binary_data_size": 784 } }],
        "outputs": [{ "name": "class", "parameters": { "binary_data": true } }],
    })
    .to_string();
    let body = [text.as_bytes(), &[1; Image::PIXELS]].concat();
    let request = TestRequest::post()
        .uri(INFER)
        .insert_header(("Inference-Header-Content-Length", text.len()))
        .set_payload(body);
    let response = World::new().call(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let length = response.headers().get("Inference-Header-Content-Length").unwrap().clone();
    let body = to_bytes(response.into_body()).await.unwrap();
    let (text, binary) = body.split_at(length.to_str().unwrap().parse().unwrap());
    let document: Value = serde_json::from_slice(text).unwrap();
    assert_eq!(document["outputs"][0]["parameters"]["binary_data_size"], json!(8));
    assert_eq!(binary, 7_i64.to_le_bytes());
}

#[actix_web::test]
async fn what_is_served_is_described() {
    let world = World::new();
    let (status, server) = world.get("/v2").await;
    assert_eq!((status, &server["name"]), (StatusCode::OK, &json!("fmnist-stream")));
    let (_, model) = world.get("/v2/models/sneakers").await;
    assert_eq!(model["inputs"][0]["shape"], json!([-1, 1, 28, 28]));
    assert_eq!(model["outputs"][0]["shape"], json!([-1, 10]));
    assert_eq!(model["versions"], json!(["1.0"]));
    let (status, ready) = world.get("/v2/models/sneakers/ready").await;
    assert_eq!((status, ready), (StatusCode::OK, json!({ "name": "sneakers", "ready": true })));
    let index = world.call(TestRequest::post().uri("/v2/repository/index")).await;
    assert_eq!(answer(index).await.1[0]["state"], json!("READY"));
}

#[actix_web::test]
async fn another_model_or_version_is_404_with_what_there_is() {
    let world = World::new();
    for path in ["/v2/models/base", "/v2/models/sneakers/versions/2.0/ready"] {
        let (status, body) = world.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let expected = "no such model here; there is sneakers, version 1.0";
        assert_eq!(body, json!({ "error": expected }));
    }
}

#[actix_web::test]
async fn a_bad_request_is_a_400_that_says_what_was_expected() {
    let mut bad = request(1);
    bad["inputs"][0]["datatype"] = json!("FP16");
    let (status, body) = post(INFER, &bad).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let expected = "expected datatype FP32 or UINT8, found \"FP16\"";
    assert_eq!(body, json!({ "error": expected }));

    let blank = json!({ "name": "image", "datatype": "UINT8", "shape": [1, 784],
        "data": vec![0; Image::PIXELS] });
    let (status, body) = post(INFER, &json!({ "inputs": [blank] })).await;
    assert_eq!(
        (status, body),
        (StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": "classification failed" }))
    );

    let request =
        TestRequest::post().uri(INFER).insert_header(("Inference-Header-Content-Length", "many"));
    assert_eq!(World::new().call(request).await.status(), StatusCode::BAD_REQUEST);
}

#[actix_web::test]
async fn it_is_ready_with_a_model_and_until_it_stops_whatever_brokers_do() {
    let world = World::with(ServerConfig::default(), |frontend| {
        frontend.with_broker(Producer::new("kafka", Failing { refuses: false }))
    });
    assert_eq!(world.get("/v2/health/live").await.0, StatusCode::OK);
    let found = world.get("/v2/health/ready").await;
    assert_eq!(found, (StatusCode::OK, json!({ "ready": true })));
    world.stop.send_replace(true);
    assert_eq!(world.get("/v2/health/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[actix_web::test]
async fn probes_need_no_token_but_inference_does() {
    let settings = ServerConfig { api_token: Some(TOKEN.to_owned()), ..ServerConfig::default() };
    let world = World::with(settings, |frontend| frontend);
    assert_eq!(world.get("/v2/health/ready").await.0, StatusCode::OK);
    let refused = world.call(TestRequest::post().uri(INFER).set_json(request(1))).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
}
