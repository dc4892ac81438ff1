//! Executions: durable instances of orchestrating functions.

use std::convert::Infallible;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::{Failure, FailureKind, Timestamp};
use node::{
    Awaited, Begun, ExecutionCost, ExecutionFilter, ExecutionInfo, ExecutionStatus, Handle,
    HistoryEntry, IfExists, NewExecution, TokenAnswer, Which,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_stream::StreamExt as _;
use utoipa::{IntoParams, ToSchema};

use super::invoke::{CLASS, read, split_target, text};
use super::wire::{FailureBody, List, parse_name};
use crate::auth::Who;
use crate::problem::{Document, Problem};

const LIMIT_DEFAULT: usize = 50;
const HISTORY_DEFAULT: usize = 500;
/// Names a signal's event, so that a repeated request signals once.
const EVENT_ID: HeaderName = HeaderName::from_static("x-fermata-event-id");

/// An execution that was started, or joined.
#[derive(Serialize, ToSchema)]
pub(crate) struct Started {
    /// Its id.
    execution: String,
    /// The version it is pinned to.
    version: u32,
    /// Whether it was there before.
    joined: bool,
}

/// An execution. What is not known is absent.
#[derive(Serialize, ToSchema)]
pub(crate) struct Execution {
    /// Its id.
    id: String,
    /// The name it was started under.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The function.
    function: String,
    /// The version it is pinned to.
    version: u32,
    /// How the function runs.
    kind: String,
    /// The effective class.
    class: String,
    /// `running`, `suspended`, `paused`, `succeeded`, `failed` or `cancelled`.
    status: String,
    /// What it waits for, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    waits: String,
    /// The execution that called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    created_ms: u64,
    /// When it last changed, milliseconds since 1970-01-01T00:00:00Z.
    updated_ms: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_ms: Option<u64>,
    /// What it told about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    custom_status: Option<Value>,
    /// Its answer; bytes that are no JSON as `{"$base64": …}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    output: Option<Value>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureBody>,
    /// What is billed for it to its last change, µ¢ as decimal text.
    total: String,
    /// What it cost until now, in detail; not in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
    /// What it asked for and has not seen the end of; not in a list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    open: Vec<Open>,
}

/// Something that an execution asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct Open {
    /// Its number.
    op: u64,
    /// What it is, in words.
    what: String,
    /// When it was asked for, milliseconds since 1970-01-01T00:00:00Z.
    since_ms: u64,
    /// The call, where it is one; a child execution has the same 26 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    /// Whether it has ended and waits to be seen.
    resolved: bool,
}

/// What an execution cost to its last change. Costs are µ¢ as decimal text.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cost {
    /// CPU time and memory of its own turns.
    compute: String,
    /// CPU time of its own turns.
    cpu_ns: u64,
    /// Bytes that are billed now.
    stored_bytes: u64,
    /// Stored bytes over time.
    stored_byte_seconds: u64,
    /// Price of that.
    storage: String,
    /// Turns that ended.
    transitions: u64,
    /// Price of those.
    transition: String,
    /// All of these: what is billed for the execution itself.
    total: String,
    /// What its calls cost. They are billed there, not here.
    children: String,
}

/// One record of an execution's history.
#[derive(Serialize, ToSchema)]
pub(crate) struct Entry {
    /// Counts from 1.
    seq: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    at_ms: u64,
    /// The same in microseconds.
    at_us: u64,
    /// What happened, as one word.
    what: String,
    /// Why, with names and numbers.
    why: String,
}

/// How to start.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartQuery {
    /// A name, unique among the tenant's executions that are kept.
    name: Option<String>,
    /// Where there is one of that name: `refuse` (409), `join` (take it), or `replace` (an ended one).
    if_exists: Option<String>,
}

/// Which executions to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Of this status only.
    status: Option<String>,
    /// `true`: only those that have not ended.
    open: Option<bool>,
    /// Of this function only.
    function: Option<String>,
    /// Of this version only.
    version: Option<u32>,
    /// Only those whose name begins so.
    name_prefix: Option<String>,
    /// Only those called by this one.
    parent: Option<String>,
    /// Only those started at or after this time (milliseconds since 1970).
    from_ms: Option<u64>,
    /// Only those started before this time.
    to_ms: Option<u64>,
    /// Only older ones than this execution.
    before: Option<String>,
    /// At most this many; 50 where absent, 999 at most.
    limit: Option<usize>,
}

/// Which part of a history.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    /// Only records after this one; 0 is all.
    after: Option<u64>,
    /// At most this many; 500 where absent, 999 at most.
    limit: Option<usize>,
}

/// Why something is done to an execution.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Because {
    /// For a person; kept in the history.
    reason: Option<String>,
}

/// Starts an execution and answers once it is safe. The body is its input.
#[utoipa::path(post, path = "/v1/functions/{name}/executions",
    params(("name" = String, Path, description = "The function, or `name:version`"), StartQuery,
        ("x-fermata-class" = Option<String>, Header, description = "Price class; the function's own where absent")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
    (status = 201, description = "Started", body = Started),
    (status = 200, description = "Joined the one of that name", body = Started),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn start(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(target): Path<String>,
    query: Result<Query<StartQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let received = handle.now();
    let Query(query) = query.map_err(|error| Problem::invalid(error.body_text()))?;
    let if_exists = match query.if_exists.as_deref() {
        None | Some("refuse") => IfExists::Refuse,
        Some("join") => IfExists::Join,
        Some("replace") => IfExists::Replace,
        Some(other) => {
            let message = format!("if_exists is refuse, join or replace, not {other:?}");
            return Err(Problem::invalid(message));
        }
    };
    let (parts, body) = request.into_parts();
    let payload = read(body, handle.payload_bytes_max()).await?;
    let (function, version) = split_target(&target)?;
    let class = text(&parts.headers, &CLASS)?.map(str::to_owned);
    let name = query.name;
    let origin = Vec::new();
    let new = NewExecution { function, version, class, name, if_exists, payload, received, origin };
    let Begun { id, version, joined } = handle.start_execution(&who, new).await?;
    let status = if joined { StatusCode::OK } else { StatusCode::CREATED };
    let body = Started { execution: id.to_string(), version: version.0, joined };
    Ok((status, Json(body)).into_response())
}

/// Executions, newest first.
#[utoipa::path(get, path = "/v1/executions", params(Filter), responses(
    (status = 200, body = List<Execution>),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(handle): State<Handle>,
    Who(who): Who,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<List<Execution>>, Problem> {
    let Query(filter) = filter.map_err(|error| Problem::invalid(error.body_text()))?;
    let status = filter.status.as_deref().map(parse_status).transpose()?;
    let filter = ExecutionFilter {
        status,
        open: filter.open.unwrap_or(false),
        version: filter.version.map(model::Version),
        function: filter.function.as_deref().map(parse_name).transpose()?,
        name_prefix: filter.name_prefix,
        parent: filter.parent.as_deref().map(parse_execution).transpose()?,
        from: filter.from_ms.map(Timestamp::from_millis),
        to: filter.to_ms.map(Timestamp::from_millis),
        before: filter.before.as_deref().map(parse_execution).transpose()?,
        limit: filter.limit.unwrap_or(LIMIT_DEFAULT),
    };
    let page = handle.executions(&who, filter).await?;
    let items = page.items.into_iter().map(Execution::from).collect();
    Ok(Json(List { items, more: page.more }))
}

/// One execution, by its id or its name.
#[utoipa::path(get, path = "/v1/executions/{which}", params(("which" = String, Path)), responses(
    (status = 200, body = Execution),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn show(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(which): Path<String>,
) -> Result<Json<Execution>, Problem> {
    Ok(Json(handle.execution(&who, &Which::parse(&which)).await?.into()))
}

/// What happened to one execution, in order.
#[utoipa::path(get, path = "/v1/executions/{which}/history", params(("which" = String, Path), Part), responses(
    (status = 200, body = List<Entry>),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn history(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(which): Path<String>,
    part: Result<Query<Part>, QueryRejection>,
) -> Result<Json<List<Entry>>, Problem> {
    let Query(part) = part.map_err(|error| Problem::invalid(error.body_text()))?;
    let (after, limit) = (part.after.unwrap_or(0), part.limit.unwrap_or(HISTORY_DEFAULT));
    let page = handle.execution_history(&who, &Which::parse(&which), after, limit).await?;
    Ok(Json(List { items: page.items.into_iter().map(Entry::from).collect(), more: page.more }))
}

/// The history as server-sent events: what is there, then what comes, until the execution ends. Each
/// event is an entry, with its number as the id; `Last-Event-ID` goes on from there.
#[utoipa::path(get, path = "/v1/executions/{which}/tail", params(("which" = String, Path), Part), responses(
    (status = 200, description = "Entries as events", body = Entry, content_type = "text/event-stream"),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn tail(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(which): Path<String>,
    part: Result<Query<Part>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let Query(part) = part.map_err(|error| Problem::invalid(error.body_text()))?;
    let last = text(request.headers(), &HeaderName::from_static("last-event-id"))?;
    let last = last.and_then(|id| id.parse().ok());
    let after = part.after.or(last).unwrap_or(0);
    let entries = handle.tail_execution(&who, &Which::parse(&which), after).await?;
    let events = entries.map(|entry| {
        let entry = Entry::from(entry);
        let event = Event::default().id(entry.seq.to_string()).event(entry.what.clone());
        let data = serde_json::to_string(&entry).unwrap_or_default();
        Ok::<_, Infallible>(event.data(data))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// Waits for the end and answers as an invocation does.
#[utoipa::path(get, path = "/v1/executions/{which}/output", params(("which" = String, Path)), responses(
    (status = 200, description = "The answer", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 502, description = "The execution failed", body = Document, content_type = "application/problem+json"),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn output(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(which): Path<String>,
) -> Result<Response, Problem> {
    let invoked = handle.await_execution(&who, &Which::parse(&which)).await?;
    Ok(super::invoke::answer(&handle, invoked))
}

/// Sends a named signal; it is kept where nothing waits for it yet. The body is what it carries.
#[utoipa::path(post, path = "/v1/executions/{which}/signals/{signal}",
    params(("which" = String, Path), ("signal" = String, Path),
        ("x-fermata-event-id" = Option<String>, Header, description = "Repeating an id signals once")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
    (status = 202, description = "Taken, safely"),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn signal(
    State(handle): State<Handle>,
    Who(who): Who,
    Path((which, signal)): Path<(String, String)>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let (parts, body) = request.into_parts();
    let payload = read(body, handle.payload_bytes_max()).await?;
    let event = text(&parts.headers, &EVENT_ID)?.map(str::to_owned);
    handle.signal(&who, &Which::parse(&which), signal, payload, event).await?;
    Ok(StatusCode::ACCEPTED)
}

macro_rules! act {
    ($(#[$doc:meta])* $name:ident, $path:literal) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, params(("which" = String, Path), Because), responses(
            (status = 202, description = "Done, safely"),
            (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
        pub(crate) async fn $name(
            State(handle): State<Handle>,
            Who(who): Who,
            Path(which): Path<String>,
            because: Result<Query<Because>, QueryRejection>,
        ) -> Result<StatusCode, Problem> {
            let Query(because) = because.map_err(|error| Problem::invalid(error.body_text()))?;
            let reason = because.reason.unwrap_or_default();
            handle.$name(&who, &Which::parse(&which), reason).await?;
            Ok(StatusCode::ACCEPTED)
        }
    };
}

act! {
    /// Ends an execution and the calls it waits for.
    cancel_execution, "/v1/executions/{which}/cancel"
}
act! {
    /// Lets no further turn begin; events are kept.
    pause_execution, "/v1/executions/{which}/pause"
}
act! {
    /// Lets a paused execution go on.
    resume_execution, "/v1/executions/{which}/resume"
}
act! {
    /// Lets a failed execution go on from its last suspended state.
    redrive_execution, "/v1/executions/{which}/redrive"
}

/// Forgets an execution that has ended, with its history.
#[utoipa::path(delete, path = "/v1/executions/{which}", params(("which" = String, Path)), responses(
    (status = 204, description = "Gone"),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn purge(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(which): Path<String>,
) -> Result<StatusCode, Problem> {
    handle.purge_execution(&who, &Which::parse(&which)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Answers a callback token: `success` with the body as the answer, `failure` with the body as the
/// message, or `heartbeat`.
#[utoipa::path(post, path = "/v1/tokens/{token}/{answer}",
    params(("token" = String, Path), ("answer" = String, Path, description = "success, failure or heartbeat")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
    (status = 202, description = "Taken, safely"),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn token(
    State(handle): State<Handle>,
    Who(who): Who,
    Path((token, answer)): Path<(String, String)>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let payload = read(body, handle.payload_bytes_max()).await?;
    let answer = match answer.as_str() {
        "success" => TokenAnswer::Success(payload),
        "failure" => {
            let message = String::from_utf8_lossy(&payload).into_owned();
            TokenAnswer::Failure(Failure::new(FailureKind::Handler, message))
        }
        "heartbeat" => TokenAnswer::Heartbeat,
        other => {
            let message = format!("a token takes success, failure or heartbeat, not {other:?}");
            return Err(Problem::invalid(message));
        }
    };
    handle.answer_token(&who, &token, answer).await?;
    Ok(StatusCode::ACCEPTED)
}

impl From<ExecutionInfo> for Execution {
    fn from(info: ExecutionInfo) -> Self {
        let (output, failure) = match info.outcome {
            None => (None, None),
            Some(Ok(bytes)) => (Some(shown(&bytes)), None),
            Some(Err(failure)) => {
                let code = failure.kind.code().to_owned();
                (None, Some(FailureBody { code, message: failure.message }))
            }
        };
        Self {
            id: info.id.to_string(),
            name: info.name,
            function: info.function.to_string(),
            version: info.version.0,
            kind: info.kind.as_str().to_owned(),
            class: info.class,
            status: info.status.as_str().to_owned(),
            waits: info.waits,
            parent: info.parent.map(|id| id.to_string()),
            created_ms: info.created.as_millis(),
            updated_ms: info.updated.as_millis(),
            finished_ms: info.finished.map(Timestamp::as_millis),
            custom_status: info.custom_status.as_deref().map(shown_status),
            output,
            failure,
            total: info.total.to_string(),
            cost: info.cost.map(Cost::from),
            open: info.open.into_iter().map(Open::from).collect(),
        }
    }
}

impl From<ExecutionCost> for Cost {
    fn from(cost: ExecutionCost) -> Self {
        Self {
            compute: cost.compute.to_string(),
            cpu_ns: cost.cpu.0,
            stored_bytes: cost.stored_bytes,
            stored_byte_seconds: cost.stored_byte_seconds,
            storage: cost.storage.to_string(),
            transitions: cost.transitions,
            transition: cost.transition.to_string(),
            total: cost.own().to_string(),
            children: cost.children.to_string(),
        }
    }
}

impl From<Awaited> for Open {
    fn from(awaited: Awaited) -> Self {
        Self {
            op: awaited.op,
            what: awaited.what,
            since_ms: awaited.since.as_millis(),
            call: awaited.call.map(|id| id.to_string()),
            resolved: awaited.is_resolved,
        }
    }
}

impl From<HistoryEntry> for Entry {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            seq: entry.seq,
            at_ms: entry.at.as_millis(),
            at_us: entry.at.0 / 1_000,
            what: entry.what.to_owned(),
            why: entry.why,
        }
    }
}

/// Bytes as JSON: what they say where they are JSON, their base64 form otherwise.
fn shown(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let encoded = || serde_json::json!({"$base64": BASE64_STANDARD.encode(bytes)});
    serde_json::from_slice(bytes).unwrap_or_else(|_| encoded())
}

/// A status is for a person: text that is no JSON stands as it is.
fn shown_status(bytes: &[u8]) -> Value {
    match (serde_json::from_slice(bytes), std::str::from_utf8(bytes)) {
        (Ok(json), _) => json,
        (Err(_), Ok(text)) => Value::String(text.to_owned()),
        (Err(_), Err(_)) => shown(bytes),
    }
}

fn parse_status(text: &str) -> Result<ExecutionStatus, Problem> {
    ExecutionStatus::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = ExecutionStatus::ALL.iter().map(|s| s.as_str()).collect();
        Problem::invalid(format!("{text:?} is no status: one of {}", names.join(", ")))
    })
}

fn parse_execution(text: &str) -> Result<model::ExecutionId, Problem> {
    text.parse().map_err(|error| Problem::invalid(format!("{text:?} is {error}")))
}
