//! What a model says of a service, checked: every shape that it names is there.

use std::collections::BTreeMap;

use hyper::Method;

use super::naming;
use super::time::Format;

/// A service.
#[derive(Debug)]
pub(in crate::outside) struct Api {
    /// How AWS calls it: `API Gateway`.
    pub(super) id: String,
    pub(super) version: String,
    /// What a signature is for.
    pub(in crate::outside) signing: String,
    /// How its client in AWS's SDK is called: what errors of `aws-sdk:…` begin with.
    pub(in crate::outside) client: String,
    pub(super) protocol: Protocol,
    /// By the names that clients give them.
    pub(super) operations: BTreeMap<String, Operation>,
    pub(super) shapes: Vec<Shape>,
    /// Errors that the client knows: what each is called, by code.
    pub(super) errors: BTreeMap<String, String>,
}

/// How a service is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// JSON, the action in `X-Amz-Target`.
    Json { version: String, target: String },
    /// A form, answered in XML.
    Query,
    /// The same, as EC2 does it.
    Ec2,
    /// Methods and paths of HTTP, and JSON.
    RestJson,
    /// Methods and paths of HTTP, and XML.
    RestXml,
}

/// An action.
#[derive(Debug)]
pub(super) struct Operation {
    /// What it is called on the wire.
    pub(super) name: String,
    pub(super) method: Method,
    /// The path with its labels, and what always stands in the query.
    pub(super) uri: String,
    pub(super) input: Option<Ref>,
    pub(super) output: Option<Ref>,
    /// The element around what a form is answered with.
    pub(super) wrapper: Option<String>,
    pub(super) checksum: Option<Checksum>,
}

/// What proves that a body came over whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    Md5,
    Crc32,
}

/// A kind of value, by name.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Structure(Structure),
    List(Ref),
    Map {
        key: Ref,
        value: Ref,
    },
    Text,
    Blob,
    Flag,
    Whole,
    Decimal,
    Time,
    /// Any JSON.
    Document,
}

#[derive(Debug, Default)]
pub(super) struct Structure {
    /// In the order of the model.
    pub(super) members: Vec<Member>,
    /// Which member is the whole body.
    pub(super) payload: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) to: Ref,
}

/// Where a shape is used, and how it is written there.
#[derive(Clone, Debug, Default)]
pub(super) struct Ref {
    /// An index of [`Api::shapes`].
    pub(super) shape: usize,
    /// What it is called on the wire, where that is not the member's name.
    pub(super) wire: Option<String>,
    /// The same, for EC2's forms.
    pub(super) query: Option<String>,
    pub(super) location: Location,
    /// A list or map without an element of its own.
    pub(super) flattened: bool,
    /// An attribute of the element around it.
    pub(super) attribute: bool,
    pub(super) namespace: Option<Namespace>,
    pub(super) format: Option<Format>,
    /// Makes a request safe to repeat; where it is not given one is made up.
    pub(super) token: bool,
    /// JSON in a header.
    pub(super) json: bool,
    /// Events that come one after the other.
    pub(super) stream: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Namespace {
    pub(super) prefix: Option<String>,
    pub(super) uri: String,
}

/// Where in a request or an answer a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Location {
    #[default]
    Body,
    Uri,
    Query,
    Header,
    /// A map whose keys are headers with a common beginning.
    Headers,
    Status,
}

impl Api {
    pub(super) fn kind(&self, to: &Ref) -> &Kind {
        &self.shapes[to.shape].kind
    }

    /// The members of a structure; none of anything else.
    pub(super) fn structure(&self, to: &Ref) -> Option<&Structure> {
        match self.kind(to) {
            Kind::Structure(structure) => Some(structure),
            Kind::List(_)
            | Kind::Map { .. }
            | Kind::Text
            | Kind::Blob
            | Kind::Flag
            | Kind::Whole
            | Kind::Decimal
            | Kind::Time
            | Kind::Document => None,
        }
    }

    /// The action that Step Functions calls so.
    pub(super) fn operation(&self, action: &str) -> Result<&Operation, String> {
        let Self { id, version, operations, .. } = self;
        let found = operations.iter().find(|(name, _)| naming::action(name) == action);
        if let Some((_, operation)) = found {
            return Ok(operation);
        }
        Err(match operations.keys().find(|name| name.eq_ignore_ascii_case(action)) {
            Some(other) => {
                format!("{id} has no action {action}; it is called {}", naming::action(other))
            }
            None => format!("{id} has no action {action} in its model of {version}"),
        })
    }

    /// How the error with that code is called, where the client knows it.
    pub(in crate::outside) fn error(&self, code: &str) -> Option<&str> {
        self.errors.get(code).map(String::as_str)
    }

    /// Whether refusals are in XML.
    pub(in crate::outside) fn speaks_xml(&self) -> bool {
        match self.protocol {
            Protocol::Json { .. } | Protocol::RestJson => false,
            Protocol::Query | Protocol::Ec2 | Protocol::RestXml => true,
        }
    }
}

impl Structure {
    /// Members that are in the body.
    pub(super) fn in_body(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.to.location == Location::Body)
    }
}

impl Member {
    /// What it is called on the wire.
    pub(super) fn wire(&self) -> &str {
        self.to.wire.as_deref().unwrap_or(&self.name)
    }
}
