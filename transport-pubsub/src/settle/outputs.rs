//! Where results and dead letters go.

use std::{collections::HashMap, sync::Arc};

use crate::connect::topic::{Round, Topic};

/// The topics that are written.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// By what a result says of its topic: nothing, or the name of a route.
    pub(crate) results: HashMap<Option<Arc<str>>, Topic>,
    pub(crate) dead_letters: Topic,
}

/// What is sent together.
#[derive(Debug)]
pub(super) struct Rounds {
    pub(super) results: HashMap<Option<Arc<str>>, Round>,
    pub(super) dead_letters: Round,
}

impl Outputs {
    pub(super) fn rounds(&self) -> Arc<Rounds> {
        let round = |(name, topic): (&Option<Arc<str>>, &Topic)| (name.clone(), topic.round());
        Arc::new(Rounds {
            results: self.results.iter().map(round).collect(),
            dead_letters: self.dead_letters.round(),
        })
    }
}
