//! What the page reads from a database.

use fmnist_core::pipeline::{Answered, Sink};
use sink_sql::{Database, DatabaseConfig};
use tempfile::TempDir;

use super::*;

async fn world() -> (TempDir, Database, World) {
    let folder = tempfile::tempdir().unwrap();
    let url = Some(format!("sqlite:{}", folder.path().join("results.db").display()));
    let database =
        Database::open(&DatabaseConfig { url, ..DatabaseConfig::default() }).await.unwrap();
    let served = database.clone();
    let world = World::with(ServerConfig::default(), |f| f.with_database(served));
    (folder, database, world)
}

fn answered(offset: i64) -> Answered {
    let record = record(&format!("INFERENCE/0/{offset}"), "Bag");
    Answered { record: Arc::unwrap_or_clone(record), inputs: vec![Image::new([9; Image::PIXELS])] }
}

#[actix_web::test]
async fn results_of_earlier_processes_are_read_from_the_database() {
    let (_folder, database, world) = world().await;
    let written: Vec<_> = (0..30).map(answered).collect();
    database.write(&written).await.unwrap();
    let (status, body) = world.get("/results?limit=2&offset=1").await;
    assert_eq!((status, &body["total"]), (StatusCode::OK, &json!(30)));
    let found: Vec<ResultRecord> = serde_json::from_value(body["results"].clone()).unwrap();
    assert_eq!(found, [written[28].record.clone(), written[27].record.clone()]);
    let (_, none) = world.get("/results?label=Trouser&transport=pubsub").await;
    assert_eq!(none["total"], 0);
}

#[actix_web::test]
async fn a_kept_picture_is_a_png_and_another_is_a_404() {
    let (_folder, database, world) = world().await;
    let answered = answered(7);
    database.write(std::slice::from_ref(&answered)).await.unwrap();
    let index = answered.record.predictions[0].index;
    let path = format!("/results/picture?id=INFERENCE/0/7&index={index}");
    let response = world.call(TestRequest::get().uri(&path)).await;
    assert_eq!(response.headers().get(header::CONTENT_TYPE).unwrap(), "image/png");
    let png = to_bytes(response.into_body()).await.unwrap();
    assert_eq!(png, answered.inputs[0].to_png());
    for (path, expected) in [
        ("/results/picture?id=INFERENCE/0/8&index=0", StatusCode::NOT_FOUND),
        ("/results/picture?id=INFERENCE/0/7", StatusCode::BAD_REQUEST),
        ("/results/picture?index=0", StatusCode::BAD_REQUEST),
        ("/results/picture?id=INFERENCE/0/7&index=-1", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(world.get(path).await.0, expected, "{path}");
    }
    let without = World::new();
    assert_eq!(without.get(&path).await.0, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn a_database_that_is_away_is_said_so() {
    let (_folder, database, world) = world().await;
    let (status, body) = world.get("/readyz").await;
    assert_eq!((status, &body["checks"]["database"]), (StatusCode::OK, &json!("reachable")));
    database.close().await;
    // What was found before is told for a moment.
    let body = loop {
        let (status, body) = world.get("/readyz").await;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            break body;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert_eq!(body["checks"]["database"], json!("unreachable"));
    let response = world.call(TestRequest::get().uri("/results")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    let body = text(response).await;
    assert!(body.contains("the database does not answer"), "{body}");
}
