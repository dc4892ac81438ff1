//! What state machines reach outside of this server: AWS services at endpoints that the operator names,
//! and HTTP hosts that the operator allows.
//!
//! Nothing is reached that the operator did not name. Start reading at [`aws`], which calls a service;
//! [`items`] and [`results`] are what distributed Map states read and write, [`http`] is `http:invoke`.

mod aws;
mod error;
mod http;
mod items;
mod query;
mod results;
mod s3;
mod send;
mod services;
mod settings;
mod sign;
mod xml;

pub use http::{Connection, Host};
pub use settings::{Endpoint, Keys, Settings};

pub(crate) use aws::{Call, Way};

use std::sync::Arc;

use model::limits;
use tokio::sync::Semaphore;

/// The way to what is outside.
pub(crate) struct Outside {
    settings: Settings,
    region: String,
    client: send::Client,
    /// One for each request that may be under way.
    room: Arc<Semaphore>,
}

impl Outside {
    pub(crate) fn new(settings: &Settings, region: &str) -> Self {
        Self {
            settings: settings.clone(),
            region: region.to_owned(),
            client: send::Client::new(&settings.authorities),
            room: Arc::new(Semaphore::new(limits::OUTSIDE_CALLS_MAX)),
        }
    }

    /// Whether the operator said where that service is, and not only where all others are.
    pub(crate) fn has_own_endpoint(&self, service: &str) -> bool {
        self.settings.has_own_endpoint(service)
    }
}
