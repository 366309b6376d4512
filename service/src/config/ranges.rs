use std::ops::RangeInclusive;

use serde_json::Value;

use super::{ConfigError, Origins};

/// What a number may be, with its key.
pub type Range = (&'static str, RangeInclusive<u64>);

/// The numbers of [`BatchConfig`](stream_inference::pipeline::BatchConfig) and
/// [`OnError`](stream_inference::pipeline::OnError).
pub const BATCHES: [Range; 9] = [
    ("batch.max_images", 1..=65_536),
    ("batch.max_messages", 1..=1_000_000),
    ("batch.max_bytes", 1..=1 << 32),
    ("batch.max_wait_ms", 0..=60_000),
    ("batch.latency_budget_ms", 1..=60_000),
    ("on_error.attempts", 1..=1_000),
    ("on_error.crashes", 0..=1_000),
    ("on_error.max_consecutive", 1..=1_000_000),
    ("on_error.backoff_ms", 0..=600_000),
];

/// The numbers of [`ProbesConfig`](super::ProbesConfig).
pub const PROBES: [Range; 2] =
    [("server.health_port", 0..=65_535), ("server.write_timeout_ms", 1..=600_000)];

/// What [`SlotConfig::watch_ms`](crate::SlotConfig::watch_ms) may be.
pub const WATCH_MS: RangeInclusive<u64> = 100..=86_400_000;
/// What [`SlotConfig::probation_batches`](crate::SlotConfig::probation_batches) may be.
pub const PROBATION_BATCHES: RangeInclusive<u64> = 0..=1_000_000;

/// Refuses a number outside of its range; what is no number is left to the types.
pub(super) fn check(
    ranges: &[Range],
    merged: &Value,
    origins: &Origins,
) -> Result<(), ConfigError> {
    for (key, range) in ranges {
        let value = key.split('.').try_fold(merged, |value, name| value.get(name));
        let Some(Value::Number(found)) = value else { continue };
        if !found.as_u64().is_some_and(|found| range.contains(&found)) {
            return Err(ConfigError::Range {
                origin: origins.of(key).to_owned(),
                key,
                found: found.to_string(),
                range: range.clone(),
            });
        }
    }
    Ok(())
}
