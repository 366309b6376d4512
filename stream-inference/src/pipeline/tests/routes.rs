//! Results that go to other topics than the results topic.

use super::*;
use crate::{
    codec::{CloudEvents, Filter, Json, Route},
    predict::{ModelIdentity, function},
    testing::{End, Trial, message},
    transport::{
        Capabilities, Delivery, Guarantee, Limits, Outcome, Rejection, Settlement, Transport,
        TransportError,
    },
};

type Number = crate::codec::Record<f64>;

fn same() -> impl Predictor<Input = f64, Output = f64> {
    let same = |batch: &[f64]| Ok::<_, PredictError>(batch.to_vec());
    function(ModelIdentity::of_code("same", "1"), same)
}

/// Large ones are for somebody else, and those that nobody could have meant for nobody.
fn by_size(record: &Number) -> Option<&'static str> {
    match record.predictions[0] {
        ..10.0 => None,
        10.0..100.0 => Some("LARGE"),
        _ => Some("HUGE"),
    }
}

/// Where the results went.
fn topics(end: &End) -> Vec<Option<&str>> {
    match end {
        End::Published(parts) => parts.iter().map(|part| part.topic.as_deref()).collect(),
        end => panic!("{end:?}"),
    }
}

#[tokio::test]
async fn each_result_goes_to_the_topic_that_is_chosen_for_it() {
    let inner =
        Filter::new(Json::<f64, f64>::new(), |record: &Number| record.predictions[0] != 3.0);
    let codec = CloudEvents::around(Route::new(inner, ["LARGE", "HUGE"], by_size));
    assert_eq!(codec.topics(), ["LARGE".into(), "HUGE".into()]);
    let messages = ["3", "1", "20", "400", "50"].map(message);
    let ends = Trial::new(same(), codec).run(messages).await.expect("run");
    assert_eq!(ends[0], End::Filtered);
    let expected = [[None], [Some("LARGE")], [Some("HUGE")], [Some("LARGE")]];
    assert_eq!(ends[1..].iter().map(topics).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn what_has_a_topic_already_keeps_it() {
    let inner = Route::new(Json::<f64, f64>::new(), ["LARGE", "HUGE"], by_size);
    let codec = Route::new(inner, ["ALL".to_owned()], |_: &Number| Some("ALL".to_owned()));
    assert_eq!(codec.topics(), ["LARGE".into(), "HUGE".into(), "ALL".into()]);
    let ends = Trial::new(same(), codec).run(["1", "20"].map(message)).await.expect("run");
    let found: Vec<_> = ends.iter().map(topics).collect();
    assert_eq!(found, [[Some("ALL")], [Some("LARGE")]]);
}

#[tokio::test]
async fn a_result_to_a_topic_that_was_not_declared_is_a_dead_letter_and_goes_nowhere() {
    let codec = Route::new(Json::<f64, f64>::new(), ["LARGE"], by_size);
    let ends = Trial::new(same(), codec).run(["1", "400", "20"].map(message)).await.expect("run");
    assert_eq!((topics(&ends[0]), topics(&ends[2])), (vec![None], vec![Some("LARGE")]));
    let reason = "the codec names topic HUGE, which it had not declared";
    assert_eq!(ends[1], End::Rejected(Rejection::new(Stage::Encode, reason)));
}

/// Writes the results topic and LARGE, and nothing else.
struct OneRoute(MemoryTransport);

impl Transport for OneRoute {
    type Token = <MemoryTransport as Transport>::Token;

    const NAME: &'static str = "kafka";

    fn capabilities(&self) -> Capabilities {
        Capabilities { guarantee: Guarantee::AtLeastOnce, ..self.0.capabilities() }
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
    let broker = MemoryBroker::new("numbers");
    broker.send(message("1"));
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
