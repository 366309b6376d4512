use std::time::Duration;

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use fmnist_core::transport::PublishError;
use serde_json::json;
use service::UnknownBroker;
use sink_sql::DatabaseError;

/// By then a limit of a second's requests, or the work of a moment, is over.
pub(crate) const RETRY_AFTER_SECONDS: usize = 1;

/// What a caller is told; causes go to the log, not over the wire.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// 400: the request is at fault, and says how.
    #[error("{0}")]
    Invalid(String),
    /// 401: no token, or a wrong one.
    #[error("show the token as `Authorization: Bearer`, or sign in on the page")]
    Unauthorised,
    /// 403: asked for by a foreign page.
    #[error("{0}")]
    Foreign(&'static str),
    /// 404
    #[error("{0}")]
    Unknown(String),
    /// 405
    #[error("this address answers {allow}")]
    WrongMethod {
        /// Its methods, with commas between them.
        allow: String,
    },
    /// 413
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    /// 415
    #[error("expected Content-Type {expected}, found {found}")]
    MediaType { expected: &'static str, found: String },
    /// 415
    #[error("expected Content-Encoding gzip, deflate or none, found {found}")]
    Coding { found: String },
    /// 408
    #[error("the body did not come within {timeout:?}")]
    TooSlow { timeout: Duration },
    /// 429: try again later.
    #[error("more than {per_second} requests a second; try again later")]
    TooMany { per_second: u32 },
    /// 503: try again later.
    #[error("{0}; try again later")]
    Busy(&'static str),
    /// 500
    #[error("classification failed")]
    Classification,
    /// 503: not part of this process.
    #[error("no model is loaded in this process")]
    ModelMissing,
    /// 503: try again later.
    #[error("{broker} did not confirm; the message may not have arrived")]
    BrokerAway { broker: &'static str },
    /// 503: try again later.
    #[error("the database does not answer")]
    DatabaseAway,
    /// 503: not part of this process.
    #[error("{broker} is not configured here")]
    BrokerMissing { broker: &'static str },
}

impl ApiError {
    /// Logs the cause and keeps what the caller may know.
    pub(crate) fn publish(broker: &'static str, error: PublishError) -> Self {
        tracing::warn!(broker, error = &error as &dyn std::error::Error, "not published");
        match error {
            PublishError::Refused { .. } => {
                Self::Invalid(format!("{broker} refused the message; it was not stored"))
            }
            _ => Self::BrokerAway { broker },
        }
    }
}

impl From<UnknownBroker> for ApiError {
    fn from(error: UnknownBroker) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<DatabaseError> for ApiError {
    /// Logs the cause.
    fn from(error: DatabaseError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "results not read");
        Self::DatabaseAway
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorised => StatusCode::UNAUTHORIZED,
            Self::Foreign(_) => StatusCode::FORBIDDEN,
            Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType { .. } | Self::Coding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Classification => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy(_)
            | Self::ModelMissing
            | Self::BrokerAway { .. }
            | Self::DatabaseAway
            | Self::BrokerMissing { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        match self {
            Self::TooMany { .. } | Self::Busy(_) | Self::BrokerAway { .. } | Self::DatabaseAway => {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
            }
            Self::WrongMethod { allow } => {
                response.insert_header((header::ALLOW, allow.as_str()));
            }
            Self::Coding { .. } => {
                response.insert_header((header::ACCEPT_ENCODING, "gzip, deflate"));
            }
            _ => {}
        }
        response.json(json!({ "error": self.to_string() }))
    }
}
