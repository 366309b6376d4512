//! The Open Inference Protocol over gRPC, where the build has the feature `grpc` and the configuration
//! `server.grpc_port`: with the site's model, limits, token and words.

use std::net::SocketAddr;

use actix_web::web;
use fmnist_core::Supervisor;

use crate::{site::Site, start_error::StartError};

/// The server, if it is asked for.
pub(crate) struct Grpc(#[cfg(feature = "grpc")] Option<frontend_grpc::Server>);

impl Grpc {
    #[cfg(not(feature = "grpc"))]
    pub(crate) fn start(site: &web::Data<Site>, _: &Supervisor) -> Result<Self, StartError> {
        match site.setup.settings.grpc_port {
            None => Ok(Self()),
            Some(_) => Err(StartError::NoGrpc),
        }
    }

    #[cfg(feature = "grpc")]
    pub(crate) fn start(site: &web::Data<Site>, parts: &Supervisor) -> Result<Self, StartError> {
        let settings = &site.setup.settings;
        let Some(port) = settings.grpc_port else { return Ok(Self(None)) };
        let asked = SocketAddr::new(settings.bind, port);
        let part = parts.part("task that serves gRPC");
        let server = frontend_grpc::Server::start(asked, site.clone().into_inner(), part);
        let busy = |source| service::StartError::from_bind(asked, "server.grpc_port", source);
        let server = server.map_err(busy)?;
        tracing::info!(address = %server.address(), "gRPC is served");
        Ok(Self(Some(server)))
    }

    pub(crate) const fn address(&self) -> Option<SocketAddr> {
        #[cfg(feature = "grpc")]
        if let Some(server) = &self.0 {
            return Some(server.address());
        }
        None
    }

    pub(crate) async fn stop(self) {
        #[cfg(feature = "grpc")]
        if let Some(server) = self.0 {
            server.stop().await;
        }
    }
}

#[cfg(feature = "grpc")]
mod shared {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use fmnist_core::{Infer, ModelIdentity, Prediction, message::InferenceRequest};
    use frontend_grpc::{Bounds, Code, Fault, Policy, Shared, Status};
    use tokio::sync::OwnedSemaphorePermit;

    use crate::{
        error::{ApiError, RETRY_AFTER_SECONDS},
        guard, inference, metrics,
        routes::health,
        site::Site,
    };

    impl Shared for Site {
        type Refusal = ApiError;

        fn bounds(&self) -> Bounds {
            let settings = &self.setup.settings;
            Bounds {
                max_message_bytes: settings.max_body_bytes,
                max_connections: settings.max_connections,
                // More could only be refused.
                max_calls: settings.max_inferences() + settings.max_waiting,
                read_timeout: Duration::from_millis(settings.read_timeout_ms),
                write_timeout: settings.write_timeout(),
            }
        }

        fn admit(&self, policy: Policy, authorization: Option<&str>) -> Result<(), ApiError> {
            let shown = authorization.and_then(guard::bearer);
            if policy != Policy::Probes && !guard::is_token(shown, &self.setup.settings) {
                return Err(ApiError::Unauthorised);
            }
            if policy == Policy::Works { self.limits.admit(Instant::now()) } else { Ok(()) }
        }

        fn reserve(
            &self,
            room: &mut Option<OwnedSemaphorePermit>,
            bytes: usize,
        ) -> Result<(), ApiError> {
            self.limits.reserve(room, bytes)
        }

        fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
            self.limits.answer(bytes)
        }

        fn stream(&self) -> Result<OwnedSemaphorePermit, ApiError> {
            self.limits.stream()
        }

        fn model(&self, name: &str, version: &str) -> Result<Arc<dyn Infer>, ApiError> {
            inference::named(self, name, (!version.is_empty()).then_some(version))
        }

        async fn infer<O: Send + 'static>(
            &self,
            read: impl FnOnce() -> Result<(Arc<dyn Infer>, InferenceRequest), ApiError> + Send + 'static,
            write: impl FnOnce(&InferenceRequest, &[Prediction], &[String], &ModelIdentity) -> O
            + Send
            + 'static,
        ) -> Result<O, ApiError> {
            inference::infer(self, read, write).await
        }

        fn is_serving(&self) -> bool {
            Site::is_serving(self)
        }

        async fn is_ready(&self) -> bool {
            health::check(self).await.0
        }

        fn measure(&self, route: &'static str, code: Code, took: Duration) {
            metrics::count(route.to_owned(), class(code).to_owned(), took);
        }
    }

    /// The class of the status that HTTP has for it.
    fn class(code: Code) -> &'static str {
        match code {
            Code::Ok => "2xx",
            Code::InvalidArgument
            | Code::Unauthenticated
            | Code::NotFound
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Unimplemented => "4xx",
            _ => "5xx",
        }
    }

    impl From<Fault> for ApiError {
        fn from(fault: Fault) -> Self {
            match fault {
                Fault::Invalid(reason) => Self::Invalid(reason),
                Fault::TooLarge { limit_bytes } => Self::TooLarge { limit_bytes },
                Fault::TooSlow { timeout } => Self::TooSlow { timeout },
            }
        }
    }

    impl From<ApiError> for Status {
        fn from(error: ApiError) -> Self {
            let (code, is_for_now) = match &error {
                ApiError::Unauthorised => (Code::Unauthenticated, false),
                ApiError::Unknown(_) => (Code::NotFound, false),
                ApiError::TooLarge { .. } => (Code::ResourceExhausted, false),
                ApiError::TooMany { .. } => (Code::ResourceExhausted, true),
                ApiError::TooSlow { .. } => (Code::DeadlineExceeded, false),
                ApiError::Busy(_) => (Code::Unavailable, true),
                ApiError::ModelMissing => (Code::Unavailable, false),
                ApiError::Invalid(_) => (Code::InvalidArgument, false),
                // Of pages, brokers and the database nothing is said here.
                _ => (Code::Internal, false),
            };
            let mut status = Self::new(code, error.to_string());
            if is_for_now {
                // What `Retry-After` is to HTTP.
                let milliseconds = 1_000 * RETRY_AFTER_SECONDS;
                let after = milliseconds.to_string().parse().expect("a number");
                status.metadata_mut().insert("grpc-retry-pushback-ms", after);
            }
            status
        }
    }
}
