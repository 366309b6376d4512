//! Results that go to other topics than the results topic.

use super::*;
use crate::{
    codec::{CloudEvents, Filter, Json, Route},
    predict::{ModelIdentity, function},
    transport::{
        Capabilities, Delivery, Guarantee, Limits, Outcome, Settlement, Transport, TransportError,
    },
};

type Number = crate::codec::Record<f64>;

fn same() -> impl Predictor<Input = f64, Output = f64> {
    let same = |batch: &[f64]| Ok::<_, PredictError>(batch.to_vec());
    function(ModelIdentity::of_code("same", "1"), same)
}

fn numbers(numbers: &[&'static str]) -> MemoryBroker {
    let broker = MemoryBroker::new("numbers");
    for number in numbers {
        broker.send(Outbound { payload: (*number).into(), ..Outbound::default() });
    }
    broker
}

/// Large ones are for somebody else, and those that nobody could have meant for nobody.
fn by_size(record: &Number) -> Option<&'static str> {
    match record.predictions[0] {
        ..10.0 => None,
        10.0..100.0 => Some("LARGE"),
        _ => Some("HUGE"),
    }
}

fn topics(broker: &MemoryBroker) -> Vec<Option<String>> {
    broker.results().iter().map(|result| result.topic.as_deref().map(str::to_owned)).collect()
}

#[tokio::test]
async fn each_result_goes_to_the_topic_that_is_chosen_for_it() {
    let broker = numbers(&["1", "20", "3", "400", "50"]);
    let inner =
        Filter::new(Json::<f64, f64>::new(), |record: &Number| record.predictions[0] != 3.0);
    let codec = CloudEvents::around(Route::new(inner, ["LARGE", "HUGE"], by_size));
    assert_eq!(codec.topics(), ["LARGE".into(), "HUGE".into()]);
    let run = Pipeline::new(broker.consumer(), same(), codec, PipelineConfig::default());
    let report = run_through(&broker, run).await.expect("drained");
    let expected = Settlement { published: 4, filtered: 1, ..Settlement::default() };
    assert_eq!(report.settlement, expected);
    let expected = [None, Some("LARGE"), Some("HUGE"), Some("LARGE")];
    assert_eq!(topics(&broker), expected.map(|topic| topic.map(str::to_owned)));
}

#[tokio::test]
async fn what_has_a_topic_already_keeps_it() {
    let broker = numbers(&["1", "20"]);
    let inner = Route::new(Json::<f64, f64>::new(), ["LARGE", "HUGE"], by_size);
    let codec = Route::new(inner, ["ALL".to_owned()], |_: &Number| Some("ALL".to_owned()));
    assert_eq!(codec.topics(), ["LARGE".into(), "HUGE".into(), "ALL".into()]);
    let run = Pipeline::new(broker.consumer(), same(), codec, PipelineConfig::default());
    run_through(&broker, run).await.expect("drained");
    assert_eq!(topics(&broker), [Some("ALL".to_owned()), Some("LARGE".to_owned())]);
}

#[tokio::test]
async fn a_result_to_a_topic_that_was_not_declared_is_a_dead_letter_and_goes_nowhere() {
    let broker = numbers(&["1", "400", "20"]);
    let codec = Route::new(Json::<f64, f64>::new(), ["LARGE"], by_size);
    let run = Pipeline::new(broker.consumer(), same(), codec, PipelineConfig::default());
    let report = run_through(&broker, run).await.expect("drained");
    assert_eq!((report.settlement.published, report.settlement.rejected), (2, 1));
    assert_eq!(topics(&broker), [None, Some("LARGE".to_owned())]);
    let letter = broker.dead_letters().remove(0);
    assert_eq!((&*letter.payload, letter.topic), (&b"400"[..], None));
    let header = |name| letter.attributes.text(name);
    assert_eq!(header("__connect.errors.stage"), Some("ENCODE"));
    let reason = header("__connect.errors.exception.message");
    assert_eq!(reason, Some("the codec names topic HUGE, which it had not declared"));
}

/// Writes the results topic and LARGE, and nothing else.
struct OneRoute(MemoryTransport);

impl Transport for OneRoute {
    type Token = <MemoryTransport as Transport>::Token;

    fn capabilities(&self) -> Capabilities {
        Capabilities { guarantee: Guarantee::AtLeastOnce, ..self.0.capabilities() }
    }

    fn name(&self) -> &'static str {
        "kafka"
    }

    fn has_route(&self, topic: &str) -> bool {
        topic == "LARGE"
    }

    async fn recv(&mut self, limits: Limits) -> Result<Vec<Delivery<Self::Token>>, TransportError> {
        self.0.recv(limits).await
    }

    fn settle(
        &mut self,
        batch: Vec<(Delivery<Self::Token>, Outcome)>,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<> {
        self.0.settle(batch)
    }

    async fn drain(self, grace: Duration) -> Result<(), TransportError> {
        self.0.drain(grace).await
    }
}

#[tokio::test]
async fn a_codec_whose_topic_the_transport_does_not_write_is_refused_before_anything_is_received() {
    let broker = numbers(&["1"]);
    let run = |topics: &[&str], config| {
        let codec = Route::new(Json::<f64, f64>::new(), topics.iter().copied(), by_size);
        Pipeline::new(OneRoute(broker.consumer()), same(), codec, config).run(async {})
    };
    let error = run(&["LARGE", "HUGE"], PipelineConfig::default()).await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the codec sends results to topic HUGE, which is no route of the transport: add it to \
         kafka.routes; nothing was received"
    );
    assert_eq!(broker.waiting_messages(), 1);
    run(&["LARGE"], PipelineConfig::default()).await.expect("there is such a route");
}
