//! Why something could not be set up, and what the client's errors mean to a message.

use std::path::PathBuf;

use google_cloud_gax::error::rpc::Code;
use stream_inference::transport::{PublishError, TransportError};

pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a connection to Pub/Sub could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PubSubError {
    /// The emulator's address can't be used.
    #[error("PUBSUB_EMULATOR_HOST is `{found}`, expected HOST:PORT such as 127.0.0.1:8085")]
    EmulatorHost {
        /// The value.
        found: String,
    },
    /// No project is configured.
    #[error(
        "no Google Cloud project: set pubsub.project_id, PUBSUB_PROJECT_ID or GOOGLE_CLOUD_PROJECT"
    )]
    NoProject,
    /// A value that its key can't have.
    #[error("{key} {rule}")]
    Rule {
        /// The key.
        key: &'static str,
        /// What it has to be, and what was found.
        rule: String,
    },
    /// Two keys that must differ.
    #[error("{key} and {other} are both {found:?}: {reason}")]
    Same {
        /// A key.
        key: &'static str,
        /// Another.
        other: &'static str,
        /// Their value.
        found: String,
        /// What would come of it.
        reason: &'static str,
    },
    /// A route is no topic of its own.
    #[error("pubsub.routes: {topic:?} {problem}; remove it")]
    Route {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The key file can't be read or is no service account's key.
    #[error("pubsub.key_file {}: {problem}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// No credentials were found, or a client could not be built.
    #[error("cannot set up the Pub/Sub client for {endpoint}")]
    Client {
        /// Where it would have connected to.
        endpoint: String,
        /// The client's error.
        #[source]
        source: Cause,
    },
    /// A topic or subscription is missing.
    #[error("{resource} {problem}; create it: {command}")]
    Missing {
        /// Its full name.
        resource: String,
        /// What is missing.
        problem: &'static str,
        /// The shell command that makes it good.
        command: String,
    },
    /// A topic or subscription is there, but of no use as it is.
    #[error("{resource} {problem}; {remedy}")]
    Unusable {
        /// Its full name.
        resource: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// The server can't be reached or did not answer in time.
    #[error("Pub/Sub at {endpoint} did not answer when asked for {resource}")]
    Unavailable {
        /// The server's address.
        endpoint: String,
        /// The topic or subscription asked for.
        resource: String,
        /// The client's error; `None` when it did not answer at all.
        #[source]
        source: Option<Cause>,
    },
    /// The server refused a request for good.
    #[error("Pub/Sub at {endpoint} refused the request for {resource}")]
    Refused {
        /// The server's address.
        endpoint: String,
        /// The topic or subscription asked for.
        resource: String,
        /// The client's error.
        #[source]
        source: Cause,
    },
}

/// The status code of a client error, where the server sent one.
///
/// Administration goes as HTTP, where an error page without a body has only an HTTP status.
pub(crate) fn code(error: &google_cloud_pubsub::Error) -> Option<Code> {
    let of_http = |status| match status {
        400 => Some(Code::InvalidArgument),
        401 => Some(Code::Unauthenticated),
        403 => Some(Code::PermissionDenied),
        404 => Some(Code::NotFound),
        409 => Some(Code::AlreadyExists),
        _ => None,
    };
    error.status().map(|status| status.code).or_else(|| error.http_status_code().and_then(of_http))
}

/// Whether trying again can't help.
pub(crate) fn is_permanent(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::OutOfRange
    )
}

/// Why one publish was not confirmed.
#[derive(Debug)]
pub(crate) enum Unpublished {
    /// Not confirmed in time; it may have arrived.
    Unavailable(Option<Cause>),
    /// This message was refused: too large, or malformed.
    Message(Cause),
    /// Not sent, because a message before it with the same ordering key was not confirmed.
    Paused(Cause),
    /// The topic refuses every message: missing, or no permission.
    Topic(Cause),
}

impl Unpublished {
    pub(crate) fn from_client(error: google_cloud_pubsub::error::PublishError) -> Self {
        use google_cloud_pubsub::error::PublishError as Client;
        match &error {
            Client::OrderingKeyPaused => Self::Paused(error.into()),
            Client::Rpc(rpc) => match code(rpc) {
                Some(Code::InvalidArgument) => Self::Message(error.into()),
                Some(code) if is_permanent(code) => Self::Topic(error.into()),
                _ => Self::Unavailable(Some(error.into())),
            },
            _ => Self::Unavailable(Some(error.into())),
        }
    }

    /// What the caller of a publisher hears. A topic that takes nothing is not the message's fault.
    pub(crate) fn into_publish_error(self, topic: &str) -> PublishError {
        match self {
            Self::Unavailable(source) => PublishError::Unavailable {
                context: format!("Pub/Sub did not confirm a message on {topic} in time"),
                source,
            },
            Self::Paused(source) | Self::Topic(source) => PublishError::Unavailable {
                context: format!("{topic} is missing, or this account may not publish on it"),
                source: Some(source),
            },
            Self::Message(source) => PublishError::Refused {
                context: format!("Pub/Sub does not take this message on {topic}"),
                source: Some(source),
            },
        }
    }
}

/// Why the stream of a subscription ended, and whether another may be opened.
pub(crate) fn stream_error(
    subscription: &str,
    error: Option<google_cloud_pubsub::Error>,
) -> TransportError {
    let permanent = error.as_ref().and_then(code).is_some_and(is_permanent);
    let source = error.map(Into::into);
    if permanent {
        let context = format!("{subscription} is missing, or this account may not subscribe to it");
        TransportError::fatal(context, source)
    } else {
        let context = format!("the stream of {subscription} ended");
        TransportError::Unavailable { context, source }
    }
}

/// The error and its causes, on one line.
pub(crate) fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
