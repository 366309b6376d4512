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
        source: sqlx::migrate::MigrateError,
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
