//! Fetches the official files: verified by SHA-256, resumed where an earlier attempt ended.

mod fetch;
mod official;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use fmnist_core::dataset::cache_folder_from_env;

use fetch::{Failure, Fetcher, Patience};
use official::{MIRRORS, OFFICIAL_FILES, OfficialFile};

use crate::{
    console::{remark, say},
    place,
};

#[derive(clap::Args)]
pub(crate) struct DownloadArguments {
    /// Mirror to fetch from instead of the authors' two: the URL of the folder with the four files
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Folder to put the files into [default: the user's cache, where every program looks]
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

pub(crate) fn run(arguments: &DownloadArguments) -> Result<()> {
    let folder = match &arguments.to {
        Some(folder) => folder.clone(),
        None => {
            cache_folder_from_env().context("no cache folder for this user: name one by --to")?
        }
    };
    let mirrors = match &arguments.from {
        Some(mirror) => vec![mirror.clone()],
        None => MIRRORS.map(str::to_owned).to_vec(),
    };
    Download { mirrors, folder: folder.clone(), patience: Patience::default() }
        .files(&OFFICIAL_FILES)?;
    say!("Fashion-MNIST is in {}", folder.display())?;
    if arguments.to.is_some() {
        say!("Programs find it there when FMNIST_DATA names the folder.")?;
    }
    Ok(())
}

struct Download {
    mirrors: Vec<String>,
    folder: PathBuf,
    patience: Patience,
}

impl Download {
    /// Fetches what is not there yet, one file after the other.
    fn files(&self, files: &[OfficialFile]) -> Result<()> {
        place::create_folder(&self.folder)?;
        let fetcher = Fetcher::new(&self.folder, self.patience);
        files.iter().try_for_each(|file| self.file(&fetcher, file))
    }

    fn file(&self, fetcher: &Fetcher, file: &OfficialFile) -> Result<()> {
        if fetcher.has(file)? {
            return remark!("{}: already there and sound", file.name);
        }
        let mut failures = Vec::new();
        for mirror in &self.mirrors {
            let url = format!("{}/{}", mirror.trim_end_matches('/'), file.name);
            match self.persist(fetcher, file, &url) {
                Ok(()) => return Ok(()),
                Err(Failure::Disk(error)) => return Err(error),
                Err(failure) => failures.push(format!("{url}: {failure}")),
            }
        }
        bail!(
            "{} was not fetched:\n  {}\nRun the command again to go on where it stopped, or name \
             another mirror by --from",
            file.name,
            failures.join("\n  ")
        )
    }

    /// Tries one mirror until it is refused, done, or out of patience.
    fn persist(&self, fetcher: &Fetcher, file: &OfficialFile, url: &str) -> Result<(), Failure> {
        let mut pause = self.patience.pause;
        let mut attempt = 1;
        loop {
            let before = fetcher.received(file);
            let failure = match fetcher.fetch(file, url) {
                Err(failure @ Failure::Interrupted { .. }) => failure,
                done_or_final => return done_or_final,
            };
            if fetcher.received(file) > before {
                (attempt, pause) = (1, self.patience.pause);
            }
            if attempt == self.patience.attempts {
                return Err(failure);
            }
            remark!("{}: {failure}; trying again", file.name)?;
            std::thread::sleep(pause);
            (attempt, pause) = (attempt + 1, pause * 2);
        }
    }
}
