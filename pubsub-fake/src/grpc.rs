//! The data plane: publish, pull, acknowledge, by gRPC.

use std::{future::ready, sync::Arc};

use futures_util::stream::{self, BoxStream, StreamExt};
use hyper::{Request, body::Incoming};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, sleep_until},
};
use tonic::{Response, Status, Streaming, body::Body, server::Grpc};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::{
    broker::Broker,
    subscription::{Flow, StreamId},
    wire::{
        AcknowledgeRequest, ModifyAckDeadlineRequest, PublishRequest, PublishResponse,
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
            let pull = service_fn(|request: tonic::Request<_>| {
                pull(Arc::clone(&broker), request.into_inner())
            });
            Grpc::new(ProstCodec::default()).streaming(pull, request).await
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
) -> Result<(), Status> {
    let ended = ended?;
    let exactly_once =
        broker.state().subscription(subscription)?.settings.enable_exactly_once_delivery;
    if exactly_once && !ended.is_empty() {
        return Err(expired(ended));
    }
    Ok(())
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
    let service = service_fn(|request: tonic::Request<R>| {
        ready(answer(request.into_inner()).map(Response::new))
    });
    grpc.unary(service, request).await
}

/// Opens a stream of what is to be received.
async fn pull(
    broker: Arc<Broker>,
    mut requests: Streaming<StreamingPullRequest>,
) -> Result<Response<BoxStream<'static, Result<StreamingPullResponse, Status>>>, Status> {
    let first = requests.message().await?.unwrap_or_default();
    let stream = broker.open(&first.subscription)?;
    let (responses, mut receiver) = mpsc::channel(RESPONSES_AHEAD);
    let pull = PullStream { broker, stream, name: first.subscription.clone(), responses };
    tokio::spawn(pull.run(first, requests));
    Ok(Response::new(stream::poll_fn(move |context| receiver.poll_recv(context)).boxed()))
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
            Duration::ZERO => Duration::from_secs(subscription.settings.ack_deadline_seconds),
            deadline => deadline,
        };
        let received_messages = subscription.deliver(self.stream, Flow { deadline, ..flow }, now);
        let properties = SubscriptionProperties {
            exactly_once_delivery_enabled: subscription.settings.enable_exactly_once_delivery,
            message_ordering_enabled: subscription.settings.enable_message_ordering,
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
