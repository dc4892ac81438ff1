//! Sends requests, over TLS where the URL says so. Redirects are answers like any other: nothing follows
//! them to a place that nobody named.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use model::limits;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

type Plain = legacy::Client<HttpConnector, Full<Bytes>>;
type Secure = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Connections, kept for the next request.
pub(super) struct Client {
    authorities: Vec<CertificateDer<'static>>,
    plain: OnceLock<Plain>,
    /// Made when it is needed first: the computer's certificates are read then.
    secure: OnceLock<Result<Secure, String>>,
}

/// What came back, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    connector.enforce_http(false);
    connector
}

/// Trusts whom this computer trusts, and those authorities.
fn secure(authorities: &[CertificateDer<'static>]) -> Result<Secure, String> {
    let mut roots = RootCertStore::empty();
    let here = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(here.certs);
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        let why = here.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!("this computer trusts no authority, and --aws-ca names none{why}"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let builder = HttpsConnectorBuilder::new().with_tls_config(config);
    let connector = builder.https_only().enable_http1().wrap_connector(connector());
    Ok(legacy::Client::builder(TokioExecutor::new()).build(connector))
}

/// Whether these can be trusted at all.
pub(super) fn check(authorities: &[CertificateDer<'static>]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    authorities
        .iter()
        .try_for_each(|authority| roots.add(authority.clone()))
        .map_err(|error| format!("one of its certificates is none: {error}"))
}

impl Client {
    /// Beside whom this computer trusts, `authorities` are trusted.
    pub(super) fn new(authorities: &[CertificateDer<'static>]) -> Self {
        let authorities = authorities.to_vec();
        Self { authorities, plain: OnceLock::new(), secure: OnceLock::new() }
    }

    /// The head of an answer. The caller bounds the time.
    pub(super) async fn begin(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, String> {
        let sent = if request.uri().scheme_str() == Some("https") {
            match self.secure.get_or_init(|| secure(&self.authorities)) {
                Ok(client) => client.request(request).await,
                Err(error) => return Err(error.clone()),
            }
        } else {
            let client = self
                .plain
                .get_or_init(|| legacy::Client::builder(TokioExecutor::new()).build(connector()));
            client.request(request).await
        };
        sent.map_err(|error| match distrust(&error) {
            Some(why) => format!(
                "{}: if it is right, name the authority that signed it with --aws-ca FILE, or set \
                 FERMATA_AWS_CA",
                if chain(&error).contains(&why) { chain(&error) } else { why }
            ),
            None => chain(&error),
        })
    }

    /// A whole answer, within [`limits::OUTSIDE_CALL_TIME_MAX`].
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let whole = async {
            let (head, mut body) = self.begin(request).await?.into_parts();
            let mut bytes = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| chain(&error))?;
                if let Some(data) = frame.data_ref() {
                    if bytes.len() + data.len() > limits::OUTSIDE_ANSWER_BYTES_MAX {
                        let most = limits::OUTSIDE_ANSWER_BYTES_MAX;
                        return Err(format!("the answer has more than {most} bytes"));
                    }
                    bytes.extend_from_slice(data);
                }
            }
            Ok(Answer { status: head.status, headers: head.headers, body: bytes.freeze() })
        };
        match tokio::time::timeout(limits::OUTSIDE_CALL_TIME_MAX, whole).await {
            Ok(answer) => answer,
            Err(_) => {
                let most = limits::OUTSIDE_CALL_TIME_MAX.as_secs();
                Err(format!("no answer within {most} s"))
            }
        }
    }
}

/// Why a certificate was not trusted, where that is what failed.
fn distrust(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return Some(error.to_string());
        }
        // What an error of input and output holds is not its source.
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        at = held.map(|held| held as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    None
}

/// An error with what led to it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
