//! A model that is exchanged while messages run: verified before it serves, taken back by itself where it
//! fails what its predecessor answers.
//!
//! ```
//! use stream_inference::{
//!     predict::{ModelIdentity, PredictError, Predictor, function},
//!     slot::ModelSlot,
//! };
//!
//! let model = |version: &str, factor: f64| {
//!     function(ModelIdentity::of_code("scaled", version), move |batch: &[f64]| {
//!         Ok::<_, PredictError>(batch.iter().map(|x| factor * x).collect())
//!     })
//! };
//! let slot = ModelSlot::new(model("1", 2.0));
//! // A clone goes to the pipeline, which never stops.
//! assert_eq!(slot.predict(&[1.5])?, [3.0]);
//! slot.swap(model("2", 4.0))?;
//! assert_eq!(slot.predict(&[1.5])?, [6.0]);
//! slot.roll_back("it answers too much")?;
//! assert_eq!(slot.identity().version, "1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each batch carries the identity of the model that computed it, and so does each record. A message of
//! several batches that two models answered is handed back and comes again whole.

mod exchange;
mod golden;
mod history;
mod serving;
mod shadow;
mod tally;
#[cfg(test)]
mod tests;
mod watch;

pub use exchange::ModelSlot;
pub use golden::Golden;
pub use history::{Change, ChangeKind, SwapError};
pub use shadow::Shadow;
pub use tally::{Difference, ShadowReport};
pub use watch::Watch;

/// Registers the series of a slot with the present recorder, so that each is there before anything changes.
pub fn describe() {
    history::describe();
    tally::describe();
    crate::drift::describe();
}
