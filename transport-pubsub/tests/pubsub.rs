//! Without a server, and against the one inside the process, which the emulator's tests run on, too.

mod it {
    mod absent;
    mod fake;
    mod refused;
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

use it::server;
use support::harness;
