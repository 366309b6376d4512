use fmnist_core::{
    Image,
    label::console_label,
    message::ResultRecord,
    pipeline::{Answered, Sink, SinkError},
};
use jiff::{Timestamp, tz::TimeZone};
use service::{Outlet, stdout};

use crate::time_zone::time_zone_from_env;

/// The two lines that the old consumers printed for each message.
///
/// ```text
/// [2026-11-24 03:55:31] Model Inference [0 - 5]
/// Ankle Boot,Pullover,Trouser,Trouser,Shirt
/// ```
///
/// It is no part of delivery: nothing waits for whoever reads it, and lines that nobody reads are
/// dropped. Only where results go nowhere else, see [`Console::as_record`], is it waited for.
pub struct Console {
    output: Outlet,
    time_zone: TimeZone,
    is_synthetic: bool,
    is_record: bool,
}

impl Console {
    /// Prints to stdout in the local time that `TZ` or the system says; with drawn images every line
    /// ends in `(synthetic)`.
    pub fn from_env(is_synthetic: bool) -> Self {
        Self::to(stdout().clone(), time_zone_from_env(), is_synthetic)
    }

    /// Prints to any stream.
    pub const fn to(output: Outlet, time_zone: TimeZone, is_synthetic: bool) -> Self {
        Self { output, time_zone, is_synthetic, is_record: false }
    }

    /// Counts as the record of results, where they go nowhere else: a message is then acknowledged
    /// after its lines are written.
    #[must_use]
    pub const fn as_record(mut self, is_record: bool) -> Self {
        self.is_record = is_record;
        self
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

impl Sink<ResultRecord, Image> for Console {
    async fn write(&self, results: &[Answered]) -> Result<(), SinkError> {
        for lines in results.iter().map(|result| self.lines(&result.record)) {
            if !self.is_record {
                self.output.print(lines);
            } else if let Err(error) = self.output.write(lines).await {
                let context = "stdout does not take the result".to_owned();
                return Err(SinkError { context, source: Some(error.into()) });
            }
        }
        Ok(())
    }

    async fn ended(&self) -> SinkError {
        if !self.is_record {
            return std::future::pending().await;
        }
        self.output.closed().await;
        let context = "stdout is closed, and results go nowhere else".to_owned();
        SinkError { context, source: None }
    }
}
