//! Why the database did not answer, and which of the reasons mend themselves.

use sqlx::migrate::MigrateError;

/// Why the database did not answer as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// No database is configured.
    #[error("database.url is not set; sqlite:results.db makes a file of that name")]
    NoUrl,
    /// The address is for no database that is known here.
    #[error("database.url has to begin with sqlite: or postgres://, found {scheme:?}")]
    Scheme {
        /// What it begins with.
        scheme: String,
    },
    /// PostgreSQL is asked for, and this build is without.
    #[error(
        "database.url is for PostgreSQL, and this program was built without it: build it with \
         --features postgres, as in cargo run --release --features postgres --example kafka_consumer \
         (a program of your own: the feature postgres of sink-sql)"
    )]
    NoPostgres,
    /// The database would be gone with the connection that made it.
    #[error(
        "database.url {url:?} is in memory, where every connection has a database of its own; \
         sqlite:results.db makes a file"
    )]
    InMemory {
        /// The address.
        url: String,
    },
    /// The database can't be opened.
    #[error("the database {url} can't be opened; nothing was received")]
    Open {
        /// Its address, the password hidden.
        url: String,
        /// What the driver says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The tables are of a later version or damaged.
    #[error("the tables of {url} can't be brought up to date; nothing was received")]
    Migrate {
        /// The database's address, the password hidden.
        url: String,
        /// What the driver says.
        source: MigrateError,
    },
    /// Another program's tables have the names of these.
    #[error(
        "the database {url} has tables `results` or `predictions` of another program; give this one \
         a database or schema of its own"
    )]
    Foreign {
        /// The database's address, the password hidden.
        url: String,
        /// What the driver says.
        source: sqlx::Error,
    },
    /// A query failed.
    #[error("the database did not answer")]
    Query(#[from] sqlx::Error),
    /// It took too long.
    #[error("the database did not answer within {seconds} s")]
    Slow {
        /// How long was waited.
        seconds: u64,
    },
    /// What is in the tables is no result.
    #[error("the row of result {id} can't be read")]
    Row {
        /// The result's id.
        id: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl DatabaseError {
    /// Whether the database is away, or does not take writes for now: it may come back by itself.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Slow { .. } => true,
            Self::Query(error) => is_outage(error),
            Self::Open { source, .. } => {
                source.downcast_ref::<sqlx::Error>().is_some_and(is_outage)
            }
            Self::Migrate {
                source: MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _),
                ..
            } => is_outage(error),
            _ => false,
        }
    }
}

fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        // PostgreSQL: connection exceptions, too little of something, interventions of an operator
        // such as a start or a stop, and a primary that has become a standby.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "57P"].iter().any(|class| code.starts_with(class)) || code == "25006"
        }),
        _ => false,
    }
}
