//! Which variables each state of a definition refers to.

use std::collections::BTreeSet;

use asl::intrinsic::Expression;
use asl::jsonata;
use asl::path::{Path, Root};
use serde_json::{Map, Value};

/// State names with the variables that each refers to; states that refer to none are left out.
pub(super) fn of(definition: &str) -> Map<String, Value> {
    let mut found = Map::new();
    if let Ok(definition) = serde_json::from_str::<Value>(definition) {
        chart(&definition, &mut found);
    }
    found
}

fn chart(chart: &Value, found: &mut Map<String, Value>) {
    let Some(states) = chart.get("States").and_then(Value::as_object) else { return };
    for (name, state) in states {
        let mut names = BTreeSet::new();
        fields(state, &mut names, found);
        if !names.is_empty() {
            found.insert(name.clone(), names.into_iter().collect());
        }
    }
}

/// All expressions below, but for those of states inside, which have entries of their own.
fn fields(value: &Value, names: &mut BTreeSet<String>, found: &mut Map<String, Value>) {
    match value {
        Value::Object(object) if object.contains_key("States") => chart(value, found),
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) => expression(key, text, names),
                    other => fields(other, names, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| match item {
            Value::String(text) => expression("", text, names),
            other => fields(other, names, found),
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn expression(key: &str, text: &str, names: &mut BTreeSet<String>) {
    if let Some(text) = jsonata::unwrap(text) {
        if let Ok(expression) = jsonata::Expression::parse(text) {
            names.extend(expression.names().variables.iter().cloned());
        }
        return;
    }
    if !(key.ends_with(".$") || key.ends_with("Path") || key == "Variable") {
        return;
    }
    if let Ok(expression) = Expression::parse(text) {
        expression.paths(&mut |path: &Path| {
            if let Root::Variable(name) = path.root() {
                names.insert(name.clone());
            }
        });
    }
}
