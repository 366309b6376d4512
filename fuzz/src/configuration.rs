//! What an operator writes: lines of variables, an empty line, the file.

use std::{cell::OnceCell, fs};

use frontend_actix::Config;
use service::config::Document;

/// Loads the file under the variables; what is then shown is JSON, and without the token.
pub fn configuration(bytes: &[u8]) {
    thread_local!(static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() });
    let text = String::from_utf8_lossy(bytes);
    let (variables, json) = text.split_once("\n\n").unwrap_or(("", &text));
    // Files of this computer are not this target's input.
    let variables = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| !name.ends_with("_FILE"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a folder")).path();
        let file = folder.join("config.json");
        fs::write(&file, json).expect("written");
        if let Ok(config) = Config::load(Some(&file), variables) {
            let shown = config.shown();
            let token = shown.lines().find(|line| line.contains("\"api_token\""));
            let token = token.expect("every key is shown");
            assert!(token.contains("null") || token.contains("(hidden)"), "{token}");
        }
    });
}
