//! The part of JSON Schema, draft 7, that the committed schemas use
//! (<https://json-schema.org/draft-07/json-schema-validation>).
//!
//! Of this project's own: `jsonschema` would bring 22 crates, and `boon`, with four, has had no release since
//! January 2025 and a licence more. An unknown keyword is a panic here, not a check left out;
//! `scripts/check-schema.sh` has the reference implementation judge the same messages.

use serde_json::{Map, Value};

/// Where `instance` does not fit `schema`, in words; nothing where it does.
pub(crate) fn errors(schema: &Value, instance: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    check(schema, instance, "", &mut errors);
    errors
}

pub(crate) fn is_valid(schema: &Value, instance: &Value) -> bool {
    errors(schema, instance).is_empty()
}

fn check(schema: &Value, instance: &Value, at: &str, errors: &mut Vec<String>) {
    let keywords = match schema {
        Value::Bool(true) => return,
        Value::Object(keywords) => keywords,
        other => panic!("{other} is no schema that is used here"),
    };
    for (keyword, value) in keywords {
        if !fits(keyword, value, keywords, instance, at, errors) {
            errors.push(format!("{at}: {instance} is against {keyword} = {value}"));
        }
    }
}

/// Whether `instance` fits one keyword; what is wrong inside of it is pushed on `errors`.
fn fits(
    keyword: &str,
    value: &Value,
    keywords: &Map<String, Value>,
    instance: &Value,
    at: &str,
    errors: &mut Vec<String>,
) -> bool {
    let bound = |compare: fn(&f64, &f64) -> bool| {
        let numbers = instance.as_f64().zip(value.as_f64());
        numbers.is_none_or(|(found, bound)| compare(&found, &bound))
    };
    let length = |compare: fn(&u64, &u64) -> bool| {
        let lengths = instance.as_array().map(|items| items.len() as u64).zip(value.as_u64());
        lengths.is_none_or(|(found, bound)| compare(&found, &bound))
    };
    match keyword {
        "$schema" | "title" | "description" | "default" | "examples" => true,
        "type" => match value {
            Value::Array(types) => types.iter().any(|name| is_of(instance, name)),
            name => is_of(instance, name),
        },
        "enum" => value.as_array().expect("a list").contains(instance),
        "const" => value == instance,
        "minimum" => bound(f64::ge),
        "maximum" => bound(f64::le),
        "minItems" => length(u64::ge),
        "maxItems" => length(u64::le),
        "pattern" => {
            let pattern = value.as_str().expect("text");
            instance.as_str().is_none_or(|text| matches(pattern, text))
        }
        "format" => instance.as_str().is_none_or(|text| match value.as_str() {
            Some("date-time") => text.parse::<jiff::Timestamp>().is_ok(),
            Some("ip") => text.parse::<std::net::IpAddr>().is_ok(),
            other => panic!("format {other:?}"),
        }),
        "required" => {
            let names = value.as_array().expect("a list");
            let has = |members: &Map<String, Value>| {
                names.iter().all(|name| members.contains_key(name.as_str().expect("a name")))
            };
            instance.as_object().is_none_or(has)
        }
        "properties" => {
            for (name, schema) in value.as_object().expect("schemas") {
                if let Some(member) = instance.get(name) {
                    check(schema, member, &format!("{at}/{name}"), errors);
                }
            }
            true
        }
        "additionalProperties" => {
            let known = keywords.get("properties").and_then(Value::as_object);
            let others = instance.as_object().into_iter().flatten();
            let mut others =
                others.filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name)));
            match value {
                Value::Bool(allowed) => *allowed || others.next().is_none(),
                schema => {
                    others.for_each(|(name, member)| {
                        check(schema, member, &format!("{at}/{name}"), errors);
                    });
                    true
                }
            }
        }
        "items" => {
            for (index, item) in instance.as_array().into_iter().flatten().enumerate() {
                let schema = match value {
                    Value::Array(schemas) => schemas.get(index).unwrap_or(&Value::Bool(true)),
                    schema => schema,
                };
                check(schema, item, &format!("{at}/{index}"), errors);
            }
            true
        }
        "anyOf" | "oneOf" => {
            let schemas = value.as_array().expect("schemas");
            let fitting = schemas.iter().filter(|schema| is_valid(schema, instance)).count();
            fitting == 1 || (keyword == "anyOf" && fitting > 1)
        }
        other => panic!("keyword {other:?} is not known here"),
    }
}

fn is_of(instance: &Value, name: &Value) -> bool {
    match name.as_str().expect("a type") {
        "null" => instance.is_null(),
        "boolean" => instance.is_boolean(),
        "string" => instance.is_string(),
        "array" => instance.is_array(),
        "object" => instance.is_object(),
        "number" => instance.is_number(),
        "integer" => instance.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("type {other:?}"),
    }
}

/// The two patterns that the schemas have.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[0-9]+$" => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
        "^[0-9a-f]{64}$" => {
            text.len() == 64
                && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        }
        other => panic!("pattern {other:?}"),
    }
}
