//! Follows the steps of a path through a value.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{NotFound, Step};

/// Values that one path may match: more is cut off as "not found", so that `$..*..*` stays bounded.
const MATCHES_MAX: usize = 1_000_000;

/// A value that was found: mostly a part of the input.
#[derive(Clone, Debug)]
pub(super) enum Found<'v> {
    Part(&'v Value),
    Made(Value),
}

impl Found<'_> {
    pub(super) fn into_value(self) -> Value {
        match self {
            Found::Part(value) => value.clone(),
            Found::Made(value) => value,
        }
    }
}

/// Whether steps name one place at most.
pub(super) fn is_definite(steps: &[Step]) -> bool {
    steps.iter().enumerate().all(|(at, step)| match step {
        Step::Property(_) | Step::Index(_) => true,
        Step::Properties(_) => at + 1 == steps.len(),
        Step::Indexes(_) | Step::Slice(..) | Step::Wildcard | Step::Descend | Step::Filter(_) => {
            false
        }
    })
}

/// All that the steps match, in order.
pub(super) fn steps<'v>(
    root: &'v Value,
    from: &'v Value,
    steps: &[Step],
) -> Result<Vec<Found<'v>>, NotFound> {
    let mut here = vec![Found::Part(from)];
    let mut definite = true;
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        if matches!(step, Step::Descend) {
            definite = false;
            here = descendants(&here)?;
            at += 1;
            continue;
        }
        let scanned = at > 0 && matches!(steps[at - 1], Step::Descend);
        let last = at + 1 == steps.len();
        let mut next = Vec::new();
        for found in here {
            match found {
                Found::Part(value) => {
                    let place = Place { root, done: &steps[..at], definite, scanned, last };
                    one(value, step, &place, &mut next)?;
                }
                Found::Made(_) => {}
            }
            if next.len() > MATCHES_MAX {
                return Err(NotFound("the path matches too many values".to_owned()));
            }
        }
        definite &= is_definite(std::slice::from_ref(step));
        here = next;
        at += 1;
    }
    Ok(here)
}

/// Where a step is taken.
struct Place<'p, 'v> {
    root: &'v Value,
    /// The steps before this one.
    done: &'p [Step],
    /// Whether those are definite.
    definite: bool,
    /// Whether this step is looked for everywhere below.
    scanned: bool,
    last: bool,
}

fn one<'v>(
    value: &'v Value,
    step: &Step,
    place: &Place<'_, 'v>,
    next: &mut Vec<Found<'v>>,
) -> Result<(), NotFound> {
    match step {
        Step::Property(name) => return property(value, name, place, next),
        Step::Properties(names) => return properties(value, names, place, next),
        Step::Index(index) => {
            let Some(items) = array(value, step, place)? else { return Ok(()) };
            next.extend(item(items, *index).map(Found::Part));
        }
        Step::Indexes(indexes) => {
            let Some(items) = array(value, step, place)? else { return Ok(()) };
            next.extend(indexes.iter().filter_map(|index| item(items, *index)).map(Found::Part));
        }
        Step::Slice(from, to) => {
            let Some(items) = array(value, step, place)? else { return Ok(()) };
            next.extend(slice(items, *from, *to).iter().map(Found::Part));
        }
        Step::Wildcard => match value {
            Value::Array(items) => next.extend(items.iter().map(Found::Part)),
            Value::Object(fields) => next.extend(fields.values().map(Found::Part)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        },
        // Below `..` each item is visited itself.
        Step::Filter(_) if place.scanned && value.is_array() => {}
        Step::Filter(filter) => match value {
            Value::Array(items) => {
                next.extend(
                    items.iter().filter(|item| filter.holds(place.root, item)).map(Found::Part),
                );
            }
            Value::Object(_) => {
                if filter.holds(place.root, value) {
                    next.push(Found::Part(value));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                if place.definite && !place.scanned {
                    let text = format!(
                        "Filter: [?] can not be applied to primitives. Current context is: {value}"
                    );
                    return Err(NotFound(text));
                }
            }
        },
        Step::Descend => {}
    }
    Ok(())
}

fn property<'v>(
    value: &'v Value,
    name: &str,
    place: &Place<'_, 'v>,
    next: &mut Vec<Found<'v>>,
) -> Result<(), NotFound> {
    let strict = place.definite && !place.scanned;
    let Value::Object(fields) = value else {
        return if strict { Err(no_object(name, value, place)) } else { Ok(()) };
    };
    match fields.get(name) {
        Some(field) => next.push(Found::Part(field)),
        None if !strict => {}
        None => {
            let path = format!("{}['{name}']", render(place.done));
            let text =
                if place.last { "No results for path: " } else { "Missing property in path " };
            return Err(NotFound(format!("{text}{path}")));
        }
    }
    Ok(())
}

fn properties<'v>(
    value: &'v Value,
    names: &[String],
    place: &Place<'_, 'v>,
    next: &mut Vec<Found<'v>>,
) -> Result<(), NotFound> {
    let Value::Object(fields) = value else {
        let strict = place.definite && !place.scanned;
        return if strict { Err(no_object(&names.join("','"), value, place)) } else { Ok(()) };
    };
    let present = names.iter().filter_map(|name| fields.get(name).map(|value| (name, value)));
    if place.last {
        let merged: Map<String, Value> =
            present.map(|(name, value)| (name.clone(), value.clone())).collect();
        next.push(Found::Made(Value::Object(merged)));
    } else {
        next.extend(present.map(|(_, value)| Found::Part(value)));
    }
    Ok(())
}

fn no_object(name: &str, value: &Value, place: &Place<'_, '_>) -> NotFound {
    let found = match value {
        Value::Null => "null".to_owned(),
        other => format!("'{}'", java_class(other)),
    };
    NotFound(format!(
        "Expected to find an object with property ['{name}'] in path {} but found {found}. This is not a json \
         object according to the JsonProvider: 'com.jayway.jsonpath.spi.json.JacksonJsonProvider'.",
        render(place.done),
    ))
}

fn java_class(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "java.lang.Boolean",
        Value::Number(number) if number.is_f64() => "java.lang.Double",
        Value::Number(number) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
            "java.lang.Integer"
        }
        Value::Number(_) => "java.lang.Long",
        Value::String(_) => "java.lang.String",
        Value::Array(_) => "java.util.ArrayList",
        Value::Object(_) => "java.util.LinkedHashMap",
    }
}

fn array<'v>(
    value: &'v Value,
    step: &Step,
    place: &Place<'_, 'v>,
) -> Result<Option<&'v [Value]>, NotFound> {
    match value {
        Value::Array(items) => Ok(Some(items)),
        _ if !place.definite || place.scanned => Ok(None),
        Value::Null => Err(NotFound(format!("The path {} is null", render(place.done)))),
        other => Err(NotFound(format!(
            "Filter: {} can only be applied to arrays. Current context is: {}",
            render_step(step),
            crate::intrinsic::java_text(other),
        ))),
    }
}

fn item(items: &[Value], index: i64) -> Option<&Value> {
    let at = if index < 0 { i64::try_from(items.len()).ok()?.checked_add(index)? } else { index };
    items.get(usize::try_from(at).ok()?)
}

fn slice(items: &[Value], from: Option<i64>, to: Option<i64>) -> &[Value] {
    let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { len.saturating_add(at).max(0) } else { at.min(len) };
    let begin = usize::try_from(place(from.unwrap_or(0))).unwrap_or(0);
    let end = usize::try_from(place(to.unwrap_or(len))).unwrap_or(0);
    items.get(begin..end).unwrap_or(&[])
}

/// Every value at or below, each before what it holds.
fn descendants<'v>(from: &[Found<'v>]) -> Result<Vec<Found<'v>>, NotFound> {
    let mut all = Vec::new();
    let mut open: Vec<&'v Value> = from
        .iter()
        .rev()
        .filter_map(|found| match found {
            Found::Part(value) => Some(*value),
            Found::Made(_) => None,
        })
        .collect();
    while let Some(value) = open.pop() {
        all.push(Found::Part(value));
        if all.len() > MATCHES_MAX {
            return Err(NotFound("the path matches too many values".to_owned()));
        }
        match value {
            Value::Array(items) => open.extend(items.iter().rev()),
            Value::Object(fields) => open.extend(fields.values().rev()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(all)
}

/// The path in brackets, as error texts show it.
pub(super) fn render(steps: &[Step]) -> String {
    let mut text = "$".to_owned();
    for step in steps {
        text.push_str(&render_step(step));
    }
    text
}

fn render_step(step: &Step) -> String {
    match step {
        Step::Property(name) => format!("['{name}']"),
        Step::Properties(names) => format!("['{}']", names.join("','")),
        Step::Index(index) => format!("[{index}]"),
        Step::Indexes(indexes) => {
            let mut text = String::new();
            for index in indexes {
                let _ = write!(text, "{}{index}", if text.is_empty() { "[" } else { "," });
            }
            text + "]"
        }
        Step::Slice(from, to) => {
            let side = |at: &Option<i64>| at.map_or_else(String::new, |at| at.to_string());
            format!("[{}:{}]", side(from), side(to))
        }
        Step::Wildcard => "[*]".to_owned(),
        Step::Descend => "..".to_owned(),
        Step::Filter(_) => "[?]".to_owned(),
    }
}
