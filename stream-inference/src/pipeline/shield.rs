//! What is asked of a codec, shielded: a panic refuses its message, and no other.

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
    shielded(Stage::Decode, "the decoder panicked", || match codec.decode(message)? {
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
    shielded(Stage::Infer, reason, why).unwrap_or_else(|rejection| rejection)
}

/// Makes a record of a message's outputs.
pub(crate) fn record<C: Codec>(codec: &C, answer: Answer<'_, C>) -> Result<C::Record, Rejection> {
    shielded(Stage::Encode, ENCODER_PANICKED, || codec.record(answer))
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
    shielded(Stage::Encode, ENCODER_PANICKED, || match codec.encode(record, key)? {
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

fn shielded<T>(
    stage: Stage,
    panicked: &str,
    f: impl FnOnce() -> Result<T, Rejection>,
) -> Result<T, Rejection> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err(Rejection::new(stage, panicked)))
}
