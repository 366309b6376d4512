//! The connections, and the tables behind them. A connection that did not answer is closed, so that none to a
//! server that is gone keeps its place in the pool.

use std::{
    borrow::Cow,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use fmnist_core::{
    Part, Supervisor,
    pipeline::{Pulse, Waiting},
};
use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, SqlSafeStr,
    any::AnyPoolOptions,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    pool::PoolConnection,
};
use tokio::sync::OnceCell;

use crate::{DatabaseConfig, DatabaseError, config::shown, tables};

const CONNECTIONS: u32 = 4;
/// For readers, so that however many ask, results are written.
const READERS: u32 = 2;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any question takes.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than any statement of a write takes: a server that swallows packets is noticed by it.
pub(crate) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Programs that open a new database at the same time get in one another's way for a moment.
const ATTEMPTS: u32 = 20;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(100);
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const RETENTION_PAUSE: Duration = Duration::from_secs(600);

/// Of this program alone: a database may have other programs' migrations in sqlx's own table.
const MIGRATIONS_TABLE: &str = "fmnist_migrations";
/// In order; the two databases differ in the names of three types.
const MIGRATIONS: [(&str, &str); 1] = [("results", include_str!("../migrations/1_results.sql"))];

/// Results in SQLite or PostgreSQL. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Database {
    pub(crate) pool: AnyPool,
    /// What answers those who read.
    pub(crate) readers: AnyPool,
    /// Set once the tables are there.
    tables: Arc<OnceCell<()>>,
    kind: Kind,
    /// The address without its password.
    url: Arc<str>,
    retention: Option<Duration>,
    pulse: Option<Pulse>,
    pub(crate) supervisor: Supervisor,
    pub(crate) run: String,
    pub(crate) keeps_pictures: bool,
}

impl Database {
    /// Connects, makes or updates the tables, and from then on deletes what is too old.
    ///
    /// # Errors
    /// See [`DatabaseError`]; each says what to do.
    pub async fn open(config: &DatabaseConfig) -> Result<Self, DatabaseError> {
        let database = Self::new(config)?;
        database.make_tables().await?;
        Ok(database)
    }

    /// A database that may be away for now: [`Database::wait`] waits for it, and so does every write.
    ///
    /// # Errors
    /// If the address is for no database that is known here.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn new(config: &DatabaseConfig) -> Result<Self, DatabaseError> {
        let url = config.url.as_deref().ok_or(DatabaseError::NoUrl)?;
        let kind = Kind::of(url)?;
        sqlx::any::install_default_drivers();
        let mut address = Cow::Borrowed(url);
        if kind == Kind::Sqlite && !url.contains("mode=") {
            let separator = if url.contains('?') { '&' } else { '?' };
            address = format!("{url}{separator}mode=rwc").into();
        }
        let pool = |connections| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(CONNECT_TIMEOUT)
                .connect_lazy(&address)
                .map_err(|source| DatabaseError::Open { url: shown(url), source: source.into() })
        };
        let days = config.retention_days.map(u64::from);
        Ok(Self {
            pool: pool(CONNECTIONS)?,
            readers: pool(READERS)?,
            tables: Arc::default(),
            kind,
            url: shown(url).into(),
            retention: days.map(|days| Duration::from_secs(days * 86_400)),
            pulse: None,
            supervisor: Supervisor::new(),
            run: config.run.clone(),
            keeps_pictures: config.keep_pictures,
        })
    }

    /// Waits until the database is there and has its tables, and says what it waits for.
    ///
    /// # Errors
    /// What does not mend itself, see [`DatabaseError::is_outage`].
    pub async fn wait(&self) -> Result<(), DatabaseError> {
        let mut pause = FIRST_PAUSE;
        let mut waiting = None;
        while let Err(error) = self.make_tables().await {
            if !error.is_outage() {
                return Err(error);
            }
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                ?pause,
                "waiting for the database"
            );
            waiting = waiting.or_else(|| self.waits());
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// Makes or updates the tables, once in a process.
    pub(crate) async fn make_tables(&self) -> Result<(), DatabaseError> {
        let make = || async {
            let mut attempts = 1;
            loop {
                match self.migrate().await {
                    Err(error) if is_in_the_way(&error) && attempts < ATTEMPTS => attempts += 1,
                    ended => break ended?,
                }
                tokio::time::sleep(ATTEMPT_PAUSE).await;
            }
            if let Some(age) = self.retention {
                let part = self.supervisor.part("task that deletes old results");
                tokio::spawn(self.clone().retain(age, part));
            }
            Ok(())
        };
        self.tables.get_or_try_init(make).await.copied()
    }

    async fn migrate(&self) -> Result<(), DatabaseError> {
        let url = || self.url.to_string();
        let open = |source: sqlx::Error| DatabaseError::Open { url: url(), source: source.into() };
        let mut connection = Lease::of(&self.pool).await.map_err(open)?;
        if self.kind == Kind::Sqlite {
            // Readers and the writer don't wait for one another; the file remembers it.
            sqlx::query("PRAGMA journal_mode = WAL")
                .execute(&mut *connection)
                .await
                .map_err(open)?;
        }
        let foreign = |source| DatabaseError::Foreign { url: url(), source };
        match migrator(self.kind).run_direct(None, &mut *connection, false).await {
            Ok(()) => {}
            Err(MigrateError::Execute(source)) => return Err(open(source)),
            Err(MigrateError::ExecuteMigration(source, _)) if is_no_such_column(&source) => {
                return Err(foreign(source));
            }
            Err(source) => return Err(DatabaseError::Migrate { url: url(), source }),
        }
        // Tables of these names may have been there.
        for table in [&tables::RESULTS, &tables::PREDICTIONS] {
            match sqlx::query(AssertSqlSafe(table.probe())).execute(&mut *connection).await {
                Ok(_) => {}
                Err(source) if is_no_such_column(&source) => return Err(foreign(source)),
                Err(source) => return Err(open(source)),
            }
        }
        connection.keep();
        Ok(())
    }

    /// The same database for results of this run, see [`DatabaseConfig::run`].
    #[must_use]
    pub fn with_run(mut self, run: impl Into<String>) -> Self {
        self.run = run.into();
        self
    }

    /// Tells `pulse` while the database is waited for.
    #[must_use]
    pub fn with_pulse(mut self, pulse: &Pulse) -> Self {
        self.pulse = Some(pulse.clone());
        self
    }

    /// Its address, the password hidden.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Says that the database is waited for, until what is answered is dropped.
    pub(crate) fn waits(&self) -> Option<Waiting> {
        self.pulse.as_ref().map(|pulse| pulse.waits_for(&format!("database {}", self.url)))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`DatabaseError::Query`] and [`DatabaseError::Slow`].
    pub async fn probe(&self) -> Result<(), DatabaseError> {
        let mut connection = Lease::of(&self.pool).await?;
        within(CONNECT_TIMEOUT, sqlx::query("SELECT 1").execute(&mut *connection)).await?;
        connection.keep();
        Ok(())
    }

    /// Deletes the results that were recorded before `cutoff_ms`, milliseconds since 1970; says how
    /// many.
    ///
    /// # Errors
    /// [`DatabaseError::Query`] and [`DatabaseError::Slow`].
    pub async fn delete_before(&self, cutoff_ms: i64) -> Result<u64, DatabaseError> {
        const PIECE: u64 = 1_000;
        let mut deleted = 0;
        let mut connection = Lease::of(&self.pool).await?;
        // In pieces, so that no transaction is long and writers get in between.
        loop {
            let delete = sqlx::query(
                "DELETE FROM results WHERE seq IN \
                 (SELECT seq FROM results WHERE recorded_ms < $1 ORDER BY recorded_ms LIMIT $2)",
            )
            .bind(cutoff_ms)
            .bind(PIECE as i64)
            .execute(&mut *connection);
            let piece = within(ANSWER_TIMEOUT, delete).await?.rows_affected();
            deleted += piece;
            if piece < PIECE {
                connection.keep();
                return Ok(deleted);
            }
        }
    }

    /// Deletes what has become too old, again and again; ends with the pool.
    async fn retain(self, age: Duration, part: Part) {
        while !self.pool.is_closed() {
            let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            match self.delete_before(now_ms().saturating_sub(age_ms)).await {
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

    /// Ends the connections once what runs on them is done.
    pub async fn close(&self) {
        self.supervisor.close();
        self.readers.close().await;
        self.pool.close().await;
    }
}

/// A connection that is closed unless it has answered: after an error, a timeout or a dropped future it
/// may be to a server that is gone, or that became a standby, and it would keep its place in the pool.
pub(crate) struct Lease(Option<PoolConnection<Any>>);

impl Lease {
    pub(crate) async fn of(pool: &AnyPool) -> Result<Self, sqlx::Error> {
        pool.acquire().await.map(|connection| Self(Some(connection)))
    }

    /// Gives the connection back.
    pub(crate) fn keep(mut self) {
        drop(self.0.take());
    }
}

const HELD: &str = "held until it is kept or dropped";

impl Deref for Lease {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        self.0.as_ref().expect(HELD)
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        self.0.as_mut().expect(HELD)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    fn of(url: &str) -> Result<Self, DatabaseError> {
        match url.split(':').next().unwrap_or_default() {
            "sqlite" if is_in_memory(url) => Err(DatabaseError::InMemory { url: url.to_owned() }),
            "sqlite" => Ok(Self::Sqlite),
            "postgres" | "postgresql" if cfg!(feature = "postgres") => Ok(Self::Postgres),
            "postgres" | "postgresql" => Err(DatabaseError::NoPostgres),
            scheme => Err(DatabaseError::Scheme { scheme: scheme.to_owned() }),
        }
    }
}

/// Or a nameless file, which SQLite takes for a temporary database of one connection, too.
fn is_in_memory(url: &str) -> bool {
    let address = url.trim_start_matches("sqlite:").trim_start_matches("//");
    let (path, parameters) = address.split_once('?').unwrap_or((address, ""));
    let is_memory = |parameter| ["mode=memory", "vfs=memdb"].contains(&parameter);
    path.is_empty() || path.contains(":memory:") || parameters.split('&').any(is_memory)
}

/// Another program may be making the same tables.
fn is_in_the_way(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Open { source, .. } => {
            let database = source.downcast_ref().and_then(sqlx::Error::as_database_error);
            database.is_some_and(|error| error.is_unique_violation())
                || source.to_string().contains("locked")
        }
        DatabaseError::Migrate { .. } => !error.is_outage(),
        _ => false,
    }
}

fn is_no_such_column(error: &sqlx::Error) -> bool {
    const UNDEFINED_COLUMN: &str = "42703";
    error.as_database_error().is_some_and(|error| {
        error.code().is_some_and(|code| code == UNDEFINED_COLUMN)
            || error.message().contains("column")
    })
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
    let mut migrator = Migrator::with_migrations((1..).zip(MIGRATIONS).map(migration).collect());
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// `answer`, or an error when it takes longer than any does.
pub(crate) async fn within<T>(
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

    #[test]
    fn every_address_of_a_database_in_memory_is_seen() {
        for url in [
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite:",
            "sqlite://",
            "sqlite:?mode=rwc",
            "sqlite:file::memory:?cache=shared",
            "sqlite:results.db?mode=memory&cache=shared",
            "sqlite:/results.db?vfs=memdb",
        ] {
            assert!(is_in_memory(url), "{url}");
        }
        for url in ["sqlite:results.db", "sqlite:///var/memory/a.db?mode=rwc", "sqlite:memory.db"] {
            assert!(!is_in_memory(url), "{url}");
        }
    }
}
