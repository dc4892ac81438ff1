//! Asynchronous calls that failed for good.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use node::Handle;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::wire::{FailureBody, List, parse_id};
use crate::auth::Who;
use crate::problem::{Document, Problem};

const LIMIT_DEFAULT: usize = 50;

/// An asynchronous call that failed at its last attempt.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadLetter {
    /// The invocation.
    id: String,
    /// The function.
    function: String,
    /// Its effective class.
    class: String,
    /// Its input, in base64.
    payload: String,
    /// Attempts made.
    attempts: u32,
    /// Why the last one failed.
    failure: FailureBody,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    arrived_ms: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    died_ms: u64,
}

/// Which dead letters to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Only older ones than this invocation.
    before: Option<String>,
    /// At most this many; 50 where absent, 999 at most.
    limit: Option<usize>,
}

/// Dead letters, newest first.
#[utoipa::path(get, path = "/v1/dead-letters", params(Filter), responses(
    (status = 200, body = List<DeadLetter>),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(handle): State<Handle>,
    Who(who): Who,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<List<DeadLetter>>, Problem> {
    let Query(filter) = filter.map_err(|error| Problem::invalid(error.body_text()))?;
    let before = filter.before.as_deref().map(parse_id).transpose()?;
    let page = handle.dead_letters(&who, before, filter.limit.unwrap_or(LIMIT_DEFAULT)).await?;
    let letter = |letter: node::DeadLetter| DeadLetter {
        id: letter.id.to_string(),
        function: letter.function.to_string(),
        class: letter.class,
        payload: BASE64_STANDARD.encode(&letter.payload),
        attempts: letter.attempts,
        failure: FailureBody {
            code: letter.failure.kind.code().to_owned(),
            message: letter.failure.message,
        },
        arrived_ms: letter.arrived.as_millis(),
        died_ms: letter.died.as_millis(),
    };
    Ok(Json(List { items: page.items.into_iter().map(letter).collect(), more: page.more }))
}

/// Queues a dead letter again, with a fresh count of attempts.
#[utoipa::path(post, path = "/v1/dead-letters/{id}/redrive", params(("id" = String, Path)), responses(
    (status = 204, description = "Queued again"),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn redrive(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    handle.redrive(&who, parse_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Throws a dead letter away.
#[utoipa::path(delete, path = "/v1/dead-letters/{id}", params(("id" = String, Path)), responses(
    (status = 204, description = "Gone"),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn remove(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    handle.delete_dead_letter(&who, parse_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
