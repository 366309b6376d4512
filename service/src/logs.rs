use std::{
    env,
    io::{self, IsTerminal},
    time::Duration,
};

use stream_inference::names;
use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::outlet::{stderr, stdout};

/// `pretty`, for people, is the default; `json` is an object a line, for log collectors.
fn format_variable() -> String {
    format!("{}_LOG", names::prefix().to_ascii_uppercase())
}

/// Which events are logged.
const FILTER: &str = "RUST_LOG";

/// How long the end of a program waits for those who read what it said.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

/// Logs this process's events to stderr, because stdout is for results: which of them by `RUST_LOG`,
/// in the form that `FMNIST_LOG`, or another program's `PREFIX_LOG`, names, `pretty` or `json`. For programs, once, at their start; what is
/// returned is kept to the end of `main`.
///
/// No event has a message's key, headers or payload in it. Whoever does not read the log holds nobody
/// up: see [`Outlet`](crate::Outlet).
pub fn log_from_env() -> Logs {
    let filter = env::var(FILTER).ok().filter(|filter| !filter.is_empty());
    let filter = filter.and_then(|filter| EnvFilter::try_new(filter).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new("info,actix_server=warn"));
    let asked = env::var(format_variable()).unwrap_or_default();
    let is_colourful = io::stderr().is_terminal();
    let subscriber = subscriber(&asked, filter, is_colourful, || stderr().clone());
    // An error means that logging was set up before, say by a test's harness.
    let _ = tracing::subscriber::set_global_default(subscriber);
    if !["", "pretty", "json"].contains(&&*asked) {
        tracing::warn!(found = asked, "{}: expected pretty or json", format_variable());
    }
    Logs(())
}

/// What a program has said is written, or a second over, when this is dropped.
#[must_use = "the last lines are lost without it"]
pub struct Logs(());

impl Drop for Logs {
    fn drop(&mut self) {
        stdout().flush(LAST_WORDS);
        stderr().flush(LAST_WORDS);
    }
}

fn subscriber<W>(
    format: &str,
    filter: EnvFilter,
    is_colourful: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        "json" => Box::new(builder.json().flatten_event(true).finish()),
        _ => Box::new(builder.with_ansi(is_colourful).finish()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use test_kit::Written;

    use super::*;

    fn logged(format: &str) -> String {
        let written = Written::default();
        let writer = written.clone();
        let filter = EnvFilter::new("info");
        let subscriber = subscriber(format, filter, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(id = "INFERENCE/0/7", messages = 3, "a \"quoted\" event");
            tracing::debug!("not asked for");
        });
        written.text()
    }

    #[test]
    fn json_is_one_object_a_line_with_the_fields_beside_the_message() {
        let logged = logged("json");
        assert_eq!(logged.lines().count(), 1, "{logged}");
        let event: Value = serde_json::from_str(&logged).unwrap();
        assert_eq!(event["level"], "WARN");
        assert_eq!(event["message"], "a \"quoted\" event");
        assert_eq!((&event["id"], &event["messages"]), (&"INFERENCE/0/7".into(), &3.into()));
        assert!(event["timestamp"].is_string(), "{logged}");
    }

    #[test]
    fn without_a_format_events_are_for_people() {
        for format in ["", "pretty"] {
            let logged = logged(format);
            assert_eq!(logged.lines().count(), 1, "{logged}");
            assert!(logged.contains(" WARN ") && logged.contains("messages=3"), "{logged}");
        }
    }
}
