//! The committed messages are those of the committed protocols.

use std::collections::BTreeSet;

/// Names and tags of all fields that a text declares, by the message.
type Fields = BTreeSet<(String, String, u32)>;

/// `type name = tag;` of a `.proto`; fields of `oneof` are its message's.
fn declared(proto: &str) -> Fields {
    let (mut messages, mut fields) = (Vec::new(), Fields::new());
    for line in proto.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        let mut words = line.split([' ', ';', '{', '}']).filter(|word| !word.is_empty());
        let first = words.next().unwrap_or_default();
        if line.ends_with('{') {
            let name = words.next().unwrap_or_default();
            messages.push(if first == "message" { name } else { "" });
        } else if line == "}" {
            messages.pop();
        } else if let Some((field, tag)) = line.trim_end_matches(';').split_once(" = ") {
            let message = messages.iter().rev().find(|name| !name.is_empty());
            if let (Some(message), Ok(tag)) = (message, tag.parse()) {
                let name = field.rsplit(' ').next().unwrap().to_ascii_lowercase();
                fields.insert(((*message).to_owned(), name.replace('_', ""), tag));
            }
        }
    }
    fields
}

/// `#[prost(…, tag = "N")]` with the field below it; variants are their enum's message's.
fn generated(rust: &str) -> Fields {
    let (mut message, mut last, mut fields) = (String::new(), String::new(), Fields::new());
    let mut tag = None;
    for line in rust.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub struct ") {
            message = name.split(' ').next().unwrap().to_owned();
            last.clone_from(&message);
        } else if line.starts_with("pub enum ") {
            // `ParameterChoice` belongs to the message above it.
            message.clone_from(&last);
        } else if line.starts_with("#[prost(") && !line.contains("oneof") {
            tag = line.split("tag = \"").nth(1).map(|rest| rest.split('"').next().unwrap());
        } else if let Some(found) = tag.filter(|_| !line.starts_with("///")) {
            let name = line.trim_start_matches("pub ");
            let name = name.split([':', '(']).next().unwrap().to_ascii_lowercase();
            fields.insert((message.clone(), name.replace('_', ""), found.parse().unwrap()));
            tag = None;
        } else if let Some((name, number)) = line.split_once(" = ")
            && let Ok(number) = number.trim_end_matches(',').parse()
        {
            fields.insert((message.clone(), name.to_ascii_lowercase(), number));
        }
    }
    fields
}

#[test]
fn the_committed_messages_have_the_fields_and_tags_of_the_protocols() {
    let files = [
        (
            include_str!("../../proto/inference.proto"),
            include_str!("../../src/wire/inference.rs"),
            56,
        ),
        (
            include_str!("../../proto/health.proto"),
            include_str!("../../src/wire/grpc.health.v1.rs"),
            6,
        ),
    ];
    for (proto, rust, count) in files {
        let (declared, generated) = (declared(proto), generated(rust));
        assert_eq!(declared, generated, "run scripts/generate-grpc.sh");
        assert_eq!(declared.len(), count);
    }
}
