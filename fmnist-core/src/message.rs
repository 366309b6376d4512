//! Messages about pictures: requests come in many forms, results leave in one.
//!
//! ```
//! use bytes::Bytes;
//! use fmnist_core::{
//!     message::{Request, decode},
//!     transport::Attributes,
//! };
//!
//! let payload = Bytes::from_static(br#"{"start_idx": 0, "end_idx": 5}"#);
//! let request = decode(&Attributes::new(), &payload, 10_000).expect("a range in the test set");
//! assert_eq!(request, Request::Range { start: 0, end: 5 });
//! ```
//!
//! Every form, with examples, is in `docs/messages.md`.

mod cloud_event;
mod codec;
mod decode;
mod document;
mod inference;
mod range;
mod request;
mod result;
#[cfg(feature = "schema")]
pub mod schema;
mod tensor;
#[cfg(test)]
mod tests;

pub use codec::{Asked, Images, Requests, ResultsConfig};
pub use decode::decode;
pub use inference::{AskedOutput, InferenceBody, InferenceRequest, OUTPUTS, Output, OutputData};
pub use request::{MAX_IMAGES, Request};
pub use result::{PredictionRecord, ResultRecord, TopClass};
pub use tensor::{InputTensor, TensorData};

pub use stream_inference::codec::rfc3339;
