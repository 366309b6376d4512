//! The way of a call: what is asked of its caller, how long it may take, its message, its answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method as HttpMethod, Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::{
    answer::{self, Answer},
    calls::Calls,
    health, inference,
    message::{self, Received, framed, refuse},
    shared::{Fault, Policy, Shared},
    wire::{
        ModelMetadataRequest, ModelReadyRequest, ModelReadyResponse, ServerLiveRequest,
        ServerLiveResponse, ServerMetadataRequest, ServerReadyRequest, ServerReadyResponse,
        health::HealthCheckRequest,
    },
};

#[derive(Clone, Copy)]
enum Method {
    ServerLive,
    ServerReady,
    ModelReady,
    ServerMetadata,
    ModelMetadata,
    ModelInfer,
    Check,
    Watch,
}

/// Every call that is answered, with what is asked of its callers.
const METHODS: [(&str, Policy, Method); 8] = [
    ("/inference.GRPCInferenceService/ServerLive", Policy::Probes, Method::ServerLive),
    ("/inference.GRPCInferenceService/ServerReady", Policy::Probes, Method::ServerReady),
    ("/inference.GRPCInferenceService/ModelReady", Policy::Reads, Method::ModelReady),
    ("/inference.GRPCInferenceService/ServerMetadata", Policy::Reads, Method::ServerMetadata),
    ("/inference.GRPCInferenceService/ModelMetadata", Policy::Reads, Method::ModelMetadata),
    ("/inference.GRPCInferenceService/ModelInfer", Policy::Works, Method::ModelInfer),
    ("/grpc.health.v1.Health/Check", Policy::Probes, Method::Check),
    // Open streams are few, so they are not for everybody.
    ("/grpc.health.v1.Health/Watch", Policy::Reads, Method::Watch),
];

/// Answers a call; what went wrong is in its status.
pub(crate) async fn answer<S: Shared>(
    shared: &Arc<S>,
    calls: &Arc<Calls>,
    stopping: watch::Receiver<bool>,
    request: Request<Incoming>,
) -> Response<Answer> {
    let begun = Instant::now();
    let path = request.uri().path();
    let known = METHODS.iter().find(|(method, ..)| *method == path);
    let route = known.map_or("other", |(route, ..)| *route);
    let (code, response) = match is_grpc(&request) {
        true => {
            let answered = answered(shared, calls, stopping, known, request).await;
            answered.map_or_else(
                |status| (status.code(), status.into_http()),
                |response| (Code::Ok, response),
            )
        }
        false => {
            let mut response = Response::new(Answer::default());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            (Code::Unimplemented, response)
        }
    };
    shared.measure(route, code, begun.elapsed());
    response
}

async fn answered<S: Shared>(
    shared: &Arc<S>,
    calls: &Arc<Calls>,
    stopping: watch::Receiver<bool>,
    known: Option<&(&str, Policy, Method)>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let (head, body) = request.into_parts();
    let policy = known.map_or(Policy::Works, |(_, policy, _)| *policy);
    let authorization = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    shared.admit(policy, authorization).map_err(Into::into)?;
    let Some((.., method)) = known else {
        return Err(Status::unimplemented("there is nothing here"));
    };
    let deadline = deadline(&head.headers).map_err(refuse::<S>)?;
    let answer = async {
        let message = message::receive(&**shared, &head.headers, body).await?;
        if let Method::Watch = method {
            let asked = message.read().map_err(refuse::<S>)?;
            let place = shared.stream().map_err(Into::into)?;
            return Ok(answer::stream(health::watch(Arc::clone(shared), asked, stopping, place)));
        }
        let answer = unary(shared, *method, message).await?;
        let room = shared.room(answer.len()).map_err(Into::into)?;
        Ok(answer::one(answer, room, calls, shared.bounds().write_timeout))
    };
    let Some(deadline) = deadline else { return answer.await };
    tokio::time::timeout(deadline, answer).await.unwrap_or_else(|_| {
        let reason = format!("no answer within this call's deadline of {deadline:?}");
        Err(Status::deadline_exceeded(reason))
    })
}

async fn unary<S: Shared>(
    shared: &Arc<S>,
    method: Method,
    message: Received,
) -> Result<Bytes, Status> {
    let answer = match method {
        Method::ServerLive => {
            message.read::<ServerLiveRequest>().map_err(refuse::<S>)?;
            framed(&ServerLiveResponse { live: true })
        }
        Method::ServerReady => {
            message.read::<ServerReadyRequest>().map_err(refuse::<S>)?;
            framed(&ServerReadyResponse { ready: shared.is_serving() })
        }
        Method::ModelReady => {
            let ModelReadyRequest { name, version } = message.read().map_err(refuse::<S>)?;
            shared.model(&name, &version).map_err(Into::into)?;
            framed(&ModelReadyResponse { ready: true })
        }
        Method::ServerMetadata => {
            message.read::<ServerMetadataRequest>().map_err(refuse::<S>)?;
            framed(&inference::server())
        }
        Method::ModelMetadata => {
            let ModelMetadataRequest { name, version } = message.read().map_err(refuse::<S>)?;
            framed(&inference::model(&*shared.model(&name, &version).map_err(Into::into)?))
        }
        Method::ModelInfer => inference::infer(shared, message).await.map_err(Into::into)?,
        Method::Check => {
            let HealthCheckRequest { service } = message.read().map_err(refuse::<S>)?;
            framed(&health::check(&**shared, &service).await?)
        }
        Method::Watch => return Err(Status::internal("a stream is no single answer")),
    };
    Ok(answer)
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let media_type = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
    request.method() == HttpMethod::POST
        && media_type
            .is_some_and(|name| matches!(name, b"application/grpc" | b"application/grpc+proto"))
}

/// How long the caller waits: at most eight digits and a unit.
fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, Fault> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let read = || {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let is_number =
            (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let number: u64 = is_number.then(|| digits.parse().ok()).flatten()?;
        match unit {
            "H" => Some(Duration::from_secs(3_600 * number)),
            "M" => Some(Duration::from_secs(60 * number)),
            "S" => Some(Duration::from_secs(number)),
            "m" => Some(Duration::from_millis(number)),
            "u" => Some(Duration::from_micros(number)),
            "n" => Some(Duration::from_nanos(number)),
            _ => None,
        }
    };
    let invalid = || {
        Fault::Invalid(format!(
            "expected grpc-timeout as at most eight digits and one of HMSmun, found {text:?}"
        ))
    };
    read().map(Some).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_digits_and_a_unit_and_anything_else_is_refused() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            deadline(&headers).ok().flatten()
        };
        assert_eq!(deadline(&HeaderMap::new()), Ok(None));
        assert_eq!(read("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        assert_eq!(read("4S"), Some(Duration::from_secs(4)));
        assert_eq!(read("99999999m"), Some(Duration::from_millis(99_999_999)));
        assert_eq!(read("6u"), Some(Duration::from_micros(6)));
        assert_eq!(read("7n"), Some(Duration::from_nanos(7)));
        for wrong in ["", "S", "7", "7s", "-7S", "+7S", "123456789S", "7 S"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
