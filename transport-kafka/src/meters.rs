//! What happens at the broker's end, counted and timed through the facade of the crate `metrics`.

pub(crate) mod lag;

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use stream_inference::names;

/// What metrics and results call this transport.
pub(crate) const NAME: &str = "kafka";

/// The handles of one consumer's series, made once.
pub(crate) struct Meters {
    /// How long it took until the results and dead letters of a batch were confirmed, or refused.
    pub(crate) publish: Histogram,
    pub(crate) assigned: Counter,
    pub(crate) revoked: Counter,
    pub(crate) lost: Counter,
    pub(crate) poll_breaches: Counter,
    pub(crate) queue_full: Counter,
    topic: Arc<str>,
}

impl Meters {
    pub(crate) fn new(topic: &Arc<str>) -> Self {
        describe();
        let rebalances = |change: &'static str| counter!(names::metric("rebalances_total"), "transport" => NAME, "change" => change);
        Self {
            publish: histogram!(
                names::metric("stage_seconds"), "transport" => NAME, "stage" => "publish"
            ),
            assigned: rebalances("assigned"),
            revoked: rebalances("revoked"),
            lost: rebalances("lost"),
            poll_breaches: counter!(names::metric("poll_breaches_total"), "transport" => NAME),
            queue_full: counter!(names::metric("queue_full_total"), "transport" => NAME),
            topic: Arc::clone(topic),
        }
    }

    pub(crate) fn lag(&self, partition: i32) -> Gauge {
        gauge!(
            names::metric("lag_messages"),
            "transport" => NAME,
            "topic" => Arc::clone(&self.topic),
            "partition" => partition.to_string(),
        )
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge};
    for (name, what) in [
        ("rebalances_total", "Changes of this consumer's partitions."),
        ("poll_breaches_total", "How often nothing was polled for max.poll.interval.ms."),
        ("queue_full_total", "How often a result had to wait for room in the producer's queue."),
    ] {
        describe_counter!(names::metric(name), what);
    }
    describe_gauge!(
        names::metric("lag_messages"),
        "Messages of an assigned partition that are not acknowledged yet."
    );
}
