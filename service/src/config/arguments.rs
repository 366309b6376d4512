use std::path::PathBuf;

use super::Document;
use crate::outlet::{stderr, stdout};

/// The arguments of every program that has a configuration.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArguments {
    /// The configuration, JSON as --print-config prints it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the effective configuration as JSON, where each value comes from on stderr, and stop
    #[arg(long)]
    pub print_config: bool,
}

impl ConfigArguments {
    /// Reads the file, where one is named, under the process's environment.
    ///
    /// # Errors
    /// As [`Document::from_env`].
    pub fn read<D: Document>(&self) -> Result<D, D::Error> {
        self.read_over(D::default())
    }

    /// As [`ConfigArguments::read`], over these values instead of the defaults.
    ///
    /// # Errors
    /// As [`Document::from_env`].
    pub fn read_over<D: Document>(&self, defaults: D) -> Result<D, D::Error> {
        D::from_env_over(defaults, self.config.as_deref())
    }

    /// Prints `config` if that was asked for, and says whether it was.
    pub fn print(&self, config: &impl Document) -> bool {
        if self.print_config {
            stdout().line(config.document());
            stderr().print(config.explained());
        }
        self.print_config
    }
}
