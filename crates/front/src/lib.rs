//! Protocols: who is it, decode, call the node, encode. One module each, all on one port.
//!
//! This crate knows HTTP and JSON and nothing of scheduling, stores or runtimes: it sees
//! [`node::Handle`] and no more; log groups of state machines are files of its own. A protocol's own words stay in its module. Start reading at
//! [`own`], then [`problem`], which holds the one table from errors to statuses.
//!
//! Invariants:
//! - every answer that is not a function's own is JSON, a problem document (RFC 9457) where it is a
//!   refusal;
//! - no route but `/healthz`, `/metrics`, `/v1/openapi.json` and `/v1/prices` is served without a
//!   tenant; `/internal/node` is served to servers that share the store.

mod auth;
mod connection;
mod lambda;
mod metrics;
mod nodes;
pub mod outside;
pub mod own;
pub mod problem;
pub mod rules;
mod signed;
mod sigv4;
pub mod stepfunctions;
mod uuid;

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Router};
use node::Handle;
use tokio::net::TcpListener;

use crate::connection::Patience;

/// Serves all protocols until `stop` ends, then takes no new connection and ends when the requests
/// under way are answered.
pub async fn serve(
    listener: TcpListener,
    handle: Handle,
    aws: stepfunctions::Settings,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let logs = stepfunctions::Logs::of(&handle, &aws);
    let router = routes(handle, &aws, &logs);
    connection::serve(listener, router, Patience::LIMITS, stop).await;
    logs.settle().await;
}

/// All routes.
fn routes(
    handle: Handle,
    aws: &stepfunctions::Settings,
    logs: &Arc<stepfunctions::Logs>,
) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(prometheus))
        .merge(own::routes().layer(Extension(Arc::clone(logs))))
        .merge(stepfunctions::routes(&handle, aws, logs))
        .merge(lambda::routes(&handle, aws))
        .merge(nodes::routes(&handle))
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(handle)
}

/// Answers as long as the process can; 503 while a runtime that is there cannot start functions.
async fn health(State(handle): State<Handle>) -> (StatusCode, String) {
    let runtimes = handle.runtimes().into_iter();
    let troubles: Vec<String> = runtimes
        .filter_map(|runtime| {
            Some(format!("{} functions: {}\n", runtime.kind.as_str(), runtime.trouble?))
        })
        .collect();
    match troubles.as_slice() {
        [] => (StatusCode::OK, "ok\n".to_owned()),
        _ => (StatusCode::SERVICE_UNAVAILABLE, troubles.concat()),
    }
}

async fn prometheus(State(handle): State<Handle>) -> axum::response::Response {
    metrics::respond(&handle.status().await)
}
