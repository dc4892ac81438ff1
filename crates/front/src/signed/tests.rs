use axum::http::HeaderValue;
use model::{ClassId, KeyId};
use node::Role;

use super::*;

const WANTS: Wants<'_> = Wants { service: "states", region: "us-east-1" };
const BODY: &[u8] = br#"{"stateMachineArn":"arn"}"#;
const HEADERS: &[(&str, &str)] = &[
    ("host", "127.0.0.1:4566"),
    ("x-amz-target", "AWSStepFunctions.StartExecution"),
    ("content-type", "application/x-amz-json-1.0"),
];

fn now() -> Timestamp {
    Timestamp::from_millis(1_795_796_430_500)
}

fn at(seconds: i64) -> SystemTime {
    let millis = now().as_millis().checked_add_signed(seconds * 1_000).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

fn key(id: &str) -> Option<AccessKey> {
    let who = Principal {
        tenant: "acme".parse().unwrap(),
        key: Some(KeyId(7)),
        role: Role::Member,
        max_class: ClassId(1),
    };
    (id == "key_7").then(|| AccessKey { id: id.to_owned(), secret: "secret".to_owned(), who })
}

/// A request as a client signs it.
fn signed(secret: &str, id: &str, service: &str, now: SystemTime) -> Parts {
    let url = "http://127.0.0.1:4566/";
    let request = Unsigned { method: "POST", url, headers: HEADERS.to_vec(), body: BODY };
    let scope = Scope { id, secret, session: None, region: "us-east-1", service, now };
    let signed = sigv4::sign(request, &scope).unwrap();
    let mut request = axum::http::Request::post("/");
    for (name, value) in HEADERS {
        request = request.header(*name, *value);
    }
    for (name, value) in signed.headers {
        request = request.header(name, value);
    }
    request.header("user-agent", "somebody").body(()).unwrap().into_parts().0
}

fn check(parts: &Parts, body: &[u8]) -> Result<String, (&'static str, String)> {
    let claimed = claim(&WANTS, parts, now(), key);
    let verified = claimed.and_then(|claimed| claimed.prove(parts, body));
    verified.map(|who| who.tenant.to_string()).map_err(|refused| (refused.code, refused.message))
}

fn good() -> Parts {
    signed("secret", "key_7", "states", at(0))
}

#[test]
fn a_signed_request_is_the_key_s_tenant_s() {
    assert_eq!(check(&good(), BODY), Ok("acme".to_owned()));
}

#[test]
fn clocks_may_be_five_minutes_apart() {
    for seconds in [-300, 299] {
        let parts = signed("secret", "key_7", "states", at(seconds));
        assert_eq!(check(&parts, BODY), Ok("acme".to_owned()), "{seconds} s");
    }
    let refused = |seconds| {
        let (code, message) =
            check(&signed("secret", "key_7", "states", at(seconds)), BODY).unwrap_err();
        assert_eq!(code, "InvalidSignatureException");
        message
    };
    assert_eq!(
        refused(-301),
        "Signature expired: 20261127T161529Z is now earlier than 20261127T161530Z (20261127T162030Z - 5 min.)"
    );
    assert_eq!(
        refused(301),
        "Signature not yet current: 20261127T162531Z is still later than 20261127T162530Z \
         (20261127T162030Z + 5 min.)"
    );
}

#[test]
fn whatever_was_changed_on_the_way_is_noticed() {
    let changed = |change: &dyn Fn(&mut Parts)| {
        let mut parts = good();
        change(&mut parts);
        check(&parts, BODY).unwrap_err()
    };
    let header = |name: &'static str, value: &'static str| {
        move |parts: &mut Parts| {
            parts.headers.insert(name, HeaderValue::from_static(value));
        }
    };
    let wrong = |(code, message): (&str, String)| {
        assert_eq!(code, "InvalidSignatureException");
        assert!(
            message.starts_with("The request signature we calculated does not match"),
            "{message}"
        );
    };
    wrong(check(&good(), b"{}").unwrap_err());
    wrong(check(&signed("other", "key_7", "states", at(0)), BODY).unwrap_err());
    wrong(changed(&header("x-amz-target", "AWSStepFunctions.DeleteStateMachine")));
    wrong(changed(&header("host", "elsewhere")));
    wrong(changed(&header("x-amz-date", "20261127T162029Z")));
    wrong(changed(&|parts| parts.uri = "/other".parse().unwrap()));
    wrong(changed(&|parts| parts.method = axum::http::Method::GET));
    let (code, message) = changed(&header("x-amz-invocation-type", "Event"));
    assert_eq!(code, "InvalidSignatureException");
    assert!(message.contains("'x-amz-invocation-type' must be a 'SignedHeader'"), "{message}");
}

#[test]
fn a_key_that_is_unknown_or_of_a_session_is_refused() {
    let unknown = "UnrecognizedClientException";
    let expected =
        Err((unknown, "The security token included in the request is invalid.".to_owned()));
    assert_eq!(check(&signed("secret", "key_8", "states", at(0)), BODY), expected);
    let url = "http://127.0.0.1:4566/";
    let request = Unsigned { method: "POST", url, headers: HEADERS.to_vec(), body: BODY };
    let session = Some("token");
    let (region, service) = ("us-east-1", "states");
    let scope = Scope { id: "key_7", secret: "secret", session, region, service, now: at(0) };
    let mut parts = good();
    for (name, value) in sigv4::sign(request, &scope).unwrap().headers {
        let name: axum::http::HeaderName = name.parse().unwrap();
        parts.headers.insert(name, value.parse().unwrap());
    }
    assert_eq!(check(&parts, BODY), expected);
}

#[test]
fn what_is_no_signature_for_this_service_is_refused() {
    let with = |authorization: &str| {
        let mut parts = good();
        parts.headers.insert("authorization", authorization.parse().unwrap());
        check(&parts, BODY).unwrap_err()
    };
    let mut parts = good();
    parts.headers.remove("authorization");
    let missing =
        ("MissingAuthenticationTokenException", "Missing Authentication Token".to_owned());
    assert_eq!(check(&parts, BODY), Err(missing));
    let (code, message) = with("Bearer fk_1");
    assert_eq!(code, "IncompleteSignatureException");
    assert!(message.contains("requires 'Credential' parameter"), "{message}");
    let scoped = |credential: &str| {
        with(&format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"))
    };
    for (credential, expected) in [
        ("key_7/20261127/us-east-1/states", "exactly 5 slash-delimited elements"),
        ("key_7/20261127/us-east-1/states/aws5", "valid terminator: 'aws4_request'"),
        ("key_7/20261127/eu-west-1/states/aws4_request", "a valid region, not 'eu-west-1'"),
        ("key_7/20261127/us-east-1/sqs/aws4_request", "correct service: 'states'"),
        ("key_7/20261126/us-east-1/states/aws4_request", "'20261126' != '20261127'"),
        ("key_7/20261127/us-east-1/states/aws4_request", "must be a 'SignedHeader'"),
    ] {
        let (_, message) = scoped(credential);
        assert!(message.contains(expected), "{credential}: {message}");
    }
}
