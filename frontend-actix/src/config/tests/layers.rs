//! What decides a value: a variable, the file, the default.

use std::path::Path;

use super::*;

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
fn the_folder_of_the_data_is_a_key_though_its_variable_begins_like_a_reserved_one() {
    let pairs = [("FMNIST_DATA", "/not/ours"), ("FMNIST_DATA__PATH", "/data")];
    let config = load("{}", &pairs).unwrap();
    assert_eq!(config.data.path.as_deref(), Some(Path::new("/data")));
}

#[test]
fn the_emulator_comes_from_the_environment() {
    let config = load("{}", &[("PUBSUB_EMULATOR_HOST", "127.0.0.1:8085")]).unwrap();
    assert_eq!(config.pubsub.emulator.as_ref().unwrap().endpoint(), "http://127.0.0.1:8085");
    assert!(config.shown().contains("http://127.0.0.1:8085"));
    assert!(refusal("{}", &[("PUBSUB_EMULATOR_HOST", "/")]).contains("PUBSUB_EMULATOR_HOST"));
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
