//! How verdicts are carried out.

pub(crate) mod at_least_once;
pub(crate) mod exactly_once;
pub(crate) mod outbox;
pub(crate) mod outputs;
pub(crate) mod refusal;
