//! XML answers as JSON. There is no model of the services here: what is a list is told by names.

use model::limits;
use roxmltree::{Document, Node, ParsingOptions};
use serde_json::{Map, Value};

use super::text;

/// How elements are read.
pub(super) struct Shape {
    /// Elements that are repeated where they stand, and the field that has them as a list.
    pub(super) repeated: &'static [(&'static str, &'static str)],
    /// Fields that are numbers.
    pub(super) numbers: &'static [&'static str],
    /// Fields that are true or false.
    pub(super) flags: &'static [&'static str],
}

/// Nothing is known but the query protocol's own `member` and `entry`.
pub(super) const QUERY: Shape = Shape { repeated: &[], numbers: &[], flags: &[] };

/// Parses an answer, before which S3 may have sent spaces to show that it is at work. It is bounded by what
/// an answer may have, and so is its depth: what reads it follows elements into elements.
pub(super) fn parse(text: &str) -> Result<Document<'_>, String> {
    let options = ParsingOptions { allow_dtd: false, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text.trim_start(), options)
        .map_err(|error| error.to_string())?;
    let most = limits::OUTSIDE_ANSWER_DEPTH_MAX;
    let is_deep = |node: Node<'_, '_>| {
        node.is_element() && node.ancestors().filter(Node::is_element).nth(most).is_some()
    };
    if document.descendants().any(is_deep) {
        return Err(format!("its elements are more than {most} deep"));
    }
    Ok(document)
}

/// The text of the first element of that name, at any depth.
pub(super) fn text<'d>(document: &'d Document<'_>, name: &str) -> Option<&'d str> {
    document.descendants().find(|node| node.tag_name().name() == name).and_then(|node| node.text())
}

/// An element's children as fields.
pub(super) fn fields(node: Node<'_, '_>, shape: &Shape) -> Map<String, Value> {
    let mut fields: Map<String, Value> = Map::new();
    for child in node.children().filter(Node::is_element) {
        let name = child.tag_name().name();
        let value = value(child, shape);
        match shape.repeated.iter().find(|(element, _)| *element == name) {
            Some((_, field)) => {
                let list = fields.entry(*field).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    list.push(value);
                }
            }
            None => {
                fields.insert(name.to_owned(), value);
            }
        }
    }
    fields
}

fn value(node: Node<'_, '_>, shape: &Shape) -> Value {
    let name = node.tag_name().name();
    let mut children = node.children().filter(Node::is_element).peekable();
    let Some(first) = children.peek() else {
        return scalar(name, node.text().unwrap_or_default(), shape);
    };
    match first.tag_name().name() {
        "member" => children.map(|child| value(child, shape)).collect(),
        "entry" => {
            let pairs = children.filter_map(|entry| {
                let key = entry.children().find(|child| child.tag_name().name() == "key")?;
                let of_key = entry.children().find(|child| child.tag_name().name() == "value")?;
                Some((key.text().unwrap_or_default().to_owned(), value(of_key, shape)))
            });
            Value::Object(pairs.collect())
        }
        _ => Value::Object(fields(node, shape)),
    }
}

fn scalar(name: &str, text: &str, shape: &Shape) -> Value {
    if shape.numbers.contains(&name)
        && let Ok(number) = text.parse::<i64>()
    {
        return number.into();
    }
    if shape.flags.contains(&name) {
        return (text == "true").into();
    }
    // An empty list has no `member` to know it by.
    if text.is_empty() && name.ends_with('s') {
        return Value::Array(Vec::new());
    }
    text.into()
}

/// Writes fields as elements; lists by what their items are called.
pub(super) fn write(out: &mut String, name: &str, value: &Value) {
    match value {
        Value::Array(items) => {
            let item = ITEMS.iter().find(|(list, ..)| *list == name);
            let (item, wrapped) =
                item.map_or((name, false), |(_, item, wrapped)| (*item, *wrapped));
            if wrapped {
                open(out, name, &[]);
            }
            for value in items {
                write(out, item, value);
            }
            if wrapped {
                close(out, name);
            }
        }
        Value::Object(fields) => {
            open(out, name, &[]);
            for (name, value) in fields {
                write(out, name, value);
            }
            close(out, name);
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            open(out, name, &[]);
            escape(out, &text::of(value));
            close(out, name);
        }
    }
}

/// Lists, their items, and whether the list has an element of its own.
const ITEMS: &[(&str, &str, bool)] =
    &[("Objects", "Object", false), ("Parts", "Part", false), ("TagSet", "Tag", true)];

/// The beginning of an element, with its attributes.
pub(super) fn open(out: &mut String, name: &str, attributes: &[(String, String)]) {
    out.push('<');
    push_name(out, name);
    for (name, value) in attributes {
        out.push(' ');
        push_name(out, name);
        out.push_str("=\"");
        escape(out, value);
        out.push('"');
    }
    out.push('>');
}

/// The end of an element.
pub(super) fn close(out: &mut String, name: &str) {
    out.push_str("</");
    push_name(out, name);
    out.push('>');
}

/// A name that is none must not end the element.
fn push_name(out: &mut String, name: &str) {
    out.extend(
        name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':')),
    );
}

/// A text between elements, or of an attribute.
pub(super) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_and_maps_of_the_query_protocol_are_lists_and_maps() {
        let text = "<R><Topics><member><TopicArn>a</TopicArn></member></Topics><Empties/>\
                    <Attributes><entry><key>k</key><value>1</value></entry></Attributes></R>";
        let document = parse(text).unwrap();
        let expected =
            json!({ "Topics": [{ "TopicArn": "a" }], "Empties": [], "Attributes": { "k": "1" } });
        assert_eq!(Value::Object(fields(document.root_element(), &QUERY)), expected);
    }

    #[test]
    fn what_is_written_is_escaped_and_lists_are_flat_or_wrapped() {
        let mut out = String::new();
        write(&mut out, "Delete", &json!({ "Objects": [{ "Key": "a<&" }], "Quiet": true }));
        write(&mut out, "Tagging", &json!({ "TagSet": [{ "Key": "k", "Value": "v" }] }));
        assert_eq!(
            out,
            "<Delete><Object><Key>a&lt;&amp;</Key></Object><Quiet>true</Quiet></Delete>\
             <Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>"
        );
    }

    #[test]
    fn an_answer_whose_elements_are_too_deep_is_none() {
        let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(parse(&deep(limits::OUTSIDE_ANSWER_DEPTH_MAX)).is_ok());
        let error = parse(&deep(limits::OUTSIDE_ANSWER_DEPTH_MAX + 1)).unwrap_err();
        assert_eq!(error, "its elements are more than 128 deep");
    }
}
