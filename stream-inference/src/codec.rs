//! Message formats: how messages become inputs of a model, and its outputs messages.
//!
//! | format | codec |
//! |---|---|
//! | JSON of your own types, an object or an array a message | [`Json`] |
//! | the JSON object as it came, with the prediction in it | [`Enriched`] |
//! | any bytes, which your function reads | [`Raw`] |
//! | CloudEvents 1.0 around any of these | [`CloudEvents`] |
//! | any of these, some of whose results are not published | [`Filter`] |
//! | any of these, whose results go to several topics | [`Route`] |

mod cloud_events;
mod enriched;
mod filter;
mod format;
mod json;
mod raw;
mod record;
mod route;
mod split;
#[cfg(test)]
mod tests;

pub use cloud_events::CloudEvents;
pub use enriched::{Enriched, Enriching};
pub use filter::Filter;
pub use format::{Answer, Codec, Message, Request};
pub use json::{Json, Values};
pub use raw::Raw;
pub use record::{Record, rfc3339};
pub use route::Route;
pub use split::{PartId, payload_bytes, split};
