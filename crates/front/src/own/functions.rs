//! Functions and their versions.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::Version;
use node::{Handle, InvocationFilter};

use super::wire::{CreateFunction, Function, List, parse_name};
use crate::auth::Who;
use crate::problem::{Document, Problem};

/// Invocations whose logs `GET /v1/functions/{name}/logs` shows.
const LOGS_OF: usize = 20;

/// Makes a function, or the next version of one.
#[utoipa::path(post, path = "/v1/functions", request_body = CreateFunction, responses(
    (status = 201, description = "Made", body = Function),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(handle): State<Handle>,
    Who(who): Who,
    body: Result<Json<CreateFunction>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(create) = body.map_err(|error| json_problem(&error))?;
    let info = handle.create_function(&who, create.decode()?).await?;
    Ok((StatusCode::CREATED, Json(Function::from(info))).into_response())
}

/// The latest version of each function, by name.
#[utoipa::path(get, path = "/v1/functions", responses(
    (status = 200, body = List<Function>),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn list(
    State(handle): State<Handle>,
    Who(who): Who,
) -> Result<Json<List<Function>>, Problem> {
    let functions = handle.functions(&who).await?;
    Ok(Json(List { items: functions.into_iter().map(Function::from).collect(), more: false }))
}

/// The latest version of one function.
#[utoipa::path(get, path = "/v1/functions/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = Function),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn show(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(name): Path<String>,
) -> Result<Json<Function>, Problem> {
    Ok(Json(handle.function(&who, &parse_name(&name)?, None).await?.into()))
}

/// All versions of one function, newest first.
#[utoipa::path(get, path = "/v1/functions/{name}/versions", params(("name" = String, Path)), responses(
    (status = 200, body = List<Function>),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn versions(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(name): Path<String>,
) -> Result<Json<List<Function>>, Problem> {
    let versions = handle.versions(&who, &parse_name(&name)?).await?;
    Ok(Json(List { items: versions.into_iter().map(Function::from).collect(), more: false }))
}

/// One version of one function.
#[utoipa::path(get, path = "/v1/functions/{name}/versions/{version}",
    params(("name" = String, Path), ("version" = u32, Path)), responses(
    (status = 200, body = Function),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn version(
    State(handle): State<Handle>,
    Who(who): Who,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<Function>, Problem> {
    let version = parse_version(&version)?;
    Ok(Json(handle.function(&who, &parse_name(&name)?, Some(version)).await?.into()))
}

/// Deletes a function with all its versions. Receipts stay; what runs ends as usual.
#[utoipa::path(delete, path = "/v1/functions/{name}", params(("name" = String, Path)), responses(
    (status = 204, description = "Deleted"),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn remove(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    handle.delete_function(&who, &parse_name(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the function's latest invocations printed, oldest first, as it was printed: a terminal
/// should filter it.
#[utoipa::path(get, path = "/v1/functions/{name}/logs", params(("name" = String, Path)), responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn logs(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let name = parse_name(&name)?;
    handle.function(&who, &name, None).await?;
    let filter = InvocationFilter {
        function: Some(name),
        limit: LOGS_OF,
        whole: true,
        ..InvocationFilter::default()
    };
    let page = handle.invocations(&who, filter).await?;
    let mut text = Vec::new();
    for info in page.items.iter().rev() {
        super::invocations::append_logs(info, &mut text);
    }
    Ok(super::invocations::plain(text))
}

pub(crate) fn parse_version(text: &str) -> Result<Version, Problem> {
    let number = text.parse().ok().filter(|number| *number > 0).map(Version);
    number.ok_or_else(|| Problem::invalid(format!("{text:?} is not a version: a number from 1")))
}

/// A body that is not the JSON wanted. One that is too large is so before it is read.
pub(crate) fn json_problem(error: &JsonRejection) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let message = format!("the body is too large: {}", error.body_text());
        return node::Error::new(node::ErrorKind::PayloadTooLarge, message).into();
    }
    match error {
        JsonRejection::BytesRejection(_) => Problem::of_body(error),
        _ => Problem::invalid(error.body_text()),
    }
}
