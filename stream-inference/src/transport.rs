//! How messages come in and outcomes go out: one trait, many brokers. Pipelines call it; what a transport
//! promises is in [`Capabilities`], and the conformance suite holds it to that.

pub mod memory;

mod attributes;
#[cfg(feature = "conformance")]
pub mod conformance;
mod dead_letter;
mod delivery;
mod error;
mod trace;

use std::time::Duration;

pub use attributes::Attributes;
pub use dead_letter::{DeadLetter, DeadLetterForm, dead_letter, dead_letter_stub};
pub use delivery::{
    Crashes, Delivery, Fate, Lane, Outbound, Outcome, Rejection, Settlement, Source, Stage,
};
pub use error::{PublishError, TransportError};
pub use trace::TraceContext;

/// What a transport claims, and so what the conformance suite tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// How often a result can appear.
    pub guarantee: Guarantee,
    /// Whether messages come with an ordering domain. There are several, at least one a key.
    pub lanes: bool,
    /// Whether the broker counts delivery attempts.
    pub attempts: bool,
}

impl Capabilities {
    /// This guarantee, and nothing besides.
    pub const fn new(guarantee: Guarantee) -> Self {
        Self { guarantee, lanes: false, attempts: false }
    }

    /// With [`Self::lanes`], or without.
    #[must_use]
    pub const fn with_lanes(self, lanes: bool) -> Self {
        Self { lanes, ..self }
    }

    /// With [`Self::attempts`], or without.
    #[must_use]
    pub const fn with_attempts(self, attempts: bool) -> Self {
        Self { attempts, ..self }
    }
}

/// How often the result of one message can appear to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guarantee {
    /// At least once: after a crash some results appear twice, with the same id.
    AtLeastOnce,
    /// Exactly once for readers that read only committed messages.
    ExactlyOnce,
}

/// How much one [`Transport::recv`] may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages at most; at least 1.
    pub max_messages: usize,
    /// Bytes at most, keys and attributes counted; the first message is delivered however large it is.
    pub max_bytes: usize,
    /// How long to wait for further messages after the first.
    pub max_wait: Duration,
}

/// A broker's side of the pipeline: receives deliveries, carries out outcomes.
///
/// Batches are settled whole, not message by message, because Kafka's exactly-once needs results
/// and offsets in one transaction. [`Transport::settle`] does not hold the borrow, because a
/// transaction costs 10–20 ms however small, and receiving goes on meanwhile.
pub trait Transport: Send + 'static {
    /// The broker's claim on one message.
    type Token: Send + 'static;

    /// The label `transport` of its pipeline's metrics, as [`Source::transport`] has it.
    const NAME: &'static str;

    /// What this transport claims.
    fn capabilities(&self) -> Capabilities;

    /// Whether results may go to this topic beside the results topic ([`Outbound::topic`]): one that was
    /// configured, and so found, or made, at the start.
    fn has_route(&self, _topic: &str) -> bool {
        false
    }

    /// Waits for one message, then up to `limits.max_wait` for more. Never empty.
    ///
    /// Messages of a lane come in the lane's order. Cancel safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// [`TransportError::Unavailable`]: back off and call again. [`TransportError::Fatal`]: give up.
    fn recv(
        &mut self,
        limits: Limits,
    ) -> impl Future<Output = Result<Vec<Delivery<Self::Token>>, TransportError>> + Send;

    /// What is known of a delivered message that was in flight when a process ended without a
    /// farewell. Such messages come one at a time, with nothing else in flight. `None` for all others,
    /// and where the transport does not know.
    fn crashes(&self, _delivery: &Delivery<Self::Token>) -> Option<Crashes> {
        None
    }

    /// Says, before the first reception, that nobody will ask for [`Transport::crashes`]: the transport
    /// need not keep an account of them, and messages do not come one at a time.
    fn forget_crashes(&mut self) {}

    /// Takes note, in a way that survives the process, that the message in flight for which there is
    /// an answer of [`Transport::crashes`] enters `stage`. Gives up where that takes long.
    fn enter(&mut self, _stage: Stage) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Accepts the outcomes at once, in call order; resolves when every publish and acknowledgement
    /// is confirmed.
    ///
    /// Several may be pending. Dropping the future cancels nothing. From the first
    /// [`Outcome::Retry`] of a lane on, every later outcome of that lane is discarded unpublished
    /// and counted `retried`, until the lane's messages are delivered again.
    ///
    /// # Errors
    /// [`TransportError::Aborted`]: these messages may come again. [`TransportError::Fatal`]:
    /// the transport stopped; what was not confirmed comes again to the next consumer.
    fn settle(
        &mut self,
        batch: Vec<(Delivery<Self::Token>, Outcome)>,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<Self>;

    /// Stops intake, releases what was prefetched, flushes; ends within `grace`.
    ///
    /// Call it after the last `settle`.
    ///
    /// # Errors
    /// When the grace ran out first: what was not confirmed is delivered again.
    fn drain(self, grace: Duration) -> impl Future<Output = Result<(), TransportError>> + Send;
}

/// Publishes single messages: what front ends and producers use.
pub trait Publisher: Clone + Send + Sync + 'static {
    /// Publishes one message and waits for the broker's confirmation; returns its id, the same
    /// that [`Delivery::id`] will carry.
    ///
    /// # Errors
    /// When the broker did not confirm in time. The message may still have arrived, unless the
    /// error is [`PublishError::Refused`].
    fn publish(
        &self,
        message: Outbound,
    ) -> impl Future<Output = Result<String, PublishError>> + Send;
}
