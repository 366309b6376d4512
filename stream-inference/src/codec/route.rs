//! A codec around another, whose results go to several topics, each of which is declared beforehand.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::{Answer, Codec, Message, Request};
use crate::transport::{Outbound, Rejection};

/// A codec whose results go to the topics that a function chooses, beside the results topic.
///
/// ```
/// use stream_inference::codec::{Json, Record, Route};
///
/// let codec = Json::<f32, f32>::new();
/// let routed = Route::new(codec, ["ALERTS"], |record: &Record<f32>| {
///     (record.predictions[0] > 0.9).then_some("ALERTS")
/// });
/// ```
///
/// All parts of a result go to the topic of its record. For parts that go to several, implement
/// [`Codec`]: parts that have a topic already keep it.
#[derive(Clone)]
pub struct Route<C, F> {
    codec: C,
    topics: Vec<Arc<str>>,
    choose: F,
}

impl<C, F> Route<C, F> {
    /// Sends a record's result to that of `topics` which `choose` names, and to the results topic where
    /// it names none.
    pub fn new<T>(codec: C, topics: impl IntoIterator<Item: Into<Arc<str>>>, choose: F) -> Self
    where
        C: Codec,
        T: AsRef<str>,
        F: Fn(&C::Record) -> Option<T> + Send + Sync + 'static,
    {
        Self { codec, topics: topics.into_iter().map(Into::into).collect(), choose }
    }
}

impl<C: fmt::Debug, F> fmt::Debug for Route<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { codec, topics, .. } = self;
        let mut debug = f.debug_struct("Route");
        debug.field("codec", codec).field("topics", topics).finish_non_exhaustive()
    }
}

impl<C, T, F> Codec for Route<C, F>
where
    C: Codec,
    T: AsRef<str>,
    F: Fn(&C::Record) -> Option<T> + Send + Sync + 'static,
{
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
        let mut parts = self.codec.encode(record, key)?;
        if let Some(name) = (self.choose)(record) {
            let name = name.as_ref();
            // The pipeline refuses what is not declared.
            let declared = self.topics.iter().find(|topic| ***topic == *name);
            let topic = declared.cloned().unwrap_or_else(|| name.into());
            for part in &mut parts {
                part.topic.get_or_insert_with(|| Arc::clone(&topic));
            }
        }
        Ok(parts)
    }

    fn failed(&self, context: &C::Context, position: usize, reason: &str) -> Rejection {
        self.codec.failed(context, position, reason)
    }

    fn filters(&self) -> bool {
        self.codec.filters()
    }

    fn topics(&self) -> Vec<Arc<str>> {
        [self.codec.topics(), self.topics.clone()].concat()
    }

    fn output_bytes(&self) -> usize {
        self.codec.output_bytes()
    }
}
