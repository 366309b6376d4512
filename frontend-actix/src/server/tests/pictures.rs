//! The test set's pictures and labels, and what the model sees.

use super::*;

async fn bytes(response: ServiceResponse) -> Vec<u8> {
    to_bytes(response.into_body()).await.unwrap().to_vec()
}

fn header_of(response: &ServiceResponse, name: header::HeaderName) -> String {
    response.headers().get(name).unwrap().to_str().unwrap().to_owned()
}

#[actix_web::test]
async fn a_test_image_is_a_picture_and_one_too_far_is_a_404_in_words() {
    let world = World::new();
    let response = world.call(TestRequest::get().uri("/images/7.png")).await;
    assert_eq!(header_of(&response, header::CONTENT_TYPE), "image/png");
    assert_eq!(bytes(response).await, test_set().images[7].to_png());
    for index in ["20", "-1", "x", "99999999999999999999999"] {
        let (status, body) = world.get(&format!("/images/{index}.png")).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let expected = format!("there is no image \"{index}\": the test set has 0 to 19");
        assert_eq!(body, json!({ "error": expected }));
    }
}

#[actix_web::test]
async fn a_range_is_one_sheet_of_bounded_size() {
    let world = World::new();
    let response = world.call(TestRequest::get().uri("/images.png?start_idx=3&end_idx=15")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let expected = fmnist_core::image::sheet_png(&test_set().images[3..15], 10);
    assert_eq!(bytes(response).await, expected);
    for query in ["", "?start_idx=5&end_idx=5", "?start_idx=0&end_idx=21"] {
        assert_eq!(world.get(&format!("/images.png{query}")).await.0, StatusCode::BAD_REQUEST);
    }
    let large = synthetic(Split::Test, 300, 0);
    let world = World::with(ServerConfig::default(), |frontend| frontend.with_test_set(&large));
    let (status, body) = world.get("/images.png?start_idx=0&end_idx=251").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body, json!({ "error": "a sheet has 250 images at most, found 251" }));
}

#[actix_web::test]
async fn the_true_labels_are_told() {
    let (status, body) = World::new().get("/labels").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["synthetic"], true);
    assert_eq!(body["classes"][9], "Ankle boot");
    assert_eq!(body["labels"], json!(&test_set().labels[..]));
}

#[actix_web::test]
async fn only_an_address_that_names_this_test_set_is_kept_by_browsers() {
    let world = World::new();
    let version = &world.site.setup.gallery.as_ref().unwrap().version;
    let immutable = "private, max-age=31536000, immutable";
    let cases = [
        (format!("?set={version}"), immutable),
        ("?set=other".to_owned(), "no-cache"),
        (String::new(), "no-cache"),
    ];
    for (query, expected) in cases {
        for path in ["/images/0.png", "/labels"] {
            let response = world.call(TestRequest::get().uri(&format!("{path}{query}"))).await;
            assert_eq!(header_of(&response, header::CACHE_CONTROL), expected, "{path}{query}");
        }
    }
}

#[actix_web::test]
async fn what_the_model_sees_of_an_upload_is_a_picture() {
    let world = World::new();
    let image = test_set().images[4].to_png();
    for request in [multipart(&image), TestRequest::post().set_payload(image.clone())] {
        let response = world.call(request.uri("/prepare")).await;
        assert_eq!(header_of(&response, header::CONTENT_TYPE), "image/png");
        assert_eq!(bytes(response).await, image);
    }
    let broken = TestRequest::post().uri("/prepare").set_payload("no picture");
    let (status, body) = answer(world.call(broken).await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["error"].as_str().unwrap().starts_with("the image can't be read: "), "{body}");
}

#[actix_web::test]
async fn the_pages_files_are_served_and_no_others() {
    let world = World::new();
    let page = text(world.call(TestRequest::get().uri("/")).await).await;
    let files: Vec<&str> = page.split('"').filter(|value| value.starts_with("/assets/")).collect();
    assert_eq!(files, ["/assets/icon.svg", "/assets/page.css", "/assets/page.js"]);
    for file in files {
        assert_eq!(world.call(TestRequest::get().uri(file)).await.status(), StatusCode::OK);
    }
    assert_eq!(world.get("/assets/page.rs").await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.get("/assets/..%2fCargo.toml").await.0, StatusCode::NOT_FOUND);
}
