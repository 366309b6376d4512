//! What is refused, by which words.

use std::path::Path;

use super::*;

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
    for (key, least, most) in numbers() {
        let (section, name) = key.split_once('.').unwrap();
        let file = |value: &str| format!(r#"{{"{section}": {{"{name}": {value}}}}}"#);
        for good in [&least, &most] {
            load(&file(&good.to_string()), &[]).unwrap_or_else(|error| panic!("{key}: {error}"));
        }
        let above = (most.as_u64().unwrap() + 1).to_string();
        for bad in ["-1", "1.5", "1e300", &above] {
            let found = refusal(&file(bad), &[]);
            let expected = format!(
                "config.json: {key} has to be a whole number from {least} to {most}, found "
            );
            assert!(found.contains(&expected), "{found}");
        }
    }
}

#[test]
fn every_number_of_the_configuration_has_a_range() {
    let numbers = numbers();
    assert!(numbers.len() >= 28, "{numbers:?}");
    for (key, value) in leaves() {
        let number = numbers.iter().find(|(number, ..)| *number == key);
        assert!(!value.is_number() || number.is_some(), "{key} is a number, not to the schema");
        let has_range = number.is_none_or(|(_, _, most)| most.is_u64());
        assert!(has_range, "{key} has no range");
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
    let found = refusal(r#"{"server": {"hosts": ["a", 7]}}"#, &[]);
    assert!(found.contains("config.json: server.hosts[1] cannot be used"), "{found}");
    let found = refusal("{}", &[("FMNIST_MODEL__THREADS", "many")]);
    assert_eq!(
        found,
        "FMNIST_MODEL__THREADS: model.threads has to be a whole number from 1 to 1024, found \"many\""
    );
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

#[test]
fn keys_of_later_versions_are_refused_instead_of_ignored() {
    let text = r#"{"results": {"format": "oip"}}"#;
    assert!(refusal(text, &[]).contains("there is no key \"results.format\""), "{text}");
}

#[test]
fn an_unknown_engine_is_refused_with_the_engines_there_are() {
    let found = refusal(r#"{"model": {"engine": "fuse"}}"#, &[]);
    let reason = "no engine is called \"fuse\"; there are fused, int8, flex and ndarray";
    let expected = format!("config.json: model.engine cannot be used: {reason}");
    assert!(found.ends_with(&expected), "{found}");
}

#[test]
fn broken_files_are_named() {
    assert!(refusal("{", &[]).contains("config.json is not JSON"));
    let found = refusal(r#"{"server": {"port": "x"}}"#, &[]);
    let expected = "config.json: server.port has to be a whole number from 0 to 65535, found \"x\"";
    assert!(found.ends_with(expected), "{found}");
    let missing = Config::load(Some(Path::new("no-such-file.json")), []).unwrap_err();
    assert!(missing.to_string().contains("no-such-file.json"), "{missing}");
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

/// Every place in a document, as JSON pointers.
fn places(value: &serde_json::Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    if let Some(members) = value.as_object() {
        members.iter().for_each(|(name, member)| places(member, &format!("{at}/{name}"), found));
    }
}

#[test]
fn whatever_stands_in_a_file_is_taken_or_refused_in_words() {
    let example = include_str!("../../../../config.example.json");
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
