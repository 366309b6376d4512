//! What goes wrong at a broker: a variant for each thing that the caller does next.

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong between a pipeline and its broker, by what the caller does next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// From `recv`: the broker is away for now. Nothing is lost; back off and call again.
    #[error("{context}; nothing is lost, trying again")]
    Unavailable {
        /// What was tried, and where.
        context: String,
        /// The client's error.
        #[source]
        source: Option<Cause>,
    },
    /// From `settle`: the outcomes did not take effect as a whole; these messages may come again.
    #[error("{context}; the messages of this batch may be delivered again")]
    Aborted {
        /// What was tried, and where.
        context: String,
        /// The client's error.
        #[source]
        source: Option<Cause>,
    },
    /// The transport can't go on. What was not confirmed is delivered to the next consumer.
    #[error("{context}; what was not confirmed will be delivered again")]
    Fatal {
        /// What was tried, and what to do about it.
        context: String,
        /// The client's error.
        #[source]
        source: Option<Cause>,
    },
}

impl TransportError {
    /// That the transport can't go on.
    pub fn fatal(context: impl Into<String>, source: Option<Cause>) -> Self {
        Self::Fatal { context: context.into(), source }
    }
}

/// Why a message was not confirmed as published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The broker can't be reached or did not confirm in time; the message may still have arrived.
    #[error("{context}; the message was not confirmed and may not have arrived")]
    Unavailable {
        /// What was tried, and where.
        context: String,
        /// The client's error.
        #[source]
        source: Option<Cause>,
    },
    /// The broker refused the message for good; it was not stored.
    #[error("{context}; the message was refused and not stored")]
    Refused {
        /// What was refused, and why.
        context: String,
        /// The client's error.
        #[source]
        source: Option<Cause>,
    },
}
