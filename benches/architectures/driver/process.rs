//! Processes of the peers: started, looked at, disturbed, ended with all that they started.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use fmnist_benches::tree;

const LONGEST_END: Duration = Duration::from_secs(10);

/// A process with all that it started.
pub(crate) struct Process {
    child: Child,
    command: Command,
}

impl Process {
    /// Starts it; what it says is appended to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| log.display().to_string())?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = spawn(&mut command)?;
        Ok(Self { child, command })
    }

    /// Starts it once more, after it has ended.
    pub(crate) fn again(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&mut self.command)?;
        Ok(())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// It and its descendants.
    pub(crate) fn tree(&self) -> Vec<u32> {
        tree(self.child.id())
    }

    /// Sends all of it a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        signal(name, &self.tree());
    }

    /// SIGKILL for all of it, and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        // It is gone already where this fails.
        drop(self.child.wait());
    }

    /// SIGTERM, and SIGKILL for what is left.
    fn end(&mut self) {
        let all = self.tree();
        signal("CONT", &all);
        signal("TERM", &[self.child.id()]);
        let begun = Instant::now();
        while !self.has_ended() && begun.elapsed() < LONGEST_END {
            thread::sleep(Duration::from_millis(20));
        }
        signal("KILL", &all);
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    let program = PathBuf::from(command.get_program()).display().to_string();
    command.spawn().with_context(|| format!("cannot start {program}"))
}

/// Processes that are gone already are none that could be disturbed.
fn signal(name: &str, processes: &[u32]) {
    if processes.is_empty() {
        return;
    }
    let ids = processes.iter().map(u32::to_string);
    let kill =
        Command::new("kill").arg(format!("-{name}")).args(ids).stderr(Stdio::null()).status();
    drop(kill);
}

/// What lies there, as `du --apparent-size` counts it, links not followed.
pub(crate) fn size_bytes(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size_bytes(&entry.path())).sum()
}
