use std::error::Error;

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
