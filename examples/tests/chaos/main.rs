//! The fault matrix: kills consumers where it hurts, and judges by [`fmnist_core::audit`].
//!
//! `scripts/chaos.sh` starts the brokers and this.
#![expect(clippy::expect_used, reason = "without brokers and a runtime there is nothing to test")]

mod cell;
mod consumer;
mod faults;
mod kafka;
mod memory;
mod network;
mod pubsub;
mod records;
mod report;
mod soak;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use cell::Cell;
use clap::Parser;
use kafka::{Kafka, Way};
use pubsub::PubSub;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use report::Row;
use tokio::runtime::Runtime;

/// Kills consumers at named fail points and does other harm; nothing may be lost.
#[derive(Parser)]
#[command(name = "chaos.sh")]
struct Arguments {
    /// Each fail point twice in each cell, within ten minutes
    #[arg(long, required_unless_present_any = ["long", "soak"], conflicts_with = "long")]
    short: bool,
    /// Each fail point ten times in each cell
    #[arg(long)]
    long: bool,
    /// Decides the order of the deaths and when they come
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only tests whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Instead of all that, a steady load for so many minutes on a real Kafka
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["short", "long"])]
    soak: Option<u64>,
    /// Messages a second of the steady load
    #[arg(long, default_value_t = 200)]
    rate: usize,
    /// Where the steady load's figures and plot go
    #[arg(long, default_value = "target/soak")]
    folder: PathBuf,
    /// Write the table into this document, between its marks, and as JSON beside it
    #[arg(long)]
    report: Option<PathBuf>,
}

/// What every test needs.
struct Chaos {
    is_long: bool,
    seed: u64,
    log: PathBuf,
}

impl Chaos {
    const fn hits(&self) -> usize {
        if self.is_long { 10 } else { 2 }
    }

    /// The same for each test, whichever others run.
    fn random(&self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.seed)
    }

    fn fail_points(&self, cell: &mut dyn Cell) -> anyhow::Result<Row> {
        cell::fail_points(cell, self.hits(), &mut self.random(), &self.log)
    }
}

type Run = Box<dyn FnOnce(&Chaos) -> anyhow::Result<Row> + Send>;

struct Test {
    name: String,
    run: Run,
}

impl Test {
    fn new(
        name: impl Into<String>,
        run: impl FnOnce(&Chaos) -> anyhow::Result<Row> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// Runs, and says how it went.
    fn run(self, chaos: &Chaos) -> Option<Row> {
        let begun = Instant::now();
        let result = (self.run)(chaos);
        let (name, seconds) = (self.name, begun.elapsed().as_secs());
        match result {
            Ok(row) => {
                println!("test {name} ... ok ({seconds} s)");
                Some(row)
            }
            Err(error) => {
                println!("test {name} ... FAILED ({seconds} s): {error:#}");
                None
            }
        }
    }
}

/// Each with a broker, or topics, of its own.
fn fail_points() -> Vec<Test> {
    let kafka = |way, name| Test::new(name, move |chaos| chaos.fail_points(&mut Kafka::new(way)?));
    vec![
        Test::new("memory_loses_nothing_at_any_fail_point", |chaos| {
            memory::fail_points(chaos.hits(), &mut chaos.random())
        }),
        Test::new("memory_tells_an_outage_of_the_results_topic_and_stays_alive", |chaos| {
            memory::outage(&mut chaos.random())
        }),
        Test::new("memory_finishes_large_ranges_in_the_order_of_reception", |_| {
            memory::large_ranges()
        }),
        Test::new("a_careless_consumer_is_found_out_by_the_ids_that_it_lost", |chaos| {
            memory::careless(&mut chaos.random())
        }),
        kafka(Way::Timer, "kafka_loses_nothing_at_any_fail_point"),
        kafka(Way::Batch, "kafka_loses_nothing_at_any_fail_point_with_a_commit_a_batch"),
        kafka(Way::Transactions, "kafka_doubles_nothing_at_any_fail_point_in_transactions"),
        Test::new("pubsub_loses_nothing_at_any_fail_point", |chaos| {
            chaos.fail_points(&mut PubSub::new()?)
        }),
    ]
}

/// One after the other, because some kill the broker.
fn faults(is_long: bool) -> Vec<Test> {
    let mut tests = Vec::new();
    for (way, suffix) in [(Way::Timer, ""), (Way::Transactions, "_in_transactions")] {
        let name = |name| format!("kafka_{name}{suffix}");
        tests.extend([
            Test::new(name("drains_on_sigterm"), move |chaos| {
                let (rounds, mut random) = (chaos.hits() * 2, chaos.random());
                faults::sigterm(&mut Kafka::new(way)?, rounds, &mut random, &chaos.log)
            }),
            Test::new(name("bears_consumers_that_come_and_go"), move |chaos| {
                let (rounds, mut random) = (chaos.hits() * 4, chaos.random());
                faults::coming_and_going(&mut Kafka::new(way)?, rounds, &mut random, &chaos.log)
            }),
            Test::new(name("bears_a_broker_that_is_killed"), move |chaos| {
                let (rounds, away) = if chaos.is_long { (3, 60) } else { (1, 2) };
                let (away, mut random) = (Duration::from_secs(away), chaos.random());
                faults::broker_restarts(way, rounds, away, &mut random, &chaos.log)
            }),
            Test::new(name("waits_while_the_producers_queue_is_full"), move |chaos| {
                let rounds = if chaos.is_long { 3 } else { 1 };
                faults::full_queue(way, rounds, &mut chaos.random(), &chaos.log)
            }),
            Test::new(name("bears_a_broker_that_stands_still"), move |chaos| {
                let (rounds, pause) = if chaos.is_long { (3, 20) } else { (1, 10) };
                let (pause, mut random) = (Duration::from_secs(pause), chaos.random());
                faults::broker_stands_still(way, rounds, pause, &mut random, &chaos.log)
            }),
            Test::new(name("bears_a_bad_network"), move |chaos| {
                let black_hole = Duration::from_secs(if chaos.is_long { 30 } else { 10 });
                faults::bad_weather(way, black_hole, &mut chaos.random(), &chaos.log)
            }),
            Test::new(name("holds_what_the_results_topic_does_not_take"), move |chaos| {
                let away = Duration::from_secs(if chaos.is_long { 60 } else { 8 });
                faults::results_are_not_taken(way, away, &mut chaos.random(), &chaos.log)
            }),
            Test::new(name("dead_letters_poison"), move |chaos| {
                faults::poison_alone(&mut Kafka::new(way)?, 5_000, &chaos.log)
            }),
            Test::new(name("ends_odd_records"), move |chaos| records::odd(way, &chaos.log)),
            Test::new(name("reads_every_codec"), move |chaos| records::compressed(way, &chaos.log)),
            Test::new(name("keeps_messages_when_the_results_topic_vanishes"), move |chaos| {
                faults::results_topic_vanishes(way, &chaos.log)
            }),
        ]);
        if is_long {
            let scaled = name("goes_on_with_what_it_keeps_when_a_second_consumer_comes");
            tests.push(Test::new(scaled, move |chaos| {
                faults::scaled_under_backlog(way, &mut chaos.random(), &chaos.log)
            }));
        }
    }
    // Not its server away: the emulator keeps nothing over its end. transport-pubsub tests that.
    tests.extend([
        Test::new("pubsub_drains_on_sigterm", |chaos| {
            let (rounds, mut random) = (chaos.hits() * 2, chaos.random());
            faults::sigterm(&mut PubSub::new()?, rounds, &mut random, &chaos.log)
        }),
        Test::new("pubsub_bears_consumers_that_come_and_go", |chaos| {
            let (rounds, mut random) = (chaos.hits() * 4, chaos.random());
            faults::coming_and_going(&mut PubSub::new()?, rounds, &mut random, &chaos.log)
        }),
        Test::new("pubsub_dead_letters_poison", |chaos| {
            faults::poison_alone(&mut PubSub::new()?, 500, &chaos.log)
        }),
    ]);
    tests
}

fn main() -> ExitCode {
    if let Some(settings) = consumer::settings_from_env() {
        let _logs = service::log_from_env();
        let runtime = Runtime::new().expect("a runtime");
        return service::finish(runtime.block_on(consumer::consume(settings)));
    }
    let arguments = Arguments::parse();
    // Cargo runs tests in their package's folder.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("chaos.log");
    // What an earlier run left.
    drop(fs::remove_file(&log));
    let chaos = Chaos { is_long: arguments.long, seed: arguments.seed, log };
    if let Some(minutes) = arguments.soak {
        let Arguments { rate, folder, .. } = &arguments;
        let result = soak::run(minutes, *rate, &root.join(folder), &mut chaos.random(), &chaos.log);
        return service::finish(result);
    }
    let chosen = |tests: Vec<Test>| -> Vec<Test> {
        tests.into_iter().filter(|test| test.name.contains(&arguments.only)).collect()
    };
    // At once: most of the time they wait for sessions and members.
    let mut ended: Vec<Option<Row>> = thread::scope(|scope| {
        let run = |test: Test| scope.spawn(|| test.run(&chaos));
        let running: Vec<_> = chosen(fail_points()).into_iter().map(run).collect();
        running.into_iter().map(|test| test.join().expect("tests fail, they don't panic")).collect()
    });
    ended.extend(chosen(faults(arguments.long)).into_iter().map(|test| test.run(&chaos)));

    let mut failed = ended.iter().filter(|row| row.is_none()).count();
    let rows: Vec<Row> = ended.into_iter().flatten().collect();
    println!("\n{}", report::table(&rows));
    if let (Some(path), 0) = (&arguments.report, failed) {
        let form = if arguments.long { "long" } else { "short" };
        let only = match &*arguments.only {
            "" => String::new(),
            only => format!(" --only {only}"),
        };
        let command = format!("scripts/chaos.sh --{form} --seed {}{only}", arguments.seed);
        if let Err(error) = report::write(&root.join(path), &command, &rows) {
            println!("the report was not written: {error:#}");
            failed += 1;
        }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    if failed > 0 {
        println!("the consumers' log: {}", chaos.log.display());
    }
    let passed = rows.len();
    println!("test result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured");
    ExitCode::from(u8::from(failed > 0))
}
