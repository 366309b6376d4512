use std::{
    fs,
    path::{Path, PathBuf},
};

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

#[test]
fn the_old_file_keeps_its_meaning() {
    let old = r#"{
        "kafka": {"bootstrap_servers": "k:9092", "group_id": "g", "topic": "T"},
        "pubsub": {"key_file": "vcai-creds.json", "project_id": "p", "subscription_id": "s", "topic": "M"},
        "model": {"model_name": "model.h5", "model_version": "1.0"}
    }"#;
    let config = load(old, &[]).unwrap();
    assert_eq!(config.kafka.bootstrap_servers, "k:9092");
    assert_eq!((config.kafka.group_id.as_str(), config.kafka.topic.as_str()), ("g", "T"));
    assert_eq!(config.pubsub.key_file, Some("vcai-creds.json".into()));
    assert_eq!(config.pubsub.subscription_id, "s");
    assert_eq!(config.model.model_version.as_deref(), Some("1.0"));
}

#[test]
fn the_old_model_file_means_the_notebook() {
    let model = ModelConfig { model_name: "model.h5".to_owned(), ..ModelConfig::default() };
    // Which models are inside is decided by the build; what is asked for is the same in all.
    match model.classifier() {
        Ok(classifier) => assert_eq!(classifier.identity().name, "notebook"),
        Err(error) => assert!(error.to_string().contains("\"notebook\""), "{error}"),
    }
}

#[test]
fn without_a_file_the_defaults_of_the_guide_hold() {
    let config = Config::load(None, []).unwrap();
    assert_eq!(config.kafka.topic, "INFERENCE");
    assert_eq!(config.pubsub.topic, "MODEL-INFERENCE");
    assert_eq!((config.model.model_name.as_str(), config.batch.max_inputs), ("base", 256));
    assert_eq!((config.server.bind.to_string().as_str(), config.server.port), ("127.0.0.1", 5000));
}

#[test]
fn prefix_beats_well_known_name_beats_file_beats_default() {
    let text = r#"{"server": {"port": 1}, "pubsub": {"project_id": "file"}}"#;
    type Case<'a> = (&'a [(&'a str, &'a str)], u16, &'a str);
    let cases: [Case<'_>; 5] = [
        (&[], 1, "file"),
        (&[("PORT", "2")], 2, "file"),
        (&[("FMNIST_SERVER__PORT", "3"), ("PORT", "2")], 3, "file"),
        (&[("GOOGLE_CLOUD_PROJECT", "cloud")], 1, "cloud"),
        (
            &[
                ("PUBSUB_PROJECT_ID", "pubsub"),
                ("GOOGLE_CLOUD_PROJECT", "cloud"),
                ("FMNIST_DATA", "/elsewhere"),
            ],
            1,
            "pubsub",
        ),
    ];
    for (pairs, port, project) in cases {
        let config = load(text, pairs).unwrap();
        assert_eq!((config.server.port, config.pubsub.project_id.as_str()), (port, project));
    }
}

#[test]
fn a_variable_is_read_as_the_type_of_its_key() {
    let pairs = [
        ("FMNIST_KAFKA__BOOTSTRAP_SERVERS", "b:1"),
        ("FMNIST_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "ssl"),
        ("FMNIST_KAFKA__GROUP_INSTANCE_ID", "7"),
        ("FMNIST_BATCH__MAX_IMAGES", "32"),
        ("FMNIST_ON_ERROR__ACTION", "retry"),
        ("FMNIST_MODEL__THREADS", "3"),
    ];
    let config = load("{}", &pairs).unwrap();
    assert_eq!(config.kafka.bootstrap_servers, "b:1");
    assert_eq!(config.kafka.properties["security.protocol"], "ssl");
    assert_eq!(config.kafka.group_instance_id.as_deref(), Some("7"));
    assert_eq!(config.batch.max_inputs, 32);
    assert_eq!(config.model.threads.map(usize::from), Some(3));
    let found = refusal("{}", &[("PORT", "http")]);
    assert_eq!(found, "PORT: server.port is a number, found \"http\"");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let cases = [
        (r#"{"kafka": {"bootstrap_server": "x"}}"#, "kafka.bootstrap_servers"),
        (r#"{"kafak": {"topic": "x"}}"#, "kafka.topic"),
        (r#"{"server": {"prot": 1}}"#, "server.port"),
        (r#"{"batch": {"max_image": 1}}"#, "batch.max_images"),
    ];
    for (text, nearest) in cases {
        let found = refusal(text, &[]);
        assert!(found.ends_with(&format!("(did you mean {nearest:?}?)")), "{found}");
    }
    let found = refusal("{}", &[("FMNIST_KAFKA__GROUPID", "x")]);
    assert_eq!(
        found,
        "FMNIST_KAFKA__GROUPID: there is no key \"kafka.groupid\" (did you mean \"kafka.group_id\"?)"
    );
    assert!(!refusal(r#"{"zzzzzzzz": 1}"#, &[]).contains("did you mean"));
}

#[test]
fn a_number_out_of_range_is_refused_with_its_key_and_the_range() {
    let found = refusal("{}", &[("FMNIST_BATCH__MAX_IMAGES", "0")]);
    assert_eq!(
        found,
        "FMNIST_BATCH__MAX_IMAGES: batch.max_images has to be a whole number from 1 to 65536, found 0"
    );
    for (key, range) in Config::ranges() {
        let (section, name) = key.split_once('.').unwrap();
        let file = |value: &str| format!(r#"{{"{section}": {{"{name}": {value}}}}}"#);
        for good in [range.start(), range.end()] {
            load(&file(&good.to_string()), &[]).unwrap_or_else(|error| panic!("{key}: {error}"));
        }
        let above = (range.end() + 1).to_string();
        for bad in ["-1", "1.5", "1e300", &above] {
            let found = refusal(&file(bad), &[]);
            let expected = format!(
                "config.json: {key} has to be a whole number from {} to {}, found ",
                range.start(),
                range.end()
            );
            assert!(found.contains(&expected), "{found}");
        }
    }
}

#[test]
fn every_number_of_the_configuration_has_a_range() {
    let ranges = Config::ranges();
    for (key, value) in leaves() {
        let has_range = ranges.iter().any(|(number, _)| *number == key);
        assert!(!value.is_number() || has_range, "{key} has no range");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_key_and_where_it_stands() {
    let found = refusal(r#"{"kafka": {"topic": 7}}"#, &[]);
    assert!(
        found.ends_with(
            "config.json: kafka.topic cannot be used: invalid type: integer `7`, expected a string"
        ),
        "{found}"
    );
    let found = refusal("{}", &[("FMNIST_SERVER__BIND", "everywhere")]);
    assert!(found.starts_with("FMNIST_SERVER__BIND: server.bind cannot be used"), "{found}");
    let found = refusal("{}", &[("FMNIST_KAFKA__GUARANTEE", "often")]);
    assert!(found.contains("kafka.guarantee") && found.contains("exactly_once"), "{found}");
}

#[test]
fn settings_that_exclude_one_another_are_refused_with_the_reason() {
    let cases = [
        (
            r#"{"kafka": {"group_instance_id": "a", "properties": {"group.protocol": "consumer"}}}"#,
            "keep a killed static member out",
        ),
        (r#"{"kafka": {"properties": {"acks": "1"}}}"#, "offsets follow confirmed results"),
        (r#"{"kafka": {"properties": {"group.id": "other"}}}"#, "use kafka.group_id"),
        (r#"{"kafka": {"properties": {"linger": "5"}}}"#, "librdkafka does not take linger"),
        (r#"{"kafka": {"results_topic": "INFERENCE"}}"#, "would read again, for ever"),
        (r#"{"pubsub": {"dead_letter_topic": "MODEL-INFERENCE"}}"#, "would read again, for ever"),
        (r#"{"kafka": {"routes": ["A", "INFERENCE"]}}"#, "would read again, for ever"),
        (r#"{"kafka": {"routes": ["^A"]}}"#, "kafka.routes has to be 1 to 249 letters"),
        (r#"{"kafka": {"routes": ["A", "A"]}}"#, "\"A\" stands there twice; remove it"),
        (r#"{"pubsub": {"routes": ["1st"]}}"#, "pubsub.routes has to be up to 255 letters"),
        (r#"{"pubsub": {"routes": ["MODEL-INFERENCE"]}}"#, "is pubsub.topic already; remove it"),
        (
            r#"{"pubsub": {"results_subscription_id": "vectorai-subscription"}}"#,
            "seen by the consumer or by the page",
        ),
        (r#"{"pubsub": {"guarantee": "exactly_once"}}"#, "nothing joins the result"),
        (r#"{"kafka": {"auto_offset_reset": "newest"}}"#, "earliest or latest, found \"newest\""),
        (r#"{"kafka": {"topic": "^IN"}}"#, "kafka.topic has to be 1 to 249 letters"),
        (r#"{"pubsub": {"subscription_id": "1st"}}"#, "a letter first, found \"1st\""),
        (r#"{"kafka": {"bootstrap_servers": " "}}"#, "HOST:PORT"),
        (r#"{"model": {"engine": "fuse"}}"#, "fused, int8, flex and ndarray"),
    ];
    for (text, reason) in cases {
        let found = refusal(text, &[]);
        assert!(found.contains(reason), "{found}");
    }
}

#[test]
fn a_variable_that_is_empty_is_as_good_as_none() {
    let keys = leaves().into_iter().map(|(key, _)| key.replace('.', "__").to_uppercase());
    let mut names: Vec<String> = keys.flat_map(|key| [format!("{key}_FILE"), key]).collect();
    assert!(names.len() > 80, "{names:?}");
    names.extend(
        ["KAFKA__PROPERTIES__SASL_PASSWORD", "KAFKA__PROPERTIES", "KERNEL"].map(str::to_owned),
    );
    let mut variables: Vec<_> =
        names.into_iter().map(|name| (format!("FMNIST_{name}"), String::new())).collect();
    for name in ["PORT", "PUBSUB_EMULATOR_HOST", "PUBSUB_PROJECT_ID", "GOOGLE_CLOUD_PROJECT"] {
        variables.push((name.to_owned(), String::new()));
    }
    let config = Config::load(None, variables).unwrap();
    assert_eq!(config.explained(), Config::load(None, []).unwrap().explained());
}

#[test]
fn an_empty_name_in_a_file_and_null_in_a_variable_mean_none() {
    let text = r#"{"kafka": {"results_topic": "", "group_instance_id": ""},
        "pubsub": {"results_topic": "", "key_file": ""}, "data": {"path": ""}}"#;
    let pairs = [("FMNIST_KAFKA__RESULTS_TOPIC", "null"), ("FMNIST_PUBSUB__RESULTS_TOPIC", "null")];
    for config in [load(text, &[]), load("{}", &pairs)] {
        let config = config.unwrap();
        assert_eq!((config.kafka.results_topic, config.kafka.group_instance_id), (None, None));
        assert_eq!((config.pubsub.results_topic, config.pubsub.key_file), (None, None));
        assert_eq!(config.data.path, None);
    }
}

#[test]
fn routes_are_a_list_in_a_file_and_in_a_variable() {
    let text = r#"{"kafka": {"routes": ["REVIEWS"]}, "pubsub": {"routes": ["REVIEWS"]}}"#;
    let config = load(text, &[("FMNIST_KAFKA__ROUTES", "ALERTS,REVIEWS")]).unwrap();
    assert_eq!(config.kafka.routes, ["ALERTS", "REVIEWS"]);
    assert_eq!(config.pubsub.routes, ["REVIEWS"]);
}

#[test]
fn what_stands_twice_is_refused_with_its_key() {
    let cases = [
        (r#"{"kafka": {"group_id": "a"}, "kafka": {"topic": "T"}}"#, "\"kafka\" stands twice"),
        (r#"{"kafka": {"topic": "T", "topic": "T"}}"#, "\"kafka.topic\" stands twice"),
        (
            r#"{"kafka": {"properties": {"linger.ms": "1", "linger.ms": "2"}}}"#,
            "\"kafka.properties.linger.ms\" stands twice",
        ),
    ];
    for (text, expected) in cases {
        let found = refusal(text, &[]);
        assert!(found.contains("config.json: two values for one key"), "{found}");
        assert!(found.contains(expected), "{found}");
    }
    let twice = r#"{"sasl.password": "open-sesame", "sasl.password": "other"}"#;
    let found = refusal("{}", &[("FMNIST_KAFKA__PROPERTIES", twice)]);
    assert!(found.starts_with("FMNIST_KAFKA__PROPERTIES: two values"), "{found}");
    assert!(found.contains("\"kafka.properties.sasl.password\" stands twice"), "{found}");
    assert!(!found.contains("open-sesame"), "{found}");
}

/// What librdkafka 2.12 redacts, but for the user's name and the paths of keys.
#[test]
fn every_secret_of_librdkafka_is_hidden() {
    for name in [
        "sasl.password",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "ssl.ca.pem",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
    ] {
        let text = format!(r#"{{"kafka": {{"properties": {{"{name}": "open-sesame"}}}}}}"#);
        let config = load(&text, &[]).unwrap();
        for shown in [config.shown(), config.document(), config.explained()] {
            assert!(shown.contains(name) && !shown.contains("open-sesame"), "{shown}");
        }
    }
}

#[test]
fn each_value_is_explained_by_the_layer_that_decided_it() {
    let text =
        r#"{"server": {"port": 1}, "kafka": {"topic": "T", "properties": {"linger.ms": "5"}}}"#;
    let pairs = [
        ("PORT", "2"),
        ("FMNIST_KAFKA__PROPERTIES__SASL_PASSWORD", "open-sesame"),
        ("PUBSUB_EMULATOR_HOST", "127.0.0.1:8085"),
    ];
    let config = load(text, &pairs).unwrap();
    let explained = config.explained();
    for line in [
        "server.port = 2  # PORT",
        "server.bind = \"127.0.0.1\"  # default",
        "kafka.properties.sasl.password = \"(hidden)\"  # FMNIST_KAFKA__PROPERTIES__SASL_PASSWORD",
        "pubsub.emulator = http://127.0.0.1:8085  # PUBSUB_EMULATOR_HOST",
    ] {
        assert!(explained.lines().any(|found| found == line), "{line} is not in\n{explained}");
    }
    for key in ["kafka.topic = \"T\"", "kafka.properties.linger.ms = \"5\""] {
        let line = explained.lines().find(|line| line.starts_with(key)).unwrap();
        assert!(line.ends_with("config.json"), "{line}");
    }
    assert!(!explained.contains("open-sesame"));
}

#[test]
fn a_whole_section_in_a_variable_explains_all_that_is_in_it() {
    let text = r#"{"kafka": {"properties": {"linger.ms": "5"}}}"#;
    let config = load(text, &[("FMNIST_KAFKA__PROPERTIES", r#"{"linger.ms": "7"}"#)]).unwrap();
    assert_eq!(config.origins.of("kafka.properties.linger.ms"), "FMNIST_KAFKA__PROPERTIES");
}

#[test]
fn what_is_printed_can_be_read_again_and_means_the_same() {
    let text = r#"{"server": {"port": 1}, "kafka": {"properties": {"linger.ms": "5"}}}"#;
    let config = load(text, &[("PUBSUB_EMULATOR_HOST", "127.0.0.1:8085")]).unwrap();
    let printed = config.document();
    assert_eq!(load(&printed, &[]).unwrap().document(), printed);
}

#[test]
fn keys_of_later_versions_are_refused_instead_of_ignored() {
    let text = r#"{"results": {"format": "oip"}}"#;
    assert!(refusal(text, &[]).contains("is not available in this version"), "{text}");
}

#[test]
fn an_unknown_engine_is_refused_with_the_engines_there_are() {
    let model = ModelConfig { engine: "fuse".to_owned(), ..ModelConfig::default() };
    let found = model.classifier().unwrap_err().to_string();
    assert!(found.contains("fused") && found.contains("flex"), "{found}");
}

#[test]
fn broken_files_are_named() {
    assert!(refusal("{", &[]).contains("config.json is not JSON"));
    assert!(refusal(r#"{"server": {"port": "x"}}"#, &[]).contains("u16"));
    let missing = Config::load(Some(Path::new("no-such-file.json")), []).unwrap_err();
    assert!(missing.to_string().contains("no-such-file.json"), "{missing}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_file() {
    let (_folder, secret) = file("\u{feff}0123456789abcdef\r\n");
    let pairs = [("FMNIST_SERVER__API_TOKEN_FILE", secret.to_str().unwrap())];
    let config = load("\u{feff}{\"server\": {\"port\": 5001}}", &pairs).unwrap();
    assert_eq!(config.server.port, 5001);
    assert_eq!(config.server.api_token.as_deref(), Some("0123456789abcdef"));

    let (_folder, path) = file("");
    fs::write(&path, b"\xff\xfe{\0}\0").unwrap();
    let error = Config::load(Some(&path), []).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("found UTF-16 by its byte-order mark"), "{source}");
}

#[test]
fn a_secret_comes_from_a_file_and_is_never_shown() {
    let (_folder, path) = file("0123456789abcdef\n");
    let pairs = [
        ("FMNIST_SERVER__API_TOKEN_FILE", path.to_str().unwrap()),
        ("FMNIST_KAFKA__PROPERTIES__SASL_PASSWORD", "open-sesame"),
        ("FMNIST_KAFKA__PROPERTIES__SASL_USERNAME", "shop"),
    ];
    let config = Config::load(None, variables(&pairs)).unwrap();
    assert_eq!(config.server.api_token.as_deref(), Some("0123456789abcdef"));
    let shown = config.shown();
    assert!(!shown.contains("0123456789abcdef") && !shown.contains("open-sesame"), "{shown}");
    assert!(shown.contains("\"api_token\": \"(hidden)\"") && shown.contains("shop"), "{shown}");
}

#[test]
fn the_folder_of_the_data_is_a_key_though_its_variable_begins_like_a_reserved_one() {
    let pairs = [("FMNIST_DATA", "/not/ours"), ("FMNIST_DATA__PATH", "/data")];
    let config = load("{}", &pairs).unwrap();
    assert_eq!(config.data.path.as_deref(), Some(Path::new("/data")));
}

#[test]
fn the_password_of_a_database_is_never_shown() {
    let url = "postgres://shop:open-sesame@db/results";
    let config = load("{}", &[("FMNIST_DATABASE__URL", url)]).unwrap();
    assert_eq!(config.database.url.as_deref(), Some(url));
    for text in [config.shown(), config.document(), config.explained()] {
        assert!(text.contains("shop:(hidden)@db/results"), "{text}");
        assert!(!text.contains("open-sesame"), "{text}");
    }
}

#[test]
fn a_secret_in_json_that_cannot_be_read_is_not_shown() {
    let broken = r#"{"sasl.password": "open-sesame""#;
    let found = Config::load(None, variables(&[("FMNIST_KAFKA__PROPERTIES", broken)])).unwrap_err();
    let text = found.to_string();
    assert!(text.contains("FMNIST_KAFKA__PROPERTIES") && !text.contains("open-sesame"), "{text}");
}

#[test]
fn a_public_address_needs_a_token_that_headers_can_carry() {
    let public = r#"{"server": {"bind": "0.0.0.0"}}"#;
    assert!(refusal(public, &[]).contains("server.api_token"));
    assert!(load(public, &[("FMNIST_SERVER__API_TOKEN", "0123456789abcdef")]).is_ok());
    for bad in ["short", "with a space in the middle", "semicolon;semicolon"] {
        assert!(refusal("{}", &[("FMNIST_SERVER__API_TOKEN", bad)]).contains("16 to 512"), "{bad}");
    }
}

#[test]
fn served_names_are_a_list_that_needs_a_token() {
    let token = ("FMNIST_SERVER__API_TOKEN", "0123456789abcdef");
    let hosts = |text| ("FMNIST_SERVER__HOSTS", text);
    for (text, expected) in [
        ("a.example.com,b.example.com", &["a.example.com", "b.example.com"][..]),
        (" a.example.com , ", &["a.example.com"][..]),
        ("", &[][..]),
    ] {
        assert_eq!(load("{}", &[hosts(text), token]).unwrap().server.hosts, expected, "{text}");
    }
    assert!(refusal("{}", &[hosts("a.example.com")]).contains("set server.api_token"));
    for bad in ["https://a.example.com", "a.example.com:443", "*.example.com", "a..b", "a/b"] {
        let found = refusal("{}", &[hosts(bad), token]);
        assert!(found.ends_with(&format!("without scheme, port or *, found {bad:?}")), "{found}");
    }
}

#[test]
fn the_emulator_comes_from_the_environment() {
    let config = load("{}", &[("PUBSUB_EMULATOR_HOST", "127.0.0.1:8085")]).unwrap();
    assert_eq!(config.pubsub.emulator.as_ref().unwrap().endpoint(), "http://127.0.0.1:8085");
    assert!(config.shown().contains("http://127.0.0.1:8085"));
    assert!(refusal("{}", &[("PUBSUB_EMULATOR_HOST", "/")]).contains("PUBSUB_EMULATOR_HOST"));
}

#[test]
fn the_example_file_shows_every_key_with_its_default() {
    // Cargo runs tests in the package's folder.
    let shown = fs::read_to_string("../config.example.json").unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown, serde_json::to_value(Config::default()).unwrap());
}

#[test]
fn no_credentials_or_project_ids_in_the_source() {
    let config = Config::default();
    assert_eq!((config.pubsub.key_file, config.pubsub.project_id), (None, String::new()));
    assert_eq!(config.server.api_token, None);
}

/// Every place in a document, as JSON pointers.
fn places(value: &serde_json::Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    if let Some(members) = value.as_object() {
        members.iter().for_each(|(name, member)| places(member, &format!("{at}/{name}"), found));
    }
}

#[test]
fn whatever_stands_in_a_file_is_taken_or_refused_in_words() {
    let example = include_str!("../../../config.example.json");
    let document: serde_json::Value = serde_json::from_str(example).unwrap();
    let mut all = Vec::new();
    places(&document, "", &mut all);
    assert!(all.len() > 30, "{all:?}");
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let values = ["null", "-1", "1e300", "18446744073709551615", "\"\"", "\"\\u0000\"", "[]", "{}"];
    for place in &all {
        for value in values.into_iter().chain([deep.as_str()]) {
            let mut changed = document.clone();
            *changed.pointer_mut(place).unwrap() = serde_json::from_str(value).unwrap();
            if let Err(error) = load(&changed.to_string(), &[]) {
                assert!(!error.to_string().is_empty(), "{place} = {value}");
            }
        }
    }
    for end in 0..example.trim_end().len() {
        let beginning = String::from_utf8_lossy(&example.as_bytes()[..end]).into_owned();
        assert!(load(&beginning, &[]).is_err(), "the first {end} bytes");
    }
    assert!(load(&"[".repeat(1_000_000), &[]).is_err());
}
