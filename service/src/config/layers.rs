use std::{fs, io, path::Path};

use serde_json::{Map, Value};
use stream_inference::{names, settings::RULE, text};

use super::{ConfigError, Origins, links, unique};

/// The values of all layers so far, and where each came from.
pub(super) struct Layers {
    defaults: Value,
    traits: Traits,
    pub(super) merged: Value,
    pub(super) origins: Origins,
}

impl Layers {
    pub(super) fn new(defaults: Value, traits: Traits) -> Self {
        Self { merged: defaults.clone(), defaults, traits, origins: Origins::default() }
    }

    /// Puts the file's values over the defaults; every key has to exist among the defaults.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = read(path)?;
        let origin = path.display().to_string();
        let found = unique::read(&text, "").map_err(|source| match source.is_data() {
            true => ConfigError::Twice { origin: origin.clone(), source },
            false => ConfigError::Json { path: path.into(), source },
        })?;
        let mut leaves = Vec::new();
        flatten(found, &mut Vec::new(), &mut leaves);
        for (key, value) in leaves {
            self.put(&origin, &key, value)?;
        }
        Ok(())
    }

    /// Puts the environment over file and defaults.
    pub(super) fn add_variables(
        &mut self,
        variables: &[(String, String)],
    ) -> Result<(), ConfigError> {
        for &(name, key) in self.traits.well_known {
            let key = dotted(key);
            let set = variables.iter().find(|(n, _)| n == name);
            // A program without that broker shares its machine with those that have it.
            if let Some((_, text)) = set.filter(|_| self.exists(&key)) {
                self.set(name, &key, text)?;
            }
        }
        let prefix = variable_prefix();
        for (variable, text) in variables {
            let Some(name) = variable.strip_prefix(&prefix) else { continue };
            let is = |reserved: &&str| {
                name == *reserved || (reserved.ends_with('_') && name.starts_with(*reserved))
            };
            if self.traits.reserved.iter().any(is) {
                continue;
            }
            let key = key_of(name);
            if self.exists(&key) {
                self.set(variable, &key, text)?;
                continue;
            }
            let file = name.strip_suffix("_FILE").map(key_of);
            match file.filter(|key| self.exists(key)) {
                Some(key) => {
                    let secret = read(Path::new(text))?;
                    self.set(variable, &key, secret.trim_end_matches(['\r', '\n']))?;
                }
                None if links::is_link(variable, text, variables) => {}
                None => return Err(self.unknown(variable, &key.join("."))),
            }
        }
        Ok(())
    }

    /// Puts the text of a variable where its key is, as the type of the default.
    fn set(&mut self, variable: &str, key: &[String], text: &str) -> Result<(), ConfigError> {
        let dotted = key.join(".");
        let example = key.iter().try_fold(&self.defaults, |value, name| value.get(name));
        let expected = match example {
            // An empty variable is none, so that there has to be another way to say that there is no topic.
            Some(_) if text == "null" && key.ends_with(&["results_topic".to_owned()]) => {
                Some("JSON")
            }
            Some(Value::Number(_)) => Some("a number"),
            Some(Value::Bool(_)) => Some("true or false"),
            Some(Value::Array(_)) => return self.put(variable, key, list(text)),
            Some(Value::Object(_)) => Some("JSON"),
            _ => None,
        };
        // What a key without a default is, and one of an own section, only its type tells.
        let is_own = self.traits.own == Some(&*key[0]);
        let is_untold = is_own || matches!(example, Some(Value::Null));
        let value = match expected {
            None => Value::from(text),
            Some(expected) => {
                unique::read(text, &dotted).map_err(|source| match source.is_data() {
                    true => ConfigError::Twice { origin: variable.to_owned(), source },
                    false => ConfigError::Variable {
                        variable: variable.to_owned(),
                        key: dotted.clone(),
                        expected,
                        // There may be passwords in it.
                        found: match expected {
                            "JSON" => format!("{} bytes of something else", text.len()),
                            _ => text.to_owned(),
                        },
                    },
                })?
            }
        };
        self.put(variable, key, value)?;
        if is_untold
            && (self.traits.refused)(&self.merged).is_some_and(|at| is_own || at == dotted)
            && let Ok(value) = unique::read(text, &dotted)
        {
            self.put(variable, key, value)?;
        }
        Ok(())
    }

    fn put(&mut self, origin: &str, key: &[String], value: Value) -> Result<(), ConfigError> {
        let dotted = key.join(".");
        let Some(slot) = slot(&mut self.merged, key, self.traits.own) else {
            return Err(self.unknown(origin, &dotted));
        };
        // serde takes a list for a structure by the order of its fields, and an empty one for its defaults.
        // What a section is given as one value is never an object: that comes key by key.
        if slot.is_object() && (value.is_array() || key.len() < 2) {
            let key = if dotted.is_empty() { "the document".to_owned() } else { dotted };
            let rule = format!("{RULE}an object of keys");
            return Err(ConfigError::Rule { origin: origin.to_owned(), key, rule });
        }
        *slot = value;
        self.origins.record(dotted, origin);
        Ok(())
    }

    fn exists(&self, key: &[String]) -> bool {
        let is_known = |section: &str, name: &str| {
            self.defaults.get(section).and_then(|members| members.get(name)).is_some()
        };
        match key {
            [section, property, _] if is_free(section, property) => !key[2].ends_with(".file"),
            [section, name] => is_known(section, name),
            [section, name, ..] => self.traits.own == Some(section) && is_known(section, name),
            _ => false,
        }
    }

    fn unknown(&self, origin: &str, key: &str) -> ConfigError {
        let (origin, key) = (origin.to_owned(), key.to_owned());
        let suggestion = known_keys(&self.defaults)
            .into_iter()
            .map(|known| (strsim::damerau_levenshtein(&known, &key), known))
            .min()
            .filter(|(distance, _)| *distance <= 2 + key.len() / 4)
            .map(|(_, known)| known);
        ConfigError::UnknownKey { origin, key, suggestion }
    }
}

type Refused = dyn Fn(&Value) -> Option<String>;

/// What a document says of its keys.
pub(super) struct Traits {
    pub(super) well_known: &'static [(&'static str, &'static str)],
    pub(super) reserved: &'static [&'static str],
    pub(super) own: Option<&'static str>,
    /// The key for which this is no such document.
    pub(super) refused: Box<Refused>,
}

/// What the names of a program's variables begin with: `FMNIST_` where its prefix is the default.
fn variable_prefix() -> String {
    format!("{}_", names::prefix().to_ascii_uppercase())
}

/// Names with commas between them.
fn list(text: &str) -> Value {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// Without the byte-order mark that some editors put in front.
fn read(path: &Path) -> Result<String, ConfigError> {
    let read = fs::read(path).and_then(|bytes| {
        let text = text::read(&bytes);
        text.map(str::to_owned).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    read.map_err(|source| ConfigError::File { path: path.into(), source })
}

/// The values below `value` with the path to each; an empty object has none.
pub(super) fn flatten(
    value: Value,
    path: &mut Vec<String>,
    leaves: &mut Vec<(Vec<String>, Value)>,
) {
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

/// The place of a key; keys below a free map, such as `kafka.properties`, are made, and so are those
/// below a key of the `own` section.
fn slot<'a>(merged: &'a mut Value, key: &[String], own: Option<&str>) -> Option<&'a mut Value> {
    match key {
        [] => Some(merged),
        [section, property, name] if is_free(section, property) => {
            let map = merged.get_mut(section)?.get_mut(property)?.as_object_mut()?;
            Some(map.entry(name).or_insert(Value::Null))
        }
        [section, name, below @ ..] if own == Some(section) => {
            let place = merged.get_mut(section)?.get_mut(name)?;
            below.iter().try_fold(place, |place, name| {
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                Some(place.as_object_mut()?.entry(name).or_insert(Value::Null))
            })
        }
        [name, rest @ ..] => slot(merged.get_mut(name)?, rest, None),
    }
}

fn is_free(section: &str, property: &str) -> bool {
    (section, property) == ("kafka", "properties")
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
