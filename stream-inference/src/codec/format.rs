//! What a message format is: the trait, and what passes between it and a pipeline. Every codec is written
//! against this file, and none of them is known here.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    predict::ModelIdentity,
    transport::{Attributes, Outbound, Rejection, Source, Stage},
};

/// A message format, both ways.
///
/// A codec is fixed where the pipeline is made: what a message is, is not guessed from one to the next,
/// unless guessing is what the codec documents.
pub trait Codec: Send + Sync + 'static {
    /// What the model takes.
    type Input: Send + Sync + 'static;
    /// What the model gives.
    type Output: Send + 'static;
    /// The inputs of a message; lazy where it stands for more than it carries. It runs on the
    /// pipeline's loop, and so it must not block; the codec bounds how many there are.
    type Inputs: ExactSizeIterator<Item = Self::Input> + Send + 'static;
    /// What the answer needs of the request besides its inputs.
    type Context: Send + 'static;
    /// An answer, as sinks and observers see it.
    type Record: Send + Sync + 'static;

    /// Reads a message. Called on a thread of the pipeline's own, and so it may block, for less than the
    /// [patience](crate::pipeline::Pulse::patience) of its pulse.
    ///
    /// # Errors
    /// The message is dead-lettered with the rejection, mostly at [`Stage::Decode`] or
    /// [`Stage::Validate`].
    fn decode(&self, message: Message<'_>) -> Result<Request<Self>, Rejection>;

    /// Makes a record of a message's outputs.
    ///
    /// # Errors
    /// The message is dead-lettered with the rejection, mostly at [`Stage::Encode`].
    fn record(&self, answer: Answer<'_, Self>) -> Result<Self::Record, Rejection>;

    /// The messages that carry a record, in order. `key` is that of the message that was answered.
    /// None where [`Codec::filters`] says that this may be: the message is acknowledged without a
    /// result.
    ///
    /// # Errors
    /// The message is dead-lettered with the rejection, mostly at [`Stage::Encode`].
    fn encode(
        &self,
        record: &Self::Record,
        key: Option<&Bytes>,
    ) -> Result<Vec<Outbound>, Rejection>;

    /// Why a message is dead-lettered whose input at `position` the model failed on, for this reason.
    fn failed(&self, _context: &Self::Context, position: usize, reason: &str) -> Rejection {
        Rejection::new(Stage::Infer, format!("input {position}: {reason}"))
    }

    /// Whether [`Codec::encode`] may return none. Where it does all the same, the message is
    /// dead-lettered.
    fn filters(&self) -> bool {
        false
    }

    /// The topics that [`Codec::encode`] may name beside the results topic. Each must be a
    /// [route](crate::transport::Transport::has_route) of the transport, or nothing is received; a
    /// message one of whose results names another is dead-lettered.
    fn topics(&self) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// About what one output takes from the model to its settlement, in bytes: as it is, in the record
    /// and encoded. The budget for answers is divided by it.
    fn output_bytes(&self) -> usize {
        512
    }
}

/// A message, as a codec reads it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Message<'a> {
    /// See [`Delivery::id`](crate::transport::Delivery::id).
    pub id: &'a str,
    /// Where it came from.
    pub source: &'a Source,
    /// Record key or ordering key.
    pub key: Option<&'a Bytes>,
    /// Headers or attributes.
    pub attributes: &'a Attributes,
    /// The message's bytes.
    pub payload: &'a Bytes,
    /// Whether [`Request::kept`] is wanted.
    pub keeps_inputs: bool,
}

impl<'a> Message<'a> {
    /// A message without a key whose inputs are not kept.
    pub const fn new(
        id: &'a str,
        source: &'a Source,
        attributes: &'a Attributes,
        payload: &'a Bytes,
    ) -> Self {
        Self { id, source, key: None, attributes, payload, keeps_inputs: false }
    }
}

/// What a message asks for.
#[non_exhaustive]
pub struct Request<C: Codec + ?Sized> {
    /// The inputs; at least one.
    pub inputs: C::Inputs,
    /// Copies of inputs that the message carries, for sinks, where [`Message::keeps_inputs`] says so.
    pub kept: Vec<C::Input>,
    /// What the answer needs besides.
    pub context: C::Context,
    /// What all of these take beside the message itself, in bytes.
    pub bytes: usize,
}

impl<C: Codec + ?Sized> Request<C> {
    /// A request for these inputs, none of which is kept or takes memory to speak of.
    pub const fn new(inputs: C::Inputs, context: C::Context) -> Self {
        Self { inputs, kept: Vec::new(), context, bytes: 0 }
    }

    /// With what inputs and context take beside the message itself.
    #[must_use]
    pub fn with_bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// With copies for sinks.
    #[must_use]
    pub fn keeping(self, kept: Vec<C::Input>) -> Self {
        Self { kept, ..self }
    }

    /// The same for a codec that stands around this one.
    pub fn around<D>(self) -> Request<D>
    where
        D: Codec<Input = C::Input, Inputs = C::Inputs, Context = C::Context> + ?Sized,
    {
        let Self { inputs, kept, context, bytes } = self;
        Request { inputs, kept, context, bytes }
    }
}

/// What a message came to.
#[non_exhaustive]
pub struct Answer<'a, C: Codec + ?Sized> {
    /// See [`Delivery::id`](crate::transport::Delivery::id).
    pub id: &'a str,
    /// Where the message came from.
    pub source: &'a Source,
    /// What the request left for its answer.
    pub context: C::Context,
    /// One for each input, in their order.
    pub outputs: Vec<C::Output>,
    /// The model that computed all of them.
    pub model: &'a Arc<ModelIdentity>,
    /// When the message was received.
    pub received_at: Timestamp,
    /// When its last input was answered.
    pub inferred_at: Timestamp,
}

impl<'a, C: Codec + ?Sized> Answer<'a, C> {
    /// The same for a codec that this one stands around.
    pub fn within<D>(self) -> Answer<'a, D>
    where
        D: Codec<Context = C::Context, Output = C::Output> + ?Sized,
    {
        let Self { id, source, context, outputs, model, received_at, inferred_at } = self;
        Answer { id, source, context, outputs, model, received_at, inferred_at }
    }
}
