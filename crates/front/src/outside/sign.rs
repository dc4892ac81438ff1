//! Signs a request to an AWS service (Signature Version 4).

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};

use super::Keys;

/// A request before it is signed.
pub(super) struct Unsigned {
    pub(super) method: Method,
    /// The endpoint, the path and the query, all encoded.
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// For whom it is signed.
pub(super) struct Scope<'a> {
    pub(super) keys: &'a Keys,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) now: SystemTime,
}

/// S3 signs paths as they are, and the body's hash beside them.
fn settings(service: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    settings
}

impl Unsigned {
    pub(super) fn sign(self, scope: &Scope<'_>) -> Result<Request<Full<Bytes>>, String> {
        let Self { method, url, mut headers, body } = self;
        let Keys { id, secret, session } = scope.keys;
        let identity = Credentials::new(id, secret, session.clone(), None, "setting").into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(scope.region)
            .name(scope.service)
            .time(scope.now)
            .settings(settings(scope.service))
            .build();
        let params = params.map_err(|error| error.to_string())?.into();
        let shown: Vec<(&str, &str)> = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        let signable = SignableRequest::new(
            method.as_str(),
            url.as_str(),
            shown.into_iter(),
            SignableBody::Bytes(&body),
        );
        let signable = signable.map_err(|error| error.to_string())?;
        let signed = sign(signable, &params).map_err(|error| error.to_string())?;
        let (instructions, _) = signed.into_parts();
        let added: Vec<_> = instructions
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, value) in added {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The example of the Amazon S3 API reference, "Authenticating Requests: Using the Authorization
    /// Header", of a GET of an object's first ten bytes.
    #[test]
    fn an_s3_request_is_signed_as_the_reference_shows() {
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session: None,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        let mut headers = HeaderMap::new();
        headers.insert("range", HeaderValue::from_static("bytes=0-9"));
        let unsigned = Unsigned {
            method: Method::GET,
            url: "https://examplebucket.s3.amazonaws.com/test.txt".to_owned(),
            headers,
            body: Bytes::new(),
        };
        let scope = Scope { keys: &keys, region: "us-east-1", service: "s3", now };
        let signed = unsigned.sign(&scope).unwrap();
        let authorization = signed.headers()["authorization"].to_str().unwrap();
        assert!(
            authorization.ends_with(
                "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
            ),
            "{authorization}"
        );
    }
}
