//! Fetches the official files: verified by SHA-256, resumed where an earlier attempt ended.

mod fetch;
#[cfg(test)]
mod tests;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use fmnist_core::dataset::cache_folder_from_env;

use fetch::{Failure, Fetcher};

use crate::console::{remark, say};

/// Where the authors publish the files.
const MIRRORS: [&str; 2] = [
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
];

const OFFICIAL_FILES: [OfficialFile; 4] = [
    OfficialFile {
        name: "train-images-idx3-ubyte.gz",
        bytes: 26_421_880,
        sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    },
    OfficialFile {
        name: "train-labels-idx1-ubyte.gz",
        bytes: 29_515,
        sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    },
    OfficialFile {
        name: "t10k-images-idx3-ubyte.gz",
        bytes: 4_422_102,
        sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    },
    OfficialFile {
        name: "t10k-labels-idx1-ubyte.gz",
        bytes: 5_148,
        sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
];

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

/// A file and what proves it.
struct OfficialFile {
    name: &'static str,
    bytes: u64,
    /// 64 lower-case hexadecimal digits.
    sha256: &'static str,
}

/// How long a mirror is waited for.
#[derive(Clone, Copy)]
struct Patience {
    /// To connect.
    connect: Duration,
    /// For the answer, and then for each next piece of it.
    silence: Duration,
    /// Tries of one mirror that stalls or breaks off; a try that brings bytes starts the count anew.
    attempts: u32,
    /// Pause after the first failed try; it doubles each time.
    pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            attempts: 4,
            pause: Duration::from_secs(1),
        }
    }
}

struct Download {
    mirrors: Vec<String>,
    folder: PathBuf,
    patience: Patience,
}

impl Download {
    /// Fetches what is not there yet, one file after the other.
    fn files(&self, files: &[OfficialFile]) -> Result<()> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot create {}", self.folder.display()))?;
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
