//! What is printed of a configuration, and what never is.

use super::*;

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
fn what_is_printed_in_a_secrets_place_is_not_taken_for_the_secret() {
    let pairs = [("FMNIST_SERVER__API_TOKEN", "0123456789abcdef")];
    let printed = load("{}", &pairs).unwrap().document();
    let refused = load(&printed, &[]).unwrap_err().to_string();
    let rule =
        ": server.api_token has to be the secret itself, and not what is printed in its place";
    assert!(refused.ends_with(rule), "{refused}");
    assert_eq!(load(&printed, &pairs).unwrap().document(), printed);

    for (variable, key) in [
        ("FMNIST_DATABASE__URL", "database.url"),
        ("FMNIST_KAFKA__PROPERTIES__SASL_PASSWORD", "kafka.properties.sasl.password"),
    ] {
        let printed = load("{}", &[(variable, "postgres://shop:open-sesame@db/results")]);
        let refused = load(&printed.unwrap().document(), &[]).unwrap_err().to_string();
        assert!(refused.contains(&format!(": {key} has to be the secret itself")), "{refused}");
    }
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
