//! Calls: the path on which every microsecond counts.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use model::{FunctionName, Version};
use node::{Handle, Invoke, Invoked, Principal};

use super::functions::parse_version;
use super::wire::{Accepted, micros, parse_name};
use crate::auth::Who;
use crate::problem::{Document, Problem};

pub(super) const CLASS: HeaderName = HeaderName::from_static("x-fermata-class");
const VERSION: HeaderName = HeaderName::from_static("x-fermata-version");
const ASYNC: HeaderName = HeaderName::from_static("x-fermata-async");
const INVOCATION: HeaderName = HeaderName::from_static("x-fermata-invocation");
const RECEIPT: HeaderName = HeaderName::from_static("x-fermata-receipt");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Calls a function. The body is its input, whatever its type; the answer's body is its output.
#[utoipa::path(post, path = "/v1/functions/{name}/invoke",
    params(
        ("name" = String, Path, description = "The function, or `name:version`"),
        ("x-fermata-class" = Option<String>, Header, description = "Price class; the function's own where absent"),
        ("x-fermata-version" = Option<u32>, Header, description = "Version; the latest where absent"),
        ("x-fermata-async" = Option<bool>, Header, description = "Queue the call and answer 202"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
    (status = 200, description = "The function's answer", body = Vec<u8>, content_type = "application/octet-stream",
        headers(("x-fermata-invocation" = String, description = "Its id"),
                ("x-fermata-receipt" = String, description = "The bill and where the time went, as JSON"))),
    (status = 202, description = "Queued", body = Accepted),
    (status = 502, description = "The function failed", body = Document, content_type = "application/problem+json"),
    (status = 504, description = "The function was ended at its time limit", body = Document, content_type = "application/problem+json"),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn invoke(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(target): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let received = handle.now();
    let (parts, body) = request.into_parts();
    let payload = read(body, handle.payload_bytes_max()).await?;
    let (name, version) = split_target(&target)?;
    let version = match text(&parts.headers, &VERSION)? {
        Some(stated) => Some(parse_version(stated)?),
        None => version,
    };
    let call = Invoke {
        function: name,
        version,
        class: text(&parts.headers, &CLASS)?.map(str::to_owned),
        payload,
        traceparent: text(&parts.headers, &TRACEPARENT)?.map(str::to_owned),
        received,
    };
    match text(&parts.headers, &ASYNC)? {
        None | Some("false" | "0") => wait(&handle, &who, call).await,
        Some("true" | "1") => {
            let invocation = handle.invoke_async(&who, call).await?.to_string();
            Ok((StatusCode::ACCEPTED, Json(Accepted { invocation })).into_response())
        }
        Some(other) => {
            Err(Problem::invalid(format!("x-fermata-async is true or false, not {other:?}")))
        }
    }
}

async fn wait(handle: &Handle, who: &Principal, call: Invoke) -> Result<Response, Problem> {
    Ok(answer(handle, handle.invoke(who, call).await?))
}

/// `name` or `name:version`.
pub(super) fn split_target(target: &str) -> Result<(FunctionName, Option<Version>), Problem> {
    match target.split_once(':') {
        Some((name, version)) => Ok((parse_name(name)?, Some(parse_version(version)?))),
        None => Ok((parse_name(target)?, None)),
    }
}

/// What a caller who waited is sent.
pub(super) fn answer(handle: &Handle, invoked: Invoked) -> Response {
    let receipt = receipt(handle, &invoked);
    let mut response = match invoked.outcome {
        Ok(bytes) => {
            let kind = HeaderValue::from_static(content_type(&bytes));
            let mut response = Response::new(Body::from(bytes));
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(failure) => Problem::of_failure(invoked.id, &failure).into_response(),
    };
    let headers = response.headers_mut();
    let visible = |text: &str| HeaderValue::from_str(text).expect("ids and receipts are ASCII");
    headers.insert(INVOCATION, visible(&invoked.id.to_string()));
    headers.insert(RECEIPT, visible(&receipt));
    response
}

/// One line of JSON. Class names are plain, so nothing has to be escaped.
fn receipt(handle: &Handle, invoked: &Invoked) -> String {
    let (receipt, times) = (&invoked.receipt, &invoked.durations);
    format!(
        concat!(
            r#"{{"class":"{}","version":{},"cpu_ns":{},"byte_seconds":{},"cpu_cost":"{}","#,
            r#""memory_cost":"{}","total":"{}","queued_us":{},"waiting_us":{},"starting_us":{},"#,
            r#""preempted_us":{},"blocked_us":{},"running_us":{},"total_us":{},"preemptions":{},"#,
            r#""memory_us":{},"swap_outs":{},"swapped_us":{},"swapped_bytes":{}}}"#
        ),
        handle.prices().get(receipt.class).name,
        invoked.version,
        receipt.cpu.0,
        receipt.memory.0,
        receipt.cpu_cost,
        receipt.memory_cost,
        receipt.total(),
        micros(times.queued),
        micros(times.waiting),
        micros(times.starting),
        micros(times.preempted),
        micros(times.blocked),
        micros(times.running),
        micros(times.total),
        times.preemptions,
        micros(times.memory),
        times.swap_outs,
        micros(times.swapped),
        times.swapped_bytes.0,
    )
}

pub(super) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, bytes_max).await.map_err(|error| {
        let too_large = std::error::Error::source(&error)
            .is_some_and(|source| source.to_string().contains("length limit exceeded"));
        if too_large {
            let message = format!("the payload is over the cap of {bytes_max} bytes");
            return node::Error::new(node::ErrorKind::PayloadTooLarge, message).into();
        }
        Problem::of_body(&error)
    })
}

pub(super) fn text<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Problem> {
    let value = headers.get(name).map(HeaderValue::to_str).transpose();
    value.map_err(|_| Problem::invalid(format!("header {name} is not plain text")))
}

/// A function's answer has no type of its own. Its first byte tells JSON and HTML apart from the
/// rest well enough for a browser; whoever needs more looks at the bytes.
fn content_type(answer: &[u8]) -> &'static str {
    match answer.trim_ascii_start().first() {
        Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9') => "application/json",
        Some(b'<') => "text/html; charset=utf-8",
        _ if answer.is_ascii() => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_tells_the_type() {
        let check = |answer: &[u8], expected: &str| {
            assert!(content_type(answer).starts_with(expected), "{answer:?}");
        };
        check(b" {\"a\":1}", "application/json");
        check(b"<!doctype html>", "text/html");
        check(b"hello", "text/plain");
        check(b"", "text/plain");
        check(&[0xff, 0xd8], "application/octet-stream");
    }

    #[tokio::test]
    async fn a_body_over_the_cap_is_told_from_one_that_broke_off() {
        assert_eq!(read(Body::from("1234"), 4).await.unwrap(), "1234");
        let status = read(Body::from("12345"), 4).await.unwrap_err().into_response().status();
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
