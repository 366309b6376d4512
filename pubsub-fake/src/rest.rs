//! The administration: topics and subscriptions, by REST and JSON, as Google's client asks; and
//! publishing, as curl does.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, body::Incoming, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tonic::{Code, Status, body::Body};

use super::{
    broker::Broker,
    subscription::{DeadLetterPolicy, Settings, Subscription},
    wire::PubsubMessage,
};

const MOST_BODY_BYTES: usize = 1 << 20;
const DEFAULT_DEADLINE_SECONDS: u64 = 10;

/// A subscription as JSON has it, with the members that the server knows.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SubscriptionResource {
    name: String,
    topic: String,
    ack_deadline_seconds: u64,
    enable_message_ordering: bool,
    enable_exactly_once_delivery: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_policy: Option<DeadLetterResource>,
    push_config: PushResource,
    detached: bool,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PushResource {
    #[serde(skip_serializing_if = "String::is_empty")]
    push_endpoint: String,
}

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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeadLetterResource {
    dead_letter_topic: String,
    #[serde(default = "five")]
    max_delivery_attempts: u32,
}

const fn five() -> u32 {
    5
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
        return command(broker, name, verb, body).unwrap_or_else(|| Err(unknown()));
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
            let asked: SubscriptionResource = serde_json::from_slice(body)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            state.subscribe(name, asked.settings())?;
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

/// `POST /v1/NAME:VERB`; `None` for a verb that the server has not.
fn command(broker: &Broker, name: &str, verb: &str, body: &[u8]) -> Option<Result<Value, Status>> {
    let invalid = |error: serde_json::Error| Status::invalid_argument(error.to_string());
    Some(match verb {
        "publish" => serde_json::from_slice(body).map_err(invalid).and_then(
            |PublishResource { messages }| {
                let messages = messages.into_iter().map(MessageResource::message);
                let ids = broker.publish(name, messages.collect::<Result<_, _>>()?)?;
                Ok(json!({ "messageIds": ids }))
            },
        ),
        "detach" => broker.state().detach(name).map(|()| json!({})),
        "testIamPermissions" => {
            serde_json::from_slice(body).map_err(invalid).map(|RightsResource { permissions }| {
                let is_forbidden = broker.state().faults.forbidden.contains(name);
                json!({ "permissions": if is_forbidden { Vec::new() } else { permissions } })
            })
        }
        _ => return None,
    })
}

impl MessageResource {
    fn message(self) -> Result<PubsubMessage, Status> {
        let data = BASE64_STANDARD.decode(self.data);
        let data = data.map_err(|error| Status::invalid_argument(error.to_string()))?.into();
        let Self { attributes, ordering_key, .. } = self;
        Ok(PubsubMessage { data, attributes, ordering_key, ..PubsubMessage::default() })
    }
}

impl SubscriptionResource {
    fn settings(self) -> Settings {
        let seconds = match self.ack_deadline_seconds {
            0 => DEFAULT_DEADLINE_SECONDS,
            seconds => seconds,
        };
        Settings {
            topic: self.topic,
            acknowledge_deadline: Duration::from_secs(seconds),
            ordered: self.enable_message_ordering,
            exactly_once: self.enable_exactly_once_delivery,
            dead_letters: self.dead_letter_policy.map(|policy| DeadLetterPolicy {
                topic: policy.dead_letter_topic,
                max_attempts: policy.max_delivery_attempts,
            }),
            push_endpoint: self.push_config.push_endpoint,
            detached: false,
        }
    }
}

fn resource(name: &str, subscription: &Subscription) -> Value {
    let settings = subscription.settings.clone();
    json!(SubscriptionResource {
        name: name.to_owned(),
        topic: settings.topic,
        ack_deadline_seconds: settings.acknowledge_deadline.as_secs(),
        enable_message_ordering: settings.ordered,
        enable_exactly_once_delivery: settings.exactly_once,
        dead_letter_policy: settings.dead_letters.map(|policy| DeadLetterResource {
            dead_letter_topic: policy.topic,
            max_delivery_attempts: policy.max_attempts,
        }),
        push_config: PushResource { push_endpoint: settings.push_endpoint },
        detached: settings.detached,
    })
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
