//! The examples on Google's Pub/Sub emulator: `scripts/test-brokers.sh pubsub` starts one.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

#[path = "../support/program.rs"]
#[expect(dead_code, reason = "each suite uses its part")]
mod program;
#[path = "../../../transport-pubsub/tests/pubsub_real/proxy.rs"]
mod proxy;
mod redrive;
