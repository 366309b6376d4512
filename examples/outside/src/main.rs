//! A model of your own on a Kafka topic: copy this folder and put your model where the rule is.
//!
//! `kafka.json` has the broker, the topics and the guarantee. Results are the payments as they came,
//! with `risk` added; what can't be read or scored is in the dead letters, with the reason.

use std::{error::Error, fs::File, io::BufReader};

use serde::{Deserialize, Serialize};
use stream_inference::{
    codec::Json,
    names,
    pipeline::{Pipeline, PipelineConfig, PipelineError, PipelineReport},
    predict::{ModelIdentity, PredictError, Predictor, function},
    transport::Transport,
};
use transport_kafka::{KafkaConfig, KafkaTransport};

#[derive(Deserialize)]
struct Payment {
    amount: f64,
}

#[derive(Serialize)]
struct Risk {
    score: f64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    names::set_prefix("payments")?;
    let config: KafkaConfig = serde_json::from_reader(BufReader::new(File::open("kafka.json")?))?;
    let transport = KafkaTransport::connect(&config).await?;
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    let report = answer(transport, stop).await?;
    eprintln!("{report:?}");
    Ok(())
}

/// Your model: a function of a batch.
fn model() -> impl Predictor<Input = Payment, Output = Risk> {
    function(ModelIdentity::of_code("payment-risk", "1"), |batch: &[Payment]| {
        let risk = |payment: &Payment| Risk { score: (payment.amount / 10_000.0).min(1.0) };
        Ok::<_, PredictError>(batch.iter().map(risk).collect())
    })
}

/// From any transport, so that the test below needs no broker.
async fn answer(
    transport: impl Transport,
    stop: impl Future<Output = ()> + Send,
) -> Result<PipelineReport, PipelineError> {
    let codec = Json::<Payment, Risk>::enriching("risk");
    Pipeline::new(transport, model(), codec, PipelineConfig::default()).run(stop).await
}

#[cfg(test)]
mod tests {
    use stream_inference::transport::{Outbound, memory::MemoryBroker};

    use super::*;

    #[tokio::test]
    async fn a_payment_gets_its_risk_and_what_is_none_a_dead_letter() {
        let broker = MemoryBroker::new("payments");
        for payload in ["{\"amount\": 2500}", "{}"] {
            broker.send(Outbound { payload: payload.into(), ..Outbound::default() });
        }
        let settled = async {
            while broker.unsettled_messages() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let report = answer(broker.consumer(), settled).await.unwrap();
        assert_eq!((report.settlement.published, report.settlement.rejected), (1, 1));
        assert_eq!(broker.results()[0].payload, "{\"amount\": 2500,\"risk\":{\"score\":0.25}}");
        assert_eq!(broker.dead_letters()[0].payload, "{}");
    }

    #[test]
    fn the_settings_are_those_that_the_transport_knows() {
        let config: KafkaConfig = serde_json::from_str(include_str!("../kafka.json")).unwrap();
        config.check().unwrap();
    }
}
