//! Pictures as clients send and pack them.

use std::io::Write;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn packed(coding: &str, body: Vec<u8>) -> TestRequest {
    TestRequest::post().insert_header((header::CONTENT_ENCODING, coding)).set_payload(body)
}

/// A form of parts: name, more of the disposition, content.
fn form(parts: &[(&str, &str, &[u8])]) -> TestRequest {
    let mut body = Vec::new();
    for (name, more, content) in parts {
        let head = format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"{more}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    let content_type = (header::CONTENT_TYPE, "multipart/form-data; boundary=b");
    TestRequest::post().insert_header(content_type).set_payload(body)
}

#[actix_web::test]
async fn a_packed_body_is_what_is_in_it() {
    let world = World::new();
    let png = test_set().images[0].to_png();
    for (coding, body) in [
        ("gzip", gzip(&png)),
        ("GZIP", gzip(&png)),
        ("x-gzip", gzip(&png)),
        ("deflate", zlib(&png)),
        ("deflate", raw_deflate(&png)),
        ("identity", png.clone()),
    ] {
        let (status, body) = answer(world.call(packed(coding, body).uri("/classify")).await).await;
        assert_eq!(status, StatusCode::OK, "{coding}: {body}");
    }
    let picture = packed("gzip", gzip(&png)).uri("/kafka/images");
    assert_eq!(world.call(picture).await.status(), StatusCode::OK);
    assert_eq!(received(&world.kafka).await[0].payload, png);
    let form = packed("gzip", gzip(b"message_broker=kafka&start_idx=0&end_idx=5"))
        .insert_header((header::CONTENT_TYPE, "application/x-www-form-urlencoded"));
    assert_eq!(world.call(form.uri("/")).await.status(), StatusCode::FOUND);
}

#[actix_web::test]
async fn the_limits_hold_for_what_is_unpacked_and_a_bomb_is_not_unpacked_further() {
    let settings = ServerConfig { max_body_bytes: 10_000, ..ServerConfig::default() };
    let world = World::with(settings, |frontend| frontend);
    let bomb = vec![0; 5_000_000];
    for (coding, body) in [("gzip", gzip(&bomb)), ("deflate", zlib(&bomb))] {
        for path in ["/classify", "/prepare", "/kafka/images", "/v2/models/sneakers/infer"] {
            let response = world.call(packed(coding, body.clone()).uri(path)).await;
            assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE, "{coding} {path}");
        }
    }
}

#[actix_web::test]
async fn what_is_packed_otherwise_than_it_says_is_refused_by_that() {
    let world = World::new();
    let (status, body) =
        answer(world.call(packed("gzip", vec![7; 784]).uri("/classify")).await).await;
    let expected = json!({ "error": "the body is not packed as Content-Encoding says" });
    assert_eq!((status, body), (StatusCode::BAD_REQUEST, expected));
    for coding in ["br", "gzip, gzip", "zstd"] {
        let response = world.call(packed(coding, vec![7; 784]).uri("/classify")).await;
        assert_eq!(response.headers().get(header::ACCEPT_ENCODING).unwrap(), "gzip, deflate");
        let (status, body) = answer(response).await;
        let expected = format!("expected Content-Encoding gzip, deflate or none, found {coding}");
        assert_eq!(
            (status, body),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, json!({ "error": expected }))
        );
    }
}

#[actix_web::test]
async fn fields_beside_the_picture_are_left_out() {
    let world = World::new();
    let png = test_set().images[0].to_png();
    let picture = ("image", "; filename=\"a.png\"", &png[..]);
    let token: (&str, &str, &[u8]) = ("csrf_token", "", b"abc123");
    let words: (&str, &str, &[u8]) = ("description", "", b"blue jeans");
    for (parts, images) in [
        (&[picture, words][..], 1),
        (&[token, picture][..], 1),
        (&[token, picture, words, picture][..], 2),
        // As `curl -F 'image=<a.png'` sends it.
        (&[words, ("image", "", &png[..])][..], 1),
    ] {
        let (status, body) = answer(world.call(form(parts).uri("/classify")).await).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["predictions"].as_array().unwrap().len(), images);
    }
    let (status, body) = answer(world.call(form(&[token, words]).uri("/classify")).await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["error"].as_str().unwrap().starts_with("no image: "), "{body}");
}

#[actix_web::test]
async fn a_wrong_type_or_a_missing_boundary_is_named_for_what_it_is() {
    let world = World::new();
    let typed = |content_type: &'static str| {
        let content_type = (header::CONTENT_TYPE, content_type);
        TestRequest::post().insert_header(content_type).set_payload("--b\r\n")
    };
    let (media_type, bad) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, StatusCode::BAD_REQUEST);
    for (path, content_type, expected, named) in [
        ("/classify", "multipart/form-data", bad, "boundary"),
        ("/kafka/images", "multipart/form-data; boundary=", bad, "form"),
        ("/classify", "multipart/form-data; boundary=b", bad, "ends before its last boundary"),
        ("/classify", "application/json", media_type, "found application/json"),
        ("/prepare", "text/plain; charset=utf-8", media_type, "found text/plain"),
        (
            "/",
            "application/json",
            media_type,
            "expected Content-Type application/x-www-form-urlencoded",
        ),
        ("/login", "multipart/form-data; boundary=b", media_type, "found multipart/form-data"),
        ("/v2/models/sneakers/infer", "image/png", media_type, "found image/png"),
    ] {
        let (status, body) = answer(world.call(typed(content_type).uri(path)).await).await;
        assert_eq!(status, expected, "{path} {content_type}: {body}");
        assert!(body["error"].as_str().unwrap().contains(named), "{path} {content_type}: {body}");
    }
}

#[actix_web::test]
async fn an_upload_is_classified_as_form_and_as_body() {
    let world = World::new();
    let png = test_set().images[0].to_png();
    let requests = [
        multipart(&png),
        TestRequest::post().set_payload(png.clone()),
        TestRequest::post().set_payload(test_set().images[1].pixels().to_vec()),
    ];
    for request in requests {
        let (status, body) = answer(world.call(request.uri("/classify")).await).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["model"]["name"], "sneakers");
        assert_eq!(body["predictions"][0]["label"], "Sneaker");
        assert_eq!(body["predictions"][0]["top"][1]["label"], "Ankle boot");
    }
}

#[actix_web::test]
async fn only_a_picture_of_nothing_is_answered_with_a_sign() {
    let world = World::new();
    let spot = |level: u8| {
        let image = Image::from_fn(|row, column| if row + column == 20 { level } else { 7 });
        TestRequest::post().uri("/classify").set_payload(image.pixels().to_vec())
    };
    let (status, body) = answer(world.call(spot(9)).await).await;
    assert_eq!((status, &body["predictions"][0]["blank"]), (StatusCode::OK, &json!(true)));
    let (status, body) = answer(world.call(spot(200)).await).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body["predictions"][0].get("blank").is_none(), "{body}");
}

#[actix_web::test]
async fn an_image_goes_into_the_stream_as_it_was_sent() {
    let world = World::new();
    let png = test_set().images[0].to_png();
    for path in ["/kafka/images", "/pubsub/images"] {
        let (status, body) = answer(world.call(multipart(&png).uri(path)).await).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body["id"].is_string(), "{body}");
    }
    assert_eq!(received(&world.kafka).await[0].payload, png);
    let raw = TestRequest::post().uri("/kafka/images").set_payload(vec![7; Image::PIXELS]);
    assert_eq!(world.call(raw).await.status(), StatusCode::OK);
    let messages = received(&world.kafka).await;
    let raw = messages.iter().find(|message| message.payload.len() == Image::PIXELS).unwrap();
    assert_eq!(raw.attributes.text("content-type"), Some("application/octet-stream"));
}

#[actix_web::test]
async fn what_is_no_image_is_a_400_and_what_is_too_large_a_413() {
    let settings = ServerConfig { max_body_bytes: 10_000, ..ServerConfig::default() };
    let world = World::with(settings, |frontend| frontend);
    for path in ["/classify", "/kafka/images"] {
        let cases = [
            (TestRequest::post(), 400),
            (multipart(b""), 400),
            (multipart(b"no picture"), 400),
            (TestRequest::post().set_payload("no picture"), 400),
            (TestRequest::post().set_payload(vec![0; 10_001]), 413),
            (multipart(&[0; 10_001]), 413),
        ];
        for (request, status) in cases {
            let (found, body) = answer(world.call(request.uri(path)).await).await;
            assert_eq!(found, status, "{body}");
        }
    }
    assert_eq!(world.kafka.waiting_messages(), 0);
}

#[actix_web::test]
async fn a_model_that_is_away_is_a_503_that_keeps_the_reason_to_the_log() {
    let world = World::new();
    let image = TestRequest::post().uri("/classify").set_payload(vec![113; Image::PIXELS]);
    let (status, body) = answer(world.call(image).await).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, json!({ "error": "the model can't answer now; try again later" }));
}
