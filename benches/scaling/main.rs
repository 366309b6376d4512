//! What more consumers bring and what their coming and going costs: one to eight processes of a group over
//! 16 partitions of a real Kafka, with a model that waits instead of computing, so that a machine of two
//! cores can hold them; and what a stream of millions takes, by a queue that these points check:
//! `scripts/kafka.sh cargo bench -p fmnist-benches --bench scaling`; `-- killed` has only those events.

mod cost;
mod group;
mod member;
mod stream;

use anyhow::Context as _;
use fmnist_benches::{Kafka, Report, Rounds, Server, Table, fullest, grouped, percentile};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use transport_kafka::KafkaGuarantee::{AtLeastOnce, ExactlyOnce};

use crate::{
    cost::Cost,
    group::{Event, PARTITIONS, throughput},
    member::{BATCH, CAPACITY, SERVICE},
};

const ROUNDS: usize = 3;
/// Those that divide the partitions evenly, and those that don't.
const CONSUMERS: [usize; 6] = [1, 2, 3, 4, 6, 8];
const EVENTS: [Event; 7] = [
    Event::Nothing,
    Event::Join,
    Event::Leave { is_named: false },
    Event::Leave { is_named: true },
    Event::Crash { is_named: false },
    Event::Crash { is_named: true },
    Event::Rolling,
];

fn main() -> anyhow::Result<()> {
    if let Some(settings) = member::settings_from_env()? {
        return tokio::runtime::Runtime::new()?.block_on(member::consume(settings));
    }
    if !Kafka::is_real() {
        eprintln!("scaling: skipped: run scripts/kafka.sh, which names a real Kafka");
        return Ok(());
    }
    // A word chooses the events whose names have it, and nothing else.
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    if let Some(word) = word {
        println!("{}", pauses(&word)?);
        return Ok(());
    }
    let mut report = Report::new(
        "scaling",
        &format!(
            "A group over {PARTITIONS} partitions of a real Kafka on the same cores, each consumer a \
             process. Its model waits {} ms a call of at most {BATCH} inputs and computes nothing, as a \
             device beside the processor would: {CAPACITY:.0} messages/s a consumer at most.",
            SERVICE.as_millis()
        ),
    );
    report.add(&scale()?);
    report.note(
        "Waiting messages, evenly over the partitions, from when all consumers answer until the last \
         result is seen; median over rounds (least–greatest). `by the queue` is one consumer's measured \
         speed by the share of the fullest consumer: what it can't do, the group can't.",
    );
    report.add(&pauses("")?);
    report.note(
        "Four consumers (named: `group_instance_id`) under half of the load that they can bear, messages \
         sent when they are due. `longest pause` is the longest time without a result of a partition, as a \
         reader of committed results sees it, `partitions paused` those that had none for more than \
         250 ms. A consumer that is killed, or that leaves \
         though it has a name, is waited for until its session ends, 45 s.",
    );
    let costs = [cost::measure(1)?, cost::measure(32)?];
    report.add(&costs_table(&costs));
    report.note(
        "Processor time of the consumer (the shipped `base` network, its message form and JSON results \
         included) and of the broker (input, replication to none, reading, results), raw images.",
    );
    report.add(&plan(&costs));
    report.note(
        "*Computed, not measured*: consumers of one core each, as many as can work off within five minutes \
         what waits after a crash without a name (45 s), four partitions each; brokers of eight cores, half \
         busy, and of 25 Gbit/s, half used, with three replicas, whichever are more. p99 is a simulation of \
         the fullest consumer under arrivals by chance, without the broker's part.",
    );
    report.finish()
}

fn scale() -> anyhow::Result<Table> {
    let mut rows = CONSUMERS.map(|consumers| (consumers, Rounds::default()));
    for _ in 0..ROUNDS {
        for (consumers, rounds) in &mut rows {
            let speed = throughput(*consumers)?;
            eprintln!("{consumers} consumers: {speed:.0} messages/s");
            rounds.push(speed);
        }
    }
    let one = rows[0].1.clone();
    let mut table =
        Table::new(&["consumers", "messages/s", "÷ one consumer", "by the queue", "linear"], &[]);
    for (consumers, rounds) in &rows {
        table.row(&[
            &consumers.to_string(),
            &rounds.to_string(),
            &rounds.relative_to(&one).to_string(),
            &grouped(1.0 / fullest(PARTITIONS as usize, *consumers)),
            &consumers.to_string(),
        ]);
    }
    Ok(table)
}

fn pauses(word: &str) -> anyhow::Result<Table> {
    let head = ["", "guarantee", "longest pause", "partitions paused", "seen twice", "messages"];
    let mut table = Table::new(&head, &[0, 1]);
    for (guarantee, name) in [(AtLeastOnce, "at least once"), (ExactlyOnce, "exactly once")] {
        for event in EVENTS.into_iter().filter(|event| event.name().contains(word)) {
            let paused = event.pause(guarantee).with_context(|| event.name())?;
            eprintln!("{name}, {}: {:.2} s", event.name(), paused.longest.as_secs_f64());
            table.row(&[
                event.name(),
                name,
                &format!("{:.2} s", paused.longest.as_secs_f64()),
                &format!("{} of {PARTITIONS}", paused.partitions),
                &paused.doubled.to_string(),
                &grouped(paused.messages as f64),
            ]);
        }
    }
    Ok(table)
}

fn costs_table(costs: &[Cost]) -> Table {
    let head = ["images a message", "consumer, µs an image", "broker, µs an image"];
    let mut table = Table::new(&head, &[]);
    for cost in costs {
        let [consumer, broker] = [cost.consumer, cost.broker].map(|time| grouped(time * 1e6));
        table.row(&[&cost.images.to_string(), &consumer, &broker]);
    }
    table
}

/// What streams of millions of images a second take.
fn plan(costs: &[Cost]) -> Table {
    const PAUSE: f64 = 45.0;
    const CATCH_UP: f64 = 300.0;
    const PARTITIONS_EACH: usize = 4;
    const HALF_OF_THE_CORES: f64 = 4.0;
    const HALF_OF_THE_NETWORK: f64 = 25e9 / 8.0 / 2.0;
    /// In once, to two followers, out to the group; the results are small beside it.
    const COPIES: f64 = 4.0;
    const BYTES: f64 = 784.0;
    let head =
        ["images/s", "images a message", "consumers", "partitions", "brokers", "decided by", "p99"];
    let mut table = Table::new(&head, &[5]);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for rate in [1e6, 1e7, 1e8] {
        for cost in costs {
            let consumer = Server { batch: 256, call: 0.0, each: cost.consumer };
            let bearable = consumer.capacity() * CATCH_UP / (CATCH_UP + PAUSE);
            let consumers = (rate / bearable).ceil() as usize;
            let share = fullest(consumers * PARTITIONS_EACH, consumers);
            let latencies = consumer.latencies(rate * share, 200_000, &mut random);
            let by_cores = rate * cost.broker / HALF_OF_THE_CORES;
            let by_network = rate * BYTES * COPIES / HALF_OF_THE_NETWORK;
            table.row(&[
                &grouped(rate),
                &cost.images.to_string(),
                &grouped(consumers as f64),
                &grouped((consumers * PARTITIONS_EACH) as f64),
                &grouped(by_cores.max(by_network).max(3.0).ceil()),
                if by_cores > by_network { "cores" } else { "network" },
                &format!("{:.1} ms", percentile(&latencies, 99.0) * 1e3),
            ]);
        }
    }
    table
}
