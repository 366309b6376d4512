//! What an image costs the consumer and the broker, in processor time.

use std::{
    env, fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use fmnist_benches::Form;
use fmnist_core::dataset::{Split, synthetic};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use transport_kafka::KafkaGuarantee;

use crate::{
    group::{Group, PARTITIONS, topics},
    member::{Model, cpu_of},
    stream::Source,
};

const IMAGES: usize = 320_000;
const WAIT: Duration = Duration::from_secs(120);

/// In seconds an image.
pub(crate) struct Cost {
    pub(crate) images: usize,
    pub(crate) consumer: f64,
    pub(crate) broker: f64,
}

/// With so many images a message.
pub(crate) fn measure(images: usize) -> anyhow::Result<Cost> {
    let kafka = topics(KafkaGuarantee::AtLeastOnce)?;
    let results = kafka.results_topic().context("a results topic")?.to_owned();
    let messages = IMAGES / images;
    let broker = broker()?;
    let test_images = synthetic(Split::Test, images, 1).images;
    let payload = Form::Raw.message(&test_images, images).payload.to_vec();
    let before = cpu_of(broker)?;
    let source = Source::new(&kafka, PARTITIONS)?;
    source.fill((0..messages).map(|_| payload.clone()))?;
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &kafka.bootstrap_servers).create()?;
    let answered = || -> anyhow::Result<i64> {
        let ends = (0..PARTITIONS).map(|partition| {
            let (_, end) = consumer.fetch_watermarks(&results, partition, WAIT)?;
            Ok(end)
        });
        ends.sum()
    };
    let until = |share: f64| -> anyhow::Result<f64> {
        let deadline = Instant::now() + WAIT;
        loop {
            let done = answered()? as f64;
            if done >= share * messages as f64 {
                return Ok(done);
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "{done} of {messages} results, then no more"
            );
            thread::sleep(Duration::from_millis(100));
        }
    };
    let member = Group::new(kafka.clone(), Model::Base).start(0)?;
    // Its start is not counted.
    let (first, started) = (until(0.1)?, member.cpu()?);
    let (last, ended) = (until(1.0)?, member.cpu()?);
    let spent = |time: Duration, messages: f64| time.as_secs_f64() / messages / images as f64;
    Ok(Cost {
        images,
        consumer: spent(ended - started, last - first),
        broker: spent(cpu_of(broker)? - before, messages as f64),
    })
}

/// The process of the broker that scripts/kafka.sh started.
fn broker() -> anyhow::Result<u32> {
    let folder = env::var("FMNIST_TEST_KAFKA_FOLDER").context("a Kafka of scripts/kafka.sh")?;
    Ok(fs::read_to_string(Path::new(&folder).join("pid"))?.trim().parse()?)
}
