//! What goes in and out of a [`crate::Handle`].

use std::time::Duration;

use bytes::Bytes;
use model::{
    Amount, ByteSeconds, Bytes64, ClassId, CpuTime, Durable, Failure, FunctionName, InvocationId,
    KeyId, Kind, MachineId, Receipt, TenantName, Timestamp, Version,
};

/// Who asks: made by [`crate::Handle::authenticate`], needed by everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Whose things it reaches.
    pub tenant: TenantName,
    /// By which key; none for `--dev`.
    pub key: Option<KeyId>,
    /// What it may do.
    pub role: Role,
    /// The highest class it may state.
    pub max_class: ClassId,
}

/// A key as AWS's clients use it: they sign by a secret that both sides know.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The key's id.
    pub id: String,
    /// What is signed with. Not the secret that is sent as a bearer token.
    pub secret: String,
    /// Who signs.
    pub who: Principal,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything of its own tenant, and tenants and keys of all.
    Admin,
    /// Everything of its own tenant but keys.
    Member,
}

/// A function to be made, or a new version of one.
#[derive(Clone, Debug)]
pub struct NewFunction {
    /// Its name.
    pub name: FunctionName,
    /// `wasm`, `provided`, `python3.12`, `nodejs20.x`, …
    pub runtime: String,
    /// What to call inside the package; empty for `wasm` and `provided`.
    pub handler: String,
    /// The class of a call that states none; the lowest where absent.
    pub class: Option<String>,
    /// Time limit; [`model::limits::TIMEOUT_DEFAULT`] where absent.
    pub timeout: Option<Duration>,
    /// Variables the function sees.
    pub environment: Vec<(String, String)>,
    /// Whether it wants the machine's network; the tenant must have been granted it.
    pub network: bool,
    /// Whether it may suspend, and how.
    pub durable: Durable,
    /// For a person.
    pub description: String,
    /// A zip in the Lambda layout, or a `.wasm` module.
    pub package: Bytes,
}

/// A version of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Its name.
    pub name: FunctionName,
    /// Which version this is.
    pub version: Version,
    /// How it runs.
    pub kind: Kind,
    /// As stated at its creation.
    pub runtime: String,
    /// As stated at its creation.
    pub handler: String,
    /// The class of a call that states none.
    pub class: Option<String>,
    /// Time limit.
    pub timeout: Duration,
    /// Variables the function sees.
    pub environment: Vec<(String, String)>,
    /// Whether it reaches the machine's network.
    pub network: bool,
    /// Whether it may suspend, and how.
    pub durable: Durable,
    /// For a person.
    pub description: String,
    /// SHA-256 of its package.
    pub code_hash: [u8; 32],
    /// Bytes of its package.
    pub code_bytes: u64,
    /// When this version was made.
    pub created: Timestamp,
}

/// A call to make.
#[derive(Clone, Debug)]
pub struct Invoke {
    /// Which function.
    pub function: FunctionName,
    /// Which version; the latest where absent.
    pub version: Option<Version>,
    /// The class stated where the call is made.
    pub class: Option<String>,
    /// The input.
    pub payload: Bytes,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// When the request came in, for the first phase of its latency.
    pub received: Timestamp,
}

/// A call that ended, for its caller.
#[derive(Clone, Debug)]
pub struct Invoked {
    /// Which invocation it was.
    pub id: InvocationId,
    /// The answer, or why there is none.
    pub outcome: Result<Bytes, Failure>,
    /// The version that ran.
    pub version: Version,
    /// The bill.
    pub receipt: Receipt,
    /// Where its time went.
    pub durations: Durations,
}

/// Where an invocation's time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// From its arrival to its placement on a machine.
    pub queued: Duration,
    /// On the machine, before its first core.
    pub waiting: Duration,
    /// From its first core to the handler's first instruction.
    pub starting: Duration,
    /// Ran, lost its core, waited for it.
    pub preempted: Duration,
    /// Waited for something else than a core (I/O, a callee, a timer).
    pub blocked: Duration,
    /// Held a core, the start excluded.
    pub running: Duration,
    /// From its arrival to its end.
    pub total: Duration,
    /// Could have had a core and waited for memory: swapped out, or held.
    pub memory: Duration,
    /// Times it lost its core.
    pub preemptions: u32,
    /// Times its memory was swapped out.
    pub swap_outs: u32,
    /// How long its memory was out, whatever it did meanwhile.
    pub swapped: Duration,
    /// What was swapped out in all.
    pub swapped_bytes: Bytes64,
}

/// State of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvocationStatus {
    /// In a shard's queue, or waiting for its next attempt.
    Queued,
    /// On a machine, not finished.
    Running,
    /// Answered.
    Succeeded,
    /// Ended without an answer.
    Failed,
}

/// Everything known of an invocation.
#[derive(Clone, Debug)]
pub struct InvocationInfo {
    /// Which one.
    pub id: InvocationId,
    /// Of which function.
    pub function: FunctionName,
    /// Of which version, once it is known.
    pub version: Option<Version>,
    /// Its effective class.
    pub class: String,
    /// The invocation that called it.
    pub caller: Option<InvocationId>,
    /// Whether its caller did not wait.
    pub asynchronous: bool,
    /// Counts from 1.
    pub attempt: u32,
    /// How far it is.
    pub status: InvocationStatus,
    /// When it came to the platform.
    pub arrived: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Bytes of its answer.
    pub response_bytes: Option<u64>,
    /// The bill, once it ended.
    pub receipt: Option<Receipt>,
    /// Where its time went.
    pub durations: Option<Durations>,
    /// Whether an instance had to be made for it.
    pub cold: Option<bool>,
    /// Every decision about it, in order, with its reason.
    pub steps: Vec<Step>,
    /// What it printed, raw: filter before showing it on a terminal.
    pub logs: Vec<u8>,
    /// Bytes of logs dropped at the limit.
    pub logs_dropped: u64,
}

/// One decision about an invocation, for the question "why was this slow?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// After its arrival.
    pub after: Duration,
    /// `queued`, `placed`, `ran`, `preempted`, `blocked`, `unblocked`, `started`, `finished`, …
    pub what: &'static str,
    /// The reason in words, with its numbers.
    pub why: String,
}

/// Which invocations to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct InvocationFilter {
    /// Of this function only.
    pub function: Option<FunctionName>,
    /// Of this class only.
    pub class: Option<String>,
    /// Only those that failed, or only those that did not.
    pub failed: Option<bool>,
    /// Only older ones than this (the last of the page before).
    pub before: Option<InvocationId>,
    /// At most this many, 1 to 999.
    pub limit: usize,
    /// Whether steps, durations and logs are wanted; without them a list is cheap.
    pub whole: bool,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Whether there are more after the last one.
    pub more: bool,
}

/// An asynchronous call that failed for good.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The invocation.
    pub id: InvocationId,
    /// Of which function.
    pub function: FunctionName,
    /// Its effective class.
    pub class: String,
    /// Its input.
    pub payload: Bytes,
    /// Attempts made.
    pub attempts: u32,
    /// Why the last one failed.
    pub failure: Failure,
    /// When it came to the platform.
    pub arrived: Timestamp,
    /// When it was given up.
    pub died: Timestamp,
}

/// Which sums to show.
#[derive(Clone, Debug, Default)]
pub struct BillQuery {
    /// First day (days since 1970-01-01, UTC), inclusive.
    pub from_day: Option<u32>,
    /// Last day, inclusive.
    pub to_day: Option<u32>,
    /// All tenants (an admin's right) instead of one's own.
    pub all_tenants: bool,
}

/// What one tenant's function cost on one day in one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillRow {
    /// Who pays.
    pub tenant: TenantName,
    /// Which function.
    pub function: String,
    /// Name of the effective class.
    pub class: String,
    /// Days since 1970-01-01, UTC.
    pub day: u32,
    /// Invocations that ended.
    pub invocations: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// CPU time used.
    pub cpu: CpuTime,
    /// Memory used.
    pub memory: ByteSeconds,
    /// Price of the CPU time.
    pub cpu_cost: Amount,
    /// Price of the memory.
    pub memory_cost: Amount,
}

/// A tenant to be made.
#[derive(Clone, Debug)]
pub struct NewTenant {
    /// Its name.
    pub name: TenantName,
    /// What it is willing to pay a month; unlimited where absent.
    pub budget: Option<Amount>,
    /// Whether its functions may be given the network.
    pub network: bool,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantInfo {
    /// Its name.
    pub name: TenantName,
    /// What it is willing to pay a month.
    pub budget: Option<Amount>,
    /// Spent this month (UTC).
    pub spent: Amount,
    /// Whether its functions may be given the network.
    pub network: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// For which tenant.
    pub tenant: TenantName,
    /// For a person.
    pub label: String,
    /// What it may do.
    pub role: Role,
    /// The highest class it may state; the dearest where absent.
    pub max_class: Option<String>,
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Which key.
    pub id: KeyId,
    /// Of which tenant.
    pub tenant: TenantName,
    /// For a person.
    pub label: String,
    /// What it may do.
    pub role: Role,
    /// The highest class it may state.
    pub max_class: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// The node at one moment, for `top` and `/metrics`.
#[derive(Clone, Debug)]
pub struct Status {
    /// When.
    pub at: Timestamp,
    /// Since when the node runs.
    pub started: Timestamp,
    /// The policy in force.
    pub policy: String,
    /// What of kernel scheduling and sandboxing is in force, one line each.
    pub in_force: Vec<String>,
    /// By class, cheapest first.
    pub classes: Vec<ClassStatus>,
    /// By machine.
    pub machines: Vec<MachineStatus>,
    /// Of each runtime that is there.
    pub runtimes: Vec<RuntimeStatus>,
    /// Memory and swap.
    pub memory: MemoryStatus,
    /// Asynchronous calls accepted and not finished.
    pub async_pending: u64,
    /// Receipts not yet in the store.
    pub receipts_pending: u64,
    /// This node among those that share the store.
    pub nodes: crate::nodes::NodesStatus,
}

/// How a runtime is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeStatus {
    /// The kind of function that it runs.
    pub kind: Kind,
    /// Why it cannot start functions now.
    pub trouble: Option<String>,
    /// Times that a part of it died and was started again.
    pub restarts: u64,
}

/// One class's lane.
#[derive(Clone, Debug)]
pub struct ClassStatus {
    /// Its name.
    pub name: String,
    /// Its price in µ¢ per CPU second.
    pub price: model::Price,
    /// In the shards' queues.
    pub queued: usize,
    /// On a machine, never run yet.
    pub waiting: usize,
    /// Holding a core.
    pub running: usize,
    /// Waiting for a core again.
    pub preempted: usize,
    /// Waiting for something else.
    pub blocked: usize,
    /// Answered since the start.
    pub succeeded: u64,
    /// Failed since the start.
    pub failed: u64,
    /// Refused since the start.
    pub refused: u64,
    /// Preemptions suffered since the start.
    pub preemptions: u64,
    /// CPU time billed since the start.
    pub cpu: CpuTime,
    /// Latency by phase since the start.
    pub phases: Vec<(Phase, PhaseHistogram)>,
    /// p50 of total latency over the last seconds; none where nothing ended.
    pub recent_p50: Option<Duration>,
    /// p99 of the same.
    pub recent_p99: Option<Duration>,
}

/// A part of an invocation's latency, as in [`Durations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// From arrival to placement.
    Queued,
    /// On the machine before the first core.
    Waiting,
    /// From the first core to the handler.
    Starting,
    /// Without its core.
    Preempted,
    /// Waiting for something else.
    Blocked,
    /// Holding a core.
    Running,
    /// From arrival to end.
    Total,
    /// Waiting for memory.
    Memory,
}

/// A cumulative histogram: for each bound, how many were at or below it.
#[derive(Clone, Debug)]
pub struct PhaseHistogram {
    /// Upper bounds, rising; the last one is infinite and not listed.
    pub bounds: &'static [Duration],
    /// One more than `bounds`, not cumulative.
    pub counts: Vec<u64>,
    /// Sum of all.
    pub sum: Duration,
}

/// One machine.
#[derive(Clone, Debug)]
pub struct MachineStatus {
    /// Which.
    pub id: MachineId,
    /// Its cores.
    pub cores: usize,
    /// Cores held, by class, cheapest first.
    pub cores_held: Vec<usize>,
    /// What functions may use.
    pub memory_total: Bytes64,
    /// What they use.
    pub memory_used: Bytes64,
}

/// Memory and swap of the node.
#[derive(Clone, Debug, Default)]
pub struct MemoryStatus {
    /// What is in swap and went through it; none where there is no swap.
    pub swap: Option<runtime::SwapUse>,
    /// The operating system's, where processes are moved there: `held`, `written` and `read` are
    /// theirs alone.
    pub system_swap: Option<runtime::SwapUse>,
    /// By class, cheapest first.
    pub classes: Vec<ClassMemory>,
    /// The most that functions of one machine were seen to hold at once.
    pub peak: Bytes64,
}

/// One class's part in that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassMemory {
    /// Functions whose memory is out now.
    pub swapped: usize,
    /// Functions that could have a core and wait for memory now.
    pub waiting: usize,
    /// Functions swapped out since the start.
    pub swap_outs: u64,
    /// Functions brought back since the start.
    pub swap_ins: u64,
    /// Memory swapped out since the start.
    pub swapped_out: Bytes64,
    /// Memory brought back since the start.
    pub swapped_in: Bytes64,
    /// Times that a function could not be swapped out, since the start.
    pub swap_failures: u64,
    /// Functions killed for memory since the start.
    pub kills: u64,
    /// Warm sandboxes that were given up, or whose memory was moved out, since the start.
    pub idle_freed: u64,
    /// Executions that only waited and were forgotten for their memory, since the start; the store
    /// has them.
    pub executions_freed: u64,
}

impl ClassStatus {
    /// A class in which nothing has happened.
    #[must_use]
    pub fn idle(class: &model::PriceClass) -> Self {
        Self {
            name: class.name.clone(),
            price: class.price,
            queued: 0,
            waiting: 0,
            running: 0,
            preempted: 0,
            blocked: 0,
            succeeded: 0,
            failed: 0,
            refused: 0,
            preemptions: 0,
            cpu: CpuTime(0),
            phases: Vec::new(),
            recent_p50: None,
            recent_p99: None,
        }
    }
}

impl Phase {
    /// Every phase; stored traces keep this order.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Waiting,
        Self::Starting,
        Self::Preempted,
        Self::Blocked,
        Self::Running,
        Self::Total,
        Self::Memory,
    ];
}
