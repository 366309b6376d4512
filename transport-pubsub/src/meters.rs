//! What happens at the broker's end, timed through the facade of the crate `metrics`.

use metrics::{Histogram, histogram};
use stream_inference::names;

/// What metrics and results call this transport.
pub(crate) const NAME: &str = "pubsub";

/// How long publishing takes; a handle for one consumer, made once.
pub(crate) fn publish_seconds() -> Histogram {
    histogram!(names::metric("stage_seconds"), "transport" => NAME, "stage" => "publish")
}
