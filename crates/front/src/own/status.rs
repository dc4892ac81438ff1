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
    /// Memory and swap.
    memory: Memory,
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

/// Memory and swap of the node, in bytes.
#[derive(Serialize, ToSchema)]
pub(crate) struct Memory {
    /// The most that functions of one machine were seen to hold at once.
    peak: u64,
    /// The swap file, where there is one.
    swap: Option<Swap>,
    /// The operating system's swap, where there is one and processes run.
    system_swap: Option<Swap>,
    /// By class, cheapest first.
    classes: Vec<ClassMemory>,
}

/// The swap file of Wasm functions, or the system's swap, of which all but its size and what is
/// taken is the sandboxes' alone. In bytes.
#[derive(Serialize, ToSchema)]
pub(crate) struct Swap {
    /// Its size.
    total: u64,
    /// Taken of it, of the system's by whomever.
    used: u64,
    /// Memory whose place it takes.
    held: u64,
    /// Written to it since the start.
    written: u64,
    /// Read back from it since the start.
    read: u64,
    /// Zeros that were not written, since the start.
    zeros: u64,
}

/// One class's part in swapping.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClassMemory {
    /// Its name.
    class: String,
    /// Functions whose memory is out now.
    swapped: usize,
    /// Functions that could have a core and wait for memory now.
    waiting: usize,
    /// Functions swapped out since the start.
    swap_outs: u64,
    /// Functions brought back since the start.
    swap_ins: u64,
    /// Bytes swapped out since the start.
    swapped_out: u64,
    /// Bytes brought back since the start.
    swapped_in: u64,
    /// Times that one could not be swapped out, since the start.
    swap_failures: u64,
    /// Functions killed for memory since the start.
    kills: u64,
    /// Warm sandboxes given up, or whose memory was moved out, since the start.
    idle_freed: u64,
    /// Executions that only waited and left the cache for their memory, since the start.
    executions_freed: u64,
}

fn memory(memory: node::MemoryStatus, classes: &[node::ClassStatus]) -> Memory {
    let class = |(class, memory): (&node::ClassStatus, node::ClassMemory)| ClassMemory {
        class: class.name.clone(),
        swapped: memory.swapped,
        waiting: memory.waiting,
        swap_outs: memory.swap_outs,
        swap_ins: memory.swap_ins,
        swapped_out: memory.swapped_out.0,
        swapped_in: memory.swapped_in.0,
        swap_failures: memory.swap_failures,
        kills: memory.kills,
        idle_freed: memory.idle_freed,
        executions_freed: memory.executions_freed,
    };
    let swap = |swap: node::SwapUse| Swap {
        total: swap.total.0,
        used: swap.used.0,
        held: swap.held.0,
        written: swap.written.0,
        read: swap.read.0,
        zeros: swap.zeros.0,
    };
    Memory {
        peak: memory.peak.0,
        swap: memory.swap.map(swap),
        system_swap: memory.system_swap.map(swap),
        classes: classes.iter().zip(memory.classes).map(class).collect(),
    }
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
        memory: memory(status.memory, &status.classes),
        classes: status.classes.into_iter().map(lane).collect(),
        machines: status.machines.into_iter().map(machine).collect(),
        async_pending: status.async_pending,
        receipts_pending: status.receipts_pending,
    }))
}
