use std::{
    collections::BTreeSet,
    env,
    process::{Child, Command, Stdio},
    time::Duration,
};

use stream_inference::transport::{Transport, conformance::Harness};
use tokio::time::{Instant, sleep};
use transport_pubsub::{Emulator, PubSubConfig, PubSubTransport};

use crate::harness::{Emulated, LIMITS, config, echo, numbered};

/// Tells the consumer process its project.
const PROJECT: &str = "FMNIST_TEST_PUBSUB_PROJECT";

const MESSAGES: usize = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_a_consumer_in_mid_stream_loses_nothing() {
    let emulated = Emulated::new().await;
    let sent: BTreeSet<_> = emulated.send_together(numbered(MESSAGES)).await.into_iter().collect();
    assert_eq!(sent.len(), MESSAGES);

    let mut first = consumer(&emulated.config);
    until("a fifth is answered", || emulated.answered().len() >= MESSAGES / 5).await;
    first.kill().expect("killed");
    first.wait().expect("ended");
    let at_kill = emulated.answered().len();
    assert!(at_kill < MESSAGES, "the consumer was done before it was killed");

    let mut second = consumer(&emulated.config);
    let distinct = || emulated.answered().into_iter().collect::<BTreeSet<_>>();
    until("every message is answered", || distinct() == sent).await;
    second.kill().expect("killed");
    second.wait().expect("ended");

    let results = emulated.results().await.len();
    println!(
        "killed after {at_kill} results; {results} results of {MESSAGES} messages: \
         missing 0, duplicates {}",
        results - MESSAGES
    );
}

fn consumer(config: &PubSubConfig) -> Child {
    let emulator = config.emulator.as_ref().expect("an emulator").endpoint();
    Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "support::crash::consumer_process", "--ignored"])
        .env(PROJECT, &config.project_id)
        .env("PUBSUB_EMULATOR_HOST", emulator)
        .stdout(Stdio::null())
        .spawn()
        .expect("started")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that the test above starts and kills"]
async fn consumer_process() {
    let emulator = Emulator::from_env().expect("an address").expect("started by the test above");
    let config = config(&env::var(PROJECT).expect("started by the test above"), emulator);
    let mut transport = PubSubTransport::connect(&config).await.expect("connected");
    loop {
        let deliveries = transport.recv(LIMITS).await.expect("received");
        let settled = transport.settle(deliveries.into_iter().map(echo).collect());
        tokio::spawn(async { settled.await.expect("confirmed") });
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !condition() {
        assert!(Instant::now() < deadline, "not within three minutes: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
