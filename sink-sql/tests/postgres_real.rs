//! On a PostgreSQL that the tests start and kill.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod real {
    pub(crate) mod proxy;
    pub(crate) mod server;
}
mod support {
    pub(crate) mod suite;
}

use std::time::Duration;

use fmnist_core::{pipeline::Sink, transport::memory::MemoryBroker};
use real::{
    proxy::Proxy,
    server::{Server, url},
};
use sink_sql::{Database, DatabaseConfig};
use support::suite::{answered, judge, newest, raw, run, settled};
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

async fn start() -> Server {
    tokio::task::spawn_blocking(Server::start).await.unwrap()
}

fn at(url: String) -> DatabaseConfig {
    DatabaseConfig { url: Some(url), ..DatabaseConfig::default() }
}

/// Writes before and after a fail-over, which `fail` makes of the old primary.
async fn write_over_a_fail_over(fail: impl AsyncFnOnce(&Server, &Proxy)) {
    let (old, new) = (start().await, start().await);
    let proxy = Proxy::to(old.port()).await;
    let database = Database::open(&at(url(proxy.port))).await.unwrap();
    // As many connections as the pool takes.
    let writes = (0..8).map(|offset| {
        let database = database.clone();
        tokio::spawn(async move { database.write(&[answered(offset, 1)]).await.unwrap() })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap();
    }
    // The new one has the tables, as a replica has.
    Database::open(&at(new.url())).await.unwrap();
    proxy.point_to(new.port());
    fail(&old, &proxy).await;
    let results = [answered(100, 1)];
    let written = tokio::time::timeout(Duration::from_secs(30), database.write(&results));
    written.await.unwrap().unwrap();
    let there = Database::open(&at(new.url())).await.unwrap();
    let page = there.results(&newest(10)).await.unwrap();
    assert_eq!(page.results.into_iter().map(|r| r.id).collect::<Vec<_>>(), ["INFERENCE/0/100"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_leave_a_primary_that_became_a_standby() {
    write_over_a_fail_over(async |old, _| {
        sqlx::any::install_default_drivers();
        let pool = sqlx::AnyPool::connect(&old.url()).await.unwrap();
        for statement in
            ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"]
        {
            sqlx::query(statement).execute(&pool).await.unwrap();
        }
        // Until its sessions have heard of it.
        while sqlx::query("CREATE TABLE taken (id INTEGER)").execute(&pool).await.is_ok() {
            sqlx::query("DROP TABLE taken").execute(&pool).await.ok();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_leave_a_primary_that_says_nothing_any_more() {
    write_over_a_fail_over(async |_, proxy| proxy.silence()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_at_the_start_is_waited_for() {
    let server = start().await;
    let config = at(server.url());
    server.kill();
    let away = Database::open(&config).await.unwrap_err();
    assert!(away.is_outage(), "{away}");
    let database = Database::new(&config).unwrap();
    let waiting = tokio::spawn({
        let database = database.clone();
        async move { database.wait().await }
    });
    server.restart();
    waiting.await.unwrap().unwrap();
    database.write(&[answered(0, 3)]).await.unwrap();
    assert_eq!(database.results(&newest(1)).await.unwrap().total, 1);
}
