//! The node at this moment, for `fermata top`.

use axum::Json;
use axum::extract::State;
use node::Handle;
use serde::Serialize;
use utoipa::ToSchema;

use super::wire::micros;
use crate::auth::Who;
use crate::problem::{Document, Problem};

/// The node at one moment.
#[derive(Serialize, ToSchema)]
pub(crate) struct Status {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    at_ms: u64,
    /// Since when the node runs.
    started_ms: u64,
    /// The scheduling policy.
    policy: String,
    /// What of kernel scheduling and sandboxing is in force.
    in_force: Vec<String>,
    /// By class, cheapest first.
    classes: Vec<Lane>,
    /// By machine.
    machines: Vec<Machine>,
    /// Asynchronous calls accepted and not settled.
    async_pending: u64,
    /// Receipts not yet in the store.
    receipts_pending: u64,
}

/// One class's lane.
#[derive(Serialize, ToSchema)]
pub(crate) struct Lane {
    /// Its name.
    class: String,
    /// µ¢ per CPU second, as decimal text.
    price: String,
    /// In the shards' queues.
    queued: usize,
    /// On a machine, never run yet.
    waiting: usize,
    /// Holding a core.
    running: usize,
    /// Waiting for a core again.
    preempted: usize,
    /// Waiting for something else.
    blocked: usize,
    /// Since the start.
    succeeded: u64,
    /// Since the start.
    failed: u64,
    /// Since the start.
    refused: u64,
    /// Since the start.
    preemptions: u64,
    /// Since the start.
    cpu_ns: u64,
    /// Of the last ten seconds, where anything ended.
    p50_us: Option<u64>,
    /// Of the last ten seconds, where anything ended.
    p99_us: Option<u64>,
}

/// One machine.
#[derive(Serialize, ToSchema)]
pub(crate) struct Machine {
    /// Its name.
    id: String,
    /// Its cores.
    cores: usize,
    /// Cores held, by class, cheapest first.
    cores_held: Vec<usize>,
    /// What functions may use, in bytes.
    memory_total: u64,
    /// What they use, in bytes.
    memory_used: u64,
}

/// The node at this moment.
#[utoipa::path(get, path = "/v1/status", responses(
    (status = 200, body = Status),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn status(
    State(handle): State<Handle>,
    Who(_who): Who,
) -> Result<Json<Status>, Problem> {
    let status = handle.status().await;
    let lane = |class: node::ClassStatus| Lane {
        class: class.name,
        price: class.price.to_string(),
        queued: class.queued,
        waiting: class.waiting,
        running: class.running,
        preempted: class.preempted,
        blocked: class.blocked,
        succeeded: class.succeeded,
        failed: class.failed,
        refused: class.refused,
        preemptions: class.preemptions,
        cpu_ns: class.cpu.0,
        p50_us: class.recent_p50.map(micros),
        p99_us: class.recent_p99.map(micros),
    };
    let machine = |machine: node::MachineStatus| Machine {
        id: machine.id.to_string(),
        cores: machine.cores,
        cores_held: machine.cores_held,
        memory_total: machine.memory_total.0,
        memory_used: machine.memory_used.0,
    };
    Ok(Json(Status {
        at_ms: status.at.as_millis(),
        started_ms: status.started.as_millis(),
        policy: status.policy,
        in_force: status.in_force,
        classes: status.classes.into_iter().map(lane).collect(),
        machines: status.machines.into_iter().map(machine).collect(),
        async_pending: status.async_pending,
        receipts_pending: status.receipts_pending,
    }))
}
