use std::{sync::Arc, time::Duration};

use fmnist_core::{Infer, ModelIdentity, Prediction, message::InferenceRequest};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Status};

/// What this server has in common with the HTTP API of its process: one model and its batches, one set of
/// limits, one token, the same words.
///
/// A trait, because the page's program is in one package with that API and starts both.
pub trait Shared: Send + Sync + 'static {
    /// Why a call is refused.
    type Refusal: From<Fault> + Into<Status> + Send + 'static;

    /// What does not change.
    fn bounds(&self) -> Bounds;

    /// Lets a call in, by what it carries as `authorization`, and counts it.
    ///
    /// # Errors
    /// Without the token, where there is one; beyond the rate.
    fn admit(&self, policy: Policy, authorization: Option<&str>) -> Result<(), Self::Refusal>;

    /// Room in memory for a piece of a message, beside what `room` holds for those before.
    ///
    /// # Errors
    /// When there is none now.
    fn reserve(
        &self,
        room: &mut Option<OwnedSemaphorePermit>,
        bytes: usize,
    ) -> Result<(), Self::Refusal>;

    /// Room in memory for an answer, until its reader has it.
    ///
    /// # Errors
    /// When there is none now.
    fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Self::Refusal>;

    /// The right to an open stream, until it is dropped.
    ///
    /// # Errors
    /// When as many are open as may be.
    fn stream(&self) -> Result<OwnedSemaphorePermit, Self::Refusal>;

    /// The model of that name, in that version unless it is empty.
    ///
    /// # Errors
    /// Without a model, and for another.
    fn model(&self, name: &str, version: &str) -> Result<Arc<dyn Infer>, Self::Refusal>;

    /// What `write` makes of the model's answers to what `read` gives, each on a thread that may block, once it
    /// is this call's turn. Who hung up goes on to count until then.
    ///
    /// # Errors
    /// What `read` refuses; when too many wait; when the model fails or is away.
    fn infer<O: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<(Arc<dyn Infer>, InferenceRequest), Self::Refusal>
        + Send
        + 'static,
        write: impl FnOnce(&InferenceRequest, &[Prediction], &[String], &ModelIdentity) -> O
        + Send
        + 'static,
    ) -> impl Future<Output = Result<O, Self::Refusal>> + Send;

    /// Whether this protocol is served: there is a model, and the server does not stop.
    fn is_serving(&self) -> bool;

    /// Whether all that the process needs is there, as `/readyz` says.
    fn is_ready(&self) -> impl Future<Output = bool> + Send;

    /// Counts and times an answer by its route.
    fn measure(&self, route: &'static str, code: Code, took: Duration);
}

/// The limits that this server keeps by itself.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Largest message, packed and unpacked.
    pub max_message_bytes: usize,
    /// Connections at once; further ones wait until one ends.
    pub max_connections: usize,
    /// Calls of one connection at once; a client keeps further ones back.
    pub max_calls: usize,
    /// How long a client may take to send a message.
    pub read_timeout: Duration,
    /// How long a client may take nothing of its answer before its connection ends.
    pub write_timeout: Duration,
}

/// What a call does, and so what is asked of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Tells how the process is: open to all.
    Probes,
    /// Answers what is known, to those with the token.
    Reads,
    /// Classifies: with the token, and counted. What is not known is treated so, too.
    Works,
}

/// What is wrong with a call's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// As it says.
    Invalid(String),
    /// It is longer than a message may be.
    TooLarge {
        /// The most that is allowed.
        limit_bytes: usize,
    },
    /// It did not come in time.
    TooSlow {
        /// So long it might take.
        timeout: Duration,
    },
}
