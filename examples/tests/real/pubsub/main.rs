//! The examples on Google's Pub/Sub emulator: `scripts/test-brokers.sh pubsub` starts one.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod redrive;
