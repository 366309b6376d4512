use std::sync::Arc;

use crate::topic::{Round, Topic};

/// Where verdicts go.
#[derive(Debug)]
pub(crate) struct Topics {
    pub(crate) results: Option<Topic>,
    pub(crate) dead_letters: Topic,
}

/// What is sent together.
#[derive(Debug)]
pub(super) struct Rounds {
    pub(super) results: Option<Round>,
    pub(super) dead_letters: Round,
}

impl Topics {
    pub(super) fn rounds(&self) -> Arc<Rounds> {
        Arc::new(Rounds {
            results: self.results.as_ref().map(Topic::round),
            dead_letters: self.dead_letters.round(),
        })
    }
}
