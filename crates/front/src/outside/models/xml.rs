//! XML as a service writes it.

use roxmltree::Node;
use serde_json::{Map, Value};

use super::api::{Api, Kind, Member, Ref, Structure};
use super::{naming, time};
use crate::outside::Way;
use crate::outside::text;
use crate::outside::xml::{close, escape, open};

/// An element with what a checked value has.
pub(super) fn write(api: &Api, out: &mut String, name: &str, to: &Ref, value: &Value) {
    let element = |out: &mut String, to: &Ref| {
        let inner = value.as_object().zip(api.structure(to));
        open(out, name, &attributes(api, to, inner));
    };
    match (api.kind(to), value) {
        (_, Value::Null) => {}
        (Kind::Structure(structure), Value::Object(fields)) => {
            element(out, to);
            for member in structure.in_body().filter(|member| !member.to.attribute) {
                if let Some(value) = fields.get(&member.name) {
                    write(api, out, member.wire(), &member.to, value);
                }
            }
            close(out, name);
        }
        (Kind::List(item), Value::Array(items)) if to.flattened => {
            let name = item.wire.as_deref().unwrap_or(name);
            items.iter().for_each(|value| write(api, out, name, item, value));
        }
        (Kind::List(item), Value::Array(items)) => {
            element(out, to);
            let inner = item.wire.as_deref().unwrap_or("member");
            items.iter().for_each(|value| write(api, out, inner, item, value));
            close(out, name);
        }
        (Kind::Map { key, value: to_value }, Value::Object(fields)) => {
            if !to.flattened {
                element(out, to);
            }
            let entry = if to.flattened { name } else { "entry" };
            for (field, value) in fields {
                open(out, entry, &[]);
                let key_name = key.wire.as_deref().unwrap_or("key");
                write(api, out, key_name, key, &field.as_str().into());
                write(api, out, to_value.wire.as_deref().unwrap_or("value"), to_value, value);
                close(out, entry);
            }
            if !to.flattened {
                close(out, name);
            }
        }
        (_, scalar) => {
            element(out, to);
            escape(out, &text::of(scalar));
            close(out, name);
        }
    }
}

/// The attributes of an element: its namespace, and members that are attributes.
fn attributes(
    api: &Api,
    to: &Ref,
    inner: Option<(&Map<String, Value>, &Structure)>,
) -> Vec<(String, String)> {
    let mut attributes = Vec::new();
    if let Some(namespace) = &to.namespace {
        let name = match &namespace.prefix {
            Some(prefix) => format!("xmlns:{prefix}"),
            None => "xmlns".to_owned(),
        };
        attributes.push((name, namespace.uri.clone()));
    }
    if let Some((fields, structure)) = inner {
        for member in structure.in_body().filter(|member| member.to.attribute) {
            if let (Some(value), Kind::Text) = (fields.get(&member.name), api.kind(&member.to)) {
                attributes.push((member.wire().to_owned(), text::of(value)));
            }
        }
    }
    attributes
}

/// The fields that an element has.
pub(super) fn read_fields(
    api: &Api,
    structure: &Structure,
    way: Way,
    node: Node<'_, '_>,
) -> Map<String, Value> {
    let mut fields = Map::new();
    for member in structure.in_body() {
        let to = &member.to;
        let name = element_name(api, member);
        let value = if to.attribute {
            let local = name.rsplit(':').next().unwrap_or_default();
            let found = node.attributes().find(|attribute| attribute.name() == local);
            found.map(|attribute| attribute.value().into())
        } else {
            let mut found = node.children().filter(|child| child.tag_name().name() == name);
            match api.kind(to) {
                Kind::List(item) if to.flattened => {
                    let items = found.map(|node| read(api, item, way, node));
                    Some(items.collect::<Vec<_>>())
                        .filter(|items| !items.is_empty())
                        .map(Value::from)
                }
                Kind::Map { key, value } if to.flattened => {
                    let pairs = found.filter_map(|node| entry(api, (key, value), way, node));
                    let pairs: Map<String, Value> = pairs.collect();
                    Some(pairs).filter(|pairs| !pairs.is_empty()).map(Value::Object)
                }
                _ => found.next().map(|node| read(api, to, way, node)),
            }
        };
        if let Some(value) = value {
            fields.insert(naming::member(&member.name, way), value);
        }
    }
    fields
}

/// What a member's element is called: the items of a list without an element of its own go by their own
/// name.
fn element_name<'a>(api: &'a Api, member: &'a Member) -> &'a str {
    match api.kind(&member.to) {
        Kind::List(item) if member.to.flattened => item.wire.as_deref(),
        _ => None,
    }
    .unwrap_or_else(|| member.wire())
}

/// The value that an element has.
pub(super) fn read(api: &Api, to: &Ref, way: Way, node: Node<'_, '_>) -> Value {
    let text = node.text().unwrap_or_default();
    match api.kind(to) {
        Kind::Structure(structure) => Value::Object(read_fields(api, structure, way, node)),
        Kind::List(item) => {
            let items = node.children().filter(Node::is_element);
            items.map(|node| read(api, item, way, node)).collect()
        }
        Kind::Map { key, value } => {
            let entries = node.children().filter(Node::is_element);
            let pairs = entries.filter_map(|node| entry(api, (key, value), way, node));
            Value::Object(pairs.collect())
        }
        Kind::Text | Kind::Blob | Kind::Document => text.into(),
        Kind::Flag | Kind::Whole | Kind::Decimal | Kind::Time => scalar(api.kind(to), text.trim()),
    }
}

fn entry(
    api: &Api,
    (key, value): (&Ref, &Ref),
    way: Way,
    node: Node<'_, '_>,
) -> Option<(String, Value)> {
    let child = |to: &Ref, usual: &str| {
        let name = to.wire.as_deref().unwrap_or(usual);
        node.children().find(|child| child.tag_name().name() == name)
    };
    let name = child(key, "key")?.text().unwrap_or_default().to_owned();
    Some((name, read(api, value, way, child(value, "value")?)))
}

/// A text as the kind of value that it stands for; as a text where it does not.
pub(super) fn scalar(kind: &Kind, text: &str) -> Value {
    let read = match kind {
        Kind::Flag => text.parse::<bool>().ok().map(Value::from),
        Kind::Whole => text.parse::<i64>().ok().map(Value::from),
        Kind::Decimal => {
            text.parse().ok().and_then(serde_json::Number::from_f64).map(Value::Number)
        }
        Kind::Time => time::read(&text.into()).map(|at| time::show(at).into()),
        Kind::Structure(_)
        | Kind::List(_)
        | Kind::Map { .. }
        | Kind::Text
        | Kind::Blob
        | Kind::Document => None,
    };
    read.unwrap_or_else(|| text.into())
}
