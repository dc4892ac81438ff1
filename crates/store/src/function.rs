//! Functions and their published versions.

use std::time::Duration;

use model::{Durable, FunctionName, Kind, TenantName, Timestamp, Version};

use crate::blob::BlobHash;
use crate::error::Error;

/// Everything about one version of a function except its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSpec {
    /// Whom it belongs to.
    pub tenant: TenantName,
    /// The function's name.
    pub name: FunctionName,
    /// How it runs.
    pub kind: Kind,
    /// What it runs on: `wasm`, `python3.12`, `nodejs20.x`, `provided`.
    pub runtime: String,
    /// Where it begins inside its code; empty where the runtime needs none.
    pub handler: String,
    /// Its time limit.
    pub timeout: Duration,
    /// Class of calls that state none.
    pub default_class: Option<String>,
    /// Environment variables in the order they were given.
    pub environment: Vec<(String, String)>,
    /// Whether it wants the network.
    pub network: bool,
    /// Whether it may suspend, and how.
    pub durable: Durable,
    /// Its code package, a blob of the store.
    pub code_hash: BlobHash,
    /// Size of the code package.
    pub code_size_bytes: u64,
    /// When it was published.
    pub created: Timestamp,
    /// For a person.
    pub description: String,
}

/// One published version. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionVersion {
    /// Counted from 1 for each name of a tenant and never given twice, also after a deletion.
    pub version: Version,
    /// The rest.
    pub spec: FunctionSpec,
}

/// Which functions to list. At most [`model::limits::PAGE_MAX`] are returned, whatever the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionQuery {
    /// The latest version of every function, by name.
    Latest {
        /// Where the page before ended.
        after: Option<FunctionName>,
        /// Functions wanted.
        limit: usize,
    },
    /// The versions of one function, newest first.
    Versions {
        /// Of which function.
        name: FunctionName,
        /// Where the page before ended.
        before: Option<Version>,
        /// Versions wanted.
        limit: usize,
    },
}

pub(crate) fn not_found(name: &FunctionName, version: Option<Version>) -> Error {
    match version {
        Some(version) => Error::not_found("function version", &format_args!("{name}:{version}")),
        None => Error::not_found("function", name),
    }
}
