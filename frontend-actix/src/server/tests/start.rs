//! How the front end starts and ends.

use super::*;

#[actix_web::test]
async fn a_busy_port_is_refused_with_a_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let settings = ServerConfig { port, ..ServerConfig::default() };
    let started = Frontend::new(settings).start(&Supervisor::new());
    let error = started.err().unwrap().to_string();
    assert!(error.contains(&port.to_string()) && error.contains("--port"), "{error}");
}

#[actix_web::test]
async fn a_public_address_without_a_token_is_not_served() {
    let settings = ServerConfig { bind: [0, 0, 0, 0].into(), port: 0, ..ServerConfig::default() };
    let started = Frontend::new(settings).start(&Supervisor::new());
    let error = started.err().unwrap().to_string();
    assert!(error.contains("server.api_token"), "{error}");
}

#[cfg(not(feature = "grpc"))]
#[actix_web::test]
async fn a_port_for_grpc_in_a_program_without_it_is_refused_with_the_feature_to_build_with() {
    let settings = ServerConfig { port: 0, grpc_port: Some(0), ..ServerConfig::default() };
    let started = Frontend::new(settings).start(&Supervisor::new());
    let error = started.err().unwrap().to_string();
    assert!(error.starts_with("server.grpc_port is for gRPC"), "{error}");
    assert!(error.contains("--features grpc"), "{error}");
}

#[actix_web::test]
async fn a_part_of_the_page_that_ends_early_is_named_and_a_stop_ends_them_all() {
    let start = |parts: &Supervisor| {
        let settings = ServerConfig { port: 0, ..ServerConfig::default() };
        let (results, _) = broadcast::channel(8);
        Frontend::new(settings).with_results(results).start(parts).unwrap()
    };
    let parts = Supervisor::new();
    let running = start(&parts);
    assert_eq!(parts.failure(), None);
    running.recording.as_ref().unwrap().abort();
    let ended = parts.ended().await;
    assert_eq!(ended.as_deref(), Some("the task that keeps the latest results ended early"));
    running.stop().await;

    let parts = Supervisor::new();
    let running = start(&parts);
    running.server.abort();
    let ended = parts.ended().await;
    assert_eq!(ended.as_deref(), Some("the task that serves the page ended early"));
    drop(running);

    let parts = Supervisor::new();
    start(&parts).stop().await;
    assert_eq!(parts.ended().await, None);
}
