//! Refusals and failures as problem documents (RFC 9457), by one table.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use model::{Failure, FailureKind, InvocationId};
use node::{Error, ErrorKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::connection::Silent;

/// Code of a path that is not served.
pub const NO_SUCH_ROUTE: &str = "no-such-route";
/// Code of a method that a path does not know.
pub const METHOD_NOT_ALLOWED: &str = "method-not-allowed";
/// Code of a body that its sender did not finish.
pub const REQUEST_TIMEOUT: &str = "request-timeout";

/// A refusal as it is sent: `application/problem+json`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Document {
    /// A relative reference that ends in the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code, as `docs/errors.md` has it.
    pub code: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened to which thing, and the cure.
    pub detail: String,
    /// The invocation that failed, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocation: Option<String>,
    /// What the handler threw, as its runtime reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<serde_json::Value>,
}

/// A refusal on its way to being sent.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    document: Box<Document>,
    retry_after_s: Option<u64>,
}

/// The status of a refusal.
#[must_use]
pub const fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden | ErrorKind::ClassNotAllowed | ErrorKind::TokenRefused => {
            StatusCode::FORBIDDEN
        }
        ErrorKind::UnknownClass | ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::UnknownFunction | ErrorKind::UnknownInvocation | ErrorKind::NotFound => {
            StatusCode::NOT_FOUND
        }
        ErrorKind::Conflict | ErrorKind::ExecutionEnded => StatusCode::CONFLICT,
        ErrorKind::BadPackage | ErrorKind::UnavailableRuntime => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::TooDeep => StatusCode::LOOP_DETECTED,
        ErrorKind::OverBudget | ErrorKind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Draining | ErrorKind::OwnerAway | ErrorKind::Storage => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status of a function that failed: to HTTP, a function is the server behind this one.
#[must_use]
pub const fn status_of_failure(kind: FailureKind) -> StatusCode {
    match kind {
        FailureKind::Handler
        | FailureKind::Init
        | FailureKind::Exited
        | FailureKind::Trapped
        | FailureKind::OutOfMemory
        | FailureKind::BadResponse
        | FailureKind::ResponseTooLarge => StatusCode::BAD_GATEWAY,
        FailureKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        FailureKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        FailureKind::Platform => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl Problem {
    fn new(status: StatusCode, code: &str, detail: String) -> Self {
        let document = Document {
            kind: format!("/errors/{code}"),
            code: code.to_owned(),
            status: status.as_u16(),
            detail,
            invocation: None,
            failure: None,
        };
        Self { status, document: Box::new(document), retry_after_s: None }
    }

    /// A request that cannot be read.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Error::new(ErrorKind::Invalid, detail).into()
    }

    /// A body that cannot be read to its end.
    pub(crate) fn of_body(error: &(dyn std::error::Error + 'static)) -> Self {
        match Silent::find(error) {
            Some(silent) => {
                Self::new(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT, silent.to_string())
            }
            None => Self::invalid(format!("the body broke off: {error}")),
        }
    }

    /// A function that failed.
    pub(crate) fn of_failure(id: InvocationId, failure: &Failure) -> Self {
        let status = status_of_failure(failure.kind);
        let mut problem = Self::new(status, failure.kind.code(), failure.message.clone());
        problem.document.invocation = Some(id.to_string());
        let detail = failure.detail.as_deref();
        problem.document.failure = detail.and_then(|bytes| serde_json::from_slice(bytes).ok());
        problem
    }
}

/// Faults of the platform are logged here, once, with what lies beneath.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        if matches!(error.kind, ErrorKind::Internal | ErrorKind::Storage) {
            let beneath = error.source.as_ref().map(|source| chain(source.as_ref()));
            tracing::error!(error = %error.message, beneath, "a request failed");
        }
        let mut problem = Self::new(status_of(error.kind), error.kind.code(), error.message);
        // Whole seconds, rounded up: an earlier retry would be refused again.
        problem.retry_after_s =
            error.retry_after.map(|after| after.as_secs() + u64::from(after.subsec_nanos() > 0));
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&*self.document).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub(crate) async fn no_such_route(uri: Uri) -> Problem {
    let detail = format!("nothing is served at {}; see /v1/openapi.json", uri.path());
    Problem::new(StatusCode::NOT_FOUND, NO_SUCH_ROUTE, detail)
}

pub(crate) async fn method_not_allowed(uri: Uri) -> Problem {
    let detail = format!("{} does not know this method; see /v1/openapi.json", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, METHOD_NOT_ALLOWED, detail)
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = include_str!("../../../docs/errors.md");

    #[track_caller]
    fn check(code: &str, status: StatusCode) {
        let row = DOCUMENTED.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/errors.md has no row for {code}"));
        assert!(row.contains(&format!("| {} |", status.as_u16())), "{row}");
        assert!(row.matches('|').count() == 5 && !row.contains("|  |"), "cause and cure: {row}");
    }

    #[test]
    fn every_refusal_and_failure_is_documented_with_its_status() {
        ErrorKind::ALL.iter().for_each(|kind| check(kind.code(), status_of(*kind)));
        FailureKind::ALL.iter().for_each(|kind| check(kind.code(), status_of_failure(*kind)));
        check(NO_SUCH_ROUTE, StatusCode::NOT_FOUND);
        check(METHOD_NOT_ALLOWED, StatusCode::METHOD_NOT_ALLOWED);
        check(REQUEST_TIMEOUT, StatusCode::REQUEST_TIMEOUT);
    }

    #[test]
    fn no_code_is_used_twice() {
        let errors = ErrorKind::ALL.iter().map(|kind| kind.code());
        let failures = FailureKind::ALL.iter().map(|kind| kind.code());
        let mut codes: Vec<&str> = errors.chain(failures).collect();
        codes.sort_unstable();
        let all = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }

    #[test]
    fn a_retry_time_is_rounded_up() {
        let error = Error::new(ErrorKind::Overloaded, "x");
        let error = error.retry_after(std::time::Duration::from_millis(1_001));
        let response = Problem::from(error).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    }
}
