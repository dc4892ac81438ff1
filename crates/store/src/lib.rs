//! What Fermata keeps: tenants, keys, functions and their code, queued calls, executions, finished
//! invocations and the bill.
//!
//! This crate keeps and finds; it must never decide what to run, read a clock or draw a random
//! number: every time and every id comes in with the call. Start reading at [`Store`], which is
//! the whole face, then [`Batch`], its most frequent argument.
//!
//! Invariants:
//! - what a method acknowledged survives `kill -9` and power loss ([`sqlite`]);
//! - an error means that nothing was applied, and the call may be repeated;
//! - a finished attempt is counted once in the bill, however often it is committed;
//! - a step of an execution is applied whole and once, by whom its partition belongs to;
//! - a version number of a function is never given twice, not even after a deletion;
//! - a method that takes a tenant never shows or changes what belongs to another tenant.

#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

#[cfg(test)]
extern crate self as store;

mod address;
mod api;
mod bill;
mod blob;
mod calendar;
mod error;
mod execution;
mod function;
mod invocation;
pub mod memory;
mod pool;
pub mod postgres;
mod queue;
mod sql;
pub mod sqlite;
mod tenant;

pub use address::Address;
pub use api::{Batch, Change, Compacted, Listener, Options, Store, Subscription, Wake};
pub use bill::{BillQuery, BillRow, Grouping, Usage};
pub use blob::{BlobHash, Swept};
pub use calendar::{CalendarError, Day, Month};
pub use error::{Error, Result};
pub use execution::{
    Claim, Committed, Execution, ExecutionCommit, ExecutionQuery, ExecutionRow, ExecutionStatus,
    HistoryOrder, HistoryQuery, HistoryRow, Lease, NodeName, NodeNameError, OpenExecution,
    OutboxItem, Revision, RowChange, TimersDue,
};
pub use function::{FunctionQuery, FunctionSpec, FunctionVersion};
pub use invocation::{
    Charge, Cursor, Detail, FailureNote, InvocationQuery, InvocationRecord, Mode, RecordOutcome,
    Status,
};
pub use memory::MemoryStore;
pub use postgres::PostgresStore;
pub use queue::{AsyncCall, Backlog, DeadLetter, DeadLetterQuery, Due, QueueChange};
pub use sqlite::SqliteStore;
pub use tenant::{Key, Role, Tenant};
