//! The administration: topics and subscriptions, by REST and JSON, as Google's client asks; and
//! publishing, as curl does.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, body::Incoming, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::{Code, Status, body::Body};

use super::{
    broker::Broker,
    subscription::{Settings, Subscription},
    wire::PubsubMessage,
};

const MOST_BODY_BYTES: usize = 1 << 20;
const DEFAULT_DEADLINE_SECONDS: u64 = 10;

#[derive(Deserialize)]
struct PublishResource {
    messages: Vec<MessageResource>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MessageResource {
    /// In base64.
    data: String,
    attributes: HashMap<String, String>,
    ordering_key: String,
}

#[derive(Deserialize)]
struct RightsResource {
    permissions: Vec<String>,
}

/// Answers a call of the administration.
pub(super) async fn answer(
    broker: Arc<Broker>,
    request: Request<Incoming>,
) -> hyper::Response<Body> {
    let (parts, body) = request.into_parts();
    let (code, value) = match Limited::new(body, MOST_BODY_BYTES).collect().await {
        Ok(body) => match carry_out(&broker, &parts.method, parts.uri.path(), &body.to_bytes()) {
            Ok(value) => (200, value),
            Err(status) => error(&status),
        },
        Err(problem) => error(&Status::invalid_argument(problem.to_string())),
    };
    let body = Full::new(Bytes::from(value.to_string()));
    let mut response = hyper::Response::new(Body::new(body));
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap_or_default();
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn carry_out(broker: &Broker, method: &Method, path: &str, body: &[u8]) -> Result<Value, Status> {
    let unknown =
        || Status::unimplemented(format!("the in-process Pub/Sub has no {method} {path}"));
    let name = path.strip_prefix("/v1/").ok_or_else(unknown)?;
    if let ("POST", Some((name, verb))) = (method.as_str(), name.split_once(':')) {
        return command(broker, name, verb, body);
    }
    let segments: Vec<&str> = name.split('/').collect();
    let mut state = broker.state();
    match (method.as_str(), &segments[..]) {
        ("PUT", ["projects", _, "topics", _]) => {
            if !state.topics.insert(name.to_owned()) {
                return Err(Status::already_exists(format!("{name} exists")));
            }
            Ok(json!({ "name": name }))
        }
        ("GET", ["projects", _, "topics", _]) if state.topics.contains(name) => {
            Ok(json!({ "name": name }))
        }
        ("DELETE", ["projects", _, "topics", _]) => {
            state.delete_topic(name)?;
            Ok(json!({}))
        }
        ("GET", ["projects", _, "topics", _, "subscriptions"]) => {
            let topic = name.trim_end_matches("/subscriptions");
            if !state.topics.contains(topic) {
                return Err(Status::not_found(format!("no topic {topic}")));
            }
            let all = state.subscriptions.iter().filter(|(_, s)| s.settings.topic == topic);
            let names: Vec<&String> = all.map(|(name, _)| name).collect();
            Ok(json!({ "subscriptions": names }))
        }
        ("PUT", ["projects", _, "subscriptions", _]) => {
            let mut settings: Settings = read(body)?;
            if settings.ack_deadline_seconds == 0 {
                settings.ack_deadline_seconds = DEFAULT_DEADLINE_SECONDS;
            }
            state.subscribe(name, settings)?;
            Ok(resource(name, state.subscription(name)?))
        }
        ("GET", ["projects", _, "subscriptions", _]) => {
            Ok(resource(name, state.subscription(name)?))
        }
        ("DELETE", ["projects", _, "subscriptions", _]) => {
            state.subscription(name)?;
            state.subscriptions.remove(name);
            drop(state);
            broker.changed.notify_waiters();
            Ok(json!({}))
        }
        ("GET", ["projects", _, "topics", _]) => Err(Status::not_found(format!("no topic {name}"))),
        _ => Err(unknown()),
    }
}

/// `POST /v1/NAME:VERB`.
fn command(broker: &Broker, name: &str, verb: &str, body: &[u8]) -> Result<Value, Status> {
    match verb {
        "publish" => {
            let PublishResource { messages } = read(body)?;
            let messages = messages.into_iter().map(MessageResource::message);
            let ids = broker.publish(name, messages.collect::<Result<_, _>>()?)?;
            Ok(json!({ "messageIds": ids }))
        }
        "detach" => broker.state().detach(name).map(|()| json!({})),
        "testIamPermissions" => {
            let RightsResource { permissions } = read(body)?;
            let is_forbidden = broker.state().faults.forbidden.contains(name);
            Ok(json!({ "permissions": if is_forbidden { Vec::new() } else { permissions } }))
        }
        _ => Err(Status::unimplemented(format!("the in-process Pub/Sub has no {verb}"))),
    }
}

fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Status> {
    serde_json::from_slice(body).map_err(|error| Status::invalid_argument(error.to_string()))
}

impl MessageResource {
    fn message(self) -> Result<PubsubMessage, Status> {
        let data = BASE64_STANDARD.decode(self.data);
        let data = data.map_err(|error| Status::invalid_argument(error.to_string()))?.into();
        let Self { attributes, ordering_key, .. } = self;
        Ok(PubsubMessage { data, attributes, ordering_key, ..PubsubMessage::default() })
    }
}

/// A subscription as JSON has it.
fn resource(name: &str, subscription: &Subscription) -> Value {
    let mut resource = json!(subscription.settings);
    resource["name"] = name.into();
    resource
}

/// HTTP's code and Google's body for an error.
fn error(status: &Status) -> (u16, Value) {
    let (code, name) = match status.code() {
        Code::NotFound => (404, "NOT_FOUND"),
        Code::AlreadyExists => (409, "ALREADY_EXISTS"),
        Code::Unimplemented => (501, "UNIMPLEMENTED"),
        _ => (400, "INVALID_ARGUMENT"),
    };
    let message = status.message();
    (code, json!({ "error": { "code": code, "message": message, "status": name } }))
}
