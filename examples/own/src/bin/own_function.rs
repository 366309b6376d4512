//! Payments, scored by a function: a result is the payment as it came, with its risk in it.
//!
//! ```sh
//! echo '{"amount": 1250, "country": "NL", "hour": 12}' |
//!     cargo run --bin own_function -- --countries examples/own/countries.json
//! ```
//!
//! The table of countries stands for what a model may need from outside, such as a feature store. While
//! it can't be read, the model is *unavailable*: messages wait in their order and none is dead-lettered. A
//! payment that makes no sense is an *input at fault*: it goes to the dead letters, alone.

use std::{collections::BTreeMap, fs, path::PathBuf, process::ExitCode};

use clap::Parser;
use serde::{Deserialize, Serialize};
use service::{Stream, config::NoSettings};
use stream_inference::{
    codec::{Enriching, Filter, Json, Route},
    predict::{ModelIdentity, PredictError, function},
};

/// Adds a risk to payments: lines of JSON, or messages of a Kafka topic
///
/// A payment is {"amount": 1250, "country": "NL", "hour": 12}, with whatever members more; its result
/// is the same with "risk" added. What can't be answered goes to stderr or to the dead-letter topic.
#[derive(Parser)]
#[command(name = "own_function", after_help = EXAMPLES)]
struct Arguments {
    /// The risk of each country, JSON such as {"NL": 0.125}; read for each batch and waited for
    #[arg(long, value_name = "FILE")]
    countries: PathBuf,
    /// Publish only those payments that a person should look at
    #[arg(long)]
    only_review: bool,
    /// Publish payments that a person should look at to this topic
    #[arg(long, value_name = "TOPIC")]
    review_topic: Option<String>,
    #[command(flatten)]
    stream: Stream,
}

const EXAMPLES: &str = "Examples:
  own_function --countries countries.json < payments.jsonl > scored.jsonl
  own_function --countries countries.json --kafka localhost:9092 --topic payments --results-topic scored
  own_function --countries countries.json --kafka localhost:9092 --create --exactly-once
  own_function --countries countries.json --config config.json --check
  own_function --countries countries.json --kafka localhost:9092 --from beginning --until-end
  own_function --countries countries.json --kafka localhost:9092 redrive --dry-run
  own_function --countries countries.json --kafka localhost:9092 \\
      audit --from 2026-11-25T10:00:00Z --to 2026-11-25T11:00:00Z --replay";

#[derive(Deserialize)]
struct Payment {
    amount: f64,
    country: String,
    hour: u8,
}

#[derive(Serialize)]
struct Risk {
    /// From 0 to 1.
    score: f64,
    /// Whether a person should look at it.
    review: bool,
}

/// The risk of each country, from 0 to 1.
type Countries = BTreeMap<String, f64>;

fn main() -> ExitCode {
    let Arguments { countries, only_review, review_topic, stream } = Arguments::parse();
    stream.run("payments", move |_: &NoSettings| {
        let identity = ModelIdentity::of_code("payment-risk", "1");
        let countries = countries.clone();
        let model = function(identity, move |batch: &[Payment]| {
            let countries = read(&countries).map_err(|reason| {
                PredictError::unavailable(format!("{}: {reason}", countries.display()))
            })?;
            batch.iter().map(|payment| risk(payment, &countries)).collect::<Result<Vec<_>, _>>()
        });
        let codec = Json::<Payment, Risk>::enriching("risk");
        let codec = Filter::new(codec, move |payment: &_| !only_review || is_for_review(payment));
        let topic = review_topic.clone();
        let codec = Route::new(codec, review_topic.clone(), move |payment: &_| {
            topic.clone().filter(|_| is_for_review(payment))
        });
        Ok((model, codec))
    })
}

fn is_for_review(payment: &Enriching<Risk>) -> bool {
    payment.record.predictions.iter().any(|risk| risk.review)
}

fn read(countries: &PathBuf) -> Result<Countries, String> {
    let bytes = fs::read(countries).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

fn risk(payment: &Payment, countries: &Countries) -> Result<Risk, PredictError> {
    let Payment { amount, country, hour } = payment;
    let Some(country) = countries.get(country) else {
        return Err(format!("country {country:?} is not in the table").into());
    };
    if *amount < 0.0 || *hour > 23 {
        return Err(
            format!("expected an amount from 0 and an hour to 23, found {amount}, {hour}").into()
        );
    }
    let by_night = if (6..22).contains(hour) { 1.0 } else { 2.0 };
    let score = (country * by_night + amount / 10_000.0).min(1.0);
    Ok(Risk { score, review: score >= 0.5 })
}
