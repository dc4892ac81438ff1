//! Executions, as a protocol sees them, and how they are made of what the store keeps.

use bytes::Bytes;
use engine::{Execution, Record, Status, Totals};
use model::{
    Amount, CpuTime, ExecutionId, Failure, FunctionName, InvocationId, Kind, MemoryPrice,
    PriceList, Timestamp, Version,
};
use store::{Charge, ExecutionRow, HistoryRow, InvocationRecord, Mode, RecordOutcome};

use super::handle::Order;
use super::slot::Hot;
use crate::catalog::Entry;
use crate::error::{Error, ErrorKind};
use crate::inner::Wanted;
use crate::record::note;

/// What to do where an execution of the wanted name is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IfExists {
    /// Refuse (`conflict`).
    #[default]
    Refuse,
    /// Take the one that is there, open or ended: starting is idempotent by name.
    Join,
    /// Replace one that has ended; refuse while it is open.
    Replace,
}

/// An execution to be started.
#[derive(Clone, Debug)]
pub struct NewExecution {
    /// Which function.
    pub function: FunctionName,
    /// Which version; the latest where absent. It is pinned: the execution keeps running it.
    pub version: Option<Version>,
    /// The class stated; the function's own where absent.
    pub class: Option<String>,
    /// A name, unique among the tenant's executions that are kept.
    pub name: Option<String>,
    /// What to do where there is one of that name.
    pub if_exists: IfExists,
    /// Its input.
    pub payload: Bytes,
    /// When the request came in.
    pub received: Timestamp,
    /// What a protocol wants to know again of it, in its own words; empty otherwise.
    pub origin: Vec<u8>,
}

/// An execution that was started, or joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Which one.
    pub id: ExecutionId,
    /// The version that it is pinned to.
    pub version: Version,
    /// Whether it was there before.
    pub joined: bool,
}

/// Names one execution of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// By its id.
    Id(ExecutionId),
    /// By the name it was started under.
    Name(String),
}

impl Which {
    /// An id where it reads as one, a name otherwise.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }
}

/// How far an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExecutionStatus {
    /// A turn runs, or is about to.
    Running,
    /// Parked: it waits for something and is not billed for compute.
    Suspended,
    /// Paused by a person; events are kept.
    Paused,
    /// Answered.
    Succeeded,
    /// Ended without an answer.
    Failed,
    /// Ended by a person or its parent.
    Cancelled,
}

impl ExecutionStatus {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Running,
        Self::Suspended,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Its public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The inverse of [`ExecutionStatus::as_str`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// Everything known of one execution.
#[derive(Clone, Debug)]
pub struct ExecutionInfo {
    /// Which one.
    pub id: ExecutionId,
    /// The name it was started under.
    pub name: Option<String>,
    /// Of which function.
    pub function: FunctionName,
    /// Of which version: pinned at its start.
    pub version: Version,
    /// How that function runs.
    pub kind: Kind,
    /// Its effective class.
    pub class: String,
    /// How far it is.
    pub status: ExecutionStatus,
    /// What it waits for, in words; empty where it does not wait.
    pub waits: String,
    /// The execution that called it.
    pub parent: Option<ExecutionId>,
    /// When it was started.
    pub created: Timestamp,
    /// When it last changed: what it waits for, it waits for since then.
    pub updated: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What it told a person about itself.
    pub custom_status: Option<Bytes>,
    /// How it ended.
    pub outcome: Option<Result<Bytes, Failure>>,
    /// What is billed for it, at its last change.
    pub total: Amount,
    /// What it cost until now, in detail; not in a list.
    pub cost: Option<ExecutionCost>,
    /// What it asked for and has not seen the end of; not in a list.
    pub open: Vec<Awaited>,
}

/// Something that an execution asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Its number.
    pub op: u64,
    /// What it is, in words.
    pub what: String,
    /// When it was asked for.
    pub since: Timestamp,
    /// The call, where it is one; the child execution has the same number.
    pub call: Option<InvocationId>,
    /// Whether it has ended and waits to be seen.
    pub is_resolved: bool,
}

/// What an execution cost so far, to its last change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecutionCost {
    /// CPU time and memory of its own turns.
    pub compute: Amount,
    /// CPU time of its own turns.
    pub cpu: model::CpuTime,
    /// Bytes that are billed now.
    pub stored_bytes: u64,
    /// State and kept payloads over time.
    pub stored_byte_seconds: u64,
    /// Price of that.
    pub storage: Amount,
    /// Turns that ended.
    pub transitions: u64,
    /// Price of those.
    pub transition: Amount,
    /// What the calls it waited for cost, their own calls included. They are billed there, not here.
    pub children: Amount,
}

impl ExecutionCost {
    /// What is billed for the execution itself.
    #[must_use]
    pub fn own(&self) -> Amount {
        self.compute + self.storage + self.transition
    }
}

/// One record of an execution's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Counts from 1 within the execution.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What happened, as one word.
    pub what: &'static str,
    /// Why, with its numbers and names.
    pub why: String,
    /// Whether the execution ended with it.
    pub ends: bool,
}

/// What the holder of a callback token says.
#[derive(Clone, Debug)]
pub enum TokenAnswer {
    /// It is done, with this answer.
    Success(Bytes),
    /// It failed.
    Failure(Failure),
    /// It is still at work.
    Heartbeat,
}

/// What an operator wants for executions that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutionPrices {
    /// Of what is stored, over time.
    pub storage: MemoryPrice,
    /// Of each transition.
    pub transition: Amount,
}

impl ExecutionPrices {
    /// Price of the stored bytes.
    #[must_use]
    pub fn storage_of(&self, totals: &Totals) -> Amount {
        self.storage.of(totals.stored())
    }

    /// Price of the transitions.
    #[must_use]
    pub fn transitions_of(&self, totals: &Totals) -> Amount {
        Amount(self.transition.0.saturating_mul(totals.transitions))
    }

    /// Price of everything that is not a receipt of an invocation already.
    #[must_use]
    pub fn of(&self, totals: &Totals) -> Amount {
        self.storage_of(totals) + self.transitions_of(totals)
    }
}

/// Which executions to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct ExecutionFilter {
    /// Of this status only.
    pub status: Option<ExecutionStatus>,
    /// Only those that have not ended.
    pub open: bool,
    /// Of this function only.
    pub function: Option<FunctionName>,
    /// Of this version only.
    pub version: Option<Version>,
    /// Only those whose name begins so.
    pub name_prefix: Option<String>,
    /// Only those called by this one.
    pub parent: Option<ExecutionId>,
    /// Only those started at or after this time.
    pub from: Option<Timestamp>,
    /// Only those started before this time.
    pub to: Option<Timestamp>,
    /// Only older ones than this (the last of the page before).
    pub before: Option<ExecutionId>,
    /// At most this many, 1 to 999.
    pub limit: usize,
}

/// The row of an execution before its first step is filled in.
pub(super) fn first_row(
    wanted: &Wanted,
    order: &Order,
    entry: &Entry,
    prices: &PriceList,
) -> ExecutionRow {
    ExecutionRow {
        tenant: wanted.tenant.clone(),
        name: order.name.clone(),
        function: wanted.function.clone(),
        kind: entry.info.kind,
        class: prices.get(wanted.class).name.clone(),
        max_class: prices.get(wanted.max_class).name.clone(),
        parent: order.parent.map(|parent| (parent.execution, parent.op)),
        created: wanted.arrived,
        version: entry.info.version,
        status: store::ExecutionStatus::Running,
        updated: wanted.arrived,
        finished: None,
        wake: None,
        waits: String::new(),
        custom_status: None,
        cost: Amount(0),
        state_bytes: 0,
        blobs: Vec::new(),
        state: Vec::new(),
    }
}

/// Brings a row up to what the execution is now.
pub(super) fn fill_row(
    row: &mut ExecutionRow,
    execution: &Execution,
    prices: &ExecutionPrices,
    now: Timestamp,
) {
    let account = execution.account();
    row.status = match execution.status() {
        Status::Running => store::ExecutionStatus::Running,
        Status::Waiting => store::ExecutionStatus::Suspended,
        Status::Paused => store::ExecutionStatus::Paused,
        Status::Succeeded => store::ExecutionStatus::Succeeded,
        Status::Failed => store::ExecutionStatus::Failed,
        Status::Cancelled => store::ExecutionStatus::Cancelled,
    };
    row.updated = now;
    row.finished = execution.outcome().map(|(at, _)| at);
    row.wake = execution.deadline();
    row.waits = execution.waits();
    row.custom_status = execution.custom_status().map(<[u8]>::to_vec);
    row.cost = account.own.amount + prices.of(&account.own);
    row.state_bytes = account.bytes;
    row.blobs = execution.blobs().into_iter().map(store::BlobHash).collect();
    row.state = execution.encode();
}

/// The receipt of an execution that has closed: its storage and transitions since the one before. Its
/// turns and calls have receipts of their own.
pub(super) fn receipt(
    id: ExecutionId,
    hot: &Hot,
    (attempt, used): (u32, Totals),
    prices: &ExecutionPrices,
) -> Option<InvocationRecord> {
    let (finished, outcome) = hot.execution.outcome()?;
    let outcome = match outcome {
        Ok(payload) => RecordOutcome::Ok { bytes: payload.len() },
        Err(failure) => RecordOutcome::Failed(note(failure.clone())),
    };
    let row = &hot.row;
    Some(InvocationRecord {
        id: InvocationId(id.0),
        attempt,
        tenant: row.tenant.clone(),
        function: row.function.clone(),
        version: row.version,
        class: row.class.clone(),
        caller: row.parent.map(|(parent, _)| InvocationId(parent.0)),
        mode: Mode::Async,
        arrived: row.created,
        started: None,
        finished,
        outcome,
        charge: Charge {
            cpu: CpuTime(0),
            memory: used.stored(),
            cpu_cost: Amount(0),
            memory_cost: prices.of(&used),
        },
        trace: String::new(),
        logs: Vec::new(),
        logs_dropped_bytes: 0,
        cold: false,
    })
}

pub(super) fn decode(found: &store::Execution) -> Result<Execution, Error> {
    Execution::decode(&found.row.state).map_err(|error| {
        let message = format!("the state of {} is damaged: {error}", found.id);
        Error::new(ErrorKind::Internal, message)
    })
}

/// One execution of a list, whose state was not read.
pub(super) fn summary(found: &store::Execution) -> ExecutionInfo {
    let row = &found.row;
    let status = from_store(row.status);
    let waiting = matches!(status, ExecutionStatus::Suspended | ExecutionStatus::Paused);
    ExecutionInfo {
        id: found.id,
        name: row.name.clone(),
        function: row.function.clone(),
        version: row.version,
        kind: row.kind,
        class: row.class.clone(),
        status,
        waits: if waiting { row.waits.clone() } else { String::new() },
        parent: row.parent.map(|(id, _)| id),
        created: row.created,
        updated: row.updated,
        finished: row.finished,
        custom_status: row.custom_status.clone().map(Bytes::from),
        outcome: None,
        total: row.cost,
        cost: None,
        open: Vec::new(),
    }
}

/// One execution whole, but for its outcome, which may lie elsewhere.
pub(super) fn info(
    found: &store::Execution,
    prices: &ExecutionPrices,
    now: Timestamp,
) -> Result<ExecutionInfo, Error> {
    let execution = decode(found)?;
    let account = execution.account().at(now);
    let below = account.below;
    let cost = ExecutionCost {
        compute: account.own.amount,
        cpu: account.own.cpu,
        stored_bytes: account.bytes,
        stored_byte_seconds: account.own.stored().0,
        storage: prices.storage_of(&account.own),
        transitions: account.own.transitions,
        transition: prices.transitions_of(&account.own),
        children: below.amount + prices.of(&below),
    };
    let open = execution.open().map(|open| Awaited {
        op: open.op.0,
        what: open.what,
        since: open.asked,
        call: open.call,
        is_resolved: open.is_resolved,
    });
    let open = open.collect();
    Ok(ExecutionInfo { total: cost.own(), cost: Some(cost), open, ..summary(found) })
}

pub(super) fn entry(record: &Record) -> HistoryEntry {
    HistoryEntry {
        seq: record.seq,
        at: record.at,
        what: record.event.kind(),
        why: record.event.reason(),
        ends: matches!(record.event, engine::Event::Ended { .. } | engine::Event::Cancelled { .. }),
    }
}

pub(super) fn record(row: &HistoryRow) -> Result<Record, Error> {
    Record::decode(&row.bytes).map_err(|error| {
        let message = format!("a history record is damaged: {error}");
        Error::new(ErrorKind::Internal, message)
    })
}

pub(super) fn entry_of_row(row: &HistoryRow) -> Result<HistoryEntry, Error> {
    Ok(entry(&record(row)?))
}

pub(super) const fn to_store(status: ExecutionStatus) -> store::ExecutionStatus {
    match status {
        ExecutionStatus::Running => store::ExecutionStatus::Running,
        ExecutionStatus::Suspended => store::ExecutionStatus::Suspended,
        ExecutionStatus::Paused => store::ExecutionStatus::Paused,
        ExecutionStatus::Succeeded => store::ExecutionStatus::Succeeded,
        ExecutionStatus::Failed => store::ExecutionStatus::Failed,
        ExecutionStatus::Cancelled => store::ExecutionStatus::Cancelled,
    }
}

const fn from_store(status: store::ExecutionStatus) -> ExecutionStatus {
    match status {
        store::ExecutionStatus::Running => ExecutionStatus::Running,
        store::ExecutionStatus::Suspended => ExecutionStatus::Suspended,
        store::ExecutionStatus::Paused => ExecutionStatus::Paused,
        store::ExecutionStatus::Succeeded => ExecutionStatus::Succeeded,
        store::ExecutionStatus::Failed => ExecutionStatus::Failed,
        store::ExecutionStatus::Cancelled => ExecutionStatus::Cancelled,
    }
}
