mod layers;
mod refusals;
mod shown;

use std::{fs, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::*;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn load(text: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let (_folder, path) = file(text);
    Config::load(Some(&path), variables(pairs))
}

fn refusal(text: &str, pairs: &[(&str, &str)]) -> String {
    let error = load(text, pairs).unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The numbers of the schema: each with its key, dotted, and the least and the most that it may be.
fn numbers() -> Vec<(String, Value, Value)> {
    let schema = Config::schema();
    let members = |schema: &Value| schema["properties"].as_object().unwrap().clone();
    let mut numbers = Vec::new();
    for (section, schema) in members(&schema) {
        for (name, schema) in members(&schema) {
            let types = &schema["type"];
            if types == "integer" || types[0] == "integer" {
                let [least, most] = ["minimum", "maximum"].map(|bound| schema[bound].clone());
                numbers.push((format!("{section}.{name}"), least, most));
            }
        }
    }
    numbers
}

/// Every key, dotted, with its default.
fn leaves() -> Vec<(String, Value)> {
    let Value::Object(sections) = serde_json::to_value(Config::default()).unwrap() else {
        panic!()
    };
    let of_section = |(section, members): (String, Value)| {
        let Value::Object(members) = members else { panic!("{section} is no section") };
        let dotted = move |(name, value)| (format!("{section}.{name}"), value);
        members.into_iter().map(dotted)
    };
    sections.into_iter().flat_map(of_section).filter(|(_, value)| !value.is_object()).collect()
}
