//! Against a Pub/Sub emulator: `scripts/test-brokers.sh` starts one and runs these.

mod conformance;
mod crash;
mod faults;
mod harness;
mod lease;
mod proxy;
mod setup;
