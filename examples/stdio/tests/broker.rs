//! The transport as a further broker of Fashion-MNIST's programs: its crate, here a module, and a line.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

#[path = "../held.rs"]
mod held;
#[path = "../line.rs"]
mod line;
mod pipes;
mod source;
#[path = "../transport.rs"]
mod transport;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use clap::Parser;
use fmnist_core::{Image, Supervisor};
use fmnist_examples::Answering;
use frontend_actix::{Config, start, survey};
use pipes::Pipes;
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use serde_json::{Value, json};
use service::{ConsumerArguments, Role, Source, Survey, config::Document};
use tokio::{runtime::Runtime, sync::oneshot};

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    consumer: ConsumerArguments,
}

fn arguments(words: &[&str]) -> ConsumerArguments {
    Arguments::parse_from([&["x"], words].concat()).consumer
}

/// The line.
fn known() -> Config {
    Config::default().with_broker(Pipes::default())
}

/// The configuration of a file with these sections.
fn read(folder: &Path, sections: &Value) -> Result<Config, String> {
    let file = folder.join("config.json");
    fs::write(&file, sections.to_string()).unwrap();
    let read = arguments(&["--config", file.to_str().unwrap()]).config.read_over(known());
    read.map_err(|error| error.to_string())
}

/// What the page answers: the head, and the body.
fn ask(address: SocketAddr, line: &str, body: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = "content-type: application/x-www-form-urlencoded\r\nconnection: close";
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: {address}\r\n{head}\r\ncontent-length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn json_of(address: SocketAddr, line: &str, body: &[u8]) -> Value {
    let (_, body) = ask(address, line, body);
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{line}: {error}: {body}"))
}

#[test]
fn a_further_broker_has_a_section_whose_keys_are_known_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |section: Value| read(folder.path(), &json!({ "stdio": section })).unwrap_err();
    let found = refusal(json!({ "request": "a" }));
    assert!(
        found.ends_with(r#"no key "stdio.request" (did you mean "stdio.requests"?)"#),
        "{found}"
    );
    let found = refusal(json!({ "requests": 7 }));
    assert!(found.ends_with("config.json: stdio.requests cannot be used"), "{found}");
    let found = refusal(json!(7));
    assert!(found.ends_with("config.json: stdio has to be an object of keys"), "{found}");
    let found = read(folder.path(), &json!(5)).unwrap_err();
    assert!(found.ends_with("config.json: the document has to be an object of keys"), "{found}");
    let found = refusal(json!({ "requests": "a", "results": "a" }));
    let rule = "config.json: stdio.results has to be another pipe than stdio.requests";
    assert!(found.ends_with(rule), "{found}");

    let variable = ("FMNIST_STDIO__REQUESTS".to_owned(), "in".to_owned());
    let config = Config::load_over(known(), None, [variable]).unwrap();
    let shown: Value = serde_json::from_str(&config.document()).unwrap();
    assert_eq!(shown["stdio"], json!({ "requests": "in", "results": "" }));
    assert!(config.explained().contains("stdio.requests = \"in\"  # FMNIST_STDIO__REQUESTS\n"));
    let section = serde_json::to_value(config.added.get::<Pipes>().unwrap()).unwrap();
    assert_eq!(section, shown["stdio"]);
    // Without the line there is no such broker.
    let variable = ("FMNIST_STDIO__REQUESTS".to_owned(), "in".to_owned());
    assert!(Config::load(None, [variable]).is_err());
}

#[test]
fn a_further_broker_is_surveyed_made_shown_and_answered_like_those_that_were_there() {
    let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    for topic in ["INFERENCE", "INFERENCE-RESULTS", "INFERENCE-DEAD-LETTERS"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let [requests, results] = ["requests", "results"].map(|name| folder.path().join(name));
    let config = read(
        folder.path(),
        &json!({
            "stdio": { "requests": requests, "results": results },
            "kafka": { "bootstrap_servers": cluster.bootstrap_servers() },
            "server": { "port": 0 },
        }),
    )
    .unwrap();
    let (runtime, parts) = (Runtime::new().unwrap(), Supervisor::new());

    let check = arguments(&["--check"]).survey;
    let missing = runtime.block_on(survey(&config, &check)).unwrap_err();
    let expected = [&requests, &results].map(|pipe| {
        let pipe = pipe.display();
        format!("there is no pipe {pipe}; make it: mkfifo {pipe}")
    });
    assert_eq!(missing.to_string(), expected.join("\nerror: "));
    // The mock of Kafka makes no topics, so that this one alone is asked to.
    let (mut made, create) = (Survey::default(), arguments(&["--create"]).survey);
    let brokers = config.brokers();
    runtime.block_on(made.look_for(&**brokers.last().unwrap(), Role::Consumer, &create));
    assert_eq!(made.conclude().unwrap().len(), 1);
    let found = runtime.block_on(survey(&config, &check)).unwrap();
    let [kafka, pipes] = found.last_chunk().unwrap();
    assert!(kafka.starts_with("Kafka at "), "{found:?}");
    assert_eq!(*pipes, format!("named pipes {} and {}", requests.display(), results.display()));

    let page = runtime.block_on(start(&config, &parts)).unwrap();
    let address = page.address();
    let (_, shown) = ask(address, "GET /", b"");
    for button in [
        r#"value="kafka" data-title="Kafka" required checked> Kafka</label>"#,
        r#"value="pubsub" data-title="Google Pub/Sub" required disabled> Google Pub/Sub"#,
        r#"value="stdio" data-title="Named pipes" required> Named pipes</label>"#,
        r#"<option value="stdio">Named pipes</option>"#,
    ] {
        assert!(shown.contains(button), "{button}: {shown}");
    }
    let form = b"message_broker=stdio&start_idx=0&end_idx=3";
    let (head, _) = ask(address, "POST /", form);
    assert!(head.contains("location: /stdio/push-to-consumer?start_idx=0&end_idx=3"), "{head}");
    let unknown = json_of(address, "POST /rabbit/push-to-consumer?start_idx=0&end_idx=3", b"");
    let expected = "there is no broker \"rabbit\": expected kafka or pubsub or stdio";
    assert_eq!(unknown, json!({ "error": expected }));

    // A consumer is what the two that were there are: these lines.
    let (stop, stopped) = oneshot::channel::<()>();
    let (of_consumer, consumer_parts) = (config.clone(), parts.clone());
    let consumer = runtime.spawn(async move {
        let pipes = of_consumer.added.get::<Pipes>().unwrap();
        let asked = arguments(&[]);
        let answering = Answering::prepare(&of_consumer, &asked, pipes, &consumer_parts).await?;
        let answering = answering.expect("nothing else was asked");
        let lines = pipes.lines()?;
        let (transport, end) = lines.clone().connect(answering.pulse()).await?;
        let ended = answering.answer(transport, end, async { drop(stopped.await) }).await?;
        anyhow::Ok((ended, lines.held.first_without_end()))
    });

    let pushed = json_of(address, "POST /stdio/push-to-consumer?start_idx=0&end_idx=3", b"");
    assert_eq!(pushed, json!({ "message_queue": "stdio", "start_idx": 0, "end_idx": 3 }));
    let image = Image::from_fn(|row, _| if row < 14 { 200 } else { 0 }).to_png();
    let pushed = json_of(address, "POST /stdio/images", &image);
    assert_eq!(pushed, json!({ "message_queue": "stdio", "id": "stdin/2" }));
    let deadline = Instant::now() + PATIENCE;
    let seen = loop {
        let seen = json_of(address, "GET /results?transport=stdio", b"");
        if seen["total"] == 2 {
            break seen;
        }
        assert!(Instant::now() < deadline, "{seen}");
        std::thread::yield_now();
    };
    let of = |result: &Value| {
        let predictions = result["predictions"].as_array().map(Vec::len);
        (result["id"].clone(), result["source"]["topic"].clone(), predictions)
    };
    let results: Vec<_> = seen["results"].as_array().unwrap().iter().map(of).collect();
    let expected = [("stdin/2", 1), ("stdin/1", 3)];
    assert_eq!(results, expected.map(|(id, count)| (id.into(), "stdin".into(), Some(count))));
    let ready = json_of(address, "GET /readyz", b"");
    assert_eq!(ready["checks"]["stdio"], "reachable", "{ready}");

    drop(stop);
    // A pipe that is held open has no end.
    assert_eq!(runtime.block_on(consumer).unwrap().unwrap(), (false, None));
    runtime.block_on(page.stop());
    runtime.shutdown_background();
}
