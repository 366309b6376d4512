//! On files.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

#[path = "../support/suite.rs"]
mod suite;

use sink_sql::{Database, DatabaseConfig};
use tempfile::TempDir;

async fn database() -> (TempDir, DatabaseConfig) {
    let folder = tempfile::tempdir().unwrap();
    let url = Some(format!("sqlite:{}", folder.path().join("results.db").display()));
    (folder, DatabaseConfig { url, ..DatabaseConfig::default() })
}

#[tokio::test]
async fn what_can_not_be_opened_is_named_with_the_way_out() {
    for (url, expected) in [
        (None, "database.url is not set"),
        (Some("mysql://db/results"), "sqlite: or postgres://, found \"mysql\""),
        (Some("results.db"), "sqlite: or postgres://"),
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
