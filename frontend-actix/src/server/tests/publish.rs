//! What is published, and what is refused before it or by the broker.

use super::*;

#[actix_web::test]
async fn a_message_is_in_the_trace_of_the_request_if_that_is_in_one() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let world = World::new();
    for trace in [TRACE, "00-xyz"] {
        let request = TestRequest::post().uri("/kafka/push-to-consumer?start_idx=0&end_idx=5");
        let request = request.insert_header(("traceparent", trace));
        let request = request.insert_header(("tracestate", "vendor=1"));
        assert_eq!(world.call(request).await.status(), StatusCode::OK);
    }
    let messages = received(&world.kafka).await;
    assert_eq!(messages[0].attributes.text("traceparent"), Some(TRACE));
    assert_eq!(messages[0].attributes.text("tracestate"), Some("vendor=1"));
    assert!(messages[1].attributes.is_empty());
}

#[actix_web::test]
async fn a_failed_send_is_not_answered_200() {
    for (refuses, status) in [(false, 503), (true, 400)] {
        let world = World::with(ServerConfig::default(), |frontend| {
            frontend.with_broker(Producer::new("kafka", Failing { refuses }))
        });
        let (found, body) = world.get("/kafka/push-to-consumer?start_idx=0&end_idx=5").await;
        assert_eq!(found, status);
        assert!(!body.to_string().contains("10.0.0.7"), "internals leak: {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_never_confirms_is_a_503() {
    let broker = Producer::new("kafka", Silent);
    let world =
        World::with(ServerConfig::default(), |frontend| frontend.with_broker(broker.clone()));
    let (status, body) = world.get("/kafka/push-to-consumer?start_idx=0&end_idx=5").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let expected = "kafka did not confirm; the message may not have arrived";
    assert_eq!(body, json!({ "error": expected }));
}

#[actix_web::test]
async fn unknown_broker_is_a_400() {
    let world = World::new();
    let form = [("message_broker", "rabbit"), ("start_idx", "0"), ("end_idx", "5")];
    let (status, body) = answer(world.call(TestRequest::post().set_form(form)).await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let expected = "there is no broker \"rabbit\": expected kafka or pubsub";
    assert_eq!(body, json!({ "error": expected }));
    let (status, _) = world.get("/rabbit/push-to-consumer?start_idx=0&end_idx=5").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[actix_web::test]
async fn a_missing_parameter_is_a_400() {
    let world = World::new();
    let cases = [
        ("", "start_idx is missing"),
        ("?start_idx=0", "end_idx is missing"),
        ("?end_idx=5", "start_idx is missing"),
        ("?start_idx=&end_idx=5", "start_idx is missing"),
    ];
    for (query, expected) in cases {
        let (status, body) = world.get(&format!("/kafka/push-to-consumer{query}")).await;
        assert_eq!((status, body), (StatusCode::BAD_REQUEST, json!({ "error": expected })));
    }
    let form = [("message_broker", "kafka"), ("start_idx", "0")];
    let (status, body) = answer(world.call(TestRequest::post().set_form(form)).await).await;
    assert_eq!((status, body), (StatusCode::BAD_REQUEST, json!({ "error": "end_idx is missing" })));
}

#[actix_web::test]
async fn ranges_outside_of_the_test_set_are_400_and_publish_nothing() {
    let world = World::new();
    let queries = [
        "start_idx=5&end_idx=5",
        "start_idx=6&end_idx=5",
        "start_idx=-1&end_idx=5",
        "start_idx=0&end_idx=21",
        "start_idx=x&end_idx=5",
        "start_idx=0&end_idx=5.0",
        "start_idx=0&end_idx=99999999999999999999999",
    ];
    for query in queries {
        for broker in ["kafka", "pubsub"] {
            let (status, body) = world.get(&format!("/{broker}/push-to-consumer?{query}")).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
            assert!(body["error"].is_string(), "{body}");
        }
    }
    assert_eq!((world.kafka.waiting_messages(), world.pubsub.waiting_messages()), (0, 0));
    assert_eq!(world.get("/kafka/push-to-consumer?start_idx=19&end_idx=20").await.0, 200);
}
