//! What a model is to this crate: the trait, what it serves, and why it does not. Pipelines, slots and the
//! batcher call it, through [`checked`] alone: what comes of a batch is one verified output for each input.

use std::{error::Error, fmt, fs, io, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::file::sha256;

/// A function of a batch. A pipeline calls it on one thread of its own: it may block and may use every
/// core.
///
/// [`function`](super::function) and [`exclusive`](super::exclusive) make one of a closure.
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

/// Why a batch has no outputs.
///
/// A text, or any boxed error by `?`, says that an input is at fault:
///
/// ```
/// use stream_inference::predict::PredictError;
///
/// let error = PredictError::from("expected an amount above 0, found -3".to_owned());
/// assert!(matches!(error, PredictError::Input { .. }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// An input of this batch is at fault: a pipeline finds it by halves and dead-letters its message.
    #[error("{reason}")]
    Input {
        /// What is wrong, for a person.
        reason: String,
    },
    /// The model can't answer now, whatever the input: its accelerator is gone, a feature store is away.
    /// A pipeline keeps the batch and tries again with growing pauses; nothing is dead-lettered.
    #[error("the model can't answer now: {reason}")]
    Unavailable {
        /// What it waits for, for a person.
        reason: String,
    },
}

impl PredictError {
    /// The model can't answer now, for this reason.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into() }
    }
}

impl From<String> for PredictError {
    fn from(reason: String) -> Self {
        Self::Input { reason }
    }
}

/// An error, with those behind it; a `PredictError` in a box is what it was.
impl From<Box<dyn Error + Send + Sync>> for PredictError {
    fn from(error: Box<dyn Error + Send + Sync>) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(own) => return *own,
            Err(error) => error,
        };
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            reason = format!("{reason}: {error}");
            source = error.source();
        }
        Self::Input { reason }
    }
}

/// A batch's outputs, and the model that computed all of them.
#[derive(Clone, Debug)]
pub struct Served<O> {
    /// One for each input, in their order.
    pub outputs: Vec<O>,
    /// Who answered.
    pub model: Arc<ModelIdentity>,
}

/// Which model answered: enough to repeat the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModelIdentity {
    /// What the model is called, such as `base`.
    pub name: String,
    /// The version of the trained weights, such as `1.0`.
    pub version: String,
    /// SHA-256 of the weights file, 64 lower-case hexadecimal digits.
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^[0-9a-f]{64}$")))]
    pub sha256: String,
}

/// Name and version.
impl fmt::Display for ModelIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl ModelIdentity {
    /// A model whose weights are these bytes, such as those of `include_bytes!`.
    pub fn of_bytes(name: &str, version: &str, weights: &[u8]) -> Self {
        Self { name: name.to_owned(), version: version.to_owned(), sha256: sha256(weights) }
    }

    /// A model whose weights are in that file.
    ///
    /// # Errors
    /// If the file can't be read; it is named.
    pub fn of_file(name: &str, version: &str, weights: impl AsRef<Path>) -> io::Result<Self> {
        let path = weights.as_ref();
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        Ok(Self::of_bytes(name, version, &fs::read(path).map_err(named)?))
    }

    /// A model without weights, such as a rule in code: name and version are all that it is, and so
    /// it is the digest of both that stands for it.
    pub fn of_code(name: &str, version: &str) -> Self {
        Self::of_bytes(name, version, format!("{name} {version}").as_bytes())
    }
}

/// Which model computed answers that belong together: of one message, or of one batch.
#[derive(Debug, Default)]
pub(crate) struct AnsweredBy {
    /// Who answered first.
    pub(crate) model: Option<Arc<ModelIdentity>>,
    /// Another model answered later.
    pub(crate) is_mixed: bool,
}

impl AnsweredBy {
    /// Takes note that this model answered, too.
    pub(crate) fn add(&mut self, model: &Arc<ModelIdentity>) {
        self.is_mixed |= self.model.get_or_insert_with(|| Arc::clone(model)) != model;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_stays_an_outage_on_its_way_through_a_box() {
        let away = || PredictError::unavailable("the store is away");
        let through = || -> Result<(), Box<dyn Error + Send + Sync>> { Err(away())? };
        assert_eq!(PredictError::from(through().expect_err("it is away")), away());
        let other = "x".parse::<f32>().map_err(Into::<Box<dyn Error + Send + Sync>>::into);
        let reason = "invalid float literal".to_owned();
        assert_eq!(
            PredictError::from(other.expect_err("no number")),
            PredictError::Input { reason }
        );
    }
}
