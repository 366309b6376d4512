use std::{
    io::{self, Write},
    sync::Mutex,
};

use fmnist_core::{
    label::console_label,
    message::ResultRecord,
    pipeline::{Answered, Sink, SinkError},
};
use jiff::{Timestamp, tz::TimeZone};

/// The two lines that the old consumers printed for each message.
///
/// ```text
/// [2026-11-24 03:55:31] Model Inference [0 - 5]
/// Ankle Boot,Pullover,Trouser,Trouser,Shirt
/// ```
pub struct Console<W = io::Stdout> {
    output: Mutex<W>,
    time_zone: TimeZone,
    is_synthetic: bool,
}

impl Console {
    /// Prints to stdout in local time; with drawn images every line ends in `(synthetic)`.
    pub fn new(is_synthetic: bool) -> Self {
        Self::to(io::stdout(), TimeZone::system(), is_synthetic)
    }
}

impl<W: Write> Console<W> {
    /// Prints to any writer.
    pub const fn to(output: W, time_zone: TimeZone, is_synthetic: bool) -> Self {
        Self { output: Mutex::new(output), time_zone, is_synthetic }
    }

    fn lines(&self, result: &ResultRecord) -> String {
        let at: Timestamp = result.inferred_at.parse().unwrap_or_else(|_| Timestamp::now());
        let at = at.to_zoned_datetime(self.time_zone.clone()).strftime("%Y-%m-%d %H:%M:%S");
        let what = match (result.start_idx, result.end_idx) {
            (Some(start), Some(end)) => format!("{start} - {end}"),
            _ => result.id.clone(),
        };
        let labels: Vec<&str> =
            result.predictions.iter().map(|p| console_label(&p.label)).collect();
        let mark = if self.is_synthetic { " (synthetic)" } else { "" };
        format!("[{at}] Model Inference [{what}]{mark}\n{}{mark}\n", labels.join(","))
    }
}

impl<W: Write + Send + 'static> Sink for Console<W> {
    async fn write(&self, results: &[Answered]) -> Result<(), SinkError> {
        let text: String = results.iter().map(|result| self.lines(&result.record)).collect();
        let failed = |error: io::Error| SinkError {
            context: "stdout does not take the result".to_owned(),
            source: Some(error.into()),
        };
        let mut output = self.output.lock().map_err(|_| SinkError {
            context: "an earlier write to stdout panicked".to_owned(),
            source: None,
        })?;
        output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(failed)
    }
}
