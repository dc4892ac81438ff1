//! Signature Version 4: by it AWS's clients prove to this server whose key they have, and this server
//! to AWS's services.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode,
};
use aws_sigv4::sign::v4::SigningParams;

/// A request before it is signed.
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a str,
    /// The endpoint, the path and the query, all encoded.
    pub(crate) url: &'a str,
    /// Those that are signed. `host` and `x-amz-date` are signed in any case.
    pub(crate) headers: Vec<(&'a str, &'a str)>,
    pub(crate) body: &'a [u8],
}

/// By whom and for what it is signed.
pub(crate) struct Scope<'a> {
    pub(crate) id: &'a str,
    pub(crate) secret: &'a str,
    pub(crate) session: Option<&'a str>,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    pub(crate) now: SystemTime,
}

/// What signing comes to.
pub(crate) struct Signed {
    /// To be added to the request.
    pub(crate) headers: Vec<(String, String)>,
    /// 64 hexadecimal digits, which stand in them.
    pub(crate) signature: String,
}

/// S3 signs paths as they are, and the body's hash beside them.
fn settings(service: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    // It is the caller who says which are signed.
    settings.excluded_headers = None;
    if service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    settings
}

/// Signs a request.
pub(crate) fn sign(request: Unsigned<'_>, scope: &Scope<'_>) -> Result<Signed, String> {
    let Unsigned { method, url, headers, body } = request;
    let Scope { id, secret, session, region, service, now } = *scope;
    let session = session.map(str::to_owned);
    let identity = Credentials::new(id, secret, session, None, "setting").into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(settings(service))
        .build();
    let params = params.map_err(|error| error.to_string())?.into();
    let signable =
        SignableRequest::new(method, url, headers.into_iter(), SignableBody::Bytes(body));
    let signable = signable.map_err(|error| error.to_string())?;
    let signed = aws_sigv4::http_request::sign(signable, &params);
    let (instructions, signature) = signed.map_err(|error| error.to_string())?.into_parts();
    let headers = instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(Signed { headers: headers.collect(), signature })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The example of the Amazon S3 API reference, "Authenticating Requests: Using the Authorization
    /// Header", of a GET of an object's first ten bytes.
    #[test]
    fn an_s3_request_is_signed_as_the_reference_shows() {
        let request = Unsigned {
            method: "GET",
            url: "https://examplebucket.s3.amazonaws.com/test.txt",
            headers: vec![("range", "bytes=0-9")],
            body: b"",
        };
        let scope = Scope {
            id: "AKIAIOSFODNN7EXAMPLE",
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            session: None,
            region: "us-east-1",
            service: "s3",
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600),
        };
        let signed = sign(request, &scope).unwrap();
        let expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert_eq!(signed.signature, expected);
        let authorization = signed.headers.iter().find(|(name, _)| name == "authorization");
        assert!(authorization.unwrap().1.ends_with(&format!("Signature={expected}")));
    }
}
