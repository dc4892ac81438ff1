//! Forms as services of the query protocol take them, and as EC2 does.

use serde_json::{Map, Value};

use super::api::{Api, Kind, Operation, Protocol, Ref};
use super::naming::capital;
use crate::outside::query::Form;
use crate::outside::text;

/// The form of an action.
pub(super) fn write(api: &Api, operation: &Operation, fields: &Map<String, Value>) -> String {
    let mut form = Form::new(&operation.name, &api.version);
    if let Some(input) = &operation.input {
        write_fields(api, &mut form, "", input, fields);
    }
    form.finish()
}

fn write_fields(api: &Api, form: &mut Form, path: &str, to: &Ref, fields: &Map<String, Value>) {
    let structure = api.structure(to);
    for member in structure.into_iter().flat_map(|structure| &structure.members) {
        if let Some(value) = fields.get(&member.name) {
            let name = match (&api.protocol, &member.to) {
                (Protocol::Ec2, Ref { query: Some(name), .. }) => name.clone(),
                (Protocol::Ec2, _) => capital(member.wire()),
                _ => member.wire().to_owned(),
            };
            let path = if path.is_empty() { name } else { format!("{path}.{name}") };
            write_value(api, form, &path, &member.to, value);
        }
    }
}

fn write_value(api: &Api, form: &mut Form, path: &str, to: &Ref, value: &Value) {
    match (api.kind(to), value) {
        (_, Value::Null) => {}
        (Kind::Structure(_), Value::Object(fields)) => write_fields(api, form, path, to, fields),
        (Kind::List(item), Value::Array(items)) => {
            if items.is_empty() && api.protocol != Protocol::Ec2 {
                form.put(path, "");
            }
            let path = list_path(api, path, to, item);
            for (number, value) in (1..).zip(items) {
                write_value(api, form, &format!("{path}.{number}"), item, value);
            }
        }
        (Kind::Map { key, value: to_value }, Value::Object(fields)) => {
            let entry = if to.flattened { path.to_owned() } else { format!("{path}.entry") };
            let key = key.wire.as_deref().unwrap_or("key");
            let of_value = to_value.wire.as_deref().unwrap_or("value");
            for (number, (name, value)) in (1..).zip(fields) {
                form.put(&format!("{entry}.{number}.{key}"), name);
                write_value(api, form, &format!("{entry}.{number}.{of_value}"), to_value, value);
            }
        }
        (_, scalar) => form.put(path, &text::of(scalar)),
    }
}

/// What stands before the number of an item.
fn list_path(api: &Api, path: &str, to: &Ref, item: &Ref) -> String {
    match (&item.wire, to.flattened) {
        _ if api.protocol == Protocol::Ec2 => path.to_owned(),
        // The items' own name stands instead of the list's.
        (Some(name), true) => match path.rsplit_once('.') {
            Some((before, _)) => format!("{before}.{name}"),
            None => name.clone(),
        },
        (None, true) => path.to_owned(),
        (name, false) => format!("{path}.{}", name.as_deref().unwrap_or("member")),
    }
}
