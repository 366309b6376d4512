//! Without a server, and against the one inside the process, which the emulator's tests run on, too.

mod absent;
#[path = "../common/conformance.rs"]
mod conformance;
#[path = "../common/crash.rs"]
mod crash;
#[path = "../common/exactly_once.rs"]
mod exactly_once;
mod fake;
#[path = "../common/faults.rs"]
mod faults;
#[path = "../common/harness.rs"]
mod harness;
mod refused;
mod server;
#[path = "../common/setup.rs"]
mod setup;
