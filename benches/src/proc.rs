//! What Linux says of processes.

use std::{collections::HashMap, env, fs, path::Path};

/// Linux counts in hundredths of a second towards programs, whatever it does inside.
const TICK_SECONDS: f64 = 0.01;

/// The process of the broker that `scripts/kafka.sh` started.
pub fn broker() -> Option<u32> {
    let folder = env::var("FMNIST_TEST_KAFKA_FOLDER").ok()?;
    fs::read_to_string(Path::new(&folder).join("pid")).ok()?.trim().parse().ok()
}

/// A process and its descendants.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = stat(id).and_then(|stat| stat.first()?.parse().ok()) {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut all = vec![root];
    let mut next = 0;
    while let Some(id) = all.get(next) {
        all.extend(children.remove(id).unwrap_or_default());
        next += 1;
    }
    all
}

/// The fields behind the state, of which the first is the parent.
fn stat(id: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before may have blanks.
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split(' ').skip(1).map(str::to_owned).collect())
}

/// Processor seconds so far of these processes, and of those that they have waited for.
pub fn cpu_seconds(processes: &[u32]) -> f64 {
    let ticks = |id: &u32| -> Option<u64> {
        let fields = stat(*id)?;
        // utime, stime, cutime, cstime
        fields.get(10..14)?.iter().map(|field| field.parse::<u64>().ok()).sum()
    };
    processes.iter().filter_map(ticks).sum::<u64>() as f64 * TICK_SECONDS
}

/// Resident memory of these processes, what they share counted once.
pub fn memory_bytes(processes: &[u32]) -> u64 {
    let proportional = |id: &u32| -> Option<u64> {
        let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    processes.iter().filter_map(proportional).sum::<u64>() * 1024
}
