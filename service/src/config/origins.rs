use std::collections::BTreeMap;

/// Where values come from: a file, a variable, an argument; what is in none of them is a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, String>);

impl Origins {
    /// What decided `key`, dotted, or all of its section; `default` where nothing did.
    pub fn of(&self, key: &str) -> &str {
        let mut part = key;
        loop {
            if let Some(origin) = self.0.get(part) {
                return origin;
            }
            let Some((above, _)) = part.rsplit_once('.') else { return "default" };
            part = above;
        }
    }

    /// What was decided of these sections: keys, dotted, each with its origin.
    pub fn below(&self, sections: &[&str]) -> Vec<(&str, &str)> {
        let is_of = |key: &str| sections.contains(&key.split('.').next().unwrap_or_default());
        self.0
            .iter()
            .filter(|(key, _)| is_of(key))
            .map(|(key, origin)| (&**key, &**origin))
            .collect()
    }

    /// Remembers that `origin` decided `key` and all below it, whatever did before.
    pub fn record(&mut self, key: impl Into<String>, origin: impl Into<String>) {
        let key = key.into();
        let below = format!("{key}.");
        self.0.retain(|known, _| !known.starts_with(&below));
        self.0.insert(key, origin.into());
    }
}
