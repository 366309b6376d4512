use transport_pubsub::{PubSubConfig, PubSubError, PubSubTransport, create_missing};

use crate::{
    harness::{ROUTE, config, subscription_admin, topic_admin, unique_project},
    server::Server,
};

async fn missing(config: &PubSubConfig) -> (String, String) {
    match PubSubTransport::connect(config).await {
        Err(PubSubError::Missing { resource, command, .. }) => (resource, command),
        other => panic!("expected something to be missing, found {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_names_what_is_missing_and_the_command_that_creates_it() {
    let server = Server::start().await;
    let config = config(&unique_project(), server.emulator());
    let project = &config.project_id;
    let (topics, subscriptions) = (topic_admin(&config).await, subscription_admin(&config).await);
    let topic = format!("projects/{project}/topics/MODEL-INFERENCE");
    let (resource, command) = missing(&config).await;
    assert_eq!(resource, topic);
    assert!(command.starts_with("curl -X PUT http://"), "{command}");
    topics.create_topic().set_name(&topic).send().await.unwrap();

    let (resource, command) = missing(&config).await;
    assert_eq!(resource, format!("projects/{project}/subscriptions/vectorai-subscription"));
    assert!(command.contains(&format!("{{\"topic\": \"{topic}\"")), "{command}");
    let request = subscriptions.create_subscription().set_topic(&topic);
    request.set_name(&resource).send().await.unwrap();
    let results = format!("{topic}-RESULTS");
    assert_eq!(missing(&config).await.0, results);
    topics.create_topic().set_name(&results).send().await.unwrap();
    let reviews = config.topic_name(ROUTE);
    assert_eq!(missing(&config).await.0, reviews);
    topics.create_topic().set_name(&reviews).send().await.unwrap();
    let dead_letters = format!("{topic}-DEAD-LETTERS");
    assert_eq!(missing(&config).await.0, dead_letters);

    topics.create_topic().set_name(&dead_letters).send().await.unwrap();
    let error = PubSubTransport::connect(&config).await.unwrap_err().to_string();
    assert!(error.contains("has no subscription, so that dead letters would be lost"), "{error}");
    assert!(error.contains("MODEL-INFERENCE-DEAD-LETTERS-subscription"), "{error}");

    create_missing(&config).await.unwrap();
    create_missing(&config).await.expect("what exists is left alone");
    PubSubTransport::connect(&config).await.expect("complete");
}
