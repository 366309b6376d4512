use std::time::{Duration, Instant};

use bytes::Bytes;
use fmnist_core::transport::{Attributes, Outbound};
use jiff::Timestamp;
use transport_kafka::{KafkaGuarantee, KafkaRecord};

use crate::world::{World, message, run};

/// A message that no JSON, header or key in it can spoil further.
fn poison() -> Outbound {
    let mut attributes: Attributes = [("trace", "7"), ("trace", "8")].into_iter().collect();
    attributes.push("bytes", Bytes::from_static(b"\xff\x00"));
    attributes.push_null("nothing");
    Outbound {
        key: Some(Bytes::from_static(b"\xc3\x28")),
        attributes,
        payload: Bytes::from_static(b"{\xff"),
        ..Outbound::default()
    }
}

/// The first moment after all of `letters` were written, as `--from` and `--to` take it.
fn after(letters: &[KafkaRecord]) -> Timestamp {
    let last = letters.iter().filter_map(|letter| letter.written_ms).max().unwrap();
    while Timestamp::now().as_millisecond() <= last {
        std::hint::spin_loop();
    }
    Timestamp::from_millisecond(last + 1).unwrap()
}

struct Redriven {
    code: Option<i32>,
    listed: String,
    /// What came onto the input topic.
    sent: Vec<Outbound>,
}

fn redrive(world: &World, arguments: &[&str]) -> Redriven {
    let before = world.read(&world.kafka.topic).len();
    let (code, listed, stderr) = run(world.command("redrive").args(arguments));
    let mut records = world.read(&world.kafka.topic);
    assert!(records.len() >= before, "{stderr}");
    records.sort_by_key(|record| record.written_ms);
    let sent = records.split_off(before).into_iter().map(|record| record.message).collect();
    Redriven { code, listed, sent }
}

fn redrives(message: &Outbound) -> Option<&str> {
    message.attributes.text("fmnist.redrives")
}

#[test]
fn redrive_chooses_by_stage_and_time_and_leaves_key_bytes_and_headers_as_they_were() {
    let world = World::new(KafkaGuarantee::AtLeastOnce);
    let backwards = || message(r#"{"start_idx": 5, "end_idx": 3}"#);
    let mut ids = world.send_to(&world.kafka.topic, vec![poison(), backwards()]);
    world.consume(&ids);
    let noon = after(&world.dead_letters()).to_string();
    ids.extend(world.send_to(&world.kafka.topic, vec![backwards()]));
    world.consume(&ids);
    assert_eq!(world.dead_letters().len(), 3);

    let dry = redrive(&world, &["--dry-run"]);
    assert_eq!((dry.code, dry.sent.len(), dry.listed.lines().count()), (Some(0), 0, 3));
    for (arguments, expected) in [
        (&["--to", &noon][..], &ids[..2]),
        (&["--from", &noon], &ids[2..]),
        (&["--stage", "VALIDATE", "--to", &noon], &ids[1..2]),
        (&["--stage", "decode,validate"], &ids[..]),
        (&["--stage", "INFER"], &[]),
    ] {
        let dry = redrive(&world, &[arguments, &["--dry-run"]].concat());
        let listed = |id: &String| dry.listed.lines().any(|l| l.starts_with(&format!("{id} ")));
        assert!(expected.iter().all(listed), "{arguments:?}: {}", dry.listed);
        assert_eq!(dry.listed.lines().count(), expected.len(), "{arguments:?}: {}", dry.listed);
        assert_eq!((dry.code, dry.sent.len()), (Some(0), 0));
    }

    let decoded = redrive(&world, &["--stage", "DECODE"]);
    let mut expected = poison();
    expected.attributes.push("fmnist.redrives", "1");
    assert_eq!((decoded.code, decoded.sent), (Some(0), vec![expected]));
    let late = redrive(&world, &["--from", &noon]);
    assert_eq!((late.code, late.sent.len()), (Some(0), 1));
    assert_eq!(late.sent[0].payload, backwards().payload);
}

#[test]
fn redrive_ends_the_circle_of_a_message_that_fails_again_and_again() {
    let world = World::new(KafkaGuarantee::AtLeastOnce);
    let mut ids = world.send_to(&world.kafka.topic, vec![poison()]);
    world.consume(&ids);
    for round in 1..=2 {
        let from = world.dead_letters().iter().filter_map(|letter| letter.written_ms).max();
        let from = Timestamp::from_millisecond(from.unwrap()).unwrap().to_string();
        let again = redrive(&world, &["--from", &from, "--max-redrives", "2"]);
        assert_eq!((again.code, again.sent.len()), (Some(0), 1));
        assert_eq!(redrives(&again.sent[0]), Some(&*round.to_string()));
        let last = world.read(&world.kafka.topic).into_iter().max_by_key(|r| r.written_ms).unwrap();
        ids.push(last.place(&world.kafka.topic).to_string());
        world.consume(&ids);
    }
    let from = world.dead_letters().iter().filter_map(|letter| letter.written_ms).max();
    let from = Timestamp::from_millisecond(from.unwrap()).unwrap().to_string();
    let capped = redrive(&world, &["--from", &from, "--max-redrives", "2"]);
    assert_eq!((capped.code, capped.sent), (Some(3), Vec::new()));
}

#[test]
fn redrive_keeps_to_its_rate() {
    let world = World::new(KafkaGuarantee::AtLeastOnce);
    let ids = world.send_to(&world.kafka.topic, vec![message("x"); 5]);
    world.consume(&ids);
    let begun = Instant::now();
    let paced = redrive(&world, &["--rate", "4"]);
    assert_eq!((paced.code, paced.sent.len()), (Some(0), 5));
    // Four pauses of a quarter of a second lie between five messages, however fast all else is.
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}
