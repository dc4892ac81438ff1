//! Requests that AWS's clients sign: whose key it is, and whether anybody changed them on the way.
//!
//! The words are those that AWS refuses with. A development server takes any signature, and none.

use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use model::Timestamp;
use node::{AccessKey, Handle, Principal};

use crate::sigv4::{self, Scope, Unsigned};

const DATE: &str = "x-amz-date";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const TIME_FORMAT: &str = "%Y%m%dT%H%M%SZ";
/// How far the clocks of client and server may be apart.
const SKEW_MAX: Duration = Duration::from_secs(5 * 60);

/// What a protocol's requests are signed for, and how it refuses.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) handle: Handle,
    /// Which of AWS's services a request with these headers is for.
    pub(crate) service: fn(&HeaderMap) -> &'static str,
    pub(crate) region: String,
    pub(crate) refuse: fn(&Refused) -> Response,
}

/// Why a request is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refused {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn incomplete(message: impl Into<String>) -> Self {
        Self::new("IncompleteSignatureException", message)
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidSignatureException", message)
    }

    fn unknown_key() -> Self {
        let message = "The security token included in the request is invalid.";
        Self::new("UnrecognizedClientException", message)
    }
}

impl Gate {
    /// The route, for whoever signs. Its requests have at most so many bytes.
    pub(crate) fn guard(
        self,
        route: MethodRouter<Handle>,
        bytes_max: usize,
    ) -> MethodRouter<Handle> {
        let guarded: MethodRouter<Handle> = route.layer(from_fn_with_state(self, check));
        guarded.layer(DefaultBodyLimit::max(bytes_max))
    }
}

/// Finds out who asks, before anything is done; routes have it as an extension, a [`Principal`].
async fn check(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    if let Some(anybody) = gate.handle.anonymous() {
        request.extensions_mut().insert(anybody);
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let wants = Wants { service: (gate.service)(&parts.headers), region: &gate.region };
    let key = |id: &str| gate.handle.access_key(id);
    // Nobody without a key has the body read.
    let claimed = match claim(&wants, &parts, gate.handle.now(), key) {
        Ok(claimed) => claimed,
        Err(refused) => return (gate.refuse)(&refused),
    };
    let whole = Request::from_parts(parts.clone(), body);
    let body = match Bytes::from_request(whole, &()).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    match claimed.prove(&parts, &body) {
        Ok(who) => {
            parts.extensions.insert(who);
            next.run(Request::from_parts(parts, body.into())).await
        }
        Err(refused) => (gate.refuse)(&refused),
    }
}

/// What a request must be signed for.
struct Wants<'a> {
    service: &'a str,
    region: &'a str,
}

/// The parts of an `Authorization` header.
struct Claim<'a> {
    id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    fn read(header: &'a str) -> Result<Self, Refused> {
        let (mut credential, mut signed, mut signature) = (None, None, None);
        let fields = header.strip_prefix(ALGORITHM).unwrap_or_default();
        for (name, value) in fields.split(',').filter_map(|field| field.trim().split_once('=')) {
            match name {
                "Credential" => credential = Some(value),
                "SignedHeaders" => signed = Some(value),
                "Signature" => signature = Some(value),
                _ => {}
            }
        }
        let (Some(credential), Some(signed), Some(signature)) = (credential, signed, signature)
        else {
            let all =
                [("Credential", credential), ("Signature", signature), ("SignedHeaders", signed)];
            let missing = all.iter().filter(|(_, found)| found.is_none());
            let missing = missing
                .map(|(name, _)| format!("Authorization header requires '{name}' parameter. "));
            return Err(Refused::incomplete(missing.collect::<String>()));
        };
        let elements: Vec<&str> = credential.split('/').collect();
        let &[id, date, region, service, terminator] = elements.as_slice() else {
            return Err(Refused::incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. \
                 keyid/date/region/service/term, got: '{credential}'"
            )));
        };
        if terminator != TERMINATOR {
            return Err(Refused::invalid(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator}'."
            )));
        }
        let signed_headers = signed.split(';').collect();
        Ok(Self { id, date, region, service, signed_headers, signature })
    }

    fn check_scope(&self, wants: &Wants<'_>) -> Result<(), Refused> {
        if self.region != wants.region {
            let region = self.region;
            return Err(Refused::invalid(format!(
                "Credential should be scoped to a valid region, not '{region}'. "
            )));
        }
        if self.service != wants.service {
            let service = wants.service;
            return Err(Refused::invalid(format!(
                "Credential should be scoped to correct service: '{service}'. "
            )));
        }
        Ok(())
    }

    /// What AWS's protocols say by headers must be signed, and for which host it is meant.
    fn check_signed(&self, parts: &Parts) -> Result<(), Refused> {
        let is_signed = |name: &str| self.signed_headers.contains(&name);
        if !is_signed(HOST.as_str()) {
            return Err(Refused::invalid(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        let mut names = parts.headers.keys().map(axum::http::HeaderName::as_str);
        match names.find(|name| name.starts_with("x-amz-") && !is_signed(name)) {
            Some(name) => Err(Refused::invalid(format!(
                "'{name}' must be a 'SignedHeader' in the AWS Authorization."
            ))),
            None => Ok(()),
        }
    }
}

/// Whose request it is said to be.
struct Claimed<'a> {
    claim: Claim<'a>,
    key: AccessKey,
    signed_at: SystemTime,
}

/// Everything but the signature itself, which needs the body.
fn claim<'a>(
    wants: &Wants<'_>,
    parts: &'a Parts,
    now: Timestamp,
    key: impl FnOnce(&str) -> Option<AccessKey>,
) -> Result<Claimed<'a>, Refused> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let Some(authorization) = text(AUTHORIZATION.as_str()) else {
        let code = "MissingAuthenticationTokenException";
        return Err(Refused::new(code, "Missing Authentication Token"));
    };
    let claim = Claim::read(authorization)?;
    let Some(date) = text(DATE) else {
        return Err(Refused::incomplete(
            "Authorization header requires existence of a 'X-Amz-Date' header. ",
        ));
    };
    let signed_at = check_time(&claim, date, now)?;
    claim.check_scope(wants)?;
    claim.check_signed(parts)?;
    // There are no sessions here, so no token of one can be right.
    let has_session = parts.headers.contains_key("x-amz-security-token");
    let key = key(claim.id).filter(|_| !has_session).ok_or_else(Refused::unknown_key)?;
    Ok(Claimed { claim, key, signed_at })
}

impl Claimed<'_> {
    fn prove(self, parts: &Parts, body: &[u8]) -> Result<Principal, Refused> {
        let signature = signature(&self.claim, &self.key, (parts, body), self.signed_at)?;
        if is_same(&signature, self.claim.signature) {
            return Ok(self.key.who);
        }
        Err(Refused::invalid(
            "The request signature we calculated does not match the signature you provided. Check your \
             AWS Secret Access Key and signing method. Consult the service documentation for details.",
        ))
    }
}

/// When it was signed, which must be about now.
fn check_time(claim: &Claim<'_>, date: &str, now: Timestamp) -> Result<SystemTime, Refused> {
    let parsed = DateTime::strptime(TIME_FORMAT, date)
        .and_then(|time| time.to_zoned(TimeZone::UTC))
        .map(|time| time.timestamp());
    let signed_at = parsed.map_err(|_| {
        let message = format!("Date must be in ISO-8601 'basic format'. Got '{date}'. ");
        Refused::incomplete(message)
    })?;
    let day = date.get(..8).unwrap_or_default();
    if claim.date != day {
        return Err(Refused::invalid(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
             '{}' != '{day}', from '{date}'.",
            claim.date
        )));
    }
    let seconds = i64::try_from(now.as_millis() / 1_000).unwrap_or(i64::MAX);
    let now = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    let render = |at: jiff::Timestamp| at.strftime(TIME_FORMAT).to_string();
    let apart = |at: Result<jiff::Timestamp, jiff::Error>| at.unwrap_or(now);
    let (earliest, latest) = (apart(now.checked_sub(SKEW_MAX)), apart(now.checked_add(SKEW_MAX)));
    if signed_at < earliest {
        return Err(Refused::invalid(format!(
            "Signature expired: {date} is now earlier than {} ({} - 5 min.)",
            render(earliest),
            render(now)
        )));
    }
    if signed_at > latest {
        return Err(Refused::invalid(format!(
            "Signature not yet current: {date} is still later than {} ({} + 5 min.)",
            render(latest),
            render(now)
        )));
    }
    Ok(signed_at.into())
}

/// What the request should be signed with.
fn signature(
    claim: &Claim<'_>,
    key: &AccessKey,
    (parts, body): (&Parts, &[u8]),
    now: SystemTime,
) -> Result<String, Refused> {
    let headers: Vec<(&str, &str)> = parts
        .headers
        .iter()
        .filter(|(name, _)| claim.signed_headers.contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    // In HTTP/2 the host stands in the request's own URI.
    let host = headers.iter().find(|(name, _)| *name == HOST.as_str()).map(|(_, value)| *value);
    let host = host.or_else(|| parts.uri.authority().map(axum::http::uri::Authority::as_str));
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = format!("http://{}{path}", host.unwrap_or_default());
    let unsigned = Unsigned { method: parts.method.as_str(), url: &url, headers, body };
    let scope = Scope {
        id: &key.id,
        secret: &key.secret,
        session: None,
        region: claim.region,
        service: claim.service,
        now,
    };
    let signed = sigv4::sign(unsigned, &scope).map_err(Refused::incomplete)?;
    Ok(signed.signature)
}

/// Takes the same time wherever they differ.
fn is_same(one: &str, other: &str) -> bool {
    let differ = one.bytes().zip(other.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    differ == 0 && one.len() == other.len()
}

#[cfg(test)]
mod tests;
