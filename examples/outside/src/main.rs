//! A model of your own on a Kafka topic: copy this folder and put your model where the rule is.
//!
//! `kafka.json` has the broker, the topics and the guarantee. Results are the payments as they came,
//! with `risk` added; what can't be read or scored is in the dead letters, with the reason.

use std::{
    error::Error,
    fs::File,
    io::{self, BufReader},
};

use serde::{Deserialize, Serialize};
use stream_inference::{
    codec::{Enriched, Json},
    names,
    pipeline::{Pipeline, PipelineConfig},
    predict::{ModelIdentity, PredictError, Predictor, function},
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
    let pipeline = Pipeline::new(transport, model(), codec(), PipelineConfig::default());
    let report = pipeline.run(stopped()?).await?;
    eprintln!("{report:?}");
    Ok(())
}

/// Resolves at SIGINT and, as an orchestrator ends it, at SIGTERM: what is in flight is then finished.
fn stopped() -> io::Result<impl Future<Output = ()> + Send> {
    #[cfg(unix)]
    let mut terminated = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate())?
    };
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
        #[cfg(not(unix))]
        drop(tokio::signal::ctrl_c().await);
    })
}

/// Your model: a function of a batch.
fn model() -> impl Predictor<Input = Payment, Output = Risk> {
    function(ModelIdentity::of_code("payment-risk", "1"), |batch: &[Payment]| {
        let risk = |payment: &Payment| Risk { score: (payment.amount / 10_000.0).min(1.0) };
        Ok::<_, PredictError>(batch.iter().map(risk).collect())
    })
}

/// How messages are read and results written.
fn codec() -> Enriched<Payment, Risk> {
    Json::enriching("risk")
}

#[cfg(test)]
mod tests {
    use stream_inference::{
        testing::{End, Trial, message},
        transport::Stage,
    };

    use super::*;

    #[tokio::test]
    async fn a_payment_gets_its_risk_and_what_is_none_a_dead_letter() {
        let messages = ["{\"amount\": 2500}", "{}"].map(message);
        let ends = Trial::new(model(), codec()).run(messages).await.unwrap();
        assert_eq!(ends[0].payloads(), ["{\"amount\": 2500,\"risk\":{\"score\":0.25}}"]);
        assert!(matches!(&ends[1], End::Rejected(rejection) if rejection.stage == Stage::Decode));
    }

    #[test]
    fn the_settings_are_those_that_the_transport_knows() {
        let config: KafkaConfig = serde_json::from_str(include_str!("../kafka.json")).unwrap();
        config.check().unwrap();
    }
}
