//! What goes out for each kind of message that comes in, byte for byte: results, dead letters and the
//! console's lines. `golden/*.txt` is for people to read; `FMNIST_TEST_WRITE_GOLDEN=1` writes it anew.
//!
//! Times stand still, new span ids are replaced, and the model computes in sixteenths, so that neither
//! clock nor processor shows.

mod dressed;
mod messages;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    slice,
    sync::{Arc, Mutex},
    time::Duration,
};

use dressed::{Broker, Dressed};
use fmnist_core::{
    ClassifyError, Image, ModelIdentity,
    codec::PartId,
    message::{Requests, ResultRecord, ResultsConfig},
    pipeline::{Answered, Pipeline, PipelineConfig, Sink, SinkError},
    testing::FakeModel,
    transport::{Outbound, memory::MemoryBroker},
    weights::sha256,
};
use fmnist_examples::Console;
use jiff::{Timestamp, tz::TimeZone};
use messages::{FAILS, NOT_FINITE, Sent, TRACE, picture, seen};
use service::Outlet;
use test_kit::Written;

/// What a text may have to be shown as it is.
const MAX_SHOWN_BYTES: usize = 2_000;

/// Certain by so many sixteenths as the pixel in the middle says.
fn sixteenths() -> Arc<FakeModel> {
    let (name, version) = ("golden".to_owned(), "1.0".to_owned());
    let identity = ModelIdentity { name, version, sha256: "0".repeat(64) };
    Arc::new(FakeModel::new(identity, |image| {
        let seen = seen(image);
        if seen == FAILS {
            let reason = "the device is gone".to_owned();
            return Err(ClassifyError::Inference { images: 1, reason }.to_string().into());
        }
        let (class, sixteenths) = (usize::from(seen) % 10, 9 + seen % 7);
        let mut probabilities = vec![0.0; 10];
        probabilities[class] = f32::from(sixteenths) / 16.0;
        probabilities[(class + 3) % 10] = f32::from(16 - sixteenths) / 16.0;
        if seen == NOT_FINITE {
            probabilities[class] = f32::NAN;
        }
        Ok((class, probabilities))
    }))
}

/// The console, and what it printed and would have kept of each message.
struct Printed {
    console: Console,
    output: Written,
    of: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Sink<ResultRecord, Image> for Printed {
    fn keeps_inputs(&self) -> bool {
        true
    }

    async fn write(&self, results: &[Answered]) -> Result<(), SinkError> {
        for answered in results {
            let inferred_at = "2026-11-24T03:55:31.900Z".to_owned();
            let record = ResultRecord { inferred_at, ..answered.record.clone() };
            let inputs = answered.inputs.clone();
            self.console.write(slice::from_ref(&Answered { record, inputs })).await?;
            let mut section = "printed\n".to_owned();
            for line in self.output.take().split_inclusive('\n') {
                section.push_str(&format!("    {line}"));
            }
            if !answered.inputs.is_empty() {
                let pixels: Vec<u8> = answered.inputs.iter().flat_map(|i| *i.pixels()).collect();
                section.push_str(&format!("kept\n    pixels: {}\n", text(&pixels)));
            }
            self.of.lock().unwrap().insert(answered.record.id.clone(), section);
        }
        Ok(())
    }
}

/// The text of bytes, if it is one that no editor changes and people can read.
fn text(bytes: &[u8]) -> String {
    let is_plain = |text: &&str| {
        let is_visible = |c: char| !c.is_control() && c != '\u{feff}';
        text.trim() == *text && !text.is_empty() && text.chars().all(is_visible)
    };
    match std::str::from_utf8(bytes).ok().filter(is_plain) {
        Some(text) if text.len() <= MAX_SHOWN_BYTES => timeless(text),
        _ if bytes.len() <= 100 => format!("bytes \"{}\"", bytes.escape_ascii()),
        _ => format!("{} bytes, sha256 {}", bytes.len(), sha256(bytes)),
    }
}

/// A result with a word of the same length for each time, which has to be one.
fn timeless(text: &str) -> String {
    let mut text = text.to_owned();
    for name in [r#""received_at":""#, r#""inferred_at":""#] {
        if let Some(at) = text.find(name) {
            let time = at + name.len()..at + name.len() + 24;
            assert!(text[time.clone()].parse::<Timestamp>().is_ok(), "{text}");
            text.replace_range(time, "RFC-3339-TIME-WITH-MS--Z");
        }
    }
    text
}

/// Key, headers and payload, a line each.
fn shown(heading: &str, message: &Outbound) -> String {
    let mut shown = format!("{heading}\n");
    let mut line = |name: &str, value: &str| shown.push_str(&format!("    {name}: {value}\n"));
    if let Some(key) = &message.key {
        line("key", &text(key));
    }
    for (name, value) in message.attributes.iter_raw() {
        let value = value.map_or_else(|| "null".to_owned(), |value| text(value));
        let is_step = name == b"traceparent" && value.starts_with(&TRACE[..36]) && value != TRACE;
        let value = match is_step {
            true => format!("{}A-NEW-SPAN-ID---{}", &value[..36], &value[52..]),
            false => value,
        };
        line(&format!("header {}", text(name)), &value);
    }
    line("payload", &text(&message.payload));
    shown
}

/// All that came of the messages, a section each.
async fn answers(broker: Broker, messages: &[Sent]) -> String {
    let memory = MemoryBroker::new("INFERENCE");
    memory.refuse_above(MAX_SHOWN_BYTES);
    messages.iter().for_each(|(_, message)| drop(memory.send(message.clone())));

    let test_images: Arc<[Image]> = (0..40).map(picture).collect();
    let top_k = match broker {
        Broker::Kafka => 2,
        Broker::PubSub => 0,
    };
    let results = ResultsConfig { top_k, max_result_bytes: 1_800 };
    let (output, of) = (Written::default(), Arc::default());
    let zone = TimeZone::fixed(jiff::tz::offset(1));
    let console = Console::to(Outlet::new(output.clone()), zone, broker == Broker::PubSub);
    let printed = Printed { console: console.as_record(true), output, of: Arc::clone(&of) };
    let transport = Dressed { inner: memory.consumer(), broker };
    let model = sixteenths();
    let requests = Requests::new(&model, test_images).with_results(results);
    let pipeline = Pipeline::new(transport, model, requests, PipelineConfig::default());
    let watched = memory.clone();
    let settled = async move {
        while watched.unsettled_messages() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let report = pipeline.with_sink(printed).run(settled).await.unwrap();
    assert_eq!(report.settlement.ended(), messages.len());

    let mut sections = String::new();
    let printed = of.lock().unwrap();
    for (number, (title, sent)) in (1..).zip(messages) {
        let id = broker.id(number);
        sections.push_str(&format!("## {number}. {title}\n\n"));
        sections.push_str(&shown(&format!("sent as {id}"), sent));
        for result in memory.results() {
            let record: ResultRecord = serde_json::from_slice(&result.payload).unwrap();
            if PartId::message(&record.id) == id {
                sections.push_str(&shown("published", &result));
            }
        }
        for letter in memory.dead_letters() {
            if letter.attributes.text("fmnist.id") == Some(&id) {
                sections.push_str(&shown("dead letter", &letter));
            }
        }
        sections.push_str(printed.get(&id).map_or("", String::as_str));
        sections.push('\n');
    }
    format!("{}\n", sections.trim_end())
}

#[track_caller]
fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name);
    if std::env::var_os("FMNIST_TEST_WRITE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let (mut title, mut golden, mut found) = ("", golden.lines(), found.lines());
    for line in 1.. {
        let (expected, next) = (golden.next(), found.next());
        if expected == next && next.is_none() {
            break;
        }
        title = expected.filter(|line| line.starts_with("## ")).unwrap_or(title);
        let [expected, next] = [expected, next].map(|line| line.unwrap_or("the end"));
        let same = expected.chars().zip(next.chars()).take_while(|(a, b)| a == b).count();
        assert!(
            expected == next,
            "{name}, {title}, line {line} from character {} on\n  expected {expected}\n  found    \
             {next}\nif that is meant: FMNIST_TEST_WRITE_GOLDEN=1 cargo test --workspace --test \
             examples golden",
            same + 1
        );
    }
}

#[tokio::test]
async fn on_kafka_every_kind_of_message_is_answered_byte_for_byte_as_before() {
    let messages = [messages::common(), messages::kafkas_own()].concat();
    assert_golden("kafka.txt", &answers(Broker::Kafka, &messages).await);
}

#[tokio::test]
async fn on_pubsub_every_kind_of_message_is_answered_byte_for_byte_as_before() {
    assert_golden("pubsub.txt", &answers(Broker::PubSub, &messages::common()).await);
}
