//! What an action gave: the fields of an answer, from wherever they are.

use serde_json::{Map, Value};

use super::api::{Api, Kind, Location, Operation, Protocol, Ref, Structure};
use super::{json, list, naming, xml};
use crate::outside::send::Answer;
use crate::outside::{Way, text, xml as parsed};

/// The result of an action as a state sees it.
pub(super) fn result(
    api: &Api,
    operation: &Operation,
    way: Way,
    answer: &Answer,
) -> Result<Map<String, Value>, String> {
    let Some(to) = &operation.output else { return Ok(Map::new()) };
    let Some(output) = api.structure(to) else { return Ok(Map::new()) };
    let read = Read { api, way, answer };
    match api.protocol {
        Protocol::Json { .. } => read.json(output),
        Protocol::Query | Protocol::Ec2 => read.xml(output, operation.wrapper.as_deref()),
        Protocol::RestJson | Protocol::RestXml => read.rest(output),
    }
}

struct Read<'a> {
    api: &'a Api,
    way: Way,
    answer: &'a Answer,
}

impl Read<'_> {
    fn json(&self, output: &Structure) -> Result<Map<String, Value>, String> {
        if self.answer.body.is_empty() {
            return Ok(Map::new());
        }
        let fields =
            serde_json::from_slice(&self.answer.body).map_err(|error| error.to_string())?;
        Ok(json::read_fields(self.api, output, self.way, fields))
    }

    fn xml(&self, output: &Structure, wrapper: Option<&str>) -> Result<Map<String, Value>, String> {
        let body = String::from_utf8_lossy(&self.answer.body);
        if body.trim().is_empty() {
            return Ok(Map::new());
        }
        let document = parsed::parse(&body)?;
        let mut node = document.root_element();
        if let Some(wrapper) = wrapper {
            let inner = node.children().find(|child| child.tag_name().name() == wrapper);
            let Some(inner) = inner else { return Ok(Map::new()) };
            node = inner;
        }
        // S3 answers where a bucket is with the only field, and nothing around it.
        let mut members = output.in_body();
        if let (Some(only), None) = (members.next(), members.next())
            && node.tag_name().name() == only.wire()
            && !node.children().any(|child| child.tag_name().name() == only.wire())
        {
            let value = xml::read(self.api, &only.to, self.way, node);
            return Ok([(naming::member(&only.name, self.way), value)].into_iter().collect());
        }
        Ok(xml::read_fields(self.api, output, self.way, node))
    }

    fn rest(&self, output: &Structure) -> Result<Map<String, Value>, String> {
        let mut fields = match output.payload {
            Some(payload) => {
                let member = &output.members[payload];
                let value = self.payload(&member.to)?;
                let named = value.map(|value| (naming::member(&member.name, self.way), value));
                named.into_iter().collect()
            }
            None if output.in_body().next().is_none() => Map::new(),
            None if self.api.protocol == Protocol::RestJson => self.json(output)?,
            None => self.xml(output, None)?,
        };
        for member in &output.members {
            let to = &member.to;
            let value = match to.location {
                Location::Body | Location::Uri | Location::Query => None,
                Location::Status => Some(self.answer.status.as_u16().into()),
                Location::Header => self.header(member.wire(), to),
                Location::Headers => Some(self.headers(to.wire.as_deref().unwrap_or_default())),
            };
            if let Some(value) = value {
                fields.insert(naming::member(&member.name, self.way), value);
            }
        }
        Ok(fields)
    }

    /// A member that is the whole body.
    fn payload(&self, to: &Ref) -> Result<Option<Value>, String> {
        let body = &self.answer.body;
        match (self.api.kind(to), &self.api.protocol) {
            (Kind::Blob | Kind::Text, _) => Ok(Some(text::of_body(body))),
            _ if body.is_empty() => Ok(None),
            (Kind::Structure(structure), Protocol::RestXml) => {
                self.xml(structure, None).map(|fields| Some(Value::Object(fields)))
            }
            (_, Protocol::RestXml) => Err("its body is to be neither text nor fields".to_owned()),
            _ => {
                let value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
                Ok(Some(json::read(self.api, to, self.way, value)))
            }
        }
    }

    fn header(&self, name: &str, to: &Ref) -> Option<Value> {
        let text = self.answer.headers.get(name)?.to_str().ok()?;
        Some(match self.api.kind(to) {
            Kind::List(item) => {
                let items = list::split(text).into_iter();
                items.map(|text| xml::scalar(self.api.kind(item), &text)).collect()
            }
            kind => xml::scalar(kind, text),
        })
    }

    /// Headers that begin so, without their beginning.
    fn headers(&self, prefix: &str) -> Value {
        let prefix = prefix.to_ascii_lowercase();
        let found = self.answer.headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(&prefix)?;
            Some((name.to_owned(), value.to_str().ok()?.into()))
        });
        Value::Object(found.collect())
    }
}
