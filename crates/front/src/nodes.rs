//! What nodes that share a store say to each other. No protocol of users: it changes with releases.

use axum::extract::{DefaultBodyLimit, FromRequestParts, State};
use axum::http::{header, request::Parts};
use axum::routing::post;
use axum::{Router, body};
use node::{Error, ErrorKind, Handle};

use crate::problem::Problem;

pub(crate) fn routes(handle: &Handle) -> Router<Handle> {
    let limit = DefaultBodyLimit::max(handle.node_request_bytes_max());
    Router::new().route(Handle::NODE_PATH, post(answer).layer(limit))
}

/// A node that proved to be one, before its request is read.
struct Node;

impl FromRequestParts<Handle> for Node {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, handle: &Handle) -> Result<Self, Problem> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let secret = header.and_then(|value| value.strip_prefix("Node "));
        if handle.is_node(secret.unwrap_or_default()).await {
            return Ok(Self);
        }
        let message = "this address is for servers that share this one's store";
        Err(Error::new(ErrorKind::Unauthenticated, message).into())
    }
}

async fn answer(
    State(handle): State<Handle>,
    _node: Node,
    request: body::Bytes,
) -> Result<Vec<u8>, Problem> {
    Ok(handle.answer_node(request).await?)
}
