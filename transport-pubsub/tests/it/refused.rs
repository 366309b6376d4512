//! Subscriptions and topics that are there, and of no use to a consumer.

use stream_inference::transport::conformance::Harness;
use transport_pubsub::{
    PubSubConfig, PubSubError, PubSubResults, PubSubTransport, create_missing,
    missing_for_consumer, missing_for_reader,
};

use crate::harness::{Emulated, ROUTE, subscription_admin};

/// What a start and `--check` say of the consumer's subscription, which is the same.
async fn refusal(config: &PubSubConfig) -> String {
    let error = PubSubTransport::connect(config).await.expect_err("refused");
    assert!(matches!(error, PubSubError::Unusable { .. }), "{error}");
    let found = missing_for_consumer(config).await.expect("an answer");
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [error.to_string()]);
    error.to_string()
}

/// The configuration with another subscription, made with that change.
async fn with_subscription(emulated: &Emulated, topic: &str, push_endpoint: &str) -> PubSubConfig {
    let config = PubSubConfig { subscription_id: "another".to_owned(), ..emulated.config.clone() };
    let push = google_cloud_pubsub::model::PushConfig::new().set_push_endpoint(push_endpoint);
    let request = subscription_admin(&config).await.create_subscription();
    let request = request.set_name(config.subscription_name("another")).set_push_config(push);
    request.set_topic(config.topic_name(topic)).send().await.expect("created");
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_of_a_topic_that_the_consumer_writes_is_refused() {
    for topic in ["MODEL-INFERENCE-RESULTS", "MODEL-INFERENCE-DEAD-LETTERS", ROUTE] {
        let emulated = Emulated::new().await;
        let config = with_subscription(&emulated, topic, "").await;
        let refused = refusal(&config).await;
        for part in ["subscriptions/another", topic, "for ever", "pubsub.subscription_id"] {
            assert!(refused.contains(part), "{refused}");
        }
        let writes_nothing_there = PubSubConfig {
            // What it would be made on, were it not there.
            topic: topic.to_owned(),
            results_topic: None,
            routes: Vec::new(),
            dead_letter_topic: config.topic.clone(),
            ..config.clone()
        };
        PubSubTransport::connect(&writes_nothing_there)
            .await
            .expect("a reader of what others write");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_pushes_is_refused_with_the_command_that_changes_it() {
    let emulated = Emulated::new().await;
    let config = with_subscription(&emulated, "MODEL-INFERENCE", "https://shop.example/push").await;
    let refused = refusal(&config).await;
    for part in ["pushes its messages to https://shop.example/push", "modifyPushConfig"] {
        assert!(refused.contains(part), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_detached_from_its_topic_is_refused() {
    let emulated = Emulated::new().await;
    let config = with_subscription(&emulated, "MODEL-INFERENCE", "").await;
    emulated.server.0.detach(&config.subscription_name("another"));
    let refused = refusal(&config).await;
    assert!(refused.contains("is detached from its topic, so that nothing comes"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_may_not_write_dead_letters_or_results_is_refused() {
    for topic in ["MODEL-INFERENCE-DEAD-LETTERS", "MODEL-INFERENCE-RESULTS", ROUTE] {
        let emulated = Emulated::new().await;
        emulated.server.0.forbid_publishing(&emulated.config.topic_name(topic));
        let refused = refusal(&emulated.config).await;
        for part in [topic, "pubsub.topics.publish", "add-iam-policy-binding"] {
            assert!(refused.contains(part), "{refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_does_not_acknowledge_what_is_no_result() {
    for topic in ["MODEL-INFERENCE", "MODEL-INFERENCE-DEAD-LETTERS"] {
        let emulated = Emulated::new().await;
        with_subscription(&emulated, topic, "").await;
        let results_subscription_id = Some("another".to_owned());
        let config = PubSubConfig { results_subscription_id, ..emulated.config.clone() };
        let error = PubSubResults::connect(&config).await.expect_err("refused").to_string();
        assert!(error.contains(&format!("is of {topic}")) && error.contains("lost"), "{error}");
        let found = missing_for_reader(&config).await.expect("an answer");
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [error]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_complete_is_not_refused() {
    let emulated = Emulated::new().await;
    create_missing(&emulated.config).await.expect("nothing is missing");
    assert!(missing_for_consumer(&emulated.config).await.expect("an answer").is_empty());
    assert!(missing_for_reader(&emulated.config).await.expect("an answer").is_empty());
    emulated.connect().await;
}
