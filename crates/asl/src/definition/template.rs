//! Checks payload templates and JSON with JSONata in it.

use serde_json::Value;

use super::Language;
use super::problem::Code;
use super::reader::Reader;
use crate::intrinsic::Expression;

/// Checks a template of either language that stands at `place`.
pub(super) fn check(reader: &mut Reader, language: Language, template: &Value, place: &str) {
    match language {
        Language::JsonPath => payload(reader, template, place),
        Language::Jsonata => queries(reader, template, place),
    }
}

fn payload(reader: &mut Reader, template: &Value, place: &str) {
    match template {
        Value::Object(fields) => {
            for (key, value) in fields {
                let Some(name) = key.strip_suffix(".$") else {
                    hint(reader, key, value, place);
                    payload(reader, value, &format!("{place}/{key}"));
                    continue;
                };
                if fields.contains_key(name) {
                    reader.error(place, format!("Duplicate field '{name}' and '{key}'"));
                }
                let valid = value.as_str().is_some_and(|text| Expression::parse(text).is_ok());
                if !valid {
                    reader.error(
                        place,
                        format!(
                            "The value for the field '{key}' must be a valid JSONPath or a valid \
                             intrinsic function call"
                        ),
                    );
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                payload(reader, item, &format!("{place}[{index}]"));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A value that looks like a path, under a name that does not end in `.$`.
fn hint(reader: &mut Reader, key: &str, value: &Value, place: &str) {
    let Value::String(text) = value else { return };
    if text.starts_with("$.") || text.starts_with("$$.") || text.starts_with("States.") {
        reader.warn(
            Code::NoDollar,
            &format!("{place}/{key}"),
            "No .$ on a field that appears to be a JSONPath or Intrinsic Function",
        );
    }
}

fn queries(reader: &mut Reader, template: &Value, place: &str) {
    match template {
        Value::Object(fields) => {
            for (key, value) in fields {
                queries(reader, value, &format!("{place}/{key}"));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                queries(reader, item, &format!("{place}[{index}]"));
            }
        }
        Value::String(_) => {
            let _ = reader.query(template, place);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
