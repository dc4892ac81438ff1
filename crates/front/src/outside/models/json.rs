//! JSON as a service writes it.

use serde_json::{Map, Value};

use super::api::{Api, Kind, Ref, Structure};
use super::{naming, time};
use crate::outside::Way;

/// The fields of a body.
pub(super) fn write_fields(
    api: &Api,
    structure: &Structure,
    fields: &mut Map<String, Value>,
) -> Map<String, Value> {
    let mut written = Map::new();
    for member in structure.in_body() {
        if let Some(value) = fields.remove(&member.name) {
            written.insert(member.wire().to_owned(), write(api, &member.to, value));
        }
    }
    written
}

/// A checked value.
pub(super) fn write(api: &Api, to: &Ref, value: Value) -> Value {
    match (api.kind(to), value) {
        (Kind::Structure(structure), Value::Object(mut fields)) => {
            Value::Object(write_fields(api, structure, &mut fields))
        }
        (Kind::List(member), Value::Array(items)) => {
            items.into_iter().map(|item| write(api, member, item)).collect()
        }
        (Kind::Map { value: to, .. }, Value::Object(fields)) => {
            let fields = fields.into_iter().map(|(key, value)| (key, write(api, to, value)));
            Value::Object(fields.collect())
        }
        (_, value) => value,
    }
}

/// The fields of an answer. What is null is not there to AWS's client.
pub(super) fn read_fields(
    api: &Api,
    structure: &Structure,
    way: Way,
    mut fields: Map<String, Value>,
) -> Map<String, Value> {
    let mut read_here = Map::new();
    for member in structure.in_body() {
        if let Some(value) = fields.remove(member.wire()).filter(|value| !value.is_null()) {
            let value = read(api, &member.to, way, value);
            read_here.insert(naming::member(&member.name, way), value);
        }
    }
    read_here
}

/// A value of an answer. What is not as the model says is left as it is.
pub(super) fn read(api: &Api, to: &Ref, way: Way, value: Value) -> Value {
    match (api.kind(to), value) {
        (Kind::Structure(structure), Value::Object(fields)) => {
            Value::Object(read_fields(api, structure, way, fields))
        }
        (Kind::List(member), Value::Array(items)) => {
            items.into_iter().map(|item| read(api, member, way, item)).collect()
        }
        (Kind::Map { value: to, .. }, Value::Object(fields)) => {
            let fields = fields.into_iter().map(|(key, value)| (key, read(api, to, way, value)));
            Value::Object(fields.collect())
        }
        (Kind::Time, value) => time::read(&value).map_or(value, |at| time::show(at).into()),
        (_, value) => value,
    }
}
