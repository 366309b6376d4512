use std::ops::RangeInclusive;

use serde_json::Value;

use super::{ConfigError, Origins};

/// What a number may be, by its key.
pub(super) const RANGES: [(&str, RangeInclusive<u64>); 25] = [
    ("model.threads", 1..=1_024),
    ("batch.max_images", 1..=65_536),
    ("batch.max_messages", 1..=1_000_000),
    ("batch.max_bytes", 1..=1 << 32),
    ("batch.max_wait_ms", 0..=60_000),
    ("batch.latency_budget_ms", 1..=60_000),
    ("on_error.attempts", 1..=1_000),
    ("on_error.crashes", 0..=1_000),
    ("on_error.max_consecutive", 1..=1_000_000),
    ("on_error.backoff_ms", 0..=600_000),
    ("results.top_k", 0..=1_000),
    ("results.max_result_bytes", 1..=1 << 30),
    ("database.retention_days", 1..=36_500),
    ("server.port", 0..=65_535),
    ("server.health_port", 0..=65_535),
    ("server.max_body_bytes", 1..=1 << 30),
    ("server.max_bodies_bytes", 1..=1 << 34),
    ("server.max_requests_per_second", 1..=1_000_000),
    ("server.max_inferences", 1..=65_536),
    ("server.max_waiting", 0..=65_536),
    ("server.max_wait_ms", 0..=60_000),
    ("server.max_streams", 0..=100_000),
    ("server.max_connections", 1..=1_000_000),
    ("server.read_timeout_ms", 1..=600_000),
    ("server.write_timeout_ms", 1..=600_000),
];

/// Whether a number stands behind `key`; where it has no default, only this tells.
pub(super) fn is_number(key: &str) -> bool {
    RANGES.iter().any(|(number, _)| *number == key)
}

/// Refuses a number outside of its range; what is no number is left to the types.
pub(super) fn check(merged: &Value, origins: &Origins) -> Result<(), ConfigError> {
    for (key, range) in RANGES {
        let value = key.split('.').try_fold(merged, |value, name| value.get(name));
        let Some(Value::Number(found)) = value else { continue };
        if !found.as_u64().is_some_and(|found| range.contains(&found)) {
            return Err(ConfigError::Range {
                origin: origins.of(key).to_owned(),
                key,
                found: found.to_string(),
                range,
            });
        }
    }
    Ok(())
}
