//! The messages of google/pubsub/v1/pubsub.proto and google/rpc that the server needs, with the
//! fields it knows; others are skipped, as Protocol Buffers do. No published crate has this service's
//! side of the protocol.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use prost_types::{Any, Timestamp};

#[derive(Clone, PartialEq, Message)]
pub(super) struct PubsubMessage {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) data: Bytes,
    #[prost(map = "string, string", tag = "2")]
    pub(super) attributes: HashMap<String, String>,
    #[prost(string, tag = "3")]
    pub(super) message_id: String,
    #[prost(message, optional, tag = "4")]
    pub(super) publish_time: Option<Timestamp>,
    #[prost(string, tag = "5")]
    pub(super) ordering_key: String,
}

impl PubsubMessage {
    /// Key, attributes and data.
    pub(super) fn size_bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.ordering_key.len() + self.data.len() + attributes.sum::<usize>()
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PublishRequest {
    #[prost(string, tag = "1")]
    pub(super) topic: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) messages: Vec<PubsubMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PublishResponse {
    #[prost(string, repeated, tag = "1")]
    pub(super) message_ids: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AcknowledgeRequest {
    #[prost(string, tag = "1")]
    pub(super) subscription: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) ack_ids: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ModifyAckDeadlineRequest {
    #[prost(string, tag = "1")]
    pub(super) subscription: String,
    #[prost(int32, tag = "3")]
    pub(super) ack_deadline_seconds: i32,
    #[prost(string, repeated, tag = "4")]
    pub(super) ack_ids: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamingPullRequest {
    #[prost(string, tag = "1")]
    pub(super) subscription: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) ack_ids: Vec<String>,
    #[prost(int32, repeated, packed = "false", tag = "3")]
    pub(super) modify_deadline_seconds: Vec<i32>,
    #[prost(string, repeated, tag = "4")]
    pub(super) modify_deadline_ack_ids: Vec<String>,
    #[prost(int32, tag = "5")]
    pub(super) stream_ack_deadline_seconds: i32,
    #[prost(int64, tag = "7")]
    pub(super) max_outstanding_messages: i64,
    #[prost(int64, tag = "8")]
    pub(super) max_outstanding_bytes: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamingPullResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) received_messages: Vec<ReceivedMessage>,
    #[prost(message, optional, tag = "4")]
    pub(super) subscription_properties: Option<SubscriptionProperties>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SubscriptionProperties {
    #[prost(bool, tag = "1")]
    pub(super) exactly_once_delivery_enabled: bool,
    #[prost(bool, tag = "2")]
    pub(super) message_ordering_enabled: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReceivedMessage {
    #[prost(string, tag = "1")]
    pub(super) ack_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) message: Option<PubsubMessage>,
    #[prost(int32, tag = "3")]
    pub(super) delivery_attempt: i32,
}

/// `google.rpc.Status`, in which errors carry their details.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: HashMap<String, String>,
}

/// What a subscription with exactly-once delivery answers to leases that have ended.
pub(super) fn expired(ack_ids: Vec<String>) -> tonic::Status {
    let (code, message) =
        (tonic::Code::FailedPrecondition, "some acknowledgement ids have expired");
    let reason = "PERMANENT_FAILURE_INVALID_ACK_ID";
    let info = ErrorInfo {
        reason: reason.to_owned(),
        domain: "pubsub.googleapis.com".to_owned(),
        metadata: ack_ids.into_iter().map(|ack_id| (ack_id, reason.to_owned())).collect(),
    };
    let type_url = "type.googleapis.com/google.rpc.ErrorInfo".to_owned();
    let details = vec![Any { type_url, value: info.encode_to_vec() }];
    let status = RpcStatus { code: code.into(), message: message.to_owned(), details };
    tonic::Status::with_details(code, message, status.encode_to_vec().into())
}
