//! The latest results, as pages and as a stream.

use std::pin::Pin;

use actix_web::body::MessageBody;

use super::*;

#[actix_web::test]
async fn recent_results_come_newest_first_and_in_pages() {
    let world = World::new();
    for (id, label) in [("a", "Bag"), ("b", "Coat"), ("c", "Bag")] {
        world.site.history.push(record(id, label));
    }
    let ids = async |query: &str| {
        let (status, body) = world.get(&format!("/results{query}")).await;
        assert_eq!(status, StatusCode::OK);
        let results = body["results"].as_array().unwrap().clone();
        let ids: Vec<String> =
            results.iter().map(|result| result["id"].as_str().unwrap().to_owned()).collect();
        (ids, body["total"].as_u64().unwrap())
    };
    let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    assert_eq!(ids("").await, (owned(&["c", "b", "a"]), 3));
    assert_eq!(ids("?limit=1&offset=1").await, (owned(&["b"]), 3));
    assert_eq!(ids("?id=a").await, (owned(&["a"]), 1));
    assert_eq!(ids("?label=Bag").await, (owned(&["c", "a"]), 2));
    assert_eq!(ids("?transport=pubsub").await, (owned(&[]), 0));
    assert_eq!(world.get("/results?limit=many").await.0, StatusCode::BAD_REQUEST);
}

#[test]
fn the_history_is_bounded() {
    let history = crate::history::History::default();
    for number in 0..1_100 {
        history.push(record(&number.to_string(), "Bag"));
    }
    assert_eq!(history.len(), 1_000);
}

#[actix_web::test]
async fn results_are_streamed_as_they_come_until_the_server_stops() {
    let world = World::new();
    let response = world.call(TestRequest::get().uri("/results/stream")).await;
    assert_eq!(response.headers().get(header::CONTENT_TYPE).unwrap(), "text/event-stream");
    world.site.history.push(record("INFERENCE/0/1", "Bag"));
    let mut body = response.into_body();
    let mut told = String::new();
    while !told.ends_with("}\n\n") {
        let piece = std::future::poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await;
        told += std::str::from_utf8(&piece.unwrap().unwrap()).unwrap();
    }
    assert!(told.starts_with(": open\n\ndata: {\"schema\":1,\"id\":\"INFERENCE/0/1\""), "{told}");
    world.stop.send_replace(true);
    assert!(std::future::poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await.is_none());
}
