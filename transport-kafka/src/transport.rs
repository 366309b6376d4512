use std::{fmt, sync::Arc, time::Duration};

use fmnist_core::transport::{
    Capabilities, Delivery, Guarantee, Lane, Limits, Outcome, Settlement, Source, Transport,
    TransportError,
};
use rdkafka::error::KafkaResult;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::{
    KafkaConfig, KafkaSetupError,
    clients::Clients,
    consumer::{self, Context, Shared},
    lanes::Claim,
    outbox::{Courier, Outbox},
    topics,
    wire::Fetched,
};

/// A member of a consumer group, with the producer of its results.
pub struct KafkaTransport {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    tasks: [JoinHandle<()>; 2],
    /// Resolves once the last of the tasks has let go of the clients and they are closed.
    closed: Option<oneshot::Receiver<KafkaResult<()>>>,
}

/// A claim on one message; dropped unsettled, the message and its lane's later ones come again.
pub struct KafkaToken {
    shared: Arc<Shared>,
    claim: Option<Claim>,
}

impl KafkaToken {
    pub(crate) fn take(&mut self) -> Option<Claim> {
        self.claim.take()
    }
}

impl fmt::Debug for KafkaToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KafkaToken").field(&self.claim).finish()
    }
}

impl Drop for KafkaToken {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.shared.pull_back(claim);
        }
    }
}

impl KafkaTransport {
    /// Checks that the topics exist, joins the group and begins to fetch.
    ///
    /// # Errors
    /// If the broker is away, a topic is missing or librdkafka refuses the configuration.
    pub async fn connect(config: &KafkaConfig) -> Result<Self, KafkaSetupError> {
        let checked = config.clone();
        let check = move || topics::partitions(&checked, checked.topics()).map(drop);
        tokio::task::spawn_blocking(check).await.map_err(|_| KafkaSetupError::ThreadEnded)??;

        let shared = Arc::new(Shared::new(&config.topic));
        let (clients, closed) = Clients::connect(config, Context(Arc::clone(&shared)))?;
        let clients = Arc::new(clients);
        let courier = Courier {
            shared: Arc::clone(&shared),
            clients: Arc::clone(&clients),
            results_topic: config.results_topic().map(Into::into),
            dead_letter_topic: config.dead_letter_topic.as_str().into(),
        };
        let outbox = Arc::new(Outbox::default());
        let tasks = [
            tokio::spawn(consumer::poll(clients, Arc::clone(&shared))),
            tokio::spawn(courier.run(Arc::clone(&outbox))),
        ];
        Ok(Self { shared, outbox, tasks, closed: Some(closed) })
    }

    fn deliver(&self, fetched: Fetched, claim: Claim, attempt: u32) -> Delivery<KafkaToken> {
        let Fetched { partition, offset, key, attributes, payload } = fetched;
        let topic = &self.shared.topic;
        Delivery {
            id: format!("{topic}/{partition}/{offset}"),
            source: Source {
                transport: "kafka".into(),
                topic: Arc::clone(topic),
                partition: Some(partition),
                offset: Some(offset),
                message_id: None,
            },
            lane: Some(Lane::Partition { topic: Arc::clone(topic), partition }),
            attempt: Some(attempt),
            key,
            attributes,
            payload,
            token: KafkaToken { shared: Arc::clone(&self.shared), claim: Some(claim) },
        }
    }

    fn take(&self, limits: Limits) -> Vec<Delivery<KafkaToken>> {
        let mut deliveries = Vec::new();
        let mut bytes = 0;
        let mut state = self.shared.state();
        while let Some(fetched) = state.pop(|next| {
            deliveries.is_empty()
                || (deliveries.len() < limits.max_messages
                    && bytes + next.payload.len() <= limits.max_bytes)
        }) {
            bytes += fetched.payload.len();
            let (claim, attempt) = state.lanes.receive(fetched.partition, fetched.offset);
            deliveries.push(self.deliver(fetched, claim, attempt));
        }
        drop(state);
        self.shared.taken();
        deliveries
    }

    /// What `recv` has to know of the buffer.
    fn waiting(&self, limits: Limits) -> Result<Waiting, TransportError> {
        let mut state = self.shared.state();
        if let Some(context) = state.fatal.clone() {
            return Err(TransportError::Fatal { context, source: None });
        }
        state.drop_superseded();
        if state.buffer.is_empty() {
            return match state.unavailable.take() {
                None => Ok(Waiting::Nothing),
                Some(error) => Err(TransportError::Unavailable {
                    context: format!("Kafka does not deliver {}", self.shared.topic),
                    source: Some(error.into()),
                }),
            };
        }
        // A buffer at its bound takes no more, whatever the limits.
        let enough = state.is_full()
            || state.buffer.len() >= limits.max_messages
            || state.buffered_bytes >= limits.max_bytes;
        Ok(if enough { Waiting::Enough } else { Waiting::Some })
    }
}

enum Waiting {
    Nothing,
    Some,
    Enough,
}

impl Transport for KafkaTransport {
    type Token = KafkaToken;

    fn capabilities(&self) -> Capabilities {
        Capabilities { guarantee: Guarantee::AtLeastOnce, lanes: true, attempts: true }
    }

    async fn recv(&mut self, limits: Limits) -> Result<Vec<Delivery<KafkaToken>>, TransportError> {
        // Nothing is claimed before it is returned, so a dropped future loses nothing.
        let mut deadline = None;
        loop {
            let mut arrived = std::pin::pin!(self.shared.arrived.notified());
            arrived.as_mut().enable();
            let due = match (self.waiting(limits)?, deadline) {
                (Waiting::Enough, _) => true,
                (Waiting::Nothing, _) => {
                    arrived.await;
                    false
                }
                (Waiting::Some, None) => {
                    deadline = Some(Instant::now() + limits.max_wait);
                    limits.max_wait.is_zero()
                }
                (Waiting::Some, Some(deadline)) => timeout_at(deadline, arrived).await.is_err(),
            };
            let deliveries = if due { self.take(limits) } else { Vec::new() };
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
        }
    }

    fn settle(
        &mut self,
        batch: Vec<(Delivery<KafkaToken>, Outcome)>,
    ) -> impl Future<Output = Result<Settlement, TransportError>> + Send + use<> {
        let (reply, settlement) = oneshot::channel();
        self.shared.state().settlements += 1;
        self.outbox.push(batch, reply);
        async move {
            settlement.await.unwrap_or_else(|_| {
                let context = "the transport was dropped before the broker confirmed".to_owned();
                Err(TransportError::Fatal { context, source: None })
            })
        }
    }

    async fn drain(mut self, grace: Duration) -> Result<(), TransportError> {
        let deadline = Instant::now() + grace;
        let late = |what: &str| TransportError::Fatal {
            context: format!("draining took longer than {grace:?}: {what}"),
            source: None,
        };
        loop {
            let mut confirmed = std::pin::pin!(self.shared.confirmed.notified());
            confirmed.as_mut().enable();
            if self.shared.state().settlements == 0 {
                break;
            }
            if timeout_at(deadline, confirmed).await.is_err() {
                return Err(late("results were not confirmed"));
            }
        }
        self.stop();
        let Some(closed) = self.closed.take() else { return Ok(()) };
        match timeout_at(deadline, closed).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(TransportError::Fatal {
                context: "the last offsets were not committed".to_owned(),
                source: Some(error.into()),
            }),
            Ok(Err(_)) | Err(_) => Err(late("the consumer did not close")),
        }
    }
}

impl KafkaTransport {
    fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for KafkaTransport {
    fn drop(&mut self) {
        self.stop();
    }
}
