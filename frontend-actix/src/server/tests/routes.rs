//! What each method does at each address, and that the guard sees the route, not the path's text.

use std::collections::BTreeSet;

use super::*;

fn foreign(request: TestRequest) -> TestRequest {
    request.insert_header(("sec-fetch-site", "cross-site"))
}

fn allowed(response: &ServiceResponse) -> Option<&str> {
    response.headers().get(header::ALLOW).map(|allow| allow.to_str().unwrap())
}

#[actix_web::test]
async fn head_is_answered_wherever_get_changes_nothing() {
    let world = World::new();
    for path in [
        "/",
        "/assets/page.js",
        "/livez",
        "/readyz",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/sneakers",
        "/v2/models/sneakers/ready",
        "/results",
        "/labels",
        "/images.png?start_idx=0&end_idx=1",
        "/images/0.png",
        "/images/99.png",
        "/metrics",
    ] {
        let asked = world.call(TestRequest::get().uri(path)).await.status();
        let head = world.call(TestRequest::with_uri(path).method(Method::HEAD)).await.status();
        assert_eq!(head, asked, "{path}");
    }
    let head = TestRequest::with_uri("/results/stream").method(Method::HEAD);
    let response = world.call(head).await;
    assert_eq!(response.headers().get(header::CONTENT_TYPE).unwrap(), "text/event-stream");
    assert_eq!(text(response).await, "", "it ends at once");
}

#[actix_web::test]
async fn a_wrong_method_is_a_405_in_words_that_says_which_are_right() {
    let world = World::new();
    let push = "/kafka/push-to-consumer?start_idx=0&end_idx=5";
    for (method, path, allow) in [
        (Method::HEAD, push, "GET, POST"),
        (Method::PUT, push, "GET, POST"),
        (Method::DELETE, "/", "GET, HEAD, POST"),
        (Method::GET, "/classify", "POST"),
        (Method::GET, "/prepare", "POST"),
        (Method::GET, "/login", "POST"),
        (Method::GET, "/kafka/images", "POST"),
        (Method::POST, "/results", "GET, HEAD"),
        (Method::POST, "/results/stream", "GET, HEAD"),
        (Method::OPTIONS, "/livez", "GET, HEAD"),
        (Method::POST, "/assets/page.js", "GET, HEAD"),
        (Method::GET, "/v2/repository/index", "POST"),
        (Method::PATCH, "/v2/models/sneakers", "GET, HEAD"),
        (Method::GET, "/v2/models/sneakers/versions/1.0/infer", "POST"),
    ] {
        let response = world.call(TestRequest::with_uri(path).method(method.clone())).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!(allowed(&response), Some(allow), "{method} {path}");
        let (_, body) = answer(response).await;
        assert_eq!(body, json!({ "error": format!("this address answers {allow}") }));
    }
    assert_eq!(world.kafka.waiting_messages(), 0);
}

#[actix_web::test]
async fn a_path_that_is_written_otherwise_is_the_same_route_to_the_guard() {
    let one_a_second = ServerConfig { max_requests_per_second: 1, ..ServerConfig::default() };
    for path in
        ["/kafka/push-to-consumer", "/kafka/push-to-consume%72", "/%6bafka/push%2dto-consumer"]
    {
        let world = World::with(one_a_second.clone(), |frontend| frontend);
        let push = || TestRequest::get().uri(&format!("{path}?start_idx=0&end_idx=5"));
        assert_eq!(world.call(foreign(push())).await.status(), StatusCode::FORBIDDEN, "{path}");
        assert_eq!(world.kafka.waiting_messages(), 0, "{path}");
        let statuses = [world.call(push()).await.status(), world.call(push()).await.status()];
        // Whether that is another address than the plain one is the router's business.
        let first = statuses[0] == StatusCode::OK || statuses[0] == StatusCode::NOT_FOUND;
        assert!(first, "{path}: {statuses:?}");
        assert_eq!(statuses[1], StatusCode::TOO_MANY_REQUESTS, "{path}");
    }
}

#[actix_web::test]
async fn without_the_token_no_route_is_open_but_page_sign_in_and_probes() {
    let settings = ServerConfig { api_token: Some(TOKEN.to_owned()), ..ServerConfig::default() };
    let world = World::with(settings, |frontend| frontend);
    let mut open = BTreeSet::new();
    for endpoint in crate::routes::endpoints() {
        for (path, method) in endpoint.declared() {
            let asked = TestRequest::with_uri(&path.replace(['{', '}'], "")).method(method.clone());
            if world.call(asked).await.status() != StatusCode::UNAUTHORIZED {
                open.insert(format!("{method} {path}"));
            }
        }
    }
    open.retain(|route| !route.starts_with("HEAD "));
    let expected = [
        "GET /",
        "GET /assets/{name}",
        "GET /livez",
        "GET /readyz",
        "GET /v2/health/live",
        "GET /v2/health/ready",
        "POST /login",
    ];
    assert_eq!(Vec::from_iter(&open), expected);
}

#[test]
fn every_route_is_documented() {
    let documents = [
        include_str!("../../../../docs/http.md"),
        include_str!("../../../../docs/inference-protocol.md"),
        include_str!("../../../../docs/metrics.md"),
    ];
    for endpoint in crate::routes::endpoints() {
        for (path, _) in endpoint.declared() {
            // One line speaks of all that a model answers by its version.
            let path = path.split_inclusive("{version}").next().unwrap();
            let told = |text: &str| text.contains(path);
            assert!(documents.into_iter().any(told), "{path} is in none of the documents");
        }
    }
}

#[actix_web::test]
async fn what_no_route_answers_is_as_closed_as_what_publishes() {
    let world = World::new();
    for request in [
        TestRequest::get().uri("/nowhere"),
        TestRequest::get().uri("/kafka/push-to-consumer/"),
        TestRequest::post().uri("/livez"),
    ] {
        assert_eq!(world.call(foreign(request)).await.status(), StatusCode::FORBIDDEN);
    }
    let (status, body) = world.get("/nowhere").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(body, json!({ "error": "there is nothing here" }));
    let settings = ServerConfig { api_token: Some(TOKEN.to_owned()), ..ServerConfig::default() };
    let world = World::with(settings, |frontend| frontend);
    assert_eq!(world.get("/nowhere").await.0, StatusCode::UNAUTHORIZED);
}

#[actix_web::test]
async fn everything_that_publishes_decodes_classifies_or_signs_in_is_counted() {
    let png = test_set().images[0].to_png();
    let paths = ["/prepare", "/classify", "/kafka/images", "/v2/models/sneakers/infer", "/login"];
    for path in paths {
        let settings = ServerConfig { max_requests_per_second: 1, ..ServerConfig::default() };
        let world = World::with(settings, |frontend| frontend);
        let ask = || world.call(TestRequest::post().uri(path).set_payload(png.clone()));
        assert_ne!(ask().await.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
        assert_eq!(ask().await.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
        assert_eq!(world.get("/results").await.0, StatusCode::OK);
    }
}

#[actix_web::test]
async fn a_parameter_that_is_given_twice_is_refused_wherever_there_are_any() {
    let world = World::new();
    for (path, expected) in [
        ("/kafka/push-to-consumer?start_idx=0&end_idx=5&end_idx=6", "end_idx is given twice"),
        ("/images.png?start_idx=0&start_idx=0&end_idx=5", "start_idx is given twice"),
        ("/labels?set=a&set=b", "set is given twice"),
        ("/results?label=Bag&label=Coat", "label is given twice"),
        ("/results/picture?id=a&index=0&index=1", "index is given twice"),
    ] {
        let (status, body) = world.get(path).await;
        assert_eq!((status, body), (StatusCode::BAD_REQUEST, json!({ "error": expected })));
    }
    let body = "message_broker=kafka&start_idx=0&start_idx=1&end_idx=5";
    let form = (header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let request = TestRequest::post().insert_header(form).set_payload(body);
    let (status, body) = answer(world.call(request).await).await;
    let expected = json!({ "error": "start_idx is given twice" });
    assert_eq!((status, body), (StatusCode::BAD_REQUEST, expected));
    assert_eq!(world.kafka.waiting_messages(), 0);
}

#[actix_web::test]
async fn a_value_that_no_database_holds_is_a_400_that_names_it() {
    let world = World::new();
    for (query, named) in [
        ("results?offset=9223372036854775808", "offset"),
        ("results?limit=18446744073709551616", "limit"),
        ("results?limit=many", "limit"),
        ("results?label=%00", "label"),
        ("results?id=a%00b", "id"),
        ("results?colour=red", "colour"),
        ("results/picture?id=a&index=9223372036854775808", "index"),
        ("results/picture?id=%00&index=0", "id"),
    ] {
        let (status, body) = world.get(&format!("/{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(body["error"].as_str().unwrap().contains(named), "{query}: {body}");
    }
    let far = world.get("/results?offset=9223372036854775807").await;
    assert_eq!((far.0, &far.1["results"]), (StatusCode::OK, &json!([])));
}

#[actix_web::test]
async fn no_debug_server_is_reachable() {
    let world = World::new();
    for path in ["/console", "/debug", "/?__debugger__=yes&cmd=resource&f=style.css", "/admin"] {
        let response = world.call(TestRequest::get().uri(path)).await;
        let status = response.status();
        let body = text(response).await;
        assert!(status == StatusCode::NOT_FOUND || body.contains("<title>fmnist-stream"), "{path}");
    }
    let blank = TestRequest::post().uri("/classify").set_payload(vec![0; Image::PIXELS]);
    let (status, body) = answer(world.call(blank).await).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(body, json!({ "error": "classification failed" }));
}
