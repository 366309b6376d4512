//! The standard health service: what `/readyz` says, for gRPC's probes and balancers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::Status;

use crate::{
    message::framed,
    shared::Shared,
    wire::health::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus},
};

/// The service that is asked about alone: without brokers and database.
const INFERENCE: &str = "inference.GRPCInferenceService";
const HEALTH: &str = "grpc.health.v1.Health";

/// As often it is looked whether a state that is watched has changed.
const AGAIN: Duration = Duration::from_secs(2);

/// The process as a whole, if `service` is empty: as `/readyz`.
pub(crate) async fn check(
    shared: &impl Shared,
    service: &str,
) -> Result<HealthCheckResponse, Status> {
    match status(shared, service).await {
        ServingStatus::ServiceUnknown => {
            let reason = format!("no such service here; there are {INFERENCE} and {HEALTH}");
            Err(Status::not_found(reason))
        }
        status => Ok(HealthCheckResponse { status: status.into() }),
    }
}

/// The state now, and again when it changes; the last is that the server stops.
pub(crate) fn watch<S: Shared>(
    shared: Arc<S>,
    asked: HealthCheckRequest,
    stopping: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) -> BoxStream<'static, Bytes> {
    let seen = (None, stopping);
    stream::unfold(seen, move |(told, mut stopping)| {
        let (shared, service) = (Arc::clone(&shared), asked.service.clone());
        // It is open as long as this closure.
        let _open = &place;
        async move {
            loop {
                let is_last = *stopping.borrow();
                let found = status(&*shared, &service).await;
                if told != Some(found) {
                    let message = framed(&HealthCheckResponse { status: found.into() });
                    return Some((message, (Some(found), stopping)));
                }
                if is_last {
                    return None;
                }
                tokio::select! {
                    // An error means that the server is gone.
                    _ = stopping.wait_for(|stop| *stop) => {}
                    () = tokio::time::sleep(AGAIN) => {}
                }
            }
        }
    })
    .boxed()
}

async fn status(shared: &impl Shared, service: &str) -> ServingStatus {
    let is_well = match service {
        "" => shared.is_ready().await,
        INFERENCE => shared.is_serving(),
        HEALTH => true,
        _ => return ServingStatus::ServiceUnknown,
    };
    match is_well {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    }
}
