use std::{fs, process::Command};

use fmnist_core::{audit::Account, transport::Outbound};
use jiff::{Span, Timestamp};
use serde_json::Value;
use transport_kafka::{KafkaConfig, KafkaGuarantee, create_missing};

use crate::world::{RANGE, World, message, run};

const ANSWERED: usize = 20;

/// A world in which twenty messages are answered and one is a dead letter, and the messages' ids.
fn audited_world() -> (World, Vec<String>) {
    let world = World::new(KafkaGuarantee::ExactlyOnce);
    let mut messages = vec![message(RANGE); ANSWERED];
    messages.push(message("{"));
    let ids = world.send_to(&world.kafka.topic, messages);
    world.consume(&ids);
    (world, ids)
}

/// The exit code and the JSON report over everything that was written so far.
fn audit(world: &World, change: impl FnOnce(&mut Command) -> &mut Command) -> (Option<i32>, Value) {
    let path = world.path("audit.json");
    let now = Timestamp::now();
    let [from, to] = [now - Span::new().hours(1), now + Span::new().seconds(10)];
    let mut command = world.command("audit");
    command.args(["--from", &from.to_string(), "--to", &to.to_string(), "--json"]).arg(&path);
    let (code, _, stderr) = run(change(&mut command));
    let report = fs::read(&path).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    (code, serde_json::from_slice(&report).unwrap())
}

fn account(report: &Value) -> Account {
    serde_json::from_value(report["account"].clone()).unwrap()
}

fn result_of(world: &World, id: &str) -> Outbound {
    let records = world.read(world.results_topic());
    let has_id = |r: &&transport_kafka::KafkaRecord| {
        let result: Value = serde_json::from_slice(&r.message.payload).unwrap();
        result["id"] == id
    };
    records.iter().find(has_id).unwrap().message.clone()
}

#[test]
fn an_audit_exits_with_0_where_each_message_has_one_end() {
    let (world, ids) = audited_world();
    let (code, report) = audit(&world, |command| command);
    assert_eq!(code, Some(0), "{report}");
    let expected =
        Account { inputs: ids.len(), answered: ANSWERED, dead_lettered: 1, ..Account::default() };
    assert_eq!(account(&report), expected);
    assert_eq!((&report["exact"], &report["replay"]), (&true.into(), &Value::Null));
    assert_eq!(report["topic"], *world.kafka.topic);
}

#[test]
fn an_audit_exits_with_3_and_names_what_is_missing_doubled_and_orphaned() {
    let (world, ids) = audited_world();
    let missing = world.send_to(&world.kafka.topic, vec![message(RANGE)]);
    let (code, report) = audit(&world, |command| command);
    let found = account(&report);
    assert_eq!((code, &report["exact"], &found.missing), (Some(3), &false.into(), &missing));

    let again = result_of(&world, &ids[3]);
    world.send_to(world.results_topic(), vec![again]);
    let orphan = format!("{}/7/0", world.kafka.topic);
    let mut letter = message("?");
    letter.attributes.push("fmnist.id", orphan.clone());
    letter.attributes.push("__connect.errors.stage", "DECODE");
    world.send_to(&world.kafka.dead_letter_topic, vec![letter]);
    let (code, report) = audit(&world, |command| command);
    let found = account(&report);
    assert_eq!((code, found.duplicates), (Some(3), 1));
    assert_eq!(found.missing, missing);
    assert_eq!(found.doubled, [ids[3].clone()]);
    assert_eq!(found.orphaned, [orphan]);
}

#[test]
fn a_replay_agrees_to_the_last_bit_and_tells_other_weights() {
    let (world, _) = audited_world();
    let (code, report) = audit(&world, |command| command.arg("--replay"));
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["replay"]["agreed"], ANSWERED);

    let notebook = |command: &mut Command| {
        command.arg("--replay").env("FMNIST_MODEL__MODEL_NAME", "notebook");
    };
    let (code, report) = audit(&world, |command| {
        notebook(command);
        command
    });
    assert_eq!((code, &report["exact"]), (Some(3), &true.into()));
    assert_eq!(report["replay"]["agreed"], 0);
    assert_eq!(report["replay"]["other_models"].as_array().unwrap().len(), ANSWERED);
}

#[test]
fn a_replay_finds_the_result_whose_last_bit_was_changed() {
    let (mut world, ids) = audited_world();
    let mut results: Vec<Outbound> =
        world.read(world.results_topic()).into_iter().map(|record| record.message).collect();
    let changed = results.iter_mut().find(|result| {
        let result: Value = serde_json::from_slice(&result.payload).unwrap();
        result["id"] == ids[5]
    });
    let changed = changed.unwrap();
    let mut result: fmnist_core::message::ResultRecord =
        serde_json::from_slice(&changed.payload).unwrap();
    let probability = &mut result.predictions[0].probability;
    *probability = f32::from_bits(probability.to_bits() - 1);
    changed.payload = serde_json::to_vec(&result).unwrap().into();
    let copied = format!("{}-COPIED", world.results_topic());
    world.kafka.results_topic = Some(copied.clone());
    create(&world.kafka);
    world.send_to(&copied, results);

    let (code, report) = audit(&world, |command| command.arg("--replay"));
    assert_eq!((code, &report["exact"]), (Some(3), &true.into()));
    assert_eq!(report["replay"]["agreed"], ANSWERED - 1);
    assert_eq!(report["replay"]["different"], serde_json::json!([ids[5]]));
}

fn create(kafka: &KafkaConfig) {
    tokio::runtime::Runtime::new().unwrap().block_on(create_missing(kafka, 2)).unwrap();
}
