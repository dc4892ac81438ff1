//! What state machines wrote to a log group.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Path;
use axum::response::Response;
use node::{Error, ErrorKind};

use super::invocations::plain;
use crate::auth::Who;
use crate::problem::{Document, Problem};
use crate::stepfunctions::Logs;

/// The events of a log group, oldest first, one in JSON on each line.
#[utoipa::path(get, path = "/v1/log-groups/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn events(
    Extension(logs): Extension<Arc<Logs>>,
    Who(who): Who,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let lines = logs.lines(&who.tenant, &name).await;
    let lines = lines.map_err(|error| {
        Error::new(ErrorKind::Storage, format!("the log group {name:?} cannot be read: {error}"))
    })?;
    let lines = lines.ok_or_else(|| {
        let message = format!("nothing was written to a log group {name:?}");
        Error::new(ErrorKind::NotFound, message)
    })?;
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.message);
        text.push('\n');
    }
    Ok(plain(text.into_bytes()))
}
