//! What Kafka refuses for good.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Whether a smaller message would be taken.
pub(crate) fn is_too_large(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize)
    )
}

/// Whether trying again would only be refused again.
pub(crate) fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let refused = matches!(
        error.rdkafka_error_code(),
        Some(
            Code::UnknownTopic
                | Code::UnknownPartition
                | Code::UnknownTopicOrPartition
                | Code::InvalidTopic
                | Code::InvalidRecord
                | Code::InvalidRequiredAcks
                | Code::InvalidTimestamp
                | Code::PolicyViolation
                | Code::UnsupportedForMessageFormat
                | Code::UnsupportedCompressionType
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::Fatal
        )
    );
    refused || is_too_large(error)
}
