//! Chromium without a window, driven through chromedriver by the W3C's WebDriver protocol.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// How long a condition may take to come true.
const PATIENCE_MILLISECONDS: u32 = 60_000;
/// The key under which WebDriver hands elements out.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub(crate) const TAB: char = '\u{E004}';
pub(crate) const ENTER: char = '\u{E007}';
pub(crate) const SPACE: char = ' ';
pub(crate) const RIGHT: char = '\u{E014}';

const ATTEMPTS: usize = 5;

/// Starts chromedriver; returns its port, too.
fn start() -> Option<(Child, String)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .spawn()
        .expect("chromedriver: scripts/test-browser.sh installs it");
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = lines.find_map(|line| {
        Some(line.unwrap().split_once("successfully on port ")?.1.replace('.', ""))
    });
    match port {
        Some(port) => Some((driver, port)),
        None => {
            driver.wait().unwrap();
            None
        }
    }
}

/// A browser with one page; it ends when dropped.
pub(crate) struct Browser {
    driver: Child,
    address: String,
    session: String,
}

impl Browser {
    pub(crate) fn open(url: &str) -> Self {
        // The port is free on IPv4 when chromedriver chooses it, and may not be on IPv6: it ends then.
        let (driver, port) =
            (0..ATTEMPTS).find_map(|_| start()).expect("chromedriver says its port");
        let mut browser =
            Self { driver, address: format!("127.0.0.1:{port}"), session: String::new() };
        // A container has neither the privileges for a sandbox nor much shared memory.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "timeouts": { "script": PATIENCE_MILLISECONDS },
        });
        let asked = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let session = browser.request("POST", "/session", &asked);
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser.resize(1280, 1000);
        // A card that fades in has no text yet, as WebDriver sees it.
        browser.prefer("light");
        browser.visit(url);
        browser
    }

    pub(crate) fn visit(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// The value of a script's `return`.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a JavaScript expression is true, or at least truthy, and returns its value.
    pub(crate) fn wait(&self, condition: &str) -> Value {
        let script = format!(
            "const done = arguments[0];
             const look = () => {{
               let found;
               try {{ found = ({condition}); }} catch {{ /* not yet */ }}
               if (found) done(found); else setTimeout(look, 20);
             }};
             look();"
        );
        let path = format!("/session/{}/execute/async", self.session);
        self.try_request("POST", &path, &json!({ "script": script, "args": [] })).unwrap_or_else(
            |error| {
                let text = self.run("return document.body.innerText");
                panic!("{condition}: {error}; the page says:\n{}", text.as_str().unwrap())
            },
        )
    }

    /// What a person sees of an element.
    pub(crate) fn text(&self, selector: &str) -> String {
        let element = self.find(selector);
        let text = self.request("GET", &self.path(&format!("/element/{element}/text")), &json!({}));
        text.as_str().unwrap().to_owned()
    }

    pub(crate) fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    /// Types into a field, after what is in it, or names the file of a file field.
    pub(crate) fn enter(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{element}/value"), &json!({ "text": text }));
    }

    pub(crate) fn replace(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{element}/clear"), &json!({}));
        self.enter(selector, text);
    }

    pub(crate) fn attach(&self, selector: &str, file: &Path) {
        self.enter(selector, file.to_str().unwrap());
    }

    /// Presses and lifts keys, wherever the focus is.
    pub(crate) fn press(&self, keys: &[char]) {
        let actions: Vec<Value> = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("/actions", &json!({ "actions": [keyboard] }));
    }

    pub(crate) fn source(&self) -> String {
        let source = self.request("GET", &self.path("/source"), &json!({}));
        source.as_str().unwrap().to_owned()
    }

    /// A command of Chromium's own protocol.
    pub(crate) fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    pub(crate) fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Without motion, so that nothing is looked at half faded in.
    pub(crate) fn prefer(&self, scheme: &str) {
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// The whole page as PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        let taken = self.devtools(
            "Page.captureScreenshot",
            json!({ "captureBeyondViewport": true, "format": "png" }),
        );
        STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()
    }

    fn find(&self, selector: &str) -> String {
        let query = json!({ "using": "css selector", "value": selector });
        self.post("/element", &query)[ELEMENT].as_str().unwrap().to_owned()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.request("POST", &self.path(path), body)
    }

    fn path(&self, path: &str) -> String {
        format!("/session/{}{path}", self.session)
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_request(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_request(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let (address, length) = (&self.address, body.len());
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert_ne!(reader.read_line(&mut line).unwrap(), 0, "chromedriver hung up");
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer).unwrap();
        let mut answer: Value = serde_json::from_slice(&answer).unwrap();
        let value = answer["value"].take();
        match value["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", value["message"])),
            None => Ok(value),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromedriver ends Chromium with the session; killed alone, it would leave it behind.
        drop(self.try_request("DELETE", &self.path(""), &json!({})));
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}
