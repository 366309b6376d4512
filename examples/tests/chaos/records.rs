//! Records that few expect.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use fmnist_core::transport::{Outbound, Publisher};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, future_producer::Delivery},
};
use transport_kafka::{KafkaConfig, KafkaPlace, KafkaPublisher};

use crate::{
    cell::{Cell, RANGE, end},
    kafka::{Kafka, Way},
    report::Row,
};

const LARGE_BYTES: usize = 10_000_000;
const ROOM_BYTES: &str = "12000000";
const KEY: &[u8] = b"\xc3\x28";
const TIMEOUT: Duration = Duration::from_secs(30);

/// A record of 10 MB, empty ones, a tombstone, a key that is not UTF-8, headers of one name.
pub(crate) fn odd(way: Way, log: &Path) -> anyhow::Result<Row> {
    let begun = Instant::now();
    let mut cell = Kafka::new(way)?;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &cell.config.bootstrap_servers)
        .set("message.max.bytes", ROOM_BYTES)
        .create()?;
    let topic = cell.config.topic.clone();
    cell.runtime.block_on(allow_large(&cell.config))?;
    let twice = |name| Header { key: "trace", value: Some(name) };
    let large = vec![b'x'; LARGE_BYTES];
    let range = || FutureRecord::to(&topic).payload(RANGE.as_bytes());
    let records: [FutureRecord<'_, [u8], [u8]>; 5] = [
        FutureRecord::to(&topic).payload(&large),
        FutureRecord::to(&topic).key(KEY).payload(&[]),
        FutureRecord::to(&topic).key(KEY),
        range().key(KEY),
        range().headers(OwnedHeaders::new().insert(twice("7")).insert(twice("8"))),
    ];
    for record in records {
        let sent = cell.runtime.block_on(send(&producer, record))?;
        let place = KafkaPlace { topic: &topic, partition: sent.partition, offset: sent.offset };
        cell.ids.push(place.to_string());
    }
    let account = end(&mut cell, log)?;
    anyhow::ensure!((account.answered, account.dead_lettered) == (2, 3), "{account:?}");

    let results = cell.results()?;
    let of = |number: usize| format!("\"id\":\"{}\"", cell.ids[number]);
    let result = results.iter().find(|r| String::from_utf8_lossy(&r.payload).contains(&of(3)));
    let key = result.and_then(|result| result.key.as_deref());
    anyhow::ensure!(key == Some(KEY), "the result's key is {key:?}");
    let letters = cell.dead_letters()?;
    let letter = |number: usize| {
        let id = Some(&*cell.ids[number]);
        letters.iter().find(|letter| letter.attributes.text("fmnist.id") == id)
    };
    let stub = letter(0).context("no letter of the large record")?;
    let bytes = stub.attributes.text("fmnist.payload.bytes");
    anyhow::ensure!(bytes == Some(&*LARGE_BYTES.to_string()), "a stub of {bytes:?} bytes");
    for number in [1, 2] {
        let letter = letter(number).context("no letter of an empty record")?;
        anyhow::ensure!(letter.key.as_deref() == Some(KEY) && letter.payload.is_empty());
    }
    let what = "10 MB, empty, tombstone, key not UTF-8, headers of one name".to_owned();
    Ok(Row::new(cell.name(), what, &account, begun.elapsed()))
}

/// Again while the broker has not heard of the topic's new limit.
async fn send(
    producer: &FutureProducer,
    record: FutureRecord<'_, [u8], [u8]>,
) -> anyhow::Result<Delivery> {
    let begun = Instant::now();
    let FutureRecord { topic, payload, key, headers, .. } = record;
    loop {
        let again = FutureRecord {
            topic,
            payload,
            key,
            headers: headers.clone(),
            partition: None,
            timestamp: None,
        };
        match producer.send(again, TIMEOUT).await {
            Ok(sent) => return Ok(sent),
            Err((error, _)) if begun.elapsed() > TIMEOUT => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn allow_large(config: &KafkaConfig) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &config.bootstrap_servers).create()?;
    let change = AlterConfig::new(ResourceSpecifier::Topic(&config.topic))
        .set("max.message.bytes", ROOM_BYTES);
    for altered in admin.alter_configs([&change], &AdminOptions::new()).await? {
        altered.map_err(|(_, code)| code)?;
    }
    Ok(())
}

/// Records of every codec.
pub(crate) fn compressed(way: Way, log: &Path) -> anyhow::Result<Row> {
    const CODECS: [&str; 4] = ["gzip", "snappy", "lz4", "zstd"];
    const MESSAGES: usize = 500;
    let begun = Instant::now();
    let mut cell = Kafka::new(way)?;
    for codec in CODECS {
        let mut config = cell.config.clone();
        config.properties.insert("compression.type".to_owned(), codec.to_owned());
        let publisher = cell.runtime.block_on(KafkaPublisher::connect(&config))?;
        let sent = cell.runtime.block_on(async {
            let message = || Outbound { payload: RANGE.into(), ..Outbound::default() };
            let sends = (0..MESSAGES).map(|_| {
                let publisher = publisher.clone();
                tokio::spawn(async move { publisher.publish(message()).await })
            });
            let mut ids = Vec::with_capacity(MESSAGES);
            for send in sends.collect::<Vec<_>>() {
                ids.push(send.await??);
            }
            anyhow::Ok(ids)
        })?;
        cell.ids.extend(sent);
    }
    let account = end(&mut cell, log)?;
    anyhow::ensure!(account.answered == CODECS.len() * MESSAGES, "{account:?}");
    Ok(Row::new(cell.name(), CODECS.join(", "), &account, begun.elapsed()))
}
