//! The page in a real browser; `scripts/test-browser.sh` has what it needs.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod accessibility;
mod driver;
mod model;
mod pictures;
mod served;

use fmnist_core::{
    dataset::{Split, synthetic},
    message::ResultRecord,
};
use frontend_actix::ServerConfig;
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use serde_json::{Value, json};
use service::{Broker, Producer};
use transport_kafka::KafkaConfig;

use driver::{Browser, ENTER, TAB};
use served::{Demo, Served};

const SEND: &str = "#range button:not([type])";
const FIRST_CARD: &str = "#results .card";

fn cluster() -> (MockCluster<'static, DefaultProducerContext>, KafkaConfig) {
    let cluster = MockCluster::new(1).unwrap();
    let config =
        KafkaConfig { bootstrap_servers: cluster.bootstrap_servers(), ..KafkaConfig::default() };
    for topic in config.topics() {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    (cluster, config)
}

/// Sends a range by the page's fields and waits for the broker's confirmation.
fn send_range(browser: &Browser, start: usize, end: usize) {
    browser.replace("[name=start_idx]", &start.to_string());
    browser.replace("[name=end_idx]", &end.to_string());
    browser.click(SEND);
    let confirmed = format!(
        "document.querySelector('#range-answer').innerText.includes('{start} up to {end}')"
    );
    browser.wait(&confirmed);
}

fn wait_for_card(browser: &Browser, title: &str) {
    browser.wait(&format!(
        "[...document.querySelectorAll('.card h3')].some(h => h.innerText === '{title}')"
    ));
}

#[test]
fn a_range_that_is_sent_comes_back_live_with_pictures_truth_and_latency() {
    let demo = Demo::start();
    let browser = Browser::open(&demo.url);
    browser.wait(
        "document.querySelector('#nothing').innerText.includes('Nothing has been classified')",
    );
    send_range(&browser, 3, 8);
    wait_for_card(&browser, "Images 3 to 7");
    let card = browser.text(FIRST_CARD);
    for expected in ["synthetic", "of 5 right", "Kafka · ", " ms · base 1.0 · INFERENCE/", "%"] {
        assert!(card.contains(expected), "{expected:?} is not in {card}");
    }
    assert_eq!(browser.run("return document.querySelectorAll('.tile').length"), 5);
    // The pictures are one sheet, which the server has.
    let sheet = "(async () => {
        const at = getComputedStyle(document.querySelector('.picture')).backgroundImage.slice(5, -2);
        const bitmap = await createImageBitmap(await (await fetch(at)).blob());
        return [bitmap.width, bitmap.height];
    })()";
    let size = browser.run(&format!("return {sheet}"));
    assert_eq!(size, json!([5 * 28, 28]));

    // The same through the other broker.
    browser.click("[value=pubsub]");
    send_range(&browser, 10, 12);
    wait_for_card(&browser, "Images 10 to 11");
    assert!(browser.text(FIRST_CARD).contains("Google Pub/Sub · "), "{}", browser.text(FIRST_CARD));
    browser.wait("document.querySelector('#mix-text').innerText.startsWith('7 images, ')");
    browser.wait("document.querySelector('#latency-text').innerText.startsWith('median ')");
    let mix = browser.run("return document.querySelector('#mix svg').ariaLabel");
    assert!(mix.as_str().unwrap().starts_with("Class mix: T-shirt/top "), "{mix}");
}

#[test]
fn the_history_is_filtered_and_paged_and_outlives_the_page() {
    let demo = Demo::start();
    let browser = Browser::open(&demo.url);
    for start in 0..12 {
        send_range(&browser, start, start + 1);
        wait_for_card(&browser, &format!("Images {start} to {start}"));
    }
    browser.visit(&demo.url);
    browser.wait("document.querySelector('#position').innerText === '1 to 10 of 12'");
    browser.click("#older");
    browser.wait("document.querySelector('#position').innerText === '11 to 12 of 12'");
    let titles = "return [...document.querySelectorAll('.card h3')].map(h => h.innerText)";
    assert_eq!(browser.run(titles), json!(["Images 1 to 1", "Images 0 to 0"]));
    // What comes now is counted, but does not push the older page away.
    send_range(&browser, 20, 21);
    browser.wait("document.querySelector('#position').innerText.endsWith(', 1 new')");

    let id = browser.run("return document.querySelector('.card').record.id");
    browser.enter("[name=id]", id.as_str().unwrap());
    browser.wait("document.querySelectorAll('.card').length === 1");
    assert_eq!(browser.run(titles), json!(["Images 1 to 1"]));
    browser.click("#filter [type=reset]");
    browser.wait("document.querySelectorAll('.card').length === 10");
    browser.enter("[name=transport]", "Google Pub/Sub");
    browser.wait("document.querySelector('#nothing').innerText.startsWith('No result matches')");
}

#[test]
fn a_filter_by_label_shows_its_images_first() {
    let demo = Demo::start();
    let browser = Browser::open(&demo.url);
    send_range(&browser, 0, 100);
    wait_for_card(&browser, "Images 0 to 99");
    // A label that none of the first eight has.
    let label = browser.run(
        "const { predictions } = document.querySelector('.card').record;
         const first = new Set(predictions.slice(0, 8).map(({ label }) => label));
         return predictions.map(({ label }) => label).find((label) => !first.has(label))",
    );
    let label = label.as_str().expect("a hundred images have more labels than the first eight");
    browser.enter("[name=label]", label);
    browser.wait(&format!("document.querySelector('.tile .label').innerText === '{label}'"));
    // Its picture is the image's own.
    let index = "document.querySelector('.tile').title.replace('image ', '')";
    let sheet = "getComputedStyle(document.querySelector('.tile .picture')).backgroundImage";
    browser.wait(&format!("{sheet}.includes('start_idx=' + {index} + '&')"));
    browser.click(".card > .quiet");
    browser.wait("document.querySelectorAll('.tile').length === 100");
    browser.click("#filter [type=reset]");
    browser.wait("document.querySelector('.tile').title === 'image 0'");
}

#[test]
fn the_figures_count_the_whole_history_when_the_page_is_opened_again() {
    let (_cluster, kafka) = cluster();
    let broker = broker(&kafka);
    let test_set = synthetic(Split::Test, 1_000, 0);
    let (results, _) = tokio::sync::broadcast::channel(256);
    let served = Served::start(ServerConfig::default(), |frontend| {
        let frontend = frontend.with_broker(broker).with_test_set(&test_set);
        frontend.with_results(results.clone())
    });
    let browser = Browser::open(&served.url);
    browser.wait("document.querySelector('#live').innerText === 'live'");
    for offset in 0..250 {
        results.send(result(offset)).unwrap();
    }
    browser.wait("document.querySelector('#mix-text').innerText.startsWith('250 images')");
    browser.visit(&served.url);
    browser.wait("document.querySelector('#mix-text').innerText.startsWith('250 images')");
    browser.wait("document.querySelector('#latency-text').innerText.startsWith('median ')");
}

/// What a consumer answered to a range of one image.
fn result(offset: i64) -> std::sync::Arc<ResultRecord> {
    let record = json!({
        "schema": 1,
        "id": format!("INFERENCE/0/{offset}"),
        "source": { "transport": "kafka", "topic": "INFERENCE", "partition": 0, "offset": offset },
        "model": { "name": "base", "version": "1.0", "sha256": "0".repeat(64) },
        "start_idx": offset,
        "end_idx": offset + 1,
        "predictions": [{ "index": offset, "class": 8, "label": "Bag", "probability": 0.5 }],
        "received_at": "2026-11-24T03:55:31.000Z",
        "inferred_at": "2026-11-24T03:55:31.100Z",
    });
    std::sync::Arc::new(serde_json::from_value(record).unwrap())
}

#[test]
fn a_wrong_token_brings_the_form_back_with_a_word() {
    let api_token = Some("0123456789abcdef".to_owned());
    let closed = Served::start(ServerConfig { api_token, ..ServerConfig::default() }, |f| f);
    let browser = Browser::open(&closed.url);
    browser.enter("[name=token]", "not the token at all");
    browser.press(&[ENTER]);
    browser
        .wait("document.querySelector('#refused')?.innerText.startsWith('This is not the token')");
    browser.enter("[name=token]", "0123456789abcdef");
    browser.press(&[ENTER]);
    browser.wait("document.querySelector('#range')");
}

#[test]
fn a_range_that_cannot_be_is_refused_in_words_before_it_is_sent() {
    let (_cluster, kafka) = cluster();
    let served = serve_kafka(&kafka);
    let browser = Browser::open(&served.url);
    for (start, end, words) in [
        ("5", "5", "The end has to be above the start"),
        ("0", "1001", "The end is at most 1,000"),
        ("-1", "5", "whole numbers"),
        ("", "5", "whole numbers"),
    ] {
        browser.replace("[name=start_idx]", start);
        browser.replace("[name=end_idx]", end);
        browser.click(SEND);
        let said = browser.text("#range-answer");
        assert!(said.contains(words), "{said}");
        assert_eq!(browser.run("return document.activeElement.name"), "start_idx");
        // Nor is there a preview, which would be of another range.
        browser.wait("document.querySelector('#preview').hidden");
        assert_eq!(browser.text("#preview-text"), "");
    }
    browser.replace("[name=start_idx]", "2");
    browser.replace("[name=end_idx]", "4");
    browser.wait("document.querySelector('#preview').naturalWidth === 56");
    assert_eq!(browser.text("#preview-text"), "Images 2 to 3 of the test set");
}

#[test]
fn a_broker_that_goes_away_is_said_in_words_and_so_is_its_return() {
    let (cluster, kafka) = cluster();
    let served = serve_kafka(&kafka);
    let browser = Browser::open(&served.url);
    browser.wait("document.querySelector('#health').innerText.includes('Kafka reachable')");
    drop(cluster);
    browser.click(SEND);
    browser.wait("document.querySelector('#range-answer.bad')");
    assert_eq!(
        browser.text("#range-answer"),
        "Kafka did not confirm; the message may not have arrived. \
         Health, at the top, says what is away; try again once it is back."
    );
    browser.wait(
        "document.querySelector('#health .bad').innerText.includes(\"Kafka can't be reached\")",
    );
    // The page says so, too, when the server itself is gone.
    drop(served);
    browser.click(SEND);
    browser.wait("document.querySelector('#range-answer').innerText.startsWith('The server does not answer')");
    browser.wait("document.querySelector('#health').innerText.includes('Server does not answer')");
}

fn broker(kafka: &KafkaConfig) -> Producer {
    tokio::runtime::Runtime::new().unwrap().block_on(kafka.producer()).unwrap()
}

fn serve_kafka(kafka: &KafkaConfig) -> Served {
    let broker = broker(kafka);
    let test_set = synthetic(Split::Test, 1_000, 0);
    Served::start(ServerConfig::default(), |frontend| {
        frontend.with_broker(broker).with_test_set(&test_set)
    })
}

#[test]
fn the_keyboard_alone_sends_a_range() {
    let demo = Demo::start();
    let browser = Browser::open(&demo.url);
    browser.wait("document.querySelector('#live')?.innerText === 'live'");
    let focus = |name: &str| {
        for _ in 0..30 {
            browser.press(&[TAB]);
            if browser.run("return document.activeElement.name ?? ''") == name {
                return;
            }
        }
        panic!("{name} cannot be reached");
    };
    focus("start_idx");
    browser.press(&['4']);
    focus("end_idx");
    browser.press(&['9', ENTER]);
    wait_for_card(&browser, "Images 4 to 8");
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.run(outline), "solid", "the focus can be seen");
}

#[test]
fn the_form_works_without_scripts_and_nothing_is_said_to_be_live() {
    let (_cluster, kafka) = cluster();
    let broker = broker(&kafka);
    let test_set = synthetic(Split::Test, 1_000, 0);
    let (results, _) = tokio::sync::broadcast::channel(1);
    let served = Served::start(ServerConfig::default(), |frontend| {
        let frontend = frontend.with_broker(broker).with_test_set(&test_set);
        frontend.with_results(results.clone())
    });
    let browser = Browser::open("about:blank");
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    browser.visit(&served.url);
    let said = browser.text(".results");
    assert!(!said.contains("live") && !said.contains("connecting"), "{said}");
    assert!(said.contains("Results appear here with JavaScript"), "{said}");
    browser.click(SEND);
    let answer = browser.source();
    assert!(answer.contains(r#"{"message_queue":"kafka","start_idx":0,"end_idx":5}"#), "{answer}");
}

/// Whether a script of somebody else ran.
fn was_hacked(browser: &Browser) -> Value {
    browser.run("return window.hacked ?? false")
}
