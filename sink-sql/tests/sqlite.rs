//! On files.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod support {
    pub(crate) mod suite;
}

use std::time::Duration;

use fmnist_core::pipeline::Sink;
use sink_sql::{Database, DatabaseConfig, DatabaseError};
use sqlx::AnyPool;
use support::suite;
use tempfile::TempDir;

async fn database() -> (TempDir, DatabaseConfig) {
    let folder = tempfile::tempdir().unwrap();
    let url = Some(format!("sqlite:{}", folder.path().join("results.db").display()));
    (folder, DatabaseConfig { url, ..DatabaseConfig::default() })
}

/// What another program does with the file.
async fn others(config: &DatabaseConfig, statements: &[&'static str]) -> AnyPool {
    sqlx::any::install_default_drivers();
    let url = format!("{}?mode=rwc", config.url.as_deref().unwrap());
    let pool = AnyPool::connect(&url).await.unwrap();
    for statement in statements {
        sqlx::query(*statement).execute(&pool).await.unwrap();
    }
    pool
}

async fn count(pool: &AnyPool) -> i64 {
    let count: (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM predictions").fetch_one(pool).await.unwrap();
    count.0
}

#[test]
fn a_build_without_postgresql_says_how_to_build_one_with_it() {
    let error = DatabaseError::NoPostgres.to_string();
    assert!(error.contains("PostgreSQL") && error.contains("--features postgres"), "{error}");
}

#[tokio::test]
async fn what_can_not_be_opened_is_named_with_the_way_out() {
    for (url, expected) in [
        (None, "database.url is not set"),
        (Some("mysql://db/results"), "sqlite: or postgres://, found \"mysql\""),
        (Some("results.db"), "sqlite: or postgres://"),
        (Some("sqlite::memory:"), "\"sqlite::memory:\" is in memory"),
        (
            Some("sqlite:/no/such/folder/results.db"),
            "sqlite:/no/such/folder/results.db can't be opened",
        ),
        (
            Some("postgres://me:s3cret@127.0.0.1:1/results"),
            "me:(hidden)@127.0.0.1:1/results can't be opened",
        ),
    ] {
        let config = DatabaseConfig { url: url.map(str::to_owned), ..DatabaseConfig::default() };
        let error = Database::open(&config).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let (_folder, config) = database().await;
    let path = config.url.as_deref().unwrap().trim_start_matches("sqlite:").to_owned();
    std::fs::write(&path, "a letter to the future, long enough for a header".repeat(99)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Database::open(&config).await.unwrap_err().to_string();
    assert!(error.contains("results.db can't be opened"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// Readers are not held up by a writer that has not committed.
#[tokio::test]
async fn readers_do_not_wait_for_a_writer() {
    let (folder, config) = database().await;
    let database = Database::open(&config).await.unwrap();
    sqlx::any::install_default_drivers();
    let path = folder.path().join("results.db");
    let writer = sqlx::AnyPool::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    let mut open = writer.begin().await.unwrap();
    sqlx::query("DELETE FROM results").execute(&mut *open).await.unwrap();
    let page = database.results(&suite::newest(1)).await.unwrap();
    assert_eq!(page.total, 0);
    open.rollback().await.unwrap();
}

#[tokio::test]
async fn an_outage_is_told_from_what_does_not_mend_itself() {
    let error = async |url: &str| {
        let config = DatabaseConfig { url: Some(url.to_owned()), ..DatabaseConfig::default() };
        Database::open(&config).await.unwrap_err()
    };
    let away = error("postgres://127.0.0.1:1/results").await;
    assert!(away.is_outage(), "{away}");
    for url in ["sqlite:/no/such/folder/results.db", "sqlite::memory:", "mysql://db/results"] {
        let error = error(url).await;
        assert!(!error.is_outage(), "{error}");
    }
}

#[tokio::test]
async fn another_programs_migrations_in_the_same_database_are_left_alone() {
    let (_folder, config) = database().await;
    let pool = others(
        &config,
        &[
            "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
             installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, \
             checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)",
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (20240101000000, 'orders', 1, x'00', 5)",
            "CREATE TABLE orders (id INTEGER PRIMARY KEY)",
        ],
    )
    .await;
    let database = Database::open(&config).await.unwrap();
    database.write(&[suite::answered(0, 3)]).await.unwrap();
    assert_eq!(database.results(&suite::newest(1)).await.unwrap().total, 1);
    let theirs: (i64,) =
        sqlx::query_as("SELECT version FROM _sqlx_migrations").fetch_one(&pool).await.unwrap();
    assert_eq!(theirs.0, 20_240_101_000_000);
}

/// Earlier versions numbered their migrations in sqlx's own table.
#[tokio::test]
async fn the_tables_of_an_earlier_version_are_taken_over_with_what_is_in_them() {
    let (_folder, config) = database().await;
    let database = Database::open(&config).await.unwrap();
    database.write(&[suite::answered(0, 3)]).await.unwrap();
    database.close().await;
    others(&config, &["ALTER TABLE fmnist_migrations RENAME TO _sqlx_migrations"]).await;
    let database = Database::open(&config).await.unwrap();
    assert_eq!(database.results(&suite::newest(1)).await.unwrap().total, 1);
}

#[tokio::test]
async fn tables_of_another_program_that_have_the_same_name_are_refused_with_a_way_out() {
    for table in [
        "CREATE TABLE results (id INTEGER PRIMARY KEY, score REAL)",
        "CREATE TABLE predictions (id INTEGER PRIMARY KEY, horse TEXT)",
        "CREATE TABLE predictions (id INTEGER PRIMARY KEY, label TEXT)",
    ] {
        let (_folder, config) = database().await;
        others(&config, &[table]).await;
        let error = Database::open(&config).await.unwrap_err();
        assert!(!error.is_outage());
        let error = error.to_string();
        assert!(error.contains("of another program; give this one a database"), "{error}");
    }
}

/// A range of 25,000 images is written in three transactions: what is in stays in, while the rest is
/// tried again.
#[tokio::test]
async fn a_large_write_is_committed_in_pieces_that_count() {
    let (_folder, config) = database().await;
    let database = Database::open(&config).await.unwrap();
    let pool = others(
        &config,
        &["CREATE TRIGGER not_yet BEFORE INSERT ON predictions WHEN NEW.image_index = 15000 \
           BEGIN SELECT RAISE(ABORT, 'not yet'); END"],
    )
    .await;
    let writing = tokio::spawn({
        let database = database.clone();
        async move { database.write(&[suite::answered(0, 25_000)]).await }
    });
    while count(&pool).await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(count(&pool).await, 10_000);
    assert!(!writing.is_finished());
    sqlx::query("DROP TRIGGER not_yet").execute(&pool).await.unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(count(&pool).await, 25_000);
}
