//! The query protocol: a form out, XML back.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::error::Refusal;
use super::send::Answer;
use super::{text, xml};

/// What AWS leaves as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// As [`ENCODED`], for a path.
const PATH: &AsciiSet = &ENCODED.remove(b'/');

/// Objects that are maps to the service, and how it calls their keys and values.
const MAPS: &[(&str, &str, &str)] =
    &[("Attributes", "key", "value"), ("MessageAttributes", "Name", "Value")];

/// A part of a form or of a query string.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A path; its slashes stay.
pub(super) fn encode_path(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}

/// A form under way.
pub(super) struct Form(String);

impl Form {
    pub(super) fn new(action: &str, version: &str) -> Self {
        Self(format!("Action={}&Version={version}", encode(action)))
    }

    pub(super) fn put(&mut self, name: &str, value: &str) {
        self.0.push('&');
        self.0.push_str(&encode(name));
        self.0.push('=');
        self.0.push_str(&encode(value));
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// The form of an action of which there is no model.
pub(super) fn form(action: &str, version: &str, parameters: &Map<String, Value>) -> String {
    let mut form = Form::new(action, version);
    for (name, value) in parameters {
        put(&mut form, name, name, value);
    }
    form.finish()
}

fn put(form: &mut Form, path: &str, name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Array(items) => {
            for (number, item) in (1..).zip(items) {
                put(form, &format!("{path}.member.{number}"), "", item);
            }
        }
        Value::Object(fields) => match MAPS.iter().find(|(map, ..)| *map == name) {
            Some((_, key, value_name)) => {
                for (number, (name, value)) in (1..).zip(fields) {
                    put(form, &format!("{path}.entry.{number}.{key}"), "", &name.as_str().into());
                    put(form, &format!("{path}.entry.{number}.{value_name}"), "", value);
                }
            }
            None => {
                for (name, value) in fields {
                    put(form, &format!("{path}.{name}"), name, value);
                }
            }
        },
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            form.put(path, &text::of(value));
        }
    }
}

/// What the action gave.
pub(super) fn result(action: &str, body: &str) -> Result<Map<String, Value>, String> {
    let document = xml::parse(body)?;
    let wanted = format!("{action}Result");
    let result = document.root_element().children().find(|node| node.tag_name().name() == wanted);
    Ok(result.map_or_else(Map::new, |result| xml::fields(result, &xml::QUERY)))
}

/// Whether an answer is an error, whatever its status says.
pub(super) fn is_error(answer: &Answer) -> bool {
    let body = String::from_utf8_lossy(&answer.body);
    xml::parse(&body).is_ok_and(|document| document.root_element().tag_name().name() == "Error")
}

/// A refusal in XML, of this protocol or of S3.
pub(super) fn refusal(answer: &Answer) -> Refusal {
    let body = String::from_utf8_lossy(&answer.body);
    let document = xml::parse(&body).ok();
    let text = |name: &str| {
        document.as_ref().and_then(|document| xml::text(document, name)).map(str::to_owned)
    };
    let header = |name: &str| {
        answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let request =
        text("RequestId").or_else(|| text("RequestID")).or_else(|| header("x-amzn-requestid"));
    let status = answer.status.as_u16();
    Refusal {
        status,
        code: text("Code").unwrap_or_else(|| status.to_string()),
        message: text("Message").unwrap_or_else(|| "null".to_owned()),
        request: request.or_else(|| header("x-amz-request-id")).unwrap_or_default(),
        host: text("HostId").or_else(|| header("x-amz-id-2")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_and_maps_are_numbered() {
        let parameters = json!({
            "Message": "a b&c",
            "MessageAttributes": { "n": { "DataType": "String", "StringValue": "v" } },
            "Tags": [{ "Key": "k" }, { "Key": "l" }],
            "Flag": true,
        });
        assert_eq!(
            form("Publish", "1", parameters.as_object().unwrap()),
            "Action=Publish&Version=1&Message=a%20b%26c&MessageAttributes.entry.1.Name=n\
             &MessageAttributes.entry.1.Value.DataType=String\
             &MessageAttributes.entry.1.Value.StringValue=v&Tags.member.1.Key=k\
             &Tags.member.2.Key=l&Flag=true"
        );
    }
}
