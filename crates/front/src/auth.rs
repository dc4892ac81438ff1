//! Who is it? A key as a bearer token (RFC 6750), or nobody in `--dev`.

use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};
use node::{Error, ErrorKind, Handle, Principal};

use crate::problem::Problem;

/// The tenant and rights behind a request.
pub(crate) struct Who(pub(crate) Principal);

impl FromRequestParts<Handle> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, handle: &Handle) -> Result<Self, Problem> {
        let header = parts.headers.get(header::AUTHORIZATION);
        let principal = match header.and_then(|value| value.to_str().ok()) {
            Some(value) => handle.authenticate(bearer(value).unwrap_or_default()),
            None => handle.anonymous().ok_or_else(|| {
                let message = "no credentials: send `Authorization: Bearer fk_…`";
                Error::new(ErrorKind::Unauthenticated, message)
            }),
        };
        Ok(Self(principal?))
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_read_without_regard_to_case() {
        assert_eq!(bearer("Bearer fk_1"), Some("fk_1"));
        assert_eq!(bearer("bearer  fk_1 "), Some("fk_1"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("fk_1"), None);
    }
}
