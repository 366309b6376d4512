//! A whole pipeline for a few messages, and the end of each of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::timeout};

use crate::{
    codec::Codec,
    lock::Sound,
    pipeline::{Pipeline, PipelineConfig, PipelineError},
    predict::Predictor,
    transport::{
        Capabilities, Delivery, Limits, Outbound, Outcome, Rejection, Settlement, Transport,
        TransportError,
        memory::{MemoryBroker, MemoryToken, MemoryTransport},
    },
};

/// What became of a message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum End {
    /// Its result was published: these messages, in order. [`Outbound::topic`] is the route of each.
    Published(Vec<Outbound>),
    /// It was answered, and the codec publishes no such result.
    Filtered,
    /// It went to the dead letters.
    Rejected(Rejection),
    /// It had no end when the time was over: a broker would deliver it again.
    Unfinished,
}

impl End {
    /// The payloads that were published; none where it ended in another way.
    pub fn payloads(&self) -> Vec<Bytes> {
        match self {
            Self::Published(parts) => parts.iter().map(|part| part.payload.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// `None` where the message is to come again, or is for a sink, which there is none of.
    fn of(outcome: &Outcome) -> Option<Self> {
        Some(match outcome {
            Outcome::Publish(parts) => Self::Published(parts.clone()),
            Outcome::Filtered => Self::Filtered,
            Outcome::Reject(rejection) => Self::Rejected(rejection.clone()),
            Outcome::Recorded | Outcome::Retry => return None,
        })
    }
}

/// A message of this payload, without key and attributes.
pub fn message(payload: impl Into<Bytes>) -> Outbound {
    Outbound { payload: payload.into(), ..Outbound::default() }
}

/// A pipeline that answers what it is given and ends, see [`testing`](super).
///
/// It is a whole one, on the [memory transport](crate::transport::memory): its batches are filled by
/// what waits, and messages of one key keep their order. Any [route](Transport::has_route) is taken for
/// there.
#[derive(Debug)]
pub struct Trial<P, C> {
    model: P,
    codec: C,
    config: PipelineConfig,
    patience: Duration,
}

impl<P, C> Trial<P, C>
where
    P: Predictor,
    C: Codec<Input = P::Input, Output = P::Output>,
{
    /// For messages that `codec` reads and `model` answers.
    pub fn new(model: P, codec: C) -> Self {
        let (config, patience) = (PipelineConfig::default(), Duration::from_secs(10));
        Self { model, codec, config, patience }
    }

    /// With these settings, but for the grace.
    #[must_use]
    pub fn with_config(self, config: PipelineConfig) -> Self {
        Self { config, ..self }
    }

    /// Waits so long for the last message's end, by the clock of Tokio, which must not be paused: the
    /// model computes on a thread of its own. Without, ten seconds.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Answers the messages; returns the end of each, in their order.
    ///
    /// # Errors
    /// As [`Pipeline::run`].
    pub async fn run(
        self,
        messages: impl IntoIterator<Item = Outbound>,
    ) -> Result<Vec<End>, PipelineError> {
        let Self { model, codec, config, patience } = self;
        let broker = MemoryBroker::new("trial");
        let ids: Vec<_> = messages.into_iter().map(|message| broker.send(message)).collect();
        let ends = Ends::default();
        let transport = Witness { transport: broker.consumer(), ends: ends.clone() };
        // What is to end has ended by then.
        let config = PipelineConfig { grace_ms: 0, ..config };
        let settled = async {
            while broker.unsettled_messages() > 0 {
                ends.0.1.notified().await;
            }
        };
        let stop = async { drop(timeout(patience, settled).await) };
        Pipeline::new(transport, model, codec, config).run(stop).await?;
        // Of a message that was pulled back, the last outcome may have been discarded.
        let unsettled = broker.unsettled_ids();
        let mut ends = ends.0.0.lock().sound();
        let mut end = |id: &String| ends.remove(id).filter(|_| !unsettled.contains(id));
        Ok(ids.iter().map(|id| end(id).unwrap_or(End::Unfinished)).collect())
    }
}

/// The last outcome of each message, by its id, and who waits for them. Clones are the same.
#[derive(Clone, Debug, Default)]
struct Ends(Arc<(Mutex<HashMap<String, End>>, Notify)>);

/// The memory transport, with somebody who takes note of the outcomes.
struct Witness {
    transport: MemoryTransport,
    ends: Ends,
}

impl Transport for Witness {
    type Token = MemoryToken;

    const NAME: &'static str = MemoryTransport::NAME;

    fn capabilities(&self) -> Capabilities {
        self.transport.capabilities()
    }

    fn has_route(&self, topic: &str) -> bool {
        self.transport.has_route(topic)
    }

    async fn recv(&mut self, limits: Limits) -> Result<Vec<Delivery<MemoryToken>>, TransportError> {
        self.transport.recv(limits).await
    }

    fn settle(
        &mut self,
        batch: Vec<(Delivery<MemoryToken>, Outcome)>,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<> {
        let end = |(delivery, outcome): &(Delivery<_>, Outcome)| {
            End::of(outcome).map(|end| (delivery.id.clone(), end))
        };
        self.ends.0.0.lock().sound().extend(batch.iter().filter_map(end));
        let (settlement, ends) = (self.transport.settle(batch), self.ends.clone());
        async move {
            let settled = settlement.await;
            ends.0.1.notify_one();
            settled
        }
    }

    async fn drain(self, grace: Duration) -> Result<(), TransportError> {
        self.transport.drain(grace).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        codec::{Filter, Json, Record, Route},
        pipeline::{BatchConfig, OnError, OnErrorAction},
        predict::{ModelIdentity, PredictError, function},
        testing::Commanded,
        transport::Stage,
    };

    type Number = Record<f64>;

    fn same() -> Commanded<impl Predictor<Input = f64, Output = f64>> {
        let same = |batch: &[f64]| Ok::<_, PredictError>(batch.to_vec());
        Commanded::new(function(ModelIdentity::of_code("same", "1"), same))
    }

    fn above(limit: f64) -> impl Fn(&Number) -> bool + Send + Sync + 'static {
        move |record| record.predictions[0] > limit
    }

    #[tokio::test]
    async fn each_message_has_its_own_end_whatever_becomes_of_its_neighbours() {
        let codec = Filter::new(Json::<f64, f64>::new(), above(0.0));
        let codec = Route::new(codec, ["LARGE"], |record: &Number| {
            above(9.0)(record).then_some(if above(99.0)(record) { "HUGE" } else { "LARGE" })
        });
        let messages = ["1", "no number", "-1", "10", "100"].map(message);
        let ends = Trial::new(same(), codec).run(messages).await.expect("run");
        let topics = |end: &End| match end {
            End::Published(parts) => parts.iter().map(|part| part.topic.clone()).collect(),
            _ => Vec::new(),
        };
        assert_eq!((topics(&ends[0]), topics(&ends[3])), (vec![None], vec![Some("LARGE".into())]));
        let record: Number = serde_json::from_slice(&ends[3].payloads()[0]).expect("a record");
        assert_eq!((&*record.id, record.predictions), ("trial/3", vec![10.0]));
        assert_eq!((&ends[2], ends[2].payloads().len()), (&End::Filtered, 0));
        let stage = |end: &End| match end {
            End::Rejected(rejection) => Some(rejection.stage),
            _ => None,
        };
        assert_eq!([&ends[1], &ends[4]].map(stage), [Some(Stage::Decode), Some(Stage::Encode)]);
    }

    #[tokio::test]
    async fn a_model_that_is_told_to_fail_is_asked_again_where_the_settings_say_so() {
        let action = OnErrorAction::Retry;
        let on_error = OnError { action, backoff_ms: 0, ..OnError::default() };
        let config = || PipelineConfig { on_error: on_error.clone(), ..PipelineConfig::default() };
        let keyed = |payload| Outbound { key: Some("a".into()), ..message(payload) };
        let model = same();
        model.fail(1, "overflow");
        // One at a time: the second is pulled back when the first is handed back.
        let batch = BatchConfig { max_inputs: 1, ..BatchConfig::default() };
        let trial = Trial::new(model.clone(), Json::<f64, f64>::new());
        let trial = trial.with_config(PipelineConfig { batch, ..config() });
        let ends = trial.run(["1", "2"].map(keyed)).await.expect("run");
        assert_eq!(ends.iter().map(|end| end.payloads().len()).collect::<Vec<_>>(), [1, 1]);
        assert!(model.calls().len() >= 3, "{:?}", model.calls());
    }

    #[tokio::test]
    async fn what_a_paused_model_keeps_is_unfinished_or_answered_when_it_goes_on() {
        let model = same();
        let trial = || Trial::new(model.clone(), Json::<f64, f64>::new());
        let pause = model.pause();
        let impatient = trial().with_patience(Duration::from_millis(20));
        assert_eq!(impatient.run([message("1")]).await.expect("run"), [End::Unfinished]);
        let waiting = tokio::spawn(trial().run([message("2")]));
        model.called(2).await;
        drop(pause);
        assert_eq!(waiting.await.expect("no panic").expect("run")[0].payloads().len(), 1);
        assert_eq!(model.calls(), [1, 1]);
    }

    #[tokio::test]
    async fn nothing_is_waited_for_where_nothing_was_sent_and_a_refused_start_is_an_error() {
        let run = Trial::new(same(), Json::<f64, f64>::new()).run([]);
        assert_eq!(run.await.expect("run"), []);
        let config = PipelineConfig { record_only: true, ..PipelineConfig::default() };
        let trial = Trial::new(same(), Json::<f64, f64>::new()).with_config(config);
        let error = trial.run([message("1")]).await.expect_err("no sink").to_string();
        assert!(error.contains("no results topic and no sink"), "{error}");
    }
}
