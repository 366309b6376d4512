//! What the old producers sent, answered and led to.

use super::*;

#[actix_web::test]
async fn a_range_is_published_as_the_old_producers_did() {
    let world = World::new();
    for method in [Method::GET, Method::POST] {
        let request = TestRequest::with_uri("/kafka/push-to-consumer?start_idx=0&end_idx=5");
        let response = world.call(request.method(method)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(text(response).await, r#"{"message_queue":"kafka","start_idx":0,"end_idx":5}"#);
    }
    let messages = received(&world.kafka).await;
    assert_eq!(messages[0].payload, &br#"{"start_idx": 0, "end_idx": 5}"#[..]);
    assert!(messages[0].key.is_none() && messages[0].attributes.is_empty());
}

#[actix_web::test]
async fn pubsub_answers_the_indices_as_they_were_given() {
    let world = World::new();
    let request = TestRequest::get().uri("/pubsub/push-to-consumer?start_idx=00&end_idx=5");
    let found = text(world.call(request).await).await;
    assert_eq!(found, r#"{"message_queue":"pubsub","start_idx":"00","end_idx":"5"}"#);
    let messages = received(&world.pubsub).await;
    assert_eq!(messages[0].payload, &b"pubsub - model inference"[..]);
    assert_eq!(messages[0].attributes.text("start_idx"), Some("00"));
    assert_eq!(messages[0].attributes.text("end_idx"), Some("5"));
}

#[actix_web::test]
async fn the_old_form_leads_to_the_old_address() {
    let world = World::new();
    for broker in ["kafka", "pubsub"] {
        let form = [("message_broker", broker), ("start_idx", "0"), ("end_idx", "5")];
        let response = world.call(TestRequest::post().set_form(form)).await;
        assert_eq!(response.status(), StatusCode::FOUND);
        let expected = format!("/{broker}/push-to-consumer?start_idx=0&end_idx=5");
        assert_eq!(*response.headers().get(header::LOCATION).unwrap(), *expected);
    }
}
