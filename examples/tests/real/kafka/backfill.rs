use std::{
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

use jiff::Timestamp;
use transport_kafka::KafkaGuarantee;

use crate::world::{World, message};

/// Runs a backfill to its end while more is written behind its end; returns its exit code.
fn backfill(world: &World, from: &str) -> Option<i32> {
    let mut child = world
        .command("kafka_consumer")
        .args(["--from", from, "--until-end"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    // The end is known by now, and nothing is answered yet.
    while !line.starts_with("listening on topic") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "ended before it listened");
    }
    world.send_many(100);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    child.wait().unwrap().code()
}

fn assert_answers_up_to_the_end_of_its_start(guarantee: KafkaGuarantee) {
    let world = World::new(guarantee);
    let mut ids = world.send_many(2_000);
    ids.extend(world.send_to(&world.kafka.topic, vec![message("{")]));
    assert_eq!(backfill(&world, "beginning"), Some(0));
    let account = world.account(&ids);
    assert!(account.is_exact(), "{account:?}");
    assert_eq!((account.inputs, account.dead_lettered), (2_001, 1));
}

#[test]
fn a_backfill_answers_everything_up_to_the_end_of_its_start_and_nothing_behind() {
    assert_answers_up_to_the_end_of_its_start(KafkaGuarantee::AtLeastOnce);
}

#[test]
fn a_backfill_in_transactions_does_the_same() {
    assert_answers_up_to_the_end_of_its_start(KafkaGuarantee::ExactlyOnce);
}

#[test]
fn a_backfill_begins_at_a_time_or_an_offset_and_ends_at_once_where_nothing_is() {
    let world = World::new(KafkaGuarantee::AtLeastOnce);
    let early = world.send_to(&world.kafka.topic, vec![message("early"); 4]);
    let last = world.read(&world.kafka.topic).iter().filter_map(|r| r.written_ms).max().unwrap();
    while Timestamp::now().as_millisecond() <= last {
        std::hint::spin_loop();
    }
    let noon = Timestamp::from_millisecond(last + 1).unwrap();
    let late = world.send_to(&world.kafka.topic, vec![message("late"); 4]);
    assert_eq!(backfill(&world, &format!("time:{noon}")), Some(0));
    let account = world.account(&late);
    assert!(account.is_exact(), "{early:?} {account:?}");

    let empty = World::new(KafkaGuarantee::AtLeastOnce);
    assert_eq!(backfill(&empty, "beginning"), Some(0));
    assert_eq!(empty.results(), Vec::new());

    let by_offset = World::new(KafkaGuarantee::AtLeastOnce);
    let ids = by_offset.send_to(&by_offset.kafka.topic, vec![message("x"); 8]);
    let is_late = |id: &&String| !id.ends_with("/0") && !id.ends_with("/1");
    let expected: Vec<String> = ids.iter().filter(is_late).cloned().collect();
    assert_eq!(backfill(&by_offset, "offset:2"), Some(0));
    let account = by_offset.account(&expected);
    assert!(account.is_exact(), "{account:?}");
}

#[test]
fn a_backfill_ends_where_the_last_messages_were_never_committed_and_where_all_have_expired() {
    for guarantee in [KafkaGuarantee::AtLeastOnce, KafkaGuarantee::ExactlyOnce] {
        let world = World::new(guarantee);
        let ids = world.send_many(20);
        world.abort_transaction();
        assert_eq!(backfill(&world, "beginning"), Some(0));
        let account = world.account(&ids);
        assert!(account.is_exact(), "{account:?}");
        world.expire();
        assert_eq!(backfill(&world, "beginning"), Some(0));
        assert_eq!(world.results().len(), 20);
    }
}
