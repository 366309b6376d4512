use std::{fs, path::Path};

use serde_json::{Map, Value};

use super::ConfigError;

/// Keys of the architecture that this version does not have yet.
const NOT_AVAILABLE: [&str; 2] = ["database", "results.format"];

/// Beginnings of names that libraries, tests and benchmarks read, not part of the configuration.
const RESERVED: [&str; 5] =
    ["FMNIST_DATA", "FMNIST_KERNEL", "FMNIST_LOG", "FMNIST_TEST_", "FMNIST_BENCH_"];

/// Names that other tools set, too, weakest first.
const WELL_KNOWN: [(&str, &str); 3] = [
    ("GOOGLE_CLOUD_PROJECT", "pubsub.project_id"),
    ("PUBSUB_PROJECT_ID", "pubsub.project_id"),
    ("PORT", "server.port"),
];

const PREFIX: &str = "FMNIST_";

pub(super) fn read_json(path: &Path) -> Result<Value, ConfigError> {
    let text = read(path)?;
    serde_json::from_str(&text).map_err(|source| ConfigError::Json { path: path.into(), source })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.into(), source })
}

/// Puts the file's values over the defaults; every key has to exist among the defaults.
pub(super) fn overlay(
    merged: &mut Value,
    found: Value,
    defaults: &Value,
    path: &Path,
) -> Result<(), ConfigError> {
    let origin = path.display().to_string();
    let mut leaves = Vec::new();
    flatten(found, &mut Vec::new(), &mut leaves);
    for (key, value) in leaves {
        let slot = slot(merged, &key).ok_or_else(|| unknown(&origin, &key.join("."), defaults))?;
        *slot = value;
    }
    Ok(())
}

/// The values below `value` with the path to each; an empty object has none.
fn flatten(value: Value, path: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, Value)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                path.push(name);
                flatten(member, path, leaves);
                path.pop();
            }
        }
        leaf => leaves.push((path.clone(), leaf)),
    }
}

/// The place of a key; keys below a free map, such as `kafka.properties`, are made.
fn slot<'a>(merged: &'a mut Value, key: &[String]) -> Option<&'a mut Value> {
    match key {
        [] => Some(merged),
        [section, property, name] if is_free(section, property) => {
            let map = merged.get_mut(section)?.get_mut(property)?.as_object_mut()?;
            Some(map.entry(name).or_insert(Value::Null))
        }
        [name, rest @ ..] => slot(merged.get_mut(name)?, rest),
    }
}

fn is_free(section: &str, property: &str) -> bool {
    (section, property) == ("kafka", "properties")
}

fn unknown(origin: &str, key: &str, defaults: &Value) -> ConfigError {
    let (origin, key) = (origin.to_owned(), key.to_owned());
    let planned = |name: &str| key == name || key.starts_with(&format!("{name}."));
    if NOT_AVAILABLE.iter().any(|name| planned(name)) {
        return ConfigError::NotAvailable { origin, key };
    }
    let suggestion = known_keys(defaults)
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&known, &key), known))
        .min()
        .filter(|(distance, _)| *distance <= 2 + key.len() / 4)
        .map(|(_, known)| known);
    ConfigError::UnknownKey { origin, key, suggestion }
}

/// Every key, dotted, sections included.
fn known_keys(defaults: &Value) -> Vec<String> {
    fn collect(members: &Map<String, Value>, prefix: &str, keys: &mut Vec<String>) {
        for (name, member) in members {
            let key = format!("{prefix}{name}");
            if let Value::Object(below) = member {
                collect(below, &format!("{key}."), keys);
            }
            keys.push(key);
        }
    }
    let mut keys = Vec::new();
    if let Value::Object(members) = defaults {
        collect(members, "", &mut keys);
    }
    keys
}

/// Puts the environment over file and defaults.
pub(super) fn apply_variables(
    merged: &mut Value,
    variables: &[(String, String)],
    defaults: &Value,
) -> Result<(), ConfigError> {
    for (name, key) in WELL_KNOWN {
        if let Some((_, text)) = variables.iter().find(|(n, text)| n == name && !text.is_empty()) {
            set(merged, name, &dotted(key), text, defaults)?;
        }
    }
    for (variable, text) in variables {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        if RESERVED.iter().any(|reserved| variable.starts_with(reserved)) {
            continue;
        }
        let key = key_of(name);
        if exists(defaults, &key) {
            set(merged, variable, &key, text, defaults)?;
            continue;
        }
        match name.strip_suffix("_FILE").map(key_of).filter(|key| exists(defaults, key)) {
            Some(key) => {
                let secret = read(Path::new(text))?;
                set(merged, variable, &key, secret.trim_end_matches(['\r', '\n']), defaults)?;
            }
            None => return Err(unknown(variable, &key.join("."), defaults)),
        }
    }
    Ok(())
}

/// `KAFKA__GROUP_ID` is `kafka.group_id`; below `KAFKA__PROPERTIES__`, `_` stands for a dot.
fn key_of(name: &str) -> Vec<String> {
    let mut key: Vec<String> = name.split("__").map(str::to_ascii_lowercase).collect();
    if let [section, property, name] = &mut key[..]
        && is_free(section, property)
    {
        *name = name.replace('_', ".");
    }
    key
}

fn dotted(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}

fn exists(defaults: &Value, key: &[String]) -> bool {
    match key {
        [section, property, _] if is_free(section, property) => !key[2].ends_with(".file"),
        [section, name] => defaults.get(section).and_then(|s| s.get(name)).is_some(),
        _ => false,
    }
}

fn set(
    merged: &mut Value,
    variable: &str,
    key: &[String],
    text: &str,
    defaults: &Value,
) -> Result<(), ConfigError> {
    let example = key.iter().try_fold(defaults, |value, name| value.get(name));
    let expected = match example {
        Some(Value::Number(_)) => Some("a number"),
        Some(Value::Bool(_)) => Some("true or false"),
        Some(Value::Object(_) | Value::Array(_)) => Some("JSON"),
        _ => None,
    };
    let value = match expected {
        None => Value::from(text),
        Some(expected) => serde_json::from_str(text).map_err(|_| ConfigError::Variable {
            variable: variable.to_owned(),
            key: key.join("."),
            expected,
            // There may be passwords in it.
            found: match expected {
                "JSON" => format!("{} bytes of something else", text.len()),
                _ => text.to_owned(),
            },
        })?,
    };
    let slot = slot(merged, key).ok_or_else(|| unknown(variable, &key.join("."), defaults))?;
    *slot = value;
    Ok(())
}
