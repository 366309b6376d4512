use transport_kafka::{KafkaGuarantee, KafkaHistory, KafkaStart};

use crate::world::World;

#[test]
fn topics_that_are_missing_are_listed_and_then_made_as_asked_for() {
    let mut world = World::new(KafkaGuarantee::AtLeastOnce);
    let kafka = &mut world.kafka;
    kafka.topic.push_str("-NEW");
    kafka.results_topic.as_mut().unwrap().push_str("-NEW");
    kafka.dead_letter_topic.push_str("-NEW");
    let kafka = kafka.clone();
    let check = |arguments: &[&str]| {
        let output = world.command("kafka_consumer").arg("--check").args(arguments).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, stderr) = check(&[]);
    assert_eq!(code, Some(1));
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 3, "{stderr}");
    for (error, topic) in errors.iter().zip(kafka.topics()) {
        assert!(error.contains(&format!("--create --topic {topic}")), "{error}");
    }

    let (code, stderr) = check(&["--create", "--partitions", "3", "--replication", "1"]);
    assert_eq!(code, Some(0), "{stderr}");
    for topic in kafka.topics() {
        let made = KafkaHistory::open(&kafka, topic, KafkaStart::Beginning, None).unwrap();
        assert_eq!(made.spans().len(), 3);
    }
    let (code, stderr) = check(&["--create", "--partitions", "5"]);
    assert_eq!(code, Some(0), "{stderr}");
    let left = KafkaHistory::open(&kafka, &kafka.topic, KafkaStart::Beginning, None).unwrap();
    assert_eq!(left.spans().len(), 3, "what exists is left as it is");
}
