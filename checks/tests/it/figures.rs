//! Figures in documents against the reports that they come from.
//!
//! `docs/figures.json` lists them: of measured ones, `claims`, a piece of a document with `{}` for each
//! figure, and for each where it stands in a committed JSON report; then `others`, which nothing here
//! measured: settings, sizes, the figures of others. No figure of a page for users is in neither.
//! `benches/results.json` is RESULTS.md for machines: `FMNIST_TEST_WRITE_RESULTS=1` writes it anew.

use std::{collections::BTreeMap as Map, fs};

use serde::Deserialize;
use serde_json::{Map as Object, Value};

use crate::{
    documents::documents,
    repository::{read, root},
};

/// What may follow a figure.
const UNITS: [&str; 8] = ["%", "messages/s", "images/s", "times", "points", "µs", "ms", "MB"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    claims: Vec<Claim>,
    /// Pieces of text, by document.
    others: Map<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    document: String,
    text: String,
    figures: Vec<Figure>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Figure {
    report: String,
    path: Vec<String>,
    #[serde(default)]
    form: Form,
    #[serde(default)]
    decimals: usize,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    /// As it stands.
    #[default]
    Verbatim,
    /// With `decimals`.
    Rounded,
    /// A fraction, with `decimals`.
    Percent,
    /// To thousands, `273,000`.
    Thousands,
    /// With a comma before the thousands.
    Separated,
}

/// A member by its name; of a list, the one element that has `member=value & …`.
fn find<'a>(value: &'a Value, path: &[String]) -> Result<&'a Value, String> {
    let Some((step, rest)) = path.split_first() else { return Ok(value) };
    let missing = |count: usize| format!("{count} of {step:?}");
    let next = match value {
        Value::Array(items) => {
            let wanted: Vec<(&str, &str)> =
                step.split(" & ").filter_map(|part| part.split_once('=')).collect();
            let says = |found: &Value, value: &str| {
                *found == *value || found.as_u64().is_some_and(|found| value.parse() == Ok(found))
            };
            let has = |item: &&Value| wanted.iter().all(|(name, value)| says(&item[*name], value));
            let found: Vec<&Value> = items.iter().filter(has).collect();
            match found[..] {
                [one] => one,
                _ => return Err(missing(found.len())),
            }
        }
        object => object.get(step).ok_or_else(|| missing(0))?,
    };
    find(next, rest)
}

impl Figure {
    fn shown(&self) -> Result<String, String> {
        let report: Value = serde_json::from_str(&read(&self.report)).unwrap();
        let value = find(&report, &self.path).map_err(|why| format!("{}: {why}", self.report))?;
        // A table's cell has the spread behind the median.
        let text = value.as_str().map(|cell| cell.split(' ').next().unwrap_or_default().to_owned());
        let text = text.unwrap_or_else(|| value.to_string());
        let number = || text.replace(',', "").parse::<f64>().map_err(|_| format!("{text:?}"));
        Ok(match self.form {
            Form::Verbatim => text,
            Form::Rounded => self.rounded(number()?),
            Form::Percent => self.rounded(number()? * 100.0),
            Form::Thousands => format!("{},000", self.rounded(number()? / 1_000.0)),
            Form::Separated => separated(number()? as u64),
        })
    }
}

impl Figure {
    /// As people round, halves up: 91.425, which as a binary number is a little less, is 91.43.
    fn rounded(&self, number: f64) -> String {
        format!("{:.*}", self.decimals, number + 1e-9)
    }
}

/// 143986 as `143,986`.
fn separated(number: u64) -> String {
    match number / 1_000 {
        0 => number.to_string(),
        thousands => format!("{},{:03}", separated(thousands), number % 1_000),
    }
}

impl Claim {
    /// The text with its figures.
    fn shown(&self) -> Result<String, String> {
        let mut pieces = self.text.split("{}");
        let mut shown = pieces.next().unwrap_or_default().to_owned();
        for (figure, piece) in self.figures.iter().zip(pieces.by_ref()) {
            shown += &figure.shown()?;
            shown += piece;
        }
        let is_even = self.text.matches("{}").count() == self.figures.len();
        is_even.then_some(shown).ok_or_else(|| "as many figures as {}".to_owned())
    }
}

/// Words alone count: where a line breaks does not.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a document says, without examples and their output.
fn prose(path: &str) -> String {
    let text = read(path);
    let outside = text.split("```").step_by(2);
    words(&outside.collect::<Vec<_>>().join(" … "))
}

/// Numbers with a unit behind them, outside of code.
fn figures(prose: &str) -> Vec<String> {
    let outside: Vec<&str> = prose.split('`').step_by(2).collect();
    let outside = outside.join("`");
    let words: Vec<&str> = outside.split_whitespace().collect();
    let is_unit = |word: &str| {
        UNITS.iter().filter_map(|unit| word.strip_prefix(unit)).any(|rest| {
            rest.chars().next().is_none_or(|next| !next.is_alphanumeric() && next != '/')
        })
    };
    let is_number = |word: &str| word.ends_with(|last: char| last.is_ascii_digit());
    let pairs = words.windows(2).filter(|pair| is_number(pair[0]) && is_unit(pair[1]));
    pairs.map(|pair| pair.join(" ")).collect()
}

/// The rows of the fault matrix as delivery.md shows them.
fn fault_matrix() -> Vec<String> {
    let report: Value = serde_json::from_str(&read("docs/delivery.json")).unwrap();
    let rows: Vec<Vec<String>> = serde_json::from_value(report["rows"].clone()).unwrap();
    rows.iter().map(|cells| format!("| {} |", cells.join(" | "))).collect()
}

#[test]
fn every_figure_is_the_one_of_its_report_or_is_not_measured() {
    let listed: Figures = serde_json::from_str(&read("docs/figures.json")).unwrap();
    let mut left: Map<String, String> =
        documents().into_iter().map(|name| (name.clone(), prose(&name))).collect();

    let mut wrong = Vec::new();
    let mut take = |document: &str, piece: &str| {
        let text = left.get_mut(document).unwrap();
        match text.contains(&words(piece)) {
            true => *text = text.replace(&words(piece), "…"),
            false => wrong.push(format!("{document} does not say: {piece}")),
        }
    };
    for claim in &listed.claims {
        let shown = claim.shown().unwrap_or_else(|why| panic!("{}: not found: {why}", claim.text));
        take(&claim.document, &shown);
    }
    for (document, pieces) in &listed.others {
        pieces.iter().for_each(|piece| take(document, piece));
    }
    fault_matrix().iter().for_each(|row| take("docs/delivery.md", row));
    for (document, text) in left {
        wrong.extend(figures(&text).iter().map(|figure| {
            format!("{document}: {figure}: from which report? docs/figures.json does not say")
        }));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn figures_are_found_in_prose_and_in_tables_and_not_in_code() {
    let text =
        "takes 6 ms (as `x 5 ms` says), 1.3–2.9 times as long | 93.32 % | 3 msgs, [9.5 ± 0.1 %](a)";
    assert_eq!(figures(text), ["6 ms", "1.3–2.9 times", "93.32 %", "0.1 %](a)"]);
}

#[test]
fn another_figure_in_the_report_is_noticed() {
    let report: Value = serde_json::from_str(&read("training/reports/models/report.json")).unwrap();
    let path = ["models", "name=base", "score", "accuracy"].map(str::to_owned);
    let accuracy = find(&report, &path).unwrap().as_f64().unwrap();
    let shown = |fraction: f64| format!("{:.2} %", fraction * 100.0);
    assert!(read("docs/models.md").contains(&shown(accuracy)));
    assert!(!read("docs/models.md").contains(&shown(accuracy + 0.0301)));
    assert!(find(&report, &["models".to_owned(), "name=none".to_owned()]).is_err());
}

/// The tables below each heading, by their first column: a list of rows.
fn tables(markdown: &str) -> Value {
    let mut sections = Object::new();
    let (mut section, mut header) = (String::new(), Vec::new());
    for line in markdown.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            section = name.to_owned();
        }
        let Some(row) = line.strip_prefix('|') else {
            header.clear();
            continue;
        };
        let row = row.trim_end_matches('|').split('|');
        let cells: Vec<String> = row.map(|cell| cell.trim().to_owned()).collect();
        if header.is_empty() {
            header = cells;
        } else if !section.is_empty() && !cells.iter().all(|cell| cell.starts_with("---")) {
            let row: Object<String, Value> =
                header.iter().cloned().zip(cells.into_iter().map(Value::from)).collect();
            let tables = sections.entry(&section).or_insert_with(|| Object::new().into());
            let table = tables.as_object_mut().unwrap();
            let rows = table.entry(&header[0]).or_insert_with(|| Vec::<Value>::new().into());
            rows.as_array_mut().unwrap().push(row.into());
        }
    }
    sections.into()
}

#[test]
fn the_results_of_the_benchmarks_for_machines_are_those_for_people() {
    let tables = tables(&read("benches/RESULTS.md"));
    let path = root().join("benches/results.json");
    if std::env::var_os("FMNIST_TEST_WRITE_RESULTS").is_some() {
        fs::write(&path, format!("{tables:#}\n")).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        serde_json::from_str::<Value>(&text).is_ok_and(|committed| committed == tables),
        "benches/results.json is not RESULTS.md: FMNIST_TEST_WRITE_RESULTS=1 cargo test -p checks \
         --no-default-features figures"
    );
}
