//! On a PostgreSQL that the tests start and kill.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod server;
#[path = "../support/suite.rs"]
mod suite;

use std::time::Duration;

use fmnist_core::transport::memory::MemoryBroker;
use server::Server;
use sink_sql::{Database, DatabaseConfig};
use suite::{judge, newest, raw, run, settled};
use tokio::sync::oneshot;

async fn database() -> (Server, DatabaseConfig) {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let url = Some(server.url());
    (server, DatabaseConfig { url, ..DatabaseConfig::default() })
}

/// Killed in mid-stream, while messages keep coming: acknowledging stops and goes on, and every
/// message is in the database once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_outage_loses_nothing_and_doubles_nothing() {
    let (server, config) = database().await;
    let database = Database::open(&config).await.unwrap();
    let broker = MemoryBroker::new("m");
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn({
        let (broker, database) = (broker.clone(), database.clone());
        async move { run(&broker, &database, async { drop(stopped.await) }).await }
    });
    let mut sent = Vec::new();
    for round in 0..3_u8 {
        sent.extend((0..500).map(|_| broker.send(raw(round))));
        // Somewhere in the middle of them.
        while database.results(&newest(1)).await.map_or(0, |page| page.total) < sent.len() - 400 {
            tokio::task::yield_now().await;
        }
        server.kill();
        sent.extend((0..150).map(|_| broker.send(raw(100 + round))));
        assert!(database.probe().await.is_err());
        assert!(broker.unsettled_messages() >= 150);
        server.restart();
        tokio::time::timeout(Duration::from_secs(60), settled(broker.clone())).await.unwrap();
    }
    stop.send(()).unwrap();
    running.await.unwrap();
    judge(&database, &sent).await;
}
