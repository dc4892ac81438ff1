//! The nodes that share the store, for `fermata nodes`.

use axum::Json;
use axum::extract::State;
use node::{Handle, NodeInfo};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Who;
use crate::problem::{Document, Problem};

/// The nodes that share a store.
#[derive(Serialize, ToSchema)]
pub(crate) struct Nodes {
    /// By name.
    items: Vec<Node>,
}

/// One node.
#[derive(Serialize, ToSchema)]
pub(crate) struct Node {
    /// Its name.
    name: String,
    /// Where the others reach it.
    address: String,
    /// Partitions of executions that it has.
    partitions: Vec<u32>,
    /// How long ago it renewed its leases, if its time of a lease is that of the asked node.
    lease_age_ms: u64,
    /// How long they hold, unless it renews them.
    lease_left_ms: u64,
    /// Whether it is the node that was asked.
    this: bool,
}

/// The nodes that share the store, as it has them at this moment. For admins.
#[utoipa::path(get, path = "/v1/nodes", responses(
    (status = 200, body = Nodes),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn nodes(
    State(handle): State<Handle>,
    Who(who): Who,
) -> Result<Json<Nodes>, Problem> {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let node = |node: NodeInfo| Node {
        name: node.name.to_string(),
        address: node.address,
        partitions: node.partitions,
        lease_age_ms: millis(node.lease_age),
        lease_left_ms: millis(node.lease_left),
        this: node.is_this,
    };
    let items = handle.nodes(&who).await?.into_iter().map(node).collect();
    Ok(Json(Nodes { items }))
}
