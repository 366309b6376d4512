//! What happens at the broker's end, timed through the facade of the crate `metrics`.

use std::time::Duration;

use metrics::{Histogram, histogram};
use stream_inference::names;

/// What metrics and results call this transport.
pub(crate) const NAME: &str = "pubsub";

/// The handles of one consumer's series, made once.
pub(crate) struct Meters {
    publish: Histogram,
}

impl Meters {
    pub(crate) fn new() -> Self {
        let stages = names::metric("stage_seconds");
        Self { publish: histogram!(stages, "transport" => NAME, "stage" => "publish") }
    }

    /// The results and dead letters of a round were confirmed, or not, after so long.
    pub(crate) fn published(&self, took: Duration) {
        self.publish.record(took);
    }
}
