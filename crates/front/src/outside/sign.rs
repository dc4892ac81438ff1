//! Requests to AWS's services, before and after they are signed.

use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};

use super::Keys;
use crate::sigv4;

/// A request before it is signed.
pub(super) struct Unsigned {
    pub(super) method: Method,
    /// The endpoint, the path and the query, all encoded.
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Puts a header into a request.
pub(super) fn put(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let wrong = || format!("{value:?} cannot be sent as {name}");
    let name: HeaderName = name.parse().map_err(|_| wrong())?;
    headers.insert(name, HeaderValue::from_str(value).map_err(|_| wrong())?);
    Ok(())
}

/// For whom it is signed.
pub(super) struct Scope<'a> {
    pub(super) keys: &'a Keys,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) now: SystemTime,
}

impl Unsigned {
    pub(super) fn sign(self, scope: &Scope<'_>) -> Result<Request<Full<Bytes>>, String> {
        let Self { method, url, mut headers, body } = self;
        // Proxies may change what a client says of itself.
        let signed = headers.iter().filter(|(name, _)| **name != USER_AGENT);
        let signed = signed.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let unsigned = sigv4::Unsigned {
            method: method.as_str(),
            url: &url,
            headers: signed.collect(),
            body: &body,
        };
        let Scope { keys, region, service, now } = *scope;
        let Keys { id, secret, session } = keys;
        let session = session.as_deref();
        let by = sigv4::Scope { id, secret, session, region, service, now };
        for (name, value) in sigv4::sign(unsigned, &by)?.headers {
            let name: HeaderName = name.parse().map_err(|_| format!("{name:?} is no header"))?;
            let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            headers.insert(name, value);
        }
        let uri: Uri = url.parse().map_err(|error| format!("{url:?} is no URL: {error}"))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }
}
