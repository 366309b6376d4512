//! Every state of the page, judged by axe-core, and photographed where `FMNIST_SCREENSHOTS` says.

use std::{env, fs, path::Path};

use frontend_actix::ServerConfig;
use serde_json::{Value, json};

use crate::{
    SEND, cluster,
    driver::Browser,
    pictures::stored_photo,
    send_range, serve_kafka,
    served::{Demo, Served},
    wait_for_card,
};

/// Width and height in pixels, and the colours asked for.
const VIEWS: [(&str, u32, u32, &str); 3] =
    [("light", 1280, 1000, "light"), ("dark", 1280, 1000, "dark"), ("phone", 390, 844, "light")];

/// What axe-core finds in the state that the page is in; there must be nothing.
fn judge(browser: &Browser, state: &str) {
    let axe = env::var("FMNIST_AXE").expect("FMNIST_AXE: the path of axe.min.js");
    browser.run(&fs::read_to_string(axe).unwrap());
    for (view, width, height, scheme) in VIEWS {
        browser.resize(width, height);
        browser.prefer(scheme);
        let overflow = "return document.documentElement.scrollWidth > innerWidth";
        assert_eq!(browser.run(overflow), false, "{state}, {view}: it scrolls sideways");
        if let Ok(folder) = env::var("FMNIST_SCREENSHOTS") {
            let file = Path::new(&folder).join(format!("{state}-{view}.png"));
            fs::write(file, browser.screenshot()).unwrap();
        }
        assert_eq!(violations(browser), json!([]), "{state}, {view}");
    }
    browser.resize(1280, 1000);
}

fn violations(browser: &Browser) -> Value {
    browser.run(
        "return axe.run().then(({ violations }) => violations.flatMap(({ id, nodes }) =>
            nodes.map(({ html, failureSummary }) => ({ id, html, failureSummary }))))",
    )
}

#[test]
fn no_state_of_the_demo_has_a_violation() {
    let (demo, folder) = (Demo::start(), tempfile::tempdir().unwrap());
    let browser = Browser::open(&demo.url);
    browser.wait("document.querySelector('#nothing').innerText.includes('Nothing has been')");
    browser.wait("document.querySelector('#health .good')");
    judge(&browser, "empty");

    send_range(&browser, 0, 100);
    wait_for_card(&browser, "Images 0 to 99");
    browser.attach("[name=image]", &stored_photo(&folder, "trouser.bmp"));
    browser.wait("document.querySelectorAll('#upload-answer li').length === 3");
    browser.click("[data-broker]");
    browser.wait("document.querySelector('.card canvas.picture')");
    for start in 0..10 {
        send_range(&browser, start, start + 3);
        wait_for_card(&browser, &format!("Images {start} to {}", start + 2));
    }
    browser.wait("document.querySelector('#mix-text').innerText.startsWith('131 images')");
    browser.wait("!document.querySelector('#pager').hidden");
    judge(&browser, "results");

    browser.click("#older");
    wait_for_card(&browser, "Images 0 to 99");
    browser.click(".card > .quiet");
    browser.wait("document.querySelectorAll('.card:last-child .tile').length === 100");
    browser.click("summary");
    judge(&browser, "many");

    browser.enter("[name=id]", "there is no such id");
    browser.wait("document.querySelector('#nothing').innerText.startsWith('No result matches')");
    browser.replace("[name=end_idx]", "0");
    browser.click(SEND);
    fs::write(folder.path().join("broken.png"), "no picture").unwrap();
    browser.attach("[name=image]", &folder.path().join("broken.png"));
    browser.wait("document.querySelector('#upload-answer.bad')");
    judge(&browser, "bad-input");
}

#[test]
fn a_broker_that_is_away_and_the_sign_in_have_no_violation() {
    let (cluster, kafka) = cluster();
    let served = serve_kafka(&kafka);
    drop(cluster);
    let browser = Browser::open(&served.url);
    browser.click(SEND);
    browser.wait("document.querySelector('#range-answer.bad')");
    browser.wait("document.querySelector('#health .bad')");
    assert!(browser.text(".results").contains("This process reads no results"));
    judge(&browser, "broker-away");

    let api_token = Some("0123456789abcdef".to_owned());
    let closed = Served::start(ServerConfig { api_token, ..ServerConfig::default() }, |f| f);
    browser.visit(&closed.url);
    browser.wait("document.querySelector('[name=token]')");
    judge(&browser, "sign-in");
}
