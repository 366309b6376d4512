//! What an image costs the consumer and the broker, in processor time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use fmnist_benches::{Form, broker, cpu_seconds};
use fmnist_core::dataset::{Split, synthetic};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use transport_kafka::KafkaGuarantee;

use crate::{
    group::{Group, PARTITIONS, topics},
    member::Model,
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
    let messages = IMAGES / images;
    let broker = broker().context("a Kafka of scripts/kafka.sh")?;
    let test_images = synthetic(Split::Test, images, 1).images;
    let before = cpu_seconds(&[broker]);
    kafka.fill(&Form::Raw.message(&test_images, images), messages)?;
    let (servers, _, results) = kafka.names();
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", servers).create()?;
    let answered = || -> anyhow::Result<i64> {
        let ends = (0..PARTITIONS).map(|partition| {
            let (_, end) = consumer.fetch_watermarks(results, partition, WAIT)?;
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
    let member = Group::new(kafka.config().clone(), Model::Base).start(0)?;
    // Its start is not counted.
    let (first, started) = (until(0.1)?, member.cpu_seconds());
    let (last, ended) = (until(1.0)?, member.cpu_seconds());
    let spent = |seconds: f64, messages: f64| seconds / messages / images as f64;
    Ok(Cost {
        images,
        consumer: spent(ended - started, last - first),
        broker: spent(cpu_seconds(&[broker]) - before, messages as f64),
    })
}
