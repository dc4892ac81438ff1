//! Finished invocations: what is kept of each attempt.

use model::{
    Amount, ByteSeconds, CpuTime, FailureKind, FunctionName, InvocationId, TenantName, Timestamp,
    Version,
};

/// One finished attempt of an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvocationRecord {
    /// The invocation.
    pub id: InvocationId,
    /// Which attempt, the first one being 1. `id` and `attempt` together are counted once.
    pub attempt: u32,
    /// Who pays.
    pub tenant: TenantName,
    /// What ran.
    pub function: FunctionName,
    /// Which version ran.
    pub version: Version,
    /// Name of the effective class, at which it is billed.
    pub class: String,
    /// Who called, where a function did.
    pub caller: Option<InvocationId>,
    /// Whether its caller waited.
    pub mode: Mode,
    /// When it was accepted.
    pub arrived: Timestamp,
    /// When the function began to run, where it did.
    pub started: Option<Timestamp>,
    /// When it ended. Its UTC day is the day it is billed on.
    pub finished: Timestamp,
    /// How it ended.
    pub outcome: RecordOutcome,
    /// What it used and what that costs.
    pub charge: Charge,
    /// Why it was as fast or slow as it was: JSON the shell writes and reads, opaque here.
    pub trace: String,
    /// What the function wrote to standard output and error, already limited.
    pub logs: Vec<u8>,
    /// Log bytes that came after the limit.
    pub logs_dropped_bytes: u64,
    /// Whether it had to start a runtime first.
    pub cold: bool,
}

/// Whether the caller waits for the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The caller waits.
    Sync,
    /// The call was queued.
    Async,
}

/// How an attempt ended. The answer itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// With an answer.
    Ok {
        /// Length of the answer.
        bytes: u64,
    },
    /// Without one.
    Failed(FailureNote),
}

/// A failure without its detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureNote {
    /// What sort of failure.
    pub kind: FailureKind,
    /// For a person.
    pub message: String,
}

/// The numbers of a receipt; the class stands beside them by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// CPU time used.
    pub cpu: CpuTime,
    /// Memory used over time.
    pub memory: ByteSeconds,
    /// Price of the CPU time.
    pub cpu_cost: Amount,
    /// Price of the memory.
    pub memory_cost: Amount,
}

/// Which invocations to list, newest id first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvocationQuery {
    /// Only of this function.
    pub function: Option<FunctionName>,
    /// Only billed at this class.
    pub class: Option<String>,
    /// Only those that ended so.
    pub status: Option<Status>,
    /// Only those that arrived then or later.
    pub since: Option<Timestamp>,
    /// Where the page before ended: the [`InvocationRecord::cursor`] of its last record.
    pub before: Option<Cursor>,
    /// Records wanted; at most [`model::limits::PAGE_MAX`] are returned.
    pub limit: usize,
    /// Whether trace and logs are wanted.
    pub detail: Detail,
}

/// A place in a list of invocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The invocation.
    pub id: InvocationId,
    /// Its attempt.
    pub attempt: u32,
}

/// How an invocation ended, for a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// With an answer.
    Ok,
    /// Without one.
    Failed,
}

/// How much of each record a list carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// `trace` and `logs` are left empty.
    #[default]
    Summary,
    /// Everything.
    Whole,
}

impl InvocationRecord {
    /// Its place in a list.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        Cursor { id: self.id, attempt: self.attempt }
    }

    /// How it ended, for a filter.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self.outcome {
            RecordOutcome::Ok { .. } => Status::Ok,
            RecordOutcome::Failed(_) => Status::Failed,
        }
    }
}
