//! The data plane: publish, pull, acknowledge, by gRPC.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use hyper::{Request, body::Incoming};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, sleep_until},
};
use tonic::{
    Response, Status, Streaming,
    body::Body,
    server::{Grpc, StreamingService, UnaryService},
};
use tonic_prost::ProstCodec;

use super::{
    broker::Broker,
    subscription::{Flow, StreamId},
    wire::{
        AcknowledgeRequest, Empty, ModifyAckDeadlineRequest, PublishRequest, PublishResponse,
        StreamingPullRequest, StreamingPullResponse, SubscriptionProperties, expired,
    },
};

/// Responses that wait for a slow consumer.
const RESPONSES_AHEAD: usize = 4;
/// Where nothing else wakes a stream up.
const IDLE: Duration = Duration::from_secs(3600);

/// Answers a call of `Publisher` or `Subscriber`.
pub(super) async fn answer(
    broker: Arc<Broker>,
    request: Request<Incoming>,
) -> hyper::Response<Body> {
    match request.uri().path() {
        "/google.pubsub.v1.Publisher/Publish" => {
            unary(request, |PublishRequest { topic, messages }| {
                broker.publish(&topic, messages).map(|message_ids| PublishResponse { message_ids })
            })
            .await
        }
        "/google.pubsub.v1.Subscriber/Acknowledge" => {
            unary(request, |AcknowledgeRequest { subscription, ack_ids }| {
                confirm(&broker, &subscription, broker.acknowledge(&subscription, ack_ids))
            })
            .await
        }
        "/google.pubsub.v1.Subscriber/ModifyAckDeadline" => {
            unary(request, |request: ModifyAckDeadlineRequest| {
                let ModifyAckDeadlineRequest { subscription, ack_deadline_seconds, ack_ids } =
                    request;
                let expired = broker.modify(&subscription, ack_ids, ack_deadline_seconds);
                confirm(&broker, &subscription, expired)
            })
            .await
        }
        "/google.pubsub.v1.Subscriber/StreamingPull" => {
            Grpc::new(ProstCodec::default()).streaming(Pull(broker), request).await
        }
        other => {
            Status::unimplemented(format!("the in-process Pub/Sub has no {other}")).into_http()
        }
    }
}

/// Only exactly-once delivery says that a lease had ended.
fn confirm(
    broker: &Broker,
    subscription: &str,
    ended: Result<Vec<String>, Status>,
) -> Result<Empty, Status> {
    let ended = ended?;
    let exactly_once = broker.state().subscription(subscription)?.settings.exactly_once;
    if exactly_once && !ended.is_empty() {
        return Err(expired(ended));
    }
    Ok(Empty {})
}

async fn unary<R, A>(
    request: Request<Incoming>,
    answer: impl Fn(R) -> Result<A, Status>,
) -> hyper::Response<Body>
where
    R: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
{
    // The client sends up to 10 MB of messages in one request.
    let mut grpc = Grpc::new(ProstCodec::<A, R>::default()).max_decoding_message_size(16 << 20);
    grpc.unary(Unary(answer), request).await
}

struct Unary<F>(F);

impl<R, A, F: Fn(R) -> Result<A, Status>> UnaryService<R> for Unary<F> {
    type Response = A;
    type Future = std::future::Ready<Result<Response<A>, Status>>;

    fn call(&mut self, request: tonic::Request<R>) -> Self::Future {
        std::future::ready((self.0)(request.into_inner()).map(Response::new))
    }
}

struct Pull(Arc<Broker>);

type Responses = BoxStream<'static, Result<StreamingPullResponse, Status>>;

impl StreamingService<StreamingPullRequest> for Pull {
    type Response = StreamingPullResponse;
    type ResponseStream = Responses;
    type Future = futures_util::future::BoxFuture<'static, Result<Response<Responses>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<StreamingPullRequest>>) -> Self::Future {
        let broker = Arc::clone(&self.0);
        Box::pin(async move {
            let mut requests = request.into_inner();
            let first = requests.message().await?.unwrap_or_default();
            let stream = broker.open(&first.subscription)?;
            let (responses, receiver) = mpsc::channel(RESPONSES_AHEAD);
            tokio::spawn(async move {
                let name = first.subscription.clone();
                let pull = PullStream { broker: Arc::clone(&broker), stream, name, responses };
                pull.run(first, requests).await;
            });
            let receive = |mut receiver: mpsc::Receiver<_>| async {
                receiver.recv().await.map(|response| (response, receiver))
            };
            Ok(Response::new(stream::unfold(receiver, receive).boxed()))
        })
    }
}

/// A consumer's open stream.
struct PullStream {
    broker: Arc<Broker>,
    stream: StreamId,
    name: String,
    responses: mpsc::Sender<Result<StreamingPullResponse, Status>>,
}

impl PullStream {
    async fn run(self, first: StreamingPullRequest, requests: Streaming<StreamingPullRequest>) {
        let seconds = u64::try_from(first.stream_ack_deadline_seconds).unwrap_or_default();
        let flow = Flow {
            deadline: Duration::from_secs(seconds),
            max_messages: first.max_outstanding_messages,
            max_bytes: first.max_outstanding_bytes,
        };
        if let Err(status) = self.deliver(flow, requests).await {
            // An error means that the consumer is gone.
            let _ = self.responses.send(Err(status)).await;
        }
        self.broker.close(&self.name, self.stream);
    }

    /// Sends what the consumer may have until it ends the stream.
    async fn deliver(
        &self,
        flow: Flow,
        mut requests: Streaming<StreamingPullRequest>,
    ) -> Result<(), Status> {
        let mut breaks = self.broker.breaks.subscribe();
        loop {
            let mut changed = std::pin::pin!(self.broker.changed.notified());
            changed.as_mut().enable();
            let (response, next_deadline) = self.next(flow)?;
            if !response.received_messages.is_empty()
                && self.responses.send(Ok(response)).await.is_err()
            {
                return Ok(());
            }
            let next_deadline = next_deadline.unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                () = changed => {}
                () = sleep_until(next_deadline) => {}
                () = self.responses.closed() => return Ok(()),
                _ = breaks.changed() => {
                    return Err(Status::new(*breaks.borrow(), "told to end all streams"));
                }
                request = requests.message() => match request {
                    Ok(Some(request)) => self.take(request)?,
                    // The consumer ended its side, or is gone.
                    Ok(None) | Err(_) => return Ok(()),
                },
            }
        }
    }

    fn next(&self, flow: Flow) -> Result<(StreamingPullResponse, Option<Instant>), Status> {
        let now = Instant::now();
        let mut state = self.broker.state();
        let subscription = state.subscription(&self.name)?;
        subscription.expire(now);
        state.forward_exhausted(&self.name);
        let subscription = state.subscription(&self.name)?;
        let deadline = match flow.deadline {
            Duration::ZERO => subscription.settings.acknowledge_deadline,
            deadline => deadline,
        };
        let received_messages = subscription.deliver(self.stream, Flow { deadline, ..flow }, now);
        let properties = SubscriptionProperties {
            exactly_once_delivery_enabled: subscription.settings.exactly_once,
            message_ordering_enabled: subscription.settings.ordered,
        };
        let response =
            StreamingPullResponse { received_messages, subscription_properties: Some(properties) };
        Ok((response, subscription.next_deadline()))
    }

    /// Acknowledgements may come on the stream, too; beyond the first, requests keep it alive.
    fn take(&self, request: StreamingPullRequest) -> Result<(), Status> {
        if !request.ack_ids.is_empty() {
            self.broker.acknowledge(&self.name, request.ack_ids)?;
        }
        let deadlines = request.modify_deadline_seconds.into_iter();
        for (id, seconds) in request.modify_deadline_ack_ids.into_iter().zip(deadlines) {
            self.broker.modify(&self.name, vec![id], seconds)?;
        }
        Ok(())
    }
}
