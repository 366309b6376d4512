use crate::message::ResultRecord;

/// Where results are recorded besides the broker: a database, a console.
///
/// A confirmed write is durable. A sink stands outside the broker's transaction: after a crash the
/// same result may be written again, with the same id.
pub trait Sink: Send + Sync + 'static {
    /// Whether this sink records anything; a pipeline that publishes nothing needs one that does.
    const RECORDS: bool = true;

    /// Records a batch of results, in order.
    ///
    /// # Errors
    /// The messages are then delivered again.
    fn write(&self, results: &[ResultRecord])
    -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// A sink did not confirm; the messages of the batch are delivered again.
#[derive(Debug, thiserror::Error)]
#[error("{context}; the messages are delivered again")]
pub struct SinkError {
    /// What was tried.
    pub context: String,
    /// The sink's error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Records nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoSink;

impl Sink for NoSink {
    const RECORDS: bool = false;

    async fn write(&self, _results: &[ResultRecord]) -> Result<(), SinkError> {
        Ok(())
    }
}
