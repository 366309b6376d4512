//! What a model and a codec of your own are tested with: messages through a whole pipeline, without a
//! broker, and a model that fails when a test says so.
//!
//! Behind the feature `testing`, for dev-dependencies.
//!
//! ```
//! use stream_inference::{
//!     codec::Json,
//!     predict::{ModelIdentity, PredictError, function},
//!     testing::{End, Trial, message},
//!     transport::Stage,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #[derive(serde::Deserialize)]
//! struct Payment { amount: f64 }
//!
//! let model = function(ModelIdentity::of_code("amounts", "1"), |batch: &[Payment]| {
//!     Ok::<_, PredictError>(batch.iter().map(|payment| payment.amount / 1_000.0).collect())
//! });
//! let codec = Json::<Payment, f64>::enriching("risk");
//! let ends = Trial::new(model, codec).run([r#"{"amount": 250}"#, "{}"].map(message)).await?;
//!
//! assert_eq!(ends[0].payloads(), [r#"{"amount": 250,"risk":0.25}"#]);
//! let End::Rejected(rejection) = &ends[1] else { panic!("{ends:?}") };
//! assert_eq!(rejection.stage, Stage::Decode);
//! assert!(rejection.reason.starts_with("missing field `amount`"));
//! # Ok(())
//! # }
//! ```

mod commanded;
mod trial;

pub use commanded::{Commanded, Pause};
pub use trial::{End, Trial, message};
