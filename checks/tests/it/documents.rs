//! Documents against what they speak of: links lead somewhere, commands name what there is, and code is
//! that of tested documentation.

use std::{collections::BTreeSet, fs};

use crate::repository::{read, root};

/// The crates that are made to be depended on, each with a README of its own.
const CRATES: [&str; 5] =
    ["stream-inference", "fmnist-core", "transport-kafka", "transport-pubsub", "sink-sql"];
const REPOSITORY: &str = "https://github.com/fmnist-stream/fmnist-stream/";

/// The pages for users: their paths from the root.
pub(crate) fn documents() -> Vec<String> {
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|suffix| suffix == "md"));
    let pages = pages.map(|path| format!("docs/{}", path.file_name().unwrap().display()));
    let others = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(str::to_owned);
    pages.chain(others).chain(CRATES.map(|name| format!("{name}/README.md"))).collect()
}

/// The same, and those for developers.
fn all_documents() -> Vec<String> {
    let mut documents = documents();
    documents.extend(["ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned));
    documents
}

/// The lines outside of examples.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// Examples, and what stands between backticks.
fn code(text: &str) -> Vec<&str> {
    let blocks = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let inline = text.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2));
    blocks.chain(inline).collect()
}

/// Where the links lead.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let inline = inline.map(|(target, _)| target.to_owned());
    let definitions = prose.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    inline.chain(definitions.map(|(_, target)| target.to_owned())).collect()
}

/// The names of the headings in links: as forges make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let name = |line: &str| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(name).collect()
}

#[test]
fn every_link_leads_to_a_file_and_to_a_heading_in_it() {
    let mut wrong = Vec::new();
    for document in all_documents() {
        for link in links(&read(&document)) {
            let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
            let inside = link.strip_prefix(REPOSITORY);
            let target = match inside.and_then(|path| path.split_once("/main/")) {
                Some((_, path)) => path.to_owned(),
                None if link.contains("://") => continue,
                None if link.starts_with('#') => format!("{document}{link}"),
                None => format!("{folder}/{link}").trim_start_matches('/').to_owned(),
            };
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let leads = root().join(path).exists()
                && (anchor.is_empty() || anchors(&read(path)).contains(anchor));
            if !leads {
                wrong.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_index_has_every_page() {
    let index = links(&read("docs/README.md"));
    let pages =
        documents().into_iter().filter_map(|path| Some(path.strip_prefix("docs/")?.to_owned()));
    let missing: Vec<_> =
        pages.filter(|page| page != "README.md" && !index.contains(page)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What is wrong with the words of a command, if anything is.
fn unknown(words: &[&str]) -> Vec<String> {
    let examples = read("examples/Cargo.toml");
    let recipes = read("justfile");
    let training = read("training/src/main.rs");
    let is_package = |name: &str| {
        let unprefixed = name.strip_prefix("fmnist-").unwrap_or(name);
        [name, unprefixed].iter().any(|folder| root().join(folder).join("Cargo.toml").exists())
    };
    let is_program = |name: &str| {
        ["examples/own", "examples/onnx"]
            .iter()
            .any(|package| root().join(format!("{package}/src/bin/{name}.rs")).exists())
    };
    let is_recipe =
        |name: &str| recipes.lines().any(|line| line.split([' ', ':']).next() == Some(name));
    let is_command = |name: &str| {
        let capital = |part: &str| {
            let (first, rest) = part.split_at_checked(1).unwrap_or_default();
            first.to_uppercase() + rest
        };
        let parts = name.split('-').map(capital);
        training.contains(&format!("    {}(", parts.collect::<String>()))
    };
    let is_script = |path: &str| root().join(path).exists();
    let pairs = words.windows(2).filter_map(|pair| {
        let known = match pair[0] {
            "--example" => examples.contains(&format!("name = \"{}\"", pair[1])),
            "-p" if words[0] == "cargo" => is_package(pair[1]),
            "--bin" => is_program(pair[1]),
            "just" if words[0] == "just" => is_recipe(pair[1]),
            _ => true,
        };
        (!known).then(|| pair.join(" "))
    });
    let scripts = words.iter().filter(|word| word.starts_with("scripts/") && word.ends_with(".sh"));
    let scripts = scripts.filter(|path| !is_script(path)).map(|path| (*path).to_owned());
    let training = words.windows(4).filter(|words| words[..3] == ["-p", "training", "--"]);
    let training = training.filter(|words| !is_command(words[3])).map(|words| words.join(" "));
    pairs.chain(scripts).chain(training).collect()
}

#[test]
fn every_command_names_programs_packages_recipes_and_scripts_that_there_are() {
    let mut wrong = Vec::new();
    for document in all_documents() {
        let text = read(&document);
        for line in code(&text) {
            for command in line.split(['|', ';', '&']) {
                let words: Vec<&str> = command.split_whitespace().collect();
                wrong.extend(unknown(&words).iter().map(|what| format!("{document}: {what}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_command_of_something_that_is_not_there_is_noticed() {
    for command in [
        "cargo run --example dema",
        "cargo test -p fmnist-cora",
        "just quik",
        "scripts/chaoss.sh",
        "cargo run -p training -- trane",
    ] {
        let words: Vec<&str> = command.split_whitespace().collect();
        assert_eq!(unknown(&words).len(), 1, "{command}");
    }
}

#[test]
fn the_code_of_the_readme_and_the_guide_is_that_of_tested_documentation() {
    // Both are compiled, and where they need no broker run, by `cargo test --doc`.
    let front = |name: &str| {
        let page = read(&format!("{name}/src/lib.rs"));
        page.lines().filter_map(|line| line.strip_prefix("//! ")).collect::<Vec<_>>().join("\n")
    };
    let tested = CRATES.map(|name| read(&format!("{name}/README.md")) + &front(name)).concat();
    let tested: BTreeSet<&str> = tested.lines().map(str::trim).collect();
    for document in ["README.md", "docs/guide.md"] {
        let text = read(document);
        let blocks: Vec<&str> = text.split("```rust\n").skip(1).collect();
        assert!(!blocks.is_empty(), "{document}");
        for block in blocks {
            let block = block.split("```").next().unwrap_or_default();
            let mut lines = block.lines().map(str::trim).filter(|line| !line.is_empty());
            assert_eq!(lines.find(|line| !tested.contains(line)), None, "{document}");
        }
    }
}

#[test]
fn each_crates_readme_has_its_features_and_the_rust_that_builds_it() {
    let workspace = read("Cargo.toml");
    let rust = workspace.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    for name in CRATES {
        let readme = read(&format!("{name}/README.md"));
        let rows = readme.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.map(|row| row.split('|').nth(1).unwrap());
        let told: BTreeSet<&str> =
            cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        let manifest = read(&format!("{name}/Cargo.toml"));
        let section = manifest.split("[features]\n").nth(1).unwrap().split("\n[").next().unwrap();
        let there = section.lines().filter(|line| !line.starts_with([' ', '#', ']']));
        let there = there.filter_map(|line| Some(line.split_once(" = ")?.0));
        assert_eq!(told, there.filter(|feature| *feature != "default").collect(), "{name}");
        assert!(
            readme.contains(&format!("Builds with Rust {}.", rust.trim_matches('"'))),
            "{name}"
        );
    }
}

#[test]
fn the_readme_has_at_most_130_lines() {
    assert!(read("README.md").lines().count() <= 130);
}
