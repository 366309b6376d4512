//! A codec around another, some of whose results are not published.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::{Answer, Codec, Message, Request};
use crate::transport::{Outbound, Rejection};

/// A codec some of whose results are not published: their messages are acknowledged and counted as
/// *filtered*. Sinks and observers see all of them.
///
/// ```
/// use stream_inference::codec::{Filter, Json, Record};
///
/// let codec = Json::<f32, f32>::new();
/// let risky = Filter::new(codec, |record: &Record<f32>| record.predictions[0] > 0.9);
/// ```
#[derive(Clone)]
pub struct Filter<C, F> {
    codec: C,
    is_published: F,
}

impl<C: Codec, F: Fn(&C::Record) -> bool + Send + Sync + 'static> Filter<C, F> {
    /// Publishes those records that `is_published` says.
    pub const fn new(codec: C, is_published: F) -> Self {
        Self { codec, is_published }
    }
}

impl<C: fmt::Debug, F> fmt::Debug for Filter<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("codec", &self.codec).finish_non_exhaustive()
    }
}

impl<C: Codec, F: Fn(&C::Record) -> bool + Send + Sync + 'static> Codec for Filter<C, F> {
    type Input = C::Input;
    type Output = C::Output;
    type Inputs = C::Inputs;
    type Context = C::Context;
    type Record = C::Record;

    fn decode(&self, message: Message<'_>) -> Result<Request<Self>, Rejection> {
        self.codec.decode(message).map(Request::around)
    }

    fn record(&self, answer: Answer<'_, Self>) -> Result<C::Record, Rejection> {
        self.codec.record(answer.within())
    }

    fn encode(&self, record: &C::Record, key: Option<&Bytes>) -> Result<Vec<Outbound>, Rejection> {
        if (self.is_published)(record) { self.codec.encode(record, key) } else { Ok(Vec::new()) }
    }

    fn failed(&self, context: &C::Context, position: usize, reason: &str) -> Rejection {
        self.codec.failed(context, position, reason)
    }

    fn filters(&self) -> bool {
        true
    }

    fn topics(&self) -> Vec<Arc<str>> {
        self.codec.topics()
    }

    fn output_bytes(&self) -> usize {
        self.codec.output_bytes()
    }
}
