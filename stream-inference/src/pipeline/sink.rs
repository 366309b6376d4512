//! Where results are recorded besides the broker. A pipeline writes a batch here before it settles it, and
//! takes only a confirmed write for one.

use std::future::pending;

/// Where results are recorded besides the broker: a database, a console.
///
/// A confirmed write is durable. A sink stands outside the broker's transaction: after a crash the
/// same result may be written again, with the same id.
///
/// `R` is what the codec records, `I` what the model takes.
pub trait Sink<R, I>: Send + Sync + 'static {
    /// Whether this sink records anything; a pipeline that publishes nothing needs one that does.
    const RECORDS: bool = true;

    /// Whether [`Answered::inputs`] are wanted; they stay in memory until they are written.
    fn keeps_inputs(&self) -> bool {
        false
    }

    /// Records a batch of results, in order.
    ///
    /// # Errors
    /// The messages are then delivered again.
    fn write(
        &self,
        results: &[Answered<R, I>],
    ) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Resolves once a part of the sink has ended that was to go on, and names it: the pipeline then
    /// stops with that error, so that the process is started again. Cancel safe.
    fn ended(&self) -> impl Future<Output = SinkError> + Send {
        pending()
    }
}

/// A result, and what it was found on.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered<R, I> {
    /// The result.
    pub record: R,
    /// The inputs that the message carried, one for each output; empty where it only named them, and
    /// where [`Sink::keeps_inputs`] is false.
    pub inputs: Vec<I>,
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

impl<R: Sync, I: Sync> Sink<R, I> for NoSink {
    const RECORDS: bool = false;

    async fn write(&self, _results: &[Answered<R, I>]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A sink that may not be there.
impl<R: Sync, I: Sync, S: Sink<R, I>> Sink<R, I> for Option<S> {
    const RECORDS: bool = S::RECORDS;

    fn keeps_inputs(&self) -> bool {
        self.as_ref().is_some_and(S::keeps_inputs)
    }

    async fn write(&self, results: &[Answered<R, I>]) -> Result<(), SinkError> {
        match self {
            Some(sink) => sink.write(results).await,
            None => Ok(()),
        }
    }

    async fn ended(&self) -> SinkError {
        match self {
            Some(sink) => sink.ended().await,
            None => pending().await,
        }
    }
}

/// One sink after the other: the second sees what the first confirmed.
impl<R: Sync, I: Sync, A: Sink<R, I>, B: Sink<R, I>> Sink<R, I> for (A, B) {
    const RECORDS: bool = A::RECORDS || B::RECORDS;

    fn keeps_inputs(&self) -> bool {
        self.0.keeps_inputs() || self.1.keeps_inputs()
    }

    async fn write(&self, results: &[Answered<R, I>]) -> Result<(), SinkError> {
        self.0.write(results).await?;
        self.1.write(results).await
    }

    async fn ended(&self) -> SinkError {
        tokio::select! {
            ended = self.0.ended() => ended,
            ended = self.1.ended() => ended,
        }
    }
}
