//! The request of an action: where each parameter goes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use md5::{Digest as _, Md5};
use serde_json::{Map, Value};

use super::api::{Api, Checksum, Kind, Location, Member, Operation, Protocol, Ref, Structure};
use super::{checked, form, json, list, xml};
use crate::outside::query::{encode, encode_path};
use crate::outside::sign::{Unsigned, put};
use crate::outside::{FORM, Way, crc32, text};

/// Headers that some services want beside what their models say.
const BESIDE: &[(&str, &str, &str)] = &[
    ("API Gateway", "accept", "application/json"),
    ("Glacier", "x-amz-glacier-version", "2012-06-01"),
];

/// The request of an action, or all that is wrong with its parameters.
pub(super) fn request(
    api: &Api,
    operation: &Operation,
    way: Way,
    endpoint: &str,
    parameters: Map<String, Value>,
) -> Result<Unsigned, String> {
    let fields = checked::parameters(api, operation, way, parameters)?;
    let mut request = match &api.protocol {
        Protocol::Json { version, target } => {
            let mut headers = HeaderMap::new();
            put(&mut headers, "x-amz-target", &format!("{target}.{}", operation.name))?;
            put(&mut headers, "content-type", &format!("application/x-amz-json-{version}"))?;
            let body = operation.input.as_ref().map(|to| json::write(api, to, fields.into()));
            let body = body.unwrap_or_else(|| Map::new().into()).to_string();
            post(endpoint, headers, body)
        }
        Protocol::Query | Protocol::Ec2 => {
            let mut headers = HeaderMap::new();
            put(&mut headers, "content-type", FORM)?;
            post(endpoint, headers, form::write(api, operation, &fields))
        }
        Protocol::RestJson | Protocol::RestXml => rest(api, operation, endpoint, fields)?,
    };
    for (id, name, value) in BESIDE {
        if *id == api.id && !request.headers.contains_key(*name) {
            put(&mut request.headers, name, value)?;
        }
    }
    prove(operation.checksum, &mut request)?;
    Ok(request)
}

fn post(endpoint: &str, headers: HeaderMap, body: String) -> Unsigned {
    Unsigned { method: Method::POST, url: format!("{endpoint}/"), headers, body: body.into() }
}

/// Adds what proves that the body came over whole, where the service wants it.
fn prove(checksum: Option<Checksum>, request: &mut Unsigned) -> Result<(), String> {
    let Unsigned { headers, body, method, .. } = request;
    let stated = headers.keys().any(|name| name.as_str().starts_with("x-amz-checksum-"));
    match checksum {
        Some(Checksum::Crc32) if !stated && *method != Method::GET => {
            put(headers, "x-amz-checksum-crc32", &crc32(body))
        }
        Some(Checksum::Md5) if !headers.contains_key("content-md5") => {
            put(headers, "content-md5", &STANDARD.encode(Md5::digest(&*body)))
        }
        Some(Checksum::Crc32 | Checksum::Md5) | None => Ok(()),
    }
}

fn rest(
    api: &Api,
    operation: &Operation,
    endpoint: &str,
    mut fields: Map<String, Value>,
) -> Result<Unsigned, String> {
    let none = Structure::default();
    let to = operation.input.as_ref();
    let input = to.and_then(|input| api.structure(input)).unwrap_or(&none);
    let (path, fixed) = operation.uri.split_once('?').unwrap_or((&operation.uri, ""));
    let mut url = format!("{endpoint}{}", path_of(api, input, path, &fields)?);
    let mut query: Vec<String> = Vec::new();
    query.extend(Some(fixed.to_owned()).filter(|fixed| !fixed.is_empty()));
    let mut headers = HeaderMap::new();
    for member in &input.members {
        let Some(value) = fields.get(&member.name) else { continue };
        match member.to.location {
            Location::Body | Location::Uri | Location::Status => {}
            Location::Query => queried(member.wire(), value, &mut query),
            Location::Header => header(member, value, &mut headers)?,
            Location::Headers => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    let prefix = member.to.wire.as_deref().unwrap_or_default();
                    put(&mut headers, &format!("{prefix}{name}"), &text::of(value))?;
                }
            }
        }
    }
    if !query.is_empty() {
        url = format!("{url}?{}", query.join("&"));
    }
    let body = match input.payload {
        Some(payload) => payload_of(api, &input.members[payload], &mut fields),
        None => body_of(api, to, input, &mut fields),
    };
    let (kind, body) = body.unwrap_or_default();
    if !kind.is_empty() && !headers.contains_key("content-type") {
        put(&mut headers, "content-type", kind)?;
    }
    // Its length is that of the body, whatever a state says.
    headers.remove(CONTENT_LENGTH);
    Ok(Unsigned { method: operation.method.clone(), url, headers, body: Bytes::from(body) })
}

/// The path, its labels replaced.
fn path_of(
    api: &Api,
    input: &Structure,
    template: &str,
    fields: &Map<String, Value>,
) -> Result<String, String> {
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, label, after)) = next_label(rest) {
        path.push_str(before);
        let name = label.trim_end_matches('+');
        let mut members = input.members.iter();
        let member = members.find(|m| m.to.location == Location::Uri && m.wire() == name);
        let value = member.and_then(|member| fields.get(&member.name)).map(text::of);
        let value = value.filter(|value| !value.is_empty());
        let value =
            value.ok_or_else(|| format!("The field '{name}' is required but was missing"))?;
        // Its answers have ids as paths, and its requests take them without.
        let value = match value.rsplit_once('/') {
            Some((_, id)) if api.id == "Route 53" => id,
            _ => &value,
        };
        path.push_str(&if label.ends_with('+') { encode_path(value) } else { encode(value) });
        rest = after;
    }
    path.push_str(rest);
    Ok(path)
}

/// What stands before a label, the label, and what stands behind it.
fn next_label(template: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = template.split_once('{')?;
    let (label, after) = rest.split_once('}')?;
    Some((before, label, after))
}

fn queried(name: &str, value: &Value, query: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| queried(name, item, query)),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| queried(name, value, query));
        }
        scalar => query.push(format!("{}={}", encode(name), encode(&text::of(scalar)))),
    }
}

fn header(member: &Member, value: &Value, headers: &mut HeaderMap) -> Result<(), String> {
    let text = match value {
        Value::Array(items) => {
            list::join(items.iter().filter(|item| !item.is_null()).map(text::of))
        }
        value if member.to.json => STANDARD.encode(text::of(value)),
        value => text::of(value),
    };
    if member.wire().eq_ignore_ascii_case(CONTENT_LENGTH.as_str()) {
        return Ok(());
    }
    put(headers, member.wire(), &text)
}

/// A member that is the whole body, and what kind of body it is.
fn payload_of(
    api: &Api,
    member: &Member,
    fields: &mut Map<String, Value>,
) -> Option<(&'static str, String)> {
    let value = fields.remove(&member.name)?;
    Some(match (api.kind(&member.to), &api.protocol) {
        (Kind::Blob, _) => ("application/octet-stream", text::of(&value)),
        (Kind::Text, _) => ("text/plain", text::of(&value)),
        (_, Protocol::RestXml) => {
            let shape = &api.shapes[member.to.shape].name;
            let name = member.to.wire.as_deref().unwrap_or(shape);
            ("application/xml", element(api, name, &member.to, &value))
        }
        _ => ("application/json", json::write(api, &member.to, value).to_string()),
    })
}

/// The members that have no place elsewhere; none where the action has no such members.
fn body_of(
    api: &Api,
    to: Option<&Ref>,
    input: &Structure,
    fields: &mut Map<String, Value>,
) -> Option<(&'static str, String)> {
    input.in_body().next()?;
    if api.protocol == Protocol::RestJson {
        let written = json::write_fields(api, input, fields);
        return Some(("application/json", Value::Object(written).to_string()));
    }
    fields.retain(|name, _| input.in_body().any(|member| member.name == *name));
    if fields.is_empty() {
        return None;
    }
    let to = to?;
    let name = to.wire.as_deref().unwrap_or(&api.shapes[to.shape].name);
    let fields = Value::Object(std::mem::take(fields));
    Some(("application/xml", element(api, name, to, &fields)))
}

fn element(api: &Api, name: &str, to: &Ref, value: &Value) -> String {
    let mut out = String::new();
    xml::write(api, &mut out, name, to, value);
    out
}
