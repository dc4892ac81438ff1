//! What a state gives to an action, held against the model: fields under the model's own names, and
//! values as the service wants them. What follows only writes them down.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::limits;
use serde_json::{Map, Number, Value};

use super::api::{Api, Kind, Location, Member, Operation, Protocol, Ref, Structure};
use super::naming;
use super::time::{self, Format};
use crate::outside::Way;

struct Check<'a> {
    api: &'a Api,
    way: Way,
    problems: Vec<String>,
}

/// The parameters of an action, or all that is wrong with them.
pub(super) fn parameters(
    api: &Api,
    operation: &Operation,
    way: Way,
    given: Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    let mut check = Check { api, way, problems: Vec::new() };
    let none = Structure::default();
    let input = operation.input.as_ref().and_then(|input| api.structure(input)).unwrap_or(&none);
    let payload = input.payload.map(|payload| &input.members[payload]);
    let checked = check.structure(input, given, "", payload);
    let Check { mut problems, .. } = check;
    if problems.is_empty() {
        return Ok(checked);
    }
    let more = problems.len().saturating_sub(limits::AWS_PROBLEMS_TOLD_MAX);
    problems.truncate(limits::AWS_PROBLEMS_TOLD_MAX);
    let mut told = problems.join(", ");
    if more > 0 {
        told.push_str(&format!(", and {more} more"));
    }
    Err(told)
}

impl Check<'_> {
    fn structure(
        &mut self,
        structure: &Structure,
        given: Map<String, Value>,
        place: &str,
        payload: Option<&Member>,
    ) -> Map<String, Value> {
        let mut checked = Map::new();
        let mut nulls = Vec::new();
        for (field, value) in given {
            let at = inside(place, &field);
            let Some(member) = self.member(structure, &field) else {
                self.problems.push(format!("The field '{at}' is not supported by Step Functions"));
                continue;
            };
            if value.is_null() {
                nulls.push(member.name.as_str());
                continue;
            }
            let is_payload = payload.is_some_and(|payload| payload.name == member.name);
            let value = match self.api.kind(&member.to) {
                // The whole body, as it is.
                Kind::Blob if is_payload => text(value),
                _ => self.value(&member.to, value, &at),
            };
            checked.insert(member.name.clone(), value);
        }
        for member in &structure.members {
            if checked.contains_key(&member.name) {
                continue;
            }
            if member.to.token
                && let Ok(token) = crate::uuid::draw()
            {
                checked.insert(member.name.clone(), token.into());
            } else if member.required && !nulls.contains(&member.name.as_str()) {
                // What is null was not forgotten: AWS lets the service refuse it.
                let at = inside(place, &naming::member(&member.name, self.way));
                self.problems.push(format!("The field '{at}' is required but was missing"));
            }
        }
        checked
    }

    /// The member that a field means. Large and small letters do not matter where there is none with the
    /// very name.
    fn member<'s>(&self, structure: &'s Structure, field: &str) -> Option<&'s Member> {
        let members = &structure.members;
        let named = |member: &&Member| naming::member(&member.name, self.way) == field;
        let same = |member: &&Member| member.name.eq_ignore_ascii_case(field);
        members.iter().find(named).or_else(|| members.iter().find(same))
    }

    fn value(&mut self, to: &Ref, value: Value, place: &str) -> Value {
        if value.is_null() {
            return value;
        }
        let api = self.api;
        let wrong = match (api.kind(to), value) {
            (Kind::Structure(structure), Value::Object(fields)) => {
                return Value::Object(self.structure(structure, fields, place, None));
            }
            (Kind::Structure(_), _) => "no object",
            (Kind::List(member), Value::Array(items)) => {
                let items = items.into_iter().enumerate();
                return items
                    .map(|(at, item)| self.value(member, item, &format!("{place}[{at}]")))
                    .collect();
            }
            (Kind::List(_), _) => "no list",
            (Kind::Map { value: to, .. }, Value::Object(fields)) => {
                let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
                let fields = fields.map(|(key, value)| {
                    let value = self.value(to, value, &inside(place, &key));
                    (key, value)
                });
                return Value::Object(fields.collect());
            }
            (Kind::Map { .. }, _) => "no object",
            (Kind::Text, value) => return text(value),
            (Kind::Blob, Value::String(text)) if STANDARD.decode(&text).is_ok() => {
                return text.into();
            }
            (Kind::Blob, _) => "no Base64",
            (Kind::Flag, value) => match value.as_str().map_or(value.as_bool(), flag) {
                Some(flag) => return flag.into(),
                None => "neither true nor false",
            },
            (Kind::Whole, value) => match whole(&value) {
                Some(number) => return number.into(),
                None => "no whole number",
            },
            (Kind::Decimal, value) => match decimal(value) {
                Some(value) => return value,
                None => "no number",
            },
            (Kind::Time, value) => match time::read(&value) {
                Some(at) => return self.format(to).write(at),
                None => "no time",
            },
            (Kind::Document, value) => return value,
        };
        self.problems.push(format!("The value of the field '{place}' is {wrong}"));
        Value::Null
    }

    /// How the service wants a time there.
    fn format(&self, to: &Ref) -> Format {
        let usual = match (to.location, &self.api.protocol) {
            (Location::Header | Location::Headers, _) => Format::Http,
            (Location::Body, Protocol::Json { .. } | Protocol::RestJson) => Format::Unix,
            _ => Format::Iso,
        };
        to.format.unwrap_or(usual)
    }
}

fn inside(place: &str, field: &str) -> String {
    if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") }
}

/// What is no text is the text of the JSON that it is.
fn text(value: Value) -> Value {
    match value {
        Value::String(_) => value,
        other => other.to_string().into(),
    }
}

fn flag(text: &str) -> Option<bool> {
    text.parse().ok()
}

fn whole(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().filter(|number| number.fract() == 0.0)?;
            format!("{number:.0}").parse::<i64>().ok().map(Into::into)
        }
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => text.parse::<i64>().ok().map(Into::into),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn decimal(value: Value) -> Option<Value> {
    match &value {
        Value::Number(_) => Some(value),
        Value::String(text) if matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") => {
            Some(value)
        }
        Value::String(text) => Number::from_f64(text.parse().ok()?).map(Value::Number),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
