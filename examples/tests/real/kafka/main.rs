//! The examples on a real Kafka, whose address `scripts/kafka.sh` puts into `FMNIST_TEST_KAFKA`.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod audit;
mod backfill;
mod create;
mod redrive;
mod world;
