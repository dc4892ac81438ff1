//! Invocations: what became of a call, and why it took so long.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use node::{Handle, InvocationFilter, InvocationInfo};
use serde::Deserialize;
use utoipa::IntoParams;

use super::wire::{Invocation, List, parse_id, parse_name};
use crate::auth::Who;
use crate::problem::{Document, Problem};

const LIMIT_DEFAULT: usize = 50;

/// Which invocations to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Of this function only.
    function: Option<String>,
    /// Of this class only.
    class: Option<String>,
    /// Only those that failed, or only those that did not.
    failed: Option<bool>,
    /// Only older ones than this invocation.
    before: Option<String>,
    /// At most this many; 50 where absent, 999 at most.
    limit: Option<usize>,
}

/// Ended invocations, newest first, without their steps.
#[utoipa::path(get, path = "/v1/invocations", params(Filter), responses(
    (status = 200, body = List<Invocation>),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(handle): State<Handle>,
    Who(who): Who,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<List<Invocation>>, Problem> {
    let Query(filter) = filter.map_err(|error| Problem::invalid(error.body_text()))?;
    let filter = InvocationFilter {
        function: filter.function.as_deref().map(parse_name).transpose()?,
        class: filter.class,
        failed: filter.failed,
        before: filter.before.as_deref().map(parse_id).transpose()?,
        limit: filter.limit.unwrap_or(LIMIT_DEFAULT),
        whole: false,
    };
    let page = handle.invocations(&who, filter).await?;
    Ok(Json(List {
        items: page.items.into_iter().map(Invocation::from).collect(),
        more: page.more,
    }))
}

/// One invocation, running or ended, with every decision about it.
#[utoipa::path(get, path = "/v1/invocations/{id}", params(("id" = String, Path)), responses(
    (status = 200, body = Invocation),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn show(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Result<Json<Invocation>, Problem> {
    Ok(Json(handle.invocation(&who, parse_id(&id)?).await?.into()))
}

/// What one invocation printed, as it was printed: a terminal should filter it.
#[utoipa::path(get, path = "/v1/invocations/{id}/logs", params(("id" = String, Path)), responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn logs(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let info = handle.invocation(&who, parse_id(&id)?).await?;
    let mut text = Vec::new();
    append_logs(&info, &mut text);
    Ok(plain(text))
}

pub(crate) fn append_logs(info: &InvocationInfo, text: &mut Vec<u8>) {
    text.extend_from_slice(&info.logs);
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    if info.logs_dropped > 0 {
        let note = format!("[{} bytes more were dropped at the limit]\n", info.logs_dropped);
        text.extend_from_slice(note.as_bytes());
    }
}

pub(crate) fn plain(text: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
