use std::net::TcpListener;

use stream_inference::transport::{Outbound, PublishError, Publisher};
use transport_pubsub::{
    Emulator, PubSubConfig, PubSubError, PubSubPublisher, PubSubResults, PubSubTransport,
};

/// A configuration for an emulator that accepts connections and never answers.
fn silent_server() -> (TcpListener, PubSubConfig) {
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host = server.local_addr().expect("bound").to_string();
    let config = PubSubConfig {
        project_id: "demo".to_owned(),
        results_subscription_id: Some("results-subscription".to_owned()),
        emulator: Some(Emulator::new(&host).expect("host and port")),
        ..PubSubConfig::default()
    };
    (server, config)
}

fn absent_server() -> PubSubConfig {
    silent_server().1
}

#[tokio::test(start_paused = true)]
async fn a_publisher_gives_up_on_a_server_that_is_away() {
    let (_server, silent) = silent_server();
    for config in [silent, absent_server()] {
        let publisher = PubSubPublisher::connect(&config).await.unwrap();
        let message = Outbound { payload: "x".into(), ..Outbound::default() };
        let error = publisher.publish(message).await.unwrap_err();
        assert!(matches!(error, PublishError::Unavailable { .. }), "{error}");
        let error = publisher.probe().await.unwrap_err();
        assert!(matches!(error, PubSubError::Unavailable { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_does_not_wait_for_ever_for_a_server_that_is_away() {
    let (_server, silent) = silent_server();
    for config in [silent, absent_server()] {
        let error = PubSubTransport::connect(&config).await.unwrap_err();
        assert!(matches!(error, PubSubError::Unavailable { .. }), "{error}");
        let error = PubSubResults::connect(&config).await.unwrap_err();
        assert!(matches!(error, PubSubError::Unavailable { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_utf_8_is_refused() {
    let publisher = PubSubPublisher::connect(&absent_server()).await.unwrap();
    let message = Outbound { key: Some((&b"\xff"[..]).into()), ..Outbound::default() };
    let error = publisher.publish(message).await.unwrap_err();
    assert!(matches!(error, PublishError::Refused { .. }), "{error}");
}
