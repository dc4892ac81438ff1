//! What a sandbox's program can ask over its own listening socket: the AWS Lambda Runtime API, and
//! the platform's endpoint for calls of other functions. Who asks is known by the socket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use model::{Failure, FailureKind, limits};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::job::{Afterwards, Job};
use super::peer;
use super::sandbox::{Next, Sandbox};
use crate::executor::{Call, CallMode, CallResult, Start};

type Answer = Response<Full<Bytes>>;

const RUNTIME: &str = "/2018-06-01/runtime/";
const FUNCTIONS: &str = "/v1/functions/";
/// Largest report of a failure.
const REPORT_BYTES_MAX: usize = 1 << 20;

/// Serves the program of a sandbox for as long as the sandbox lives.
pub(super) async fn serve(sandbox: Arc<Sandbox>, listener: TcpListener) {
    while let Ok((stream, peer)) = listener.accept().await {
        if sandbox.is_gone() {
            return;
        }
        tokio::spawn(connection(Arc::clone(&sandbox), stream, peer));
    }
}

async fn connection(sandbox: Arc<Sandbox>, stream: TcpStream, peer: SocketAddr) {
    if sandbox.has_network() {
        let user = sandbox.shared.user(sandbox.n);
        let is_own = stream.local_addr().is_ok_and(|near| peer::is_of_user(near, peer, user));
        if !is_own {
            tracing::debug!(n = sandbox.n, %peer, "a stranger's connection is closed");
            return;
        }
    }
    // An answer is one small packet; it must not wait for a second one.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let sandbox = Arc::clone(&sandbox);
        async move { Ok::<_, Infallible>(route(&sandbox, request).await) }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    let is_garbage = served.is_err_and(|error| error.is_parse());
    if let Some(job) = sandbox.job().filter(|_| is_garbage) {
        let message = "what it sent to the Runtime API is not HTTP";
        fail(&job, FailureKind::BadResponse, message);
    }
}

async fn route(sandbox: &Arc<Sandbox>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    if let Some(path) = path.strip_prefix(RUNTIME) {
        let parts: Vec<&str> = path.split('/').collect();
        return match (&method, parts.as_slice()) {
            (&Method::GET, ["invocation", "next"]) => next(sandbox).await,
            (&Method::POST, ["invocation", id, "response"]) => response(sandbox, id, request).await,
            (&Method::POST, ["invocation", id, "error"]) => error(sandbox, id, request).await,
            (&Method::POST, ["init", "error"]) => init_error(sandbox, request).await,
            _ => refusal(StatusCode::NOT_FOUND, "UnknownPath", "no such path"),
        };
    }
    let called = path.strip_prefix(FUNCTIONS).and_then(|path| path.strip_suffix("/invoke"));
    match (&method, called) {
        (&Method::POST, Some(name)) => call(sandbox, name, request).await,
        (&Method::GET, None) if path == "/fermata/assignment" => assignment(sandbox).await,
        _ => problem(StatusCode::NOT_FOUND, "no-such-route", "nothing is served at this path"),
    }
}

async fn assignment(sandbox: &Arc<Sandbox>) -> Answer {
    match sandbox.ask_assignment().await {
        Ok(assignment) => Response::new(Full::new(assignment)),
        Err(_) => gone(),
    }
}

async fn next(sandbox: &Arc<Sandbox>) -> Answer {
    if let Some(job) = sandbox.job().filter(|job| job.is_delivered()) {
        let message = "the program asked for an invocation before it answered the last one";
        fail(&job, FailureKind::BadResponse, message);
        return gone();
    }
    let Ok(Next(start)) = sandbox.ask_next().await else { return gone() };
    let answer = Response::builder()
        .header(CONTENT_TYPE, "application/json")
        .header("Lambda-Runtime-Aws-Request-Id", start.id.to_string())
        .header("Lambda-Runtime-Deadline-Ms", start.deadline.as_millis())
        .header("Lambda-Runtime-Invoked-Function-Arn", arn(&start))
        .header("Fermata-Token", &start.token)
        .header("Fermata-Class", &start.class);
    let answer = match &start.traceparent {
        Some(parent) => answer.header("Traceparent", parent),
        None => answer,
    };
    answer.body(Full::new(start.payload)).unwrap_or_else(|_| gone())
}

fn arn(start: &Start) -> String {
    format!("arn:aws:lambda:us-east-1:000000000000:function:{}", start.code.function)
}

/// The invocation that the path names, if it is the one that runs here.
fn current(sandbox: &Sandbox, id: &str) -> Result<Arc<Job>, Box<Answer>> {
    let id: Option<model::InvocationId> = id.parse().ok();
    let job = sandbox.job().filter(|job| Some(job.id()) == id && job.is_delivered());
    let message = "no such invocation runs here";
    job.ok_or_else(|| Box::new(refusal(StatusCode::BAD_REQUEST, "InvalidRequestID", message)))
}

async fn response(sandbox: &Arc<Sandbox>, id: &str, request: Request<Incoming>) -> Answer {
    let job = match current(sandbox, id) {
        Ok(job) => job,
        Err(answer) => return *answer,
    };
    let bytes_max = job.start.code.response_bytes_max;
    let body = match Limited::new(request.into_body(), bytes_max).collect().await {
        Ok(body) => body,
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("the answer is larger than {bytes_max} bytes");
            fail(&job, FailureKind::ResponseTooLarge, &message);
            let kind = "RequestEntityTooLarge";
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, kind, &message);
        }
        Err(error) => {
            let message = format!("the answer broke off: {error}");
            fail(&job, FailureKind::BadResponse, &message);
            return refusal(StatusCode::BAD_REQUEST, "InvalidRequest", &message);
        }
    };
    // A streamed answer tells an error that came later in a trailer.
    let error = body.trailers().and_then(|trailers| header(trailers, ERROR_TYPE));
    let outcome = match error {
        None => Ok(body.to_bytes()),
        Some(kind) => Err(Failure::new(FailureKind::Handler, format!("{kind} while it answered"))),
    };
    finish(&job, outcome, Afterwards::Keep)
}

const ERROR_TYPE: &str = "Lambda-Runtime-Function-Error-Type";

async fn error(sandbox: &Arc<Sandbox>, id: &str, request: Request<Incoming>) -> Answer {
    let job = match current(sandbox, id) {
        Ok(job) => job,
        Err(answer) => return *answer,
    };
    let failure = report(FailureKind::Handler, request).await;
    finish(&job, Err(failure), Afterwards::Keep)
}

async fn init_error(sandbox: &Arc<Sandbox>, request: Request<Incoming>) -> Answer {
    let failure = report(FailureKind::Init, request).await;
    match sandbox.job() {
        Some(job) => finish(&job, Err(failure), Afterwards::Discard),
        None => accepted(),
    }
}

/// What the program says of its failure.
async fn report(kind: FailureKind, request: Request<Incoming>) -> Failure {
    let stated = header(request.headers(), ERROR_TYPE);
    let body = Limited::new(request.into_body(), REPORT_BYTES_MAX).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let Ok(value) = serde_json::from_slice::<Value>(&body) else {
        let text = String::from_utf8_lossy(&body);
        let message = if text.is_empty() { stated.unwrap_or_default() } else { text.into_owned() };
        return Failure::new(kind, message);
    };
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let message = match (text("errorType").or(stated), text("errorMessage")) {
        (Some(kind), Some(message)) => format!("{kind}: {message}"),
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) => String::from("the handler failed"),
    };
    Failure { kind, message, detail: Some(body.to_vec()) }
}

fn finish(job: &Job, outcome: Result<Bytes, Failure>, afterwards: Afterwards) -> Answer {
    if job.finish(outcome, afterwards) {
        return accepted();
    }
    refusal(StatusCode::BAD_REQUEST, "InvalidRequestID", "this invocation has ended")
}

fn fail(job: &Job, kind: FailureKind, message: &str) {
    job.finish(Err(Failure::new(kind, message)), Afterwards::Discard);
}

async fn call(sandbox: &Arc<Sandbox>, name: &str, request: Request<Incoming>) -> Answer {
    let Some(job) = sandbox.job().filter(|job| job.is_delivered()) else {
        return problem(StatusCode::CONFLICT, "conflict", "no invocation runs here");
    };
    let headers = request.headers();
    let stated = header(headers, AUTHORIZATION.as_str());
    if stated.is_some_and(|stated| stated != format!("Bearer {}", job.start.token)) {
        let message = "the token is not that of the invocation that runs here";
        return problem(StatusCode::UNAUTHORIZED, "unauthenticated", message);
    }
    let is_async = header(headers, "X-Fermata-Async").is_some_and(|value| value != "false");
    let class = header(headers, "X-Fermata-Class");
    let bytes_max = limits::PAYLOAD_BYTES_DEFAULT;
    let Ok(body) = Limited::new(request.into_body(), bytes_max).collect().await else {
        let message = format!("the payload is larger than {bytes_max} bytes");
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", &message);
    };
    let mode = if is_async { CallMode::Async } else { CallMode::Wait };
    let call = Call { function: name.to_owned(), class, payload: body.to_bytes(), mode };
    let (sender, receiver) = oneshot::channel();
    if mode == CallMode::Wait {
        job.wait_for_call();
    }
    let caller = Arc::clone(&job);
    let reply = Box::new(move |result| caller.call_answered(sender, result));
    sandbox.shared.platform.call(job.id(), call, reply);
    drop(job);
    match receiver.await.unwrap_or_else(|_| CallResult::caller_gone()) {
        CallResult::Ok(id, bytes) => invocation(StatusCode::OK, &id, bytes),
        CallResult::Accepted(id) => {
            let body = json!({ "invocation": id.to_string() }).to_string();
            invocation(StatusCode::ACCEPTED, &id, body.into())
        }
        CallResult::Failed(id, failure) => failed_callee(&id, &failure),
        CallResult::Refused { code, message } => problem(status_of(code), code, &message),
    }
}

/// As in `docs/errors.md`.
fn status_of(code: &str) -> StatusCode {
    match code {
        "unknown-function" | "unknown-invocation" | "not-found" => StatusCode::NOT_FOUND,
        "class-not-allowed" | "forbidden" => StatusCode::FORBIDDEN,
        "unknown-class" | "invalid" => StatusCode::BAD_REQUEST,
        "payload-too-large" => StatusCode::PAYLOAD_TOO_LARGE,
        "too-deep" => StatusCode::LOOP_DETECTED,
        "over-budget" | "overloaded" => StatusCode::TOO_MANY_REQUESTS,
        "internal" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn invocation(status: StatusCode, id: &model::InvocationId, body: Bytes) -> Answer {
    let answer = Response::builder().status(status).header("X-Fermata-Invocation", id.to_string());
    answer.body(Full::new(body)).unwrap_or_else(|_| gone())
}

fn failed_callee(id: &model::InvocationId, failure: &Failure) -> Answer {
    let detail = failure.detail.as_deref();
    let thrown = detail.and_then(|detail| serde_json::from_slice::<Value>(detail).ok());
    let status = StatusCode::FAILED_DEPENDENCY;
    let body = json!({
        "type": "about:blank",
        "title": "the function failed",
        "status": status.as_u16(),
        "code": failure.kind.code(),
        "detail": failure.message,
        "failure": thrown,
        "invocation": id.to_string(),
    });
    document(status, "application/problem+json", &body)
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Answer {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "code": code,
        "detail": detail,
    });
    document(status, "application/problem+json", &body)
}

/// A refusal in the Runtime API's own form.
fn refusal(status: StatusCode, kind: &str, message: &str) -> Answer {
    document(status, "application/json", &json!({ "errorType": kind, "errorMessage": message }))
}

fn accepted() -> Answer {
    document(StatusCode::ACCEPTED, "application/json", &json!({ "status": "OK" }))
}

/// The answer to who is about to be ended.
fn gone() -> Answer {
    refusal(StatusCode::GONE, "SandboxEnded", "this sandbox has ended")
}

fn document(status: StatusCode, kind: &'static str, body: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    answer
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}
