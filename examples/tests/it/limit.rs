//! Programs under a real limit of memory, as a container has it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

/// What the Kubernetes base gives a consumer.
pub(crate) const SHIPPED_LIMIT_BYTES: u64 = 512 << 20;

/// A control group whose processes are killed above [`SHIPPED_LIMIT_BYTES`]; removed when dropped, which
/// must be after the program.
pub(crate) struct MemoryLimit {
    /// None where no control group can be made: then the program's own limit of writable memory holds,
    /// which counts a little more.
    group: Option<PathBuf>,
}

impl MemoryLimit {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fmnist-test-{}-{number}", std::process::id());
        // Version 1 has a hierarchy a controller, version 2 one for all.
        let hierarchies =
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        let group = hierarchies.iter().find_map(|(root, limit)| {
            let group = Path::new(root).join(&name);
            make(&group, limit).inspect_err(|_| drop(fs::remove_dir(&group))).ok()?;
            Some(group)
        });
        Self { group }
    }

    /// `command`, run under the limit.
    pub(crate) fn apply(&self, command: &Command) -> Command {
        let (script, argument) = match &self.group {
            Some(group) => (
                r#"echo $$ >"$1" && shift && exec "$@""#,
                group.join("cgroup.procs").into_os_string(),
            ),
            None => (
                r#"ulimit -d "$1" && shift && exec "$@""#,
                (SHIPPED_LIMIT_BYTES >> 10).to_string().into(),
            ),
        };
        let mut limited = Command::new("/bin/sh");
        limited.args(["-c", script, "sh"]).arg(argument).arg(command.get_program());
        limited.args(command.get_args()).env_clear();
        limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = command.get_current_dir() {
            limited.current_dir(folder);
        }
        limited
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            drop(fs::remove_dir(group));
        }
    }
}

fn make(group: &Path, limit: &str) -> io::Result<()> {
    fs::create_dir(group)?;
    fs::write(group.join(limit), SHIPPED_LIMIT_BYTES.to_string())?;
    // Without it what is above the limit would go to the swap; not every kernel counts that.
    drop(fs::write(group.join("memory.swap.max"), "0"));
    Ok(())
}
