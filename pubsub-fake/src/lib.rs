//! A Pub/Sub inside the process, for demonstrations and tests that have nothing installed.
//!
//! It speaks Google's protocol on a port of this machine, so that the transport under test is the
//! real one, client and all. It knows publishing, streaming pull, acknowledgements, deadlines,
//! ordering keys, exactly-once subscriptions and dead-letter policies; it keeps everything in memory,
//! at most 64 MB, and forgets it when dropped. Google's emulator is the judge of what it does: the
//! same tests run against both.
//!
//! ```
//! use pubsub_fake::FakePubSub;
//! use stream_inference::transport::{Outbound, Publisher};
//! use transport_pubsub::{PubSubConfig, PubSubPublisher, create_missing};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = FakePubSub::start().await?;
//! let config = PubSubConfig {
//!     project_id: "demo".to_owned(),
//!     emulator: Some(server.address().into()),
//!     ..PubSubConfig::default()
//! };
//! create_missing(&config).await?;
//! let message = Outbound { payload: "hello".into(), ..Outbound::default() };
//! PubSubPublisher::connect(&config).await?.publish(message).await?;
//! assert_eq!(server.backlog(&config.subscription_name(&config.subscription_id)), Some(1));
//! # Ok(())
//! # }
//! ```

mod broker;
mod grpc;
mod rest;
mod subscription;
mod wire;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use broker::Broker;
use hyper::{Request, body::Incoming, header::CONTENT_TYPE, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use tonic::Code;

/// The server; it stops when dropped.
#[derive(Debug)]
pub struct FakePubSub {
    address: SocketAddr,
    broker: Arc<Broker>,
    server: AbortHandle,
}

impl FakePubSub {
    /// Starts on a free port of 127.0.0.1. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let broker = Arc::new(Broker::new());
        let server = tokio::spawn(serve(listener, Arc::clone(&broker))).abort_handle();
        Ok(Self { address, broker, server })
    }

    /// Where it is, for a client's emulator or `PUBSUB_EMULATOR_HOST`.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Messages of a subscription, by its full name, that have no acknowledgement; `None` if there is
    /// no such subscription.
    pub fn backlog(&self, subscription: &str) -> Option<usize> {
        let mut state = self.broker.state();
        state.subscription(subscription).ok().map(|subscription| subscription.backlog())
    }

    /// Refuses the next `count` requests to publish as unavailable.
    pub fn refuse_publishes(&self, count: usize) {
        self.broker.state().faults.refused_publishes = count;
    }

    /// Stores what the next `count` requests publish, and answers that it is unavailable.
    pub fn lose_publish_answers(&self, count: usize) {
        self.broker.state().faults.unanswered_publishes = count;
    }

    /// Confirms nothing on a topic, by its full name, until [`FakePubSub::end_outage`].
    pub fn begin_outage(&self, topic: &str) {
        self.broker.state().faults.outages.insert(topic.to_owned());
    }

    /// Confirms again what is published on a topic.
    pub fn end_outage(&self, topic: &str) {
        self.broker.state().faults.outages.remove(topic);
    }

    /// Lets nobody publish on a topic, by its full name, and says so to who asks for rights.
    pub fn forbid_publishing(&self, topic: &str) {
        self.broker.state().faults.forbidden.insert(topic.to_owned());
    }

    /// Takes a subscription, by its full name, off its topic.
    pub fn detach(&self, subscription: &str) {
        // One that is not there has no topic either.
        let _ = self.broker.state().detach(subscription);
    }

    /// Refuses the next `count` requests to acknowledge, renew or give back as unavailable.
    pub fn refuse_acknowledgements(&self, count: usize) {
        self.broker.state().faults.refused_acknowledgements = count;
    }

    /// Ends every open stream as unavailable: the client opens another.
    pub fn end_streams(&self) {
        self.broker.breaks.send_replace(Code::Unavailable);
    }

    /// Ends every open stream with an error after which the client opens none.
    pub fn fail_streams(&self) {
        self.broker.breaks.send_replace(Code::Unknown);
    }

    /// Lets the deadlines of all leases pass.
    pub fn expire_leases(&self) {
        self.broker.expire_leases();
    }
}

impl Drop for FakePubSub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Ends its connections when it is dropped.
async fn serve(listener: TcpListener, broker: Arc<Broker>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(connections.spawn(connection(client, Arc::clone(&broker)))),
                Err(error) => tracing::warn!(%error, "the in-process Pub/Sub does not accept"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(client: TcpStream, broker: Arc<Broker>) {
    let service = service_fn(|request: Request<Incoming>| {
        let broker = Arc::clone(&broker);
        async move {
            let content_type = request.headers().get(CONTENT_TYPE);
            let is_grpc =
                content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
            Ok::<_, Infallible>(if is_grpc {
                grpc::answer(broker, request).await
            } else {
                rest::answer(broker, request).await
            })
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    // Clients go away as they like.
    if let Err(error) = builder.serve_connection(TokioIo::new(client), service).await {
        tracing::debug!(error, "a connection to the in-process Pub/Sub ended");
    }
}
