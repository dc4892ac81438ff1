//! Reads one state.

use serde_json::{Map as Object, Value};

use super::parse::{Targets, chart, language};
use super::problem::Code;
use super::reader::{Fields, Reader};
use super::{
    ChartId, Dynamic, Fail, Kind, Language, Parallel, State, StateId, Wait, choice, flow, map,
    retry, task,
};

/// In the order in which AWS tells them.
const TYPES: [&str; 8] = ["Task", "Wait", "Pass", "Succeed", "Fail", "Choice", "Parallel", "Map"];

pub(super) fn read(
    reader: &mut Reader,
    name: &str,
    object: &Object<String, Value>,
    place: &str,
    targets: &mut Targets<'_>,
) -> Option<State> {
    let mut fields = Fields { object, place, language: reader.language };
    if let Some(own) = language(reader, &fields) {
        // AWS says so of the states of the machine itself; what it says of those in processors and branches
        // is not recorded.
        let outermost = reader.depth <= 1;
        if own == Language::JsonPath && reader.language == Language::Jsonata && outermost {
            reader.error(
                place,
                "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine",
            );
            return None;
        }
        fields.language = own;
    }
    reader.text(&fields, "Comment");
    reader.required(&fields, "Type")?;
    let type_name = reader.text(&fields, "Type")?;
    if !TYPES.contains(&type_name.as_str()) {
        reader.no_such_word(&fields, "Type", &TYPES);
        return None;
    }
    flow::check_names(reader, &type_name, &fields);
    let next = next(reader, &type_name, &fields, targets);
    let flow = flow::read(reader, &type_name, &fields);
    let kind = kind(reader, &type_name, &fields, targets);
    Some(State { name: name.to_owned(), language: fields.language, next: next?, flow, kind: kind? })
}

fn kind(
    reader: &mut Reader,
    type_name: &str,
    fields: &Fields<'_>,
    targets: &mut Targets<'_>,
) -> Option<Kind> {
    match type_name {
        "Pass" => {
            let result = fields.get("Result").cloned();
            if let Some(result) = &result {
                warn_static(reader, result, &fields.at("Result"));
            }
            Some(Kind::Pass { result })
        }
        "Task" => task::read(reader, fields, targets).map(|task| Kind::Task(Box::new(task))),
        "Choice" => choice::read(reader, fields, targets).map(Kind::Choice),
        "Wait" => wait(reader, fields).map(Kind::Wait),
        "Succeed" => Some(Kind::Succeed),
        "Fail" => Some(Kind::Fail(Fail {
            error: reader.dynamic(fields, "Error", is_text),
            cause: reader.dynamic(fields, "Cause", is_text),
        })),
        "Parallel" => parallel(reader, fields, targets).map(Kind::Parallel),
        _ => map::read(reader, fields, targets).map(|map| Kind::Map(Box::new(map))),
    }
}

/// Where a state leads: `Some(None)` is the end.
#[expect(clippy::option_option, reason = "the outer one says whether a problem was told")]
fn next(
    reader: &mut Reader,
    type_name: &str,
    fields: &Fields<'_>,
    targets: &mut Targets<'_>,
) -> Option<Option<StateId>> {
    if matches!(type_name, "Choice" | "Succeed" | "Fail") {
        return Some(None);
    }
    let end = match fields.get("End") {
        None => false,
        Some(Value::Bool(end)) => *end,
        Some(_) => {
            reader.error(&fields.at("End"), "Expected value of type Boolean");
            return None;
        }
    };
    match (reader.text(fields, "Next"), end) {
        (Some(_), true) => {
            reader.error(fields.place, "Only one of the fields [Next, End] is allowed");
            None
        }
        (Some(name), false) => target(reader, &name, &fields.at("Next"), targets).map(Some),
        (None, true) => Some(None),
        (None, false) => {
            if !fields.has("Next") {
                reader.error(fields.place, "One of the fields [Next, End] is required");
            }
            None
        }
    }
}

/// The state of that name.
pub(super) fn target(
    reader: &mut Reader,
    name: &str,
    place: &str,
    targets: &mut Targets<'_>,
) -> Option<StateId> {
    let found = targets.find(name);
    if found.is_none() {
        let message = format!("Missing 'Next' target: {name}");
        reader.problem(Code::MissingTransitionTarget, place, message);
    }
    found
}

fn wait(reader: &mut Reader, fields: &Fields<'_>) -> Option<Wait> {
    let names: &[&str] = match fields.language {
        Language::JsonPath => &["Seconds", "SecondsPath", "Timestamp", "TimestampPath"],
        Language::Jsonata => &["Seconds", "Timestamp"],
    };
    let given = names.iter().filter(|name| fields.has(name)).count();
    if given != 1 {
        let message = format!("Exactly one of the fields [{}] is required", names.join(", "));
        reader.error(fields.place, message);
        return None;
    }
    if fields.has("Seconds") || fields.has("SecondsPath") {
        reader.dynamic(fields, "Seconds", is_wait_seconds).map(Wait::Seconds)
    } else {
        reader.dynamic(fields, "Timestamp", is_timestamp).map(Wait::Timestamp)
    }
}

fn is_wait_seconds(value: &Value) -> Result<(), String> {
    const SECONDS_MAX: u64 = 99_999_999;
    match value.as_u64() {
        Some(seconds) if seconds <= SECONDS_MAX => Ok(()),
        _ => Err(super::reader::out_of_range(value, 0, SECONDS_MAX)),
    }
}

fn is_timestamp(value: &Value) -> Result<(), String> {
    match value.as_str().and_then(crate::time::parse) {
        Some(_) => Ok(()),
        None => Err("String does not match RFC3339 timestamp".to_owned()),
    }
}

pub(super) fn is_text(value: &Value) -> Result<(), String> {
    if value.is_string() { Ok(()) } else { Err("Expected value of type String".to_owned()) }
}

fn parallel(
    reader: &mut Reader,
    fields: &Fields<'_>,
    targets: &mut Targets<'_>,
) -> Option<Parallel> {
    let recovery = retry::read(reader, fields, targets);
    reader.required(fields, "Branches")?;
    let values = reader.array(fields, "Branches")?;
    let place = fields.at("Branches");
    if values.is_empty() {
        reader.empty(&place);
        return None;
    }
    let mut branches: Vec<ChartId> = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let place = format!("{place}[{index}]");
        let object = reader.object(value, &place)?;
        branches.push(chart(reader, object, &place));
    }
    Some(Parallel { branches, recovery })
}

/// A path in the `Result` of a Pass state is not looked up.
fn warn_static(reader: &mut Reader, result: &Value, place: &str) {
    let is_path = |value: &Value| value.as_str().is_some_and(|text| text.starts_with("$."));
    let looks_dynamic = match result {
        Value::Object(fields) => {
            fields.iter().any(|(key, value)| key.ends_with(".$") || is_path(value))
        }
        other => is_path(other),
    };
    if looks_dynamic {
        reader.warn(
            Code::PassResultIsStatic,
            place,
            "Attempt to use a path in the result of a pass state",
        );
    }
}

/// Whether a text is what a `Dynamic` was written as.
pub(super) fn is_positive(value: &Value) -> Result<(), String> {
    const SECONDS_MAX: u64 = 99_999_999;
    match value.as_u64() {
        Some(1..=SECONDS_MAX) => Ok(()),
        _ => Err(super::reader::out_of_range(value, 1, SECONDS_MAX)),
    }
}

pub(super) fn fixed_seconds(dynamic: Option<&Dynamic>) -> Option<u64> {
    match dynamic {
        Some(Dynamic::Fixed(Value::Number(number))) => number.as_u64(),
        _ => None,
    }
}
