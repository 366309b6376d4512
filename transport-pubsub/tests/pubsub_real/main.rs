//! Against a Pub/Sub emulator: `scripts/test-brokers.sh` starts one and runs these.

#[path = "../common/conformance.rs"]
mod conformance;
#[path = "../common/crash.rs"]
mod crash;
#[path = "../common/exactly_once.rs"]
mod exactly_once;
#[path = "../common/faults.rs"]
mod faults;
#[path = "../common/harness.rs"]
mod harness;
mod lease;
mod proxy;
mod server;
#[path = "../common/setup.rs"]
mod setup;
