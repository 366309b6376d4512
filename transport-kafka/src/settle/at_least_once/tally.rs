//! What some outcomes came to.

use std::ops::AddAssign;

use rdkafka::error::KafkaError;
use stream_inference::transport::Settlement;

use crate::claims::Standing;

/// What became of some outcomes.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) settlement: Settlement,
    /// Why the transport can't go on.
    pub(super) refused: Option<KafkaError>,
}

impl Tally {
    /// Counts an outcome that does not count any more; answers whether it does.
    pub(super) fn counts(&mut self, standing: Standing) -> bool {
        match standing.fate() {
            Some(fate) => self.settlement.count(fate),
            None => return true,
        }
        false
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.settlement += other.settlement;
        self.refused = self.refused.take().or(other.refused);
    }
}
