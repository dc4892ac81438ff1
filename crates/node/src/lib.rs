//! The shell: it loads, lets `policy` decide, commits, and acts.
//!
//! One [`Handle`] is all that a protocol sees. Behind it, one control thread owns the scheduler
//! shards and machines and carries their messages; executors run functions; one writer thread owns
//! the store's writes. Nothing is decided here that `policy` can decide, and nothing is started
//! before what must survive it is committed.
//!
//! Start reading at [`handle`], then `control.rs`.
//!
//! Invariants:
//! - an accepted asynchronous call is in the store before its caller hears of it;
//! - each invocation is answered exactly once, and its receipt is recorded exactly once;
//! - every use of a tenant's things goes through a [`Principal`] of that tenant.

#![warn(missing_docs)]

mod catalog;
mod control;
mod error;
mod executions;
pub mod handle;
mod ids;
mod inner;
mod keep;
mod nodes;
mod queue;
mod record;
mod settings;
mod start;
mod tenants;
mod types;
mod writer;

pub use error::{Error, ErrorKind};
pub use executions::{
    Awaited, Begun, ExecutionCost, ExecutionFilter, ExecutionInfo, ExecutionPrices,
    ExecutionStatus, HistoryEntry, IfExists, Interpreter, Interpreters, NewChild, NewExecution,
    News, Run, RunEvent, RunFilter, ServiceCall, ServiceEnd, ServiceReply, Services, Source,
    TokenAnswer, TokenTaken, Which, states,
};
pub use handle::Handle;
pub use nodes::{NodeInfo, NodesStatus};
pub use runtime::SwapUse;
pub use runtime::afterwards::take_up;
pub use settings::{Access, Bands, ExecutorMaker, Observed, Observer, Parts, Settings};
pub use start::{Node, StartError};
pub use types::{
    AccessKey, BillQuery, BillRow, ClassMemory, ClassStatus, DeadLetter, Durations, FunctionInfo,
    InvocationFilter, InvocationInfo, InvocationStatus, Invoke, Invoked, KeyInfo, MachineStatus,
    MemoryStatus, NewFunction, NewKey, NewTenant, Page, Phase, PhaseHistogram, Principal, Role,
    RuntimeStatus, Status, Step, TenantInfo,
};
