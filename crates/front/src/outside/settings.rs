//! What the operator allows.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use hyper::Uri;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::http::{Connection, Host};

/// What state machines may reach; nothing unless it is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    endpoints: BTreeMap<String, String>,
    /// For services without an endpoint of their own.
    endpoint_of_all: Option<String>,
    /// What requests to AWS services are signed with.
    pub keys: Keys,
    /// The same, of roles that have keys of their own.
    pub keys_of_roles: BTreeMap<String, Keys>,
    /// The folder with models of services: `data` of botocore.
    pub models: Option<PathBuf>,
    /// Who else may sign the certificates of what is reached, beside whom this computer trusts.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// Hosts that `http:invoke` may reach.
    pub http_allow: Vec<Host>,
    /// What a `ConnectionArn` names, by name.
    pub connections: BTreeMap<String, Connection>,
}

/// Where a service is, as the operator writes it: `sqs=http://127.0.0.1:5000`, or a URL alone for all
/// services that are not named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    service: Option<String>,
    url: String,
}

/// Keys of AWS.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key's id.
    pub id: String,
    /// The access key.
    pub secret: String,
    /// The token of a session.
    pub session: Option<String>,
}

impl Default for Keys {
    /// What a service for development takes as well as any other.
    fn default() -> Self {
        Self { id: "fermata".to_owned(), secret: "fermata".to_owned(), session: None }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::str::FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, url) = match text.split_once('=') {
            Some((service, url)) if !service.contains(':') => (Some(service), url),
            Some(_) | None => (None, text),
        };
        let wrong = || {
            format!(
                "{text:?} is not an endpoint: write SERVICE=URL, as in sqs=http://127.0.0.1:5000"
            )
        };
        let parsed: Uri = url.parse().map_err(|_| wrong())?;
        let known = matches!(parsed.scheme_str(), Some("http" | "https"));
        if !known || parsed.authority().is_none() || parsed.query().is_some() {
            return Err(wrong());
        }
        let service = service.map(|service| {
            let service = service.strip_prefix("aws-sdk:").unwrap_or(service);
            super::services::canonical(service).to_owned()
        });
        Ok(Self { service, url: url.trim_end_matches('/').to_owned() })
    }
}

impl Keys {
    /// Reads a file as AWS's tools keep one: of `[default]` its `aws_access_key_id`,
    /// `aws_secret_access_key` and, where it is there, `aws_session_token`.
    ///
    /// # Errors
    /// One of the first two is missing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut fields = BTreeMap::new();
        let mut section = "default".to_owned();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.trim().clone_into(&mut section);
            } else if let Some((name, value)) = line.split_once('=')
                && section == "default"
            {
                fields.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
        let mut take = |name: &str| {
            fields
                .remove(name)
                .ok_or_else(|| format!("there is no {name} in its section [default]"))
        };
        let (id, secret) = (take("aws_access_key_id")?, take("aws_secret_access_key")?);
        Ok(Self { id, secret, session: take("aws_session_token").ok() })
    }
}

impl Settings {
    /// State machines may call that service there.
    pub fn allow(&mut self, endpoint: Endpoint) {
        match endpoint.service {
            Some(service) => {
                self.endpoints.insert(service, endpoint.url);
            }
            None => self.endpoint_of_all = Some(endpoint.url),
        }
    }

    /// Certificates may also be signed by these, in PEM.
    ///
    /// # Errors
    /// There is none, or one is broken.
    pub fn trust(&mut self, pem: &[u8]) -> Result<(), String> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let read = read.map_err(|error| format!("it is not in PEM: {error}"))?;
        if read.is_empty() {
            return Err("it has no certificate: give those of the authority in PEM".to_owned());
        }
        super::send::check(&read)?;
        self.authorities.extend(read);
        Ok(())
    }

    /// Whether that service has an endpoint of its own.
    pub(super) fn has_own_endpoint(&self, service: &str) -> bool {
        self.endpoints.contains_key(super::services::canonical(service))
    }

    /// What requests for a role are signed with.
    pub(super) fn keys(&self, role: &str) -> &Keys {
        self.keys_of_roles.get(role).unwrap_or(&self.keys)
    }

    /// Where that service is.
    pub(super) fn endpoint(&self, service: &str) -> Option<&str> {
        self.endpoints.get(service).or(self.endpoint_of_all.as_ref()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_of_one_service_or_of_all_others() {
        let mut settings = Settings::default();
        settings.allow("events=http://127.0.0.1:1/".parse().unwrap());
        assert_eq!(settings.endpoint("eventbridge"), Some("http://127.0.0.1:1"));
        assert_eq!(settings.endpoint("sqs"), None);
        assert!(settings.has_own_endpoint("events") && !settings.has_own_endpoint("sqs"));
        settings.allow("http://localhost:5000".parse().unwrap());
        assert_eq!(settings.endpoint("sqs"), Some("http://localhost:5000"));
        assert!(!settings.has_own_endpoint("sqs"), "that of all others");
        for wrong in ["sqs", "sqs=", "sqs=localhost:1", "sqs=ftp://localhost", "sqs=http://"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_read_from_the_file_of_awss_tools_and_not_shown() {
        let text = "[work]\naws_access_key_id = no\n[default]\naws_access_key_id = A\n\
                    aws_secret_access_key=hidden\n";
        let keys = Keys::parse(text).unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.as_str(), &keys.session), ("A", "hidden", &None));
        assert!(!format!("{keys:?}").contains("hidden"));
        let missing = Keys::parse("[default]\naws_access_key_id = A").unwrap_err();
        assert!(missing.contains("aws_secret_access_key"), "{missing}");
    }
}
