//! Code that is not this crate's (models, codecs, measures), asked so that its panic costs what was asked
//! alone: one message or one batch, never the thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    codec::{Answer, Codec, Message, Request},
    transport::{Outbound, Rejection, Stage},
};

/// Reads a message.
pub(crate) fn read<C: Codec>(codec: &C, message: Message<'_>) -> Result<Request<C>, Rejection> {
    // With the count of its inputs: an iterator that is wrong about that panics, too.
    asked(Stage::Decode, "the decoder panicked", || match codec.decode(message)? {
        request if request.inputs.len() == 0 => {
            Err(Rejection::new(Stage::Validate, "the message has no inputs"))
        }
        request => Ok(request),
    })
}

/// Why a message is refused whose input at `position` the model failed on.
pub(crate) fn failed<C: Codec>(
    codec: &C,
    context: &C::Context,
    position: usize,
    reason: &str,
) -> Rejection {
    let why = || Ok(codec.failed(context, position, reason));
    asked(Stage::Infer, reason, why).unwrap_or_else(|rejection| rejection)
}

/// Makes a record of a message's outputs.
pub(crate) fn record<C: Codec>(codec: &C, answer: Answer<'_, C>) -> Result<C::Record, Rejection> {
    asked(Stage::Encode, ENCODER_PANICKED, || codec.record(answer))
}

/// What is published for a record, none of it on a topic that is not among the declared ones.
pub(crate) fn encode<C: Codec>(
    codec: &C,
    record: &C::Record,
    key: Option<&Bytes>,
    topics: &[Arc<str>],
) -> Result<Vec<Outbound>, Rejection> {
    let is_declared =
        |part: &Outbound| part.topic.as_ref().is_none_or(|topic| topics.contains(topic));
    asked(Stage::Encode, ENCODER_PANICKED, || match codec.encode(record, key)? {
        parts if parts.is_empty() && !codec.filters() => {
            Err(Rejection::new(Stage::Encode, "the codec made no message of the result"))
        }
        parts => match parts.iter().find(|part| !is_declared(part)) {
            None => Ok(parts),
            Some(Outbound { topic, .. }) => {
                let topic = topic.as_deref().unwrap_or_default();
                let reason = format!("the codec names topic {topic}, which it had not declared");
                Err(Rejection::new(Stage::Encode, reason))
            }
        },
    })
}

const ENCODER_PANICKED: &str = "the encoder panicked";

/// What a codec says, or the rejection that a panic of it is.
fn asked<T>(
    stage: Stage,
    panicked: &str,
    f: impl FnOnce() -> Result<T, Rejection>,
) -> Result<T, Rejection> {
    shielded(f).unwrap_or_else(|_| Err(Rejection::new(stage, panicked)))
}

/// What `f` returns, or what its panic says.
pub(crate) fn shielded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let said = panic.downcast_ref::<&str>().copied();
        let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        format!("the model panicked: {}", said.unwrap_or("without words"))
    })
}
