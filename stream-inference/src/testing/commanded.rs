//! A model that fails, goes away or waits when a test says so.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use tokio::sync::watch;

use crate::{
    lock::Sound,
    predict::{ModelIdentity, PredictError, Predictor, Served},
};

/// A model that answers as another does, until a test tells it to fail, to be away or to wait. Clones
/// are the same model.
///
/// ```
/// use std::time::Duration;
///
/// use stream_inference::{
///     codec::Json,
///     predict::{ModelIdentity, PredictError, function},
///     testing::{Commanded, End, Trial, message},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = Commanded::new(function(ModelIdentity::of_code("same", "1"), |batch: &[f64]| {
///     Ok::<_, PredictError>(batch.to_vec())
/// }));
/// let trial = || Trial::new(model.clone(), Json::<f64, f64>::new());
///
/// // While it is away, messages wait, and none is a dead letter.
/// model.leave("the accelerator is gone");
/// let ends = trial().with_patience(Duration::from_millis(50)).run([message("1")]).await?;
/// assert_eq!(ends, [End::Unfinished]);
///
/// model.come_back();
/// model.fail(1, "overflow");
/// let ends = trial().run([message("1")]).await?;
/// let End::Rejected(rejection) = &ends[0] else { panic!("{ends:?}") };
/// assert_eq!(rejection.reason, "input 0: overflow");
/// # Ok(())
/// # }
/// ```
pub struct Commanded<P>(Arc<Shared<P>>);

struct Shared<P> {
    model: P,
    orders: Mutex<Orders>,
    resumed: Condvar,
    calls: watch::Sender<Vec<usize>>,
}

#[derive(Debug, Default)]
struct Orders {
    /// Batches that it still fails on, and why.
    failures: Option<(usize, String)>,
    /// Why it can't answer now.
    away: Option<String>,
    pauses: usize,
}

/// While it lives, a [`Commanded`] model answers no batch.
pub struct Pause(Box<dyn Fn() + Send + Sync>);

impl Drop for Pause {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pause").finish_non_exhaustive()
    }
}

impl<P: Predictor> Commanded<P> {
    /// Answers as `model` does.
    pub fn new(model: P) -> Self {
        let (orders, resumed) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { model, orders, resumed, calls: watch::Sender::default() }))
    }

    /// The model that it answers as.
    pub fn model(&self) -> &P {
        &self.0.model
    }

    /// Fails on the next `count` batches, whatever is in them. The halves of a batch that failed are
    /// batches, too.
    pub fn fail(&self, count: usize, reason: impl Into<String>) {
        self.orders().failures = Some((count, reason.into()));
    }

    /// Can't answer from now on: [`PredictError::Unavailable`], also at its warm-up.
    pub fn leave(&self, reason: impl Into<String>) {
        self.orders().away = Some(reason.into());
    }

    /// Can answer again.
    pub fn come_back(&self) {
        self.orders().away = None;
    }

    /// Keeps the batch that it is given, and answers it when the pause is dropped.
    #[must_use]
    pub fn pause(&self) -> Pause {
        self.orders().pauses += 1;
        let model = self.clone();
        Pause(Box::new(move || {
            model.orders().pauses -= 1;
            model.0.resumed.notify_all();
        }))
    }

    /// The lengths of the batches that it was given so far, those included that it failed on.
    pub fn calls(&self) -> Vec<usize> {
        self.0.calls.borrow().clone()
    }

    /// Waits until it has been given so many batches.
    pub async fn called(&self, count: usize) {
        let mut calls = self.0.calls.subscribe();
        // The sender is this model's own.
        drop(calls.wait_for(|calls| calls.len() >= count).await);
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.0.orders.lock().sound()
    }

    fn is_there(&self) -> Result<(), PredictError> {
        self.orders().away.as_ref().map_or(Ok(()), |reason| Err(PredictError::unavailable(reason)))
    }

    /// Carries out what it was told for a batch of `inputs`.
    fn obey(&self, inputs: usize) -> Result<(), PredictError> {
        self.0.calls.send_modify(|calls| calls.push(inputs));
        let waited = self.0.resumed.wait_while(self.orders(), |orders| orders.pauses > 0);
        let mut orders = waited.sound();
        if let Some(reason) = &orders.away {
            return Err(PredictError::unavailable(reason));
        }
        match &mut orders.failures {
            Some((count @ 1.., reason)) => {
                *count -= 1;
                Err(PredictError::from(reason.clone()))
            }
            _ => Ok(()),
        }
    }
}

impl<P> Clone for Commanded<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P> fmt::Debug for Commanded<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commanded").field("orders", &self.0.orders).finish_non_exhaustive()
    }
}

impl<P: Predictor> Predictor for Commanded<P> {
    type Input = P::Input;
    type Output = P::Output;

    fn predict(&self, batch: &[P::Input]) -> Result<Vec<P::Output>, PredictError> {
        self.obey(batch.len())?;
        self.0.model.predict(batch)
    }

    fn identity(&self) -> Arc<ModelIdentity> {
        self.0.model.identity()
    }

    fn warm_up(&self) -> Result<(), PredictError> {
        self.is_there()?;
        self.0.model.warm_up()
    }

    fn verify(&self, output: &P::Output) -> Result<(), String> {
        self.0.model.verify(output)
    }

    fn serve(&self, batch: &[P::Input]) -> Result<Served<P::Output>, PredictError> {
        self.obey(batch.len())?;
        self.0.model.serve(batch)
    }
}
