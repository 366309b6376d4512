//! Against a Pub/Sub emulator: `scripts/test-brokers.sh` starts one and runs these.

mod real {
    mod lease;
    pub(crate) mod server;
}
mod support {
    mod conformance;
    mod crash;
    mod exactly_once;
    mod faults;
    pub(crate) mod harness;
    mod setup;
}

use real::server;
use support::harness;
