//! What a program needs, looked for before it starts: all that is missing is said at once.

mod arguments;

use std::error::Error;

pub use arguments::{Role, SurveyArguments};

use crate::Broker;

/// What was found, and what was not. Something else that is needed is put in with [`Survey::add`].
#[derive(Debug, Default)]
pub struct Survey {
    found: Vec<String>,
    missing: Vec<String>,
}

/// What is missing, a line for each with the way to make it good.
#[derive(Debug, thiserror::Error)]
#[error("{}", missing.join("\nerror: "))]
pub struct Incomplete {
    /// The lines.
    pub missing: Vec<String>,
}

impl Survey {
    /// Puts down `what` as found.
    pub fn found(&mut self, what: impl Into<String>) {
        self.found.push(what.into());
    }

    /// Puts down in words what is missing, and how to make it good.
    pub fn lacks(&mut self, what: impl Into<String>) {
        self.missing.push(what.into());
    }

    /// Puts down `what` as found, or what its error says as missing.
    pub fn add<T, E>(&mut self, what: impl Into<String>, found: Result<T, E>) -> Option<T>
    where
        E: Error + Send + Sync + 'static,
    {
        match found {
            Ok(found) => {
                self.found(what);
                Some(found)
            }
            Err(error) => {
                self.lacks(format!("{:#}", anyhow::Error::new(error)));
                None
            }
        }
    }

    /// Looks for what is needed of the broker, after it made what is missing if that was asked for.
    pub async fn look_for(&mut self, broker: &dyn Broker, role: Role, arguments: &SurveyArguments) {
        let looked = async {
            if arguments.create {
                broker.create(arguments).await?;
            }
            broker.missing(role).await
        };
        match looked.await {
            Ok(missing) if missing.is_empty() => self.found(broker.needs(role)),
            Ok(missing) => missing.iter().for_each(|error| self.lacks(format!("{error:#}"))),
            Err(error) => self.lacks(format!("{error:#}")),
        }
    }

    /// A line for each thing that was found.
    ///
    /// # Errors
    /// With everything that is missing.
    pub fn conclude(self) -> Result<Vec<String>, Incomplete> {
        if self.missing.is_empty() {
            Ok(self.found)
        } else {
            Err(Incomplete { missing: self.missing })
        }
    }
}
