use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use fmnist_core::transport::{Attributes, Limits, Outbound, Outcome, Publisher, Transport};
use tempfile::TempDir;
use test_kit::{Program, emulator, example};
use tokio::time::timeout;
use transport_pubsub::{Emulator, PubSubConfig, PubSubPublisher, PubSubTransport, create_missing};

const PATIENCE: Duration = Duration::from_secs(60);
const DEAD_LETTERS: &str = "MODEL-INFERENCE-DEAD-LETTERS-subscription";

struct World {
    config: PubSubConfig,
    address: String,
    folder: TempDir,
}

impl World {
    /// A project of its own, with a second subscription of the input topic to look into.
    async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let emulator = std::env::var("PUBSUB_EMULATOR_HOST")
            .expect("PUBSUB_EMULATOR_HOST is not set: run scripts/pubsub-emulator.sh COMMAND");
        let address = emulator::proxy(emulator).await.to_string();
        let config = PubSubConfig {
            project_id: format!(
                "examples-{}-{}",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            ),
            emulator: Some(Emulator::new(&address).unwrap()),
            ..PubSubConfig::default()
        };
        // The emulator's first answers may take long on a busy machine.
        let begun = Instant::now();
        while let Err(error) = create_missing(&config).await {
            assert!(begun.elapsed() < PATIENCE, "{error}");
        }
        let seen = PubSubConfig { subscription_id: "seen".to_owned(), ..config.clone() };
        create_missing(&seen).await.unwrap();
        Self { config, address, folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self, name: &str) -> Command {
        let path = self.folder.path().join("config.json");
        fs::write(&path, serde_json::json!({ "pubsub": self.config }).to_string()).unwrap();
        let mut command = example(name);
        command.arg("--config").arg(path).env("PUBSUB_EMULATOR_HOST", &self.address);
        command
    }

    /// Runs `redrive`; returns its exit code and its list.
    fn redrive(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.command("redrive");
        command.args(["--broker", "pubsub", "--subscription", DEAD_LETTERS]);
        let output = command.args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    async fn consumer(&self, subscription: &str) -> PubSubTransport {
        let subscription_id = subscription.to_owned();
        let config = PubSubConfig { subscription_id, ..self.config.clone() };
        PubSubTransport::connect(&config).await.unwrap()
    }
}

/// Receives and acknowledges `count` messages.
async fn take(consumer: &mut PubSubTransport, count: usize) -> Vec<Outbound> {
    let mut taken = Vec::new();
    let limits = Limits { max_messages: 1, max_bytes: 1, max_wait: Duration::ZERO };
    while taken.len() < count {
        let received = timeout(PATIENCE, consumer.recv(limits)).await.expect("in time").unwrap();
        for delivery in received {
            taken.push(Outbound {
                key: delivery.key.clone(),
                attributes: delivery.attributes.clone(),
                payload: delivery.payload.clone(),
                ..Outbound::default()
            });
            consumer.settle(vec![(delivery, Outcome::Recorded)]).await.unwrap();
        }
    }
    taken
}

fn sorted(attributes: &Attributes) -> Vec<(String, Vec<u8>)> {
    let pair = |(name, value): (&str, Option<&bytes::Bytes>)| {
        (name.to_owned(), value.map(|value| value.to_vec()).unwrap_or_default())
    };
    let mut pairs: Vec<_> = attributes.iter().map(pair).collect();
    pairs.sort_unstable();
    pairs
}

/// A message whose payload is no text and whose attributes ask for half a range.
fn poison() -> Outbound {
    let attributes: Attributes = [("trace", "7"), ("start_idx", "9")].into_iter().collect();
    Outbound { attributes, payload: b"{\xff".to_vec().into(), ..Outbound::default() }
}

/// Sends poison, and waits until the consumer has refused it.
async fn refused(world: &World) -> Program {
    let publisher = PubSubPublisher::connect(&world.config).await.unwrap();
    publisher.publish(poison()).await.unwrap();
    let mut consumer = Program::start(&mut world.command("pubsub_consumer"));
    consumer.logged("message refused");
    consumer
}

#[tokio::test(flavor = "multi_thread")]
async fn redrive_sends_dead_letters_to_the_input_as_they_came_until_their_cap() {
    let world = World::new().await;
    let mut seen = world.consumer("seen").await;
    let mut consumer = refused(&world).await;
    take(&mut seen, 1).await;
    // Sent again, refused again, until there were two: all within the run's patience.
    let (code, listed) = world.redrive(&["--max-redrives", "2", "--idle-seconds", "15"]);
    assert_eq!((code, listed.lines().count()), (Some(3), 2), "{listed}");
    let mut again = take(&mut seen, 2).await;
    again.sort_by_key(|message| message.attributes.text("fmnist.redrives").map(str::to_owned));
    for (message, count) in again.iter().zip(["1", "2"]) {
        let mut expected = poison().attributes;
        expected.push("fmnist.redrives", count);
        assert_eq!(message.payload, poison().payload);
        assert_eq!(sorted(&message.attributes), sorted(&expected));
    }
    assert_eq!(consumer.end("-TERM"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn redrive_sends_nothing_that_is_not_chosen_and_nothing_in_a_dry_run() {
    for (arguments, listed) in [
        (["--dry-run", "--stage=DECODE", "--idle-seconds=5"], 1),
        (["--rate=9", "--stage=INFER", "--idle-seconds=5"], 0),
    ] {
        let world = World::new().await;
        let mut seen = world.consumer("seen").await;
        let mut consumer = refused(&world).await;
        take(&mut seen, 1).await;
        let (code, found) = world.redrive(&arguments);
        assert_eq!((code, found.lines().count()), (Some(0), listed), "{found}");
        // Had it been sent, it would come before this one.
        PubSubPublisher::connect(&world.config).await.unwrap().publish(poison()).await.unwrap();
        let next = take(&mut seen, 1).await.remove(0);
        assert_eq!(next.attributes.text("fmnist.redrives"), None);
        assert_eq!(consumer.end("-TERM"), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redrive_refuses_times_on_pubsub() {
    let (code, _) = World::new().await.redrive(&["--from", "2026-11-25T10:00:00Z"]);
    assert_eq!(code, Some(1));
}
