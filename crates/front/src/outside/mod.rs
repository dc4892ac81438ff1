//! What state machines reach outside of this server: AWS services at endpoints that the operator names,
//! and HTTP hosts that the operator allows.
//!
//! Nothing is reached that the operator did not name. Start reading at [`aws`], which calls a service;
//! how each is spoken to is in [`spoken`], from its model in [`models`] where there is one. [`items`] and [`results`] are what distributed Map states read and write, [`http`] is `http:invoke`.

mod aws;
mod error;
mod http;
mod items;
mod models;
mod query;
mod results;
mod s3;
mod send;
mod services;
mod settings;
mod sign;
mod spoken;
mod text;
mod xml;

pub use http::{Connection, Host};
pub use settings::{Endpoint, Keys, Settings};

pub(crate) use aws::{Call, Way, failed_entries, prepared, refused};
pub(crate) use results::Described;

use std::sync::Arc;

use base64::Engine as _;
use model::limits;
use node::states::role_name;
use tokio::sync::Semaphore;

/// The way to what is outside.
#[derive(Clone)]
pub(crate) struct Outside {
    settings: Arc<Settings>,
    region: String,
    /// Of services, where the operator has some.
    models: Option<Arc<models::Models>>,
    client: Arc<send::Client>,
    /// One for each request that may be under way.
    room: Arc<Semaphore>,
    /// The role whose keys requests are signed with.
    role: String,
}

impl Outside {
    pub(crate) fn new(settings: &Settings, region: &str) -> Self {
        Self {
            settings: Arc::new(settings.clone()),
            region: region.to_owned(),
            models: settings.models.as_deref().map(|folder| Arc::new(models::Models::new(folder))),
            client: Arc::new(send::Client::new(&settings.authorities)),
            room: Arc::new(Semaphore::new(limits::OUTSIDE_CALLS_MAX)),
            role: String::new(),
        }
    }

    /// The same way with the keys of a role, where it has some.
    pub(crate) fn acting_as(&self, role: &str) -> Self {
        Self { role: role_name(role).to_owned(), ..self.clone() }
    }

    /// Whether the operator said where that service is, and not only where all others are.
    pub(crate) fn has_own_endpoint(&self, service: &str) -> bool {
        self.settings.has_own_endpoint(service)
    }
}

/// The kind of a body that is a form.
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// A checksum as S3 takes it.
fn crc32(bytes: &[u8]) -> String {
    let crc = crc32fast::hash(bytes).to_be_bytes();
    base64::engine::general_purpose::STANDARD.encode(crc)
}
