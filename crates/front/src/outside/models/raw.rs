//! A model as its file has it, and how it becomes an [`Api`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::marker::PhantomData;

use hyper::Method;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::api::{
    Api, Checksum, Kind, Location, Member, Namespace, Operation, Protocol, Ref, Shape, Structure,
};
use super::naming;
use super::time::Format;

#[derive(serde::Deserialize)]
struct Model {
    metadata: Metadata,
    operations: BTreeMap<String, RawOperation>,
    shapes: HashMap<String, RawShape>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    api_version: String,
    endpoint_prefix: String,
    service_id: String,
    signing_name: Option<String>,
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    protocols: Vec<String>,
    json_version: Option<String>,
    target_prefix: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawOperation {
    name: String,
    http: Http,
    input: Option<RawRef>,
    output: Option<RawRef>,
    #[serde(default)]
    http_checksum_required: bool,
    http_checksum: Option<HttpChecksum>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Http {
    method: String,
    request_uri: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpChecksum {
    request_algorithm_member: Option<String>,
    #[serde(default)]
    request_checksum_required: bool,
}

/// Where a shape is used. What stands here goes before what its shape says.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawRef {
    shape: String,
    location: Option<String>,
    location_name: Option<String>,
    query_name: Option<String>,
    result_wrapper: Option<String>,
    flattened: Option<bool>,
    timestamp_format: Option<String>,
    xml_attribute: bool,
    xml_namespace: Option<Value>,
    idempotency_token: bool,
    jsonvalue: bool,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawShape {
    #[serde(rename = "type")]
    kind: String,
    members: Ordered<RawRef>,
    required: Vec<String>,
    payload: Option<String>,
    member: Option<RawRef>,
    key: Option<RawRef>,
    value: Option<RawRef>,
    location_name: Option<String>,
    flattened: bool,
    timestamp_format: Option<String>,
    xml_namespace: Option<Value>,
    document: bool,
    eventstream: bool,
    exception: bool,
    error: Option<RawError>,
}

#[derive(serde::Deserialize)]
struct RawError {
    code: Option<String>,
}

/// Fields in the order of the file: some services want the elements of a body so.
struct Ordered<T>(Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Vec<(String, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// Reads a model.
pub(super) fn parse(text: &[u8]) -> Result<Api, String> {
    let model: Model = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let protocol = protocol(&model.metadata)?;
    let mut names: Vec<&String> = model.shapes.keys().collect();
    names.sort_unstable();
    let index = names.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
    let build = Build { shapes: &model.shapes, index };
    let shapes = names.iter().map(|name| build.shape(name, &model.shapes[*name]));
    let shapes = shapes.collect::<Result<Vec<Shape>, String>>()?;
    let operations = model.operations.iter();
    let operations = operations.map(|(name, raw)| Ok((name.clone(), build.operation(raw)?)));
    let operations = operations.collect::<Result<BTreeMap<_, _>, String>>()?;
    let mut errors = BTreeMap::new();
    for (name, shape) in &model.shapes {
        if shape.exception {
            errors.insert(name.clone(), name.clone());
            if let Some(RawError { code: Some(code) }) = &shape.error {
                errors.insert(code.clone(), name.clone());
            }
        }
    }
    let Metadata { api_version, endpoint_prefix, service_id, signing_name, .. } = model.metadata;
    Ok(Api {
        client: naming::client(&service_id),
        id: service_id,
        version: api_version,
        signing: signing_name.unwrap_or(endpoint_prefix),
        protocol,
        operations,
        shapes,
        errors,
    })
}

/// The first of a service's protocols that is spoken here.
fn protocol(metadata: &Metadata) -> Result<Protocol, String> {
    let offered: Vec<&str> = match &metadata.protocols[..] {
        [] => vec![&metadata.protocol],
        protocols => protocols.iter().map(String::as_str).collect(),
    };
    let spoken = offered.iter().find_map(|name| match *name {
        "json" => Some(Protocol::Json {
            version: metadata.json_version.clone().unwrap_or_else(|| "1.0".to_owned()),
            target: metadata.target_prefix.clone().unwrap_or_default(),
        }),
        "query" => Some(Protocol::Query),
        "ec2" => Some(Protocol::Ec2),
        "rest-json" => Some(Protocol::RestJson),
        "rest-xml" => Some(Protocol::RestXml),
        _ => None,
    });
    spoken.ok_or_else(|| {
        format!(
            "it speaks {}, and this server json, query, ec2, rest-json and rest-xml",
            offered.join(", ")
        )
    })
}

struct Build<'a> {
    shapes: &'a HashMap<String, RawShape>,
    index: HashMap<&'a str, usize>,
}

impl Build<'_> {
    fn operation(&self, raw: &RawOperation) -> Result<Operation, String> {
        let method = Method::from_bytes(raw.http.method.as_bytes());
        let optional = |raw: &Option<RawRef>| raw.as_ref().map(|raw| self.to(raw)).transpose();
        let crc = raw.http_checksum.as_ref().is_some_and(|checksum| {
            checksum.request_checksum_required || checksum.request_algorithm_member.is_some()
        });
        let checksum = match (crc, raw.http_checksum_required) {
            (true, _) => Some(Checksum::Crc32),
            (false, true) => Some(Checksum::Md5),
            (false, false) => None,
        };
        Ok(Operation {
            name: raw.name.clone(),
            method: method.map_err(|_| format!("{} has no method of HTTP", raw.name))?,
            uri: raw.http.request_uri.clone(),
            input: optional(&raw.input)?,
            output: optional(&raw.output)?,
            wrapper: raw.output.as_ref().and_then(|output| output.result_wrapper.clone()),
            checksum,
        })
    }

    fn shape(&self, name: &str, raw: &RawShape) -> Result<Shape, String> {
        let to = |inner: &Option<RawRef>, what: &str| {
            let inner = inner.as_ref().ok_or_else(|| format!("the shape {name} has no {what}"))?;
            self.to(inner)
        };
        let kind = match raw.kind.as_str() {
            "structure" if raw.document => Kind::Document,
            "structure" => Kind::Structure(self.structure(name, raw)?),
            "list" => Kind::List(to(&raw.member, "member")?),
            "map" => Kind::Map { key: to(&raw.key, "key")?, value: to(&raw.value, "value")? },
            "string" | "character" => Kind::Text,
            "blob" => Kind::Blob,
            "boolean" => Kind::Flag,
            "integer" | "long" | "short" | "byte" | "bigInteger" => Kind::Whole,
            "float" | "double" | "bigDecimal" => Kind::Decimal,
            "timestamp" => Kind::Time,
            other => return Err(format!("the shape {name} is of an unknown type {other:?}")),
        };
        Ok(Shape { name: name.to_owned(), kind })
    }

    fn structure(&self, name: &str, raw: &RawShape) -> Result<Structure, String> {
        let members = raw.members.0.iter().map(|(member, to)| {
            Ok(Member {
                name: member.clone(),
                required: raw.required.contains(member),
                to: self.to(to)?,
            })
        });
        let members = members.collect::<Result<Vec<Member>, String>>()?;
        let payload = raw.payload.as_ref().map(|payload| {
            let at = members.iter().position(|member| member.name == *payload);
            at.ok_or_else(|| format!("the payload {payload} of the shape {name} is no member"))
        });
        Ok(Structure { payload: payload.transpose()?, members })
    }

    fn to(&self, raw: &RawRef) -> Result<Ref, String> {
        let name = raw.shape.as_str();
        let (Some(shape), Some(of_shape)) = (self.index.get(name), self.shapes.get(name)) else {
            return Err(format!("it names a shape {name:?} that it does not have"));
        };
        let location = match raw.location.as_deref() {
            None => Location::Body,
            Some("uri") => Location::Uri,
            Some("querystring") => Location::Query,
            Some("header") => Location::Header,
            Some("headers") => Location::Headers,
            Some("statusCode") => Location::Status,
            Some(other) => return Err(format!("a {name} is at an unknown location {other:?}")),
        };
        let format = raw.timestamp_format.as_ref().or(of_shape.timestamp_format.as_ref());
        let format = format.map(|format| {
            Format::from_name(format)
                .ok_or_else(|| format!("{name} has an unknown format {format}"))
        });
        let namespace = raw.xml_namespace.as_ref().or(of_shape.xml_namespace.as_ref());
        Ok(Ref {
            shape: *shape,
            wire: raw.location_name.clone().or_else(|| of_shape.location_name.clone()),
            query: raw.query_name.clone(),
            location,
            flattened: raw.flattened.unwrap_or(of_shape.flattened),
            attribute: raw.xml_attribute,
            namespace: namespace.and_then(namespace_of),
            format: format.transpose()?,
            token: raw.idempotency_token,
            json: raw.jsonvalue,
            stream: of_shape.eventstream,
        })
    }
}

fn namespace_of(value: &Value) -> Option<Namespace> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let uri = value.as_str().map(str::to_owned).or_else(|| text("uri"))?;
    Some(Namespace { prefix: text("prefix"), uri })
}
