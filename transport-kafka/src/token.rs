//! A claim on one message, in the hands of the pipeline.

use std::{fmt, sync::Arc};

use stream_inference::transport::Crashes;

use crate::{claims::Claim, shared::Shared};

/// A claim on one message; dropped unsettled, the message and its lane's later ones come again.
pub struct KafkaToken {
    shared: Arc<Shared>,
    claim: Option<Claim>,
    /// What is known of a message that is in flight alone after an unclean end.
    crashes: Option<Crashes>,
}

impl KafkaToken {
    pub(crate) const fn new(shared: Arc<Shared>, claim: Claim, crashes: Option<Crashes>) -> Self {
        Self { shared, claim: Some(claim), crashes }
    }

    pub(crate) fn take(&mut self) -> Option<Claim> {
        self.claim.take()
    }

    pub(crate) const fn crashes(&self) -> Option<Crashes> {
        self.crashes
    }
}

impl fmt::Debug for KafkaToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KafkaToken").field(&self.claim).finish()
    }
}

impl Drop for KafkaToken {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.shared.pull_back(claim);
        }
    }
}
