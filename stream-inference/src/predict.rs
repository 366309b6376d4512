//! A model, as a pipeline sees it: a function of a batch.

mod adapters;
mod error;
mod identity;

use std::sync::Arc;

pub use adapters::{Exclusive, Function, Split, exclusive, function};
pub use error::PredictError;
pub use identity::ModelIdentity;

/// A function of a batch. A pipeline calls it on one thread of its own: it may block and may use every
/// core.
///
/// [`function`] and [`exclusive`] make one of a closure.
pub trait Predictor: Send + Sync + 'static {
    /// What one answer is about.
    type Input: Send + Sync + 'static;
    /// One answer.
    type Output: Send + 'static;

    /// Answers a batch of any length: one output for each input, in their order.
    ///
    /// # Errors
    /// [`PredictError::Input`] where an input of the batch is at fault: a pipeline finds it by halves.
    /// [`PredictError::Unavailable`] where the model can't answer now: a pipeline waits.
    fn predict(&self, batch: &[Self::Input]) -> Result<Vec<Self::Output>, PredictError>;

    /// Names the model in every record that it answers.
    fn identity(&self) -> Arc<ModelIdentity>;

    /// Does what is done once, such as a first computation, so that the first message does not wait for
    /// it: nothing is received before it returns. It need not do anything.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    fn warm_up(&self) -> Result<(), PredictError> {
        Ok(())
    }

    /// Refuses an output that must not be published, such as one that is not finite.
    ///
    /// # Errors
    /// The reason, for a person; the output's input is at fault then.
    fn verify(&self, _output: &Self::Output) -> Result<(), String> {
        Ok(())
    }

    /// [`Predictor::predict`], with who answered. For implementations that may change their model from
    /// one batch to the next; others leave it as it is.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    fn serve(&self, batch: &[Self::Input]) -> Result<Served<Self::Output>, PredictError> {
        let model = self.identity();
        Ok(Served { outputs: self.predict(batch)?, model })
    }
}

/// What `model` serves, checked: a pipeline trusts no model further.
///
/// # Errors
/// As [`Predictor::serve`]; [`PredictError::Input`] for a wrong number of outputs, and for one that
/// [`Predictor::verify`] refuses.
pub fn checked<P: Predictor + ?Sized>(
    model: &P,
    batch: &[P::Input],
) -> Result<Served<P::Output>, PredictError> {
    let served = model.serve(batch)?;
    let found = served.outputs.len();
    if found != batch.len() {
        return Err(format!("{found} answers for {} inputs", batch.len()).into());
    }
    served.outputs.iter().try_for_each(|output| model.verify(output))?;
    Ok(served)
}

/// A batch's outputs, and the model that computed all of them.
#[derive(Clone, Debug)]
pub struct Served<O> {
    /// One for each input, in their order.
    pub outputs: Vec<O>,
    /// Who answered.
    pub model: Arc<ModelIdentity>,
}

macro_rules! forward {
    ($pointer:ident) => {
        impl<P: Predictor + ?Sized> Predictor for $pointer<P> {
            type Input = P::Input;
            type Output = P::Output;

            fn predict(&self, batch: &[P::Input]) -> Result<Vec<P::Output>, PredictError> {
                (**self).predict(batch)
            }

            fn identity(&self) -> Arc<ModelIdentity> {
                (**self).identity()
            }

            fn warm_up(&self) -> Result<(), PredictError> {
                (**self).warm_up()
            }

            fn verify(&self, output: &P::Output) -> Result<(), String> {
                (**self).verify(output)
            }

            fn serve(&self, batch: &[P::Input]) -> Result<Served<P::Output>, PredictError> {
                (**self).serve(batch)
            }
        }
    };
}

forward!(Arc);
forward!(Box);
