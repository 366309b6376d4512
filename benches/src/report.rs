use std::{env, fs, path::PathBuf, thread};

use anyhow::Context;
use fmnist_core::engine::Isa;
use markdown::Table;

/// One benchmark's section of `RESULTS.md`: what was measured, on what, and the tables.
pub struct Report {
    title: &'static str,
    body: String,
}

impl Report {
    /// Begins the section of the benchmark `title` with the machine as it is now.
    pub fn new(title: &'static str, measured: &str) -> Self {
        Self::of(title, title, measured)
    }

    /// Begins a section of a benchmark that has several.
    pub fn of(bench: &str, title: &'static str, measured: &str) -> Self {
        let now = fmnist_core::message::rfc3339(jiff::Timestamp::now());
        let machine = machine();
        let body = format!(
            "{measured}\n\n`cargo bench -p fmnist-benches --bench {bench}`, {now}, {machine}.\n"
        );
        Self { title, body }
    }

    /// Adds a table.
    pub fn add(&mut self, table: &Table) {
        self.body.push('\n');
        self.body.push_str(&table.to_string());
    }

    /// Adds a paragraph.
    pub fn note(&mut self, text: &str) {
        self.body.push_str(&format!("\n{text}\n"));
    }

    /// Prints the section; with `--write` among the arguments also puts it into `RESULTS.md`, in
    /// place of the benchmark's last one.
    ///
    /// # Errors
    /// If the file can't be read or written.
    pub fn finish(self) -> anyhow::Result<()> {
        println!("## {}\n\n{}", self.title, self.body);
        if env::args().any(|argument| argument == "--write") {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md");
            let file = path.display().to_string();
            let old = fs::read_to_string(&path).with_context(|| file.clone())?;
            fs::write(path, replaced(&old, self.title, &self.body)).context(file)?;
        }
        Ok(())
    }
}

/// The number with thousands grouped; below 100 with three significant digits.
pub fn grouped(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.*}", if number < 10.0 { 2 } else { 1 });
    }
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `document` with the body of its section `title` replaced, or the section appended.
fn replaced(document: &str, title: &str, body: &str) -> String {
    let section = format!("## {title}\n\n{body}");
    let mut parts: Vec<&str> = document.split("\n## ").collect();
    let own = section.trim_start_matches("## ").trim_end();
    match parts.iter_mut().skip(1).find(|part| part.lines().next() == Some(title)) {
        Some(part) => *part = own,
        None => parts.push(own),
    }
    let parts: Vec<_> = parts.into_iter().map(str::trim_end).collect();
    parts.join("\n\n## ") + "\n"
}

/// Processor, threads, instruction sets of the fast engine, and how busy the machine was before.
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or(env::consts::ARCH, |(_, model)| model);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown");
    let kernels: Vec<&str> =
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).map(Isa::name).collect();
    let kernels = kernels.join(", ");
    format!("{model}, {threads} threads, {kernels}; load average before: {load}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_replaces_its_last_one_and_leaves_the_others() {
        let document = "# Results\n\nIntro.\n";
        let one = replaced(document, "one", "first\n");
        assert_eq!(one, "# Results\n\nIntro.\n\n## one\n\nfirst\n");
        let two = replaced(&one, "two", "second\n");
        assert_eq!(two, "# Results\n\nIntro.\n\n## one\n\nfirst\n\n## two\n\nsecond\n");
        let again = replaced(&two, "one", "third\n");
        assert_eq!(again, "# Results\n\nIntro.\n\n## one\n\nthird\n\n## two\n\nsecond\n");
    }

    #[test]
    fn figures_are_grouped_or_rounded() {
        let shown = [0.526, 42.04, 99.96, 999.6, 1_234_567.2].map(grouped);
        assert_eq!(shown, ["0.53", "42.0", "100.0", "1,000", "1,234,567"]);
    }
}
