use std::{borrow::Cow, time::Duration};

use fmnist_core::{Part, Supervisor};
use sqlx::{
    AnyPool, AssertSqlSafe, SqlSafeStr,
    any::AnyPoolOptions,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use crate::{DatabaseConfig, DatabaseError, config::shown};

const CONNECTIONS: u32 = 4;
/// For readers, so that however many ask, results are written.
const READERS: u32 = 2;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any statement takes; a network that swallows packets is noticed by it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Programs that open a new database at the same time get in one another's way for a moment.
const ATTEMPTS: u32 = 20;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(100);
const RETENTION_PAUSE: Duration = Duration::from_secs(600);

/// In order; the two databases differ in the names of three types.
const MIGRATIONS: [(&str, &str); 1] = [("results", include_str!("../migrations/1_results.sql"))];

/// Results in SQLite or PostgreSQL. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Database {
    pub(crate) pool: AnyPool,
    /// What answers those who read.
    pub(crate) readers: AnyPool,
    pub(crate) run: String,
    pub(crate) keeps_pictures: bool,
    pub(crate) supervisor: Supervisor,
}

impl Database {
    /// Connects, makes or updates the tables, and from then on deletes what is too old.
    ///
    /// # Errors
    /// See [`DatabaseError`]; each says what to do.
    pub async fn open(config: &DatabaseConfig) -> Result<Self, DatabaseError> {
        let url = config.url.as_deref().ok_or(DatabaseError::NoUrl)?;
        let kind = Kind::of(url)?;
        sqlx::any::install_default_drivers();
        let mut attempts = 1;
        let pool = loop {
            match connect(url, kind).await {
                Err(error) if is_in_the_way(&error) && attempts < ATTEMPTS => attempts += 1,
                ended => break ended?,
            }
            tokio::time::sleep(ATTEMPT_PAUSE).await;
        };
        let supervisor = Supervisor::new();
        if let Some(days) = config.retention_days {
            let part = supervisor.part("task that deletes old results");
            tokio::spawn(retain(pool.clone(), Duration::from_secs(u64::from(days) * 86_400), part));
        }
        let readers = AnyPoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(pool.connect_options().as_ref().clone());
        let (run, keeps_pictures) = (config.run.clone(), config.keep_pictures);
        Ok(Self { pool, readers, run, keeps_pictures, supervisor })
    }

    /// The same database for results of this run, see [`DatabaseConfig::run`].
    #[must_use]
    pub fn with_run(mut self, run: impl Into<String>) -> Self {
        self.run = run.into();
        self
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`DatabaseError::Query`] and [`DatabaseError::Slow`].
    pub async fn probe(&self) -> Result<(), DatabaseError> {
        within(CONNECT_TIMEOUT, sqlx::query("SELECT 1").execute(&self.pool)).await?;
        Ok(())
    }

    /// Deletes the results that were recorded before `cutoff_ms`, milliseconds since 1970; says how
    /// many.
    ///
    /// # Errors
    /// [`DatabaseError::Query`] and [`DatabaseError::Slow`].
    pub async fn delete_before(&self, cutoff_ms: i64) -> Result<u64, DatabaseError> {
        delete_before(&self.pool, cutoff_ms).await
    }

    /// Ends the connections once what runs on them is done.
    pub async fn close(&self) {
        self.supervisor.close();
        self.readers.close().await;
        self.pool.close().await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    fn of(url: &str) -> Result<Self, DatabaseError> {
        match url.split(':').next().unwrap_or_default() {
            "sqlite" => Ok(Self::Sqlite),
            "postgres" | "postgresql" => Ok(Self::Postgres),
            scheme => Err(DatabaseError::Scheme { scheme: scheme.to_owned() }),
        }
    }
}

async fn connect(url: &str, kind: Kind) -> Result<AnyPool, DatabaseError> {
    let open = |source: sqlx::Error| DatabaseError::Open { url: shown(url), source: source.into() };
    let mut address = Cow::Borrowed(url);
    if kind == Kind::Sqlite && !url.contains("mode=") {
        let separator = if url.contains('?') { '&' } else { '?' };
        address = format!("{url}{separator}mode=rwc").into();
    }
    let options =
        AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(CONNECT_TIMEOUT);
    let pool = options.connect(&address).await.map_err(open)?;
    if kind == Kind::Sqlite {
        // Readers and the writer don't wait for one another; the file remembers it.
        sqlx::query("PRAGMA journal_mode = WAL").execute(&pool).await.map_err(open)?;
    }
    match migrator(kind).run(&pool).await {
        Ok(()) => Ok(pool),
        Err(MigrateError::Execute(source)) => Err(open(source)),
        Err(source) => Err(DatabaseError::Migrate { url: shown(url), source }),
    }
}

/// Another program may be making the same tables.
fn is_in_the_way(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Open { source, .. } => source.to_string().contains("locked"),
        DatabaseError::Migrate { .. } => true,
        _ => false,
    }
}

fn migrator(kind: Kind) -> Migrator {
    let (serial, bytes, double) = match kind {
        Kind::Sqlite => ("INTEGER PRIMARY KEY AUTOINCREMENT", "BLOB", "REAL"),
        Kind::Postgres => ("BIGSERIAL PRIMARY KEY", "BYTEA", "DOUBLE PRECISION"),
    };
    let migration = |(version, (name, sql)): (i64, (&'static str, &str))| {
        let sql = sql.replace("{serial}", serial).replace("{bytes}", bytes);
        let sql = AssertSqlSafe(sql.replace("{double}", double)).into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations((1..).zip(MIGRATIONS).map(migration).collect())
}

/// Ends with the pool.
async fn retain(pool: AnyPool, age: Duration, part: Part) {
    while !pool.is_closed() {
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        match delete_before(&pool, now_ms().saturating_sub(age_ms)).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "old results deleted"),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "old results were not deleted; that is tried again"
            ),
        }
        tokio::time::sleep(RETENTION_PAUSE).await;
    }
    part.done();
}

/// In pieces, so that no transaction is long and writers get in between.
async fn delete_before(pool: &AnyPool, cutoff_ms: i64) -> Result<u64, DatabaseError> {
    const PIECE: u64 = 1_000;
    let mut deleted = 0;
    loop {
        let delete = sqlx::query(
            "DELETE FROM results WHERE seq IN \
             (SELECT seq FROM results WHERE recorded_ms < $1 ORDER BY recorded_ms LIMIT $2)",
        )
        .bind(cutoff_ms)
        .bind(PIECE as i64)
        .execute(pool);
        let piece = within(ANSWER_TIMEOUT, delete).await?.rows_affected();
        deleted += piece;
        if piece < PIECE {
            return Ok(deleted);
        }
    }
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// `answer`, or an error when it takes longer than any does.
pub(crate) async fn answer<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, DatabaseError> {
    within(ANSWER_TIMEOUT, answer).await
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, DatabaseError> {
    let seconds = limit.as_secs();
    let answered = tokio::time::timeout(limit, answer).await;
    Ok(answered.map_err(|_| DatabaseError::Slow { seconds })??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readers_never_keep_results_from_being_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = Some(format!("sqlite:{}", folder.path().join("results.db").display()));
        let database = Database::open(&DatabaseConfig { url, ..DatabaseConfig::default() }).await;
        let database = database.expect("a new database");
        let mut held = Vec::new();
        for _ in 0..READERS {
            held.push(database.readers.acquire().await.expect("a reader's connection"));
        }
        assert!(database.readers.try_acquire().is_none(), "another reader waits");
        assert_eq!(database.delete_before(0).await.expect("a writer's connection"), 0);
        database.probe().await.expect("it is there all the same");
    }
}
