//! What stands in files, held to what it speaks of. `--no-default-features` leaves out what compiles code.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

#[cfg(feature = "code")]
mod deploy;
mod documents;
#[cfg(feature = "code")]
mod draft7;
mod figures;
mod repository;
#[cfg(feature = "code")]
mod schema;
