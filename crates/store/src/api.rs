//! The face of every store.

use std::collections::BTreeSet;
use std::path::Path;

use model::suspend::OpId;
use model::{
    Amount, ExecutionId, FunctionName, InvocationId, KeyId, TenantName, Timestamp, Version, limits,
};

use crate::bill::{BillQuery, BillRow, Grouping};
use crate::blob::{BlobHash, Swept};
use crate::calendar::Month;
use crate::error::Result;
use crate::execution::{
    Claim, Committed, Execution, ExecutionCommit, ExecutionQuery, HistoryQuery, HistoryRow, Lease,
    OpenExecution, OutboxItem, TimersDue,
};
use crate::function::{FunctionQuery, FunctionSpec, FunctionVersion};
use crate::invocation::{InvocationQuery, InvocationRecord};
use crate::queue::{AsyncCall, Backlog, DeadLetter, DeadLetterQuery, Due, QueueChange};
use crate::tenant::{Key, Tenant};

/// What Fermata keeps. Every method blocks until it is done; writers wait for each other.
///
/// An `Ok` of a writing method is a promise that what was written is there after a crash. An error
/// means that nothing was applied; [`Error::is_transient`](crate::Error::is_transient) tells
/// whether the same call may be repeated as it is.
pub trait Store: Send + Sync {
    /// Writes finished attempts with their sums and changes the queue, all of it or nothing.
    ///
    /// Repeating a batch changes nothing: a record of an id and attempt that is still kept is
    /// passed over (the first one stays), and queue changes may be repeated, see [`QueueChange`].
    /// Retention is served here too: each commit of records first removes some of the oldest ones
    /// beyond [`Options::keep_invocations`] (but keeps as many as the batch has, so that even then
    /// the batch can be repeated), and never a sum.
    ///
    /// # Errors
    /// `Full`, `Transient`, `Io`.
    fn commit(&self, batch: &Batch) -> Result<()>;

    /// Does one thing an operator or developer asked for.
    ///
    /// # Errors
    /// `NotFound` and `Conflict` as told at each [`Change`]; `Full`, `Transient`, `Io`.
    fn apply(&self, change: &Change) -> Result<()>;

    /// Publishes a version of a function under the next free number and returns it.
    ///
    /// # Errors
    /// `NotFound` where the tenant or the code's blob is unknown (the blob may have been swept
    /// since it was put: put it again); `Full`, `Transient`, `Io`.
    fn publish(&self, spec: &FunctionSpec) -> Result<FunctionVersion>;

    /// Keeps `bytes` under their hash. Known content is kept once.
    ///
    /// # Errors
    /// `Corrupt` where `bytes` have another hash; `Full`, `Transient`, `Io`.
    fn put_blob(&self, hash: BlobHash, bytes: &[u8]) -> Result<()>;

    /// Does ahead what [`Store::stage_blob`] can be spared: to be called after it, when nobody waits.
    fn stage_ahead(&self) {}

    /// The blob of that hash, verified.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` where what is stored has another hash.
    fn get_blob(&self, hash: BlobHash) -> Result<Vec<u8>>;

    /// Keeps large content before the commit of the step that will refer to it, where that is quicker
    /// than bringing it with the commit; its hash then. A sweep passes over it until that commit, for
    /// an hour at the most. None: the commit is to bring it.
    ///
    /// # Errors
    /// `Full`, `Transient`, `Io`.
    fn stage_blob(&self, bytes: &[u8]) -> Result<Option<BlobHash>> {
        let _ = bytes;
        Ok(None)
    }

    /// Removes blobs that no version and no execution uses.
    ///
    /// # Errors
    /// `Transient`, `Io`. What was removed before the error stays removed.
    fn sweep_blobs(&self) -> Result<Swept>;

    /// All tenants, by name.
    ///
    /// # Errors
    /// `Transient`, `Corrupt`, `Io`: so does every reading method below.
    fn tenants(&self) -> Result<Vec<Tenant>>;

    /// All keys of all tenants, revoked ones included, by id.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn keys(&self) -> Result<Vec<Key>>;

    /// One version of a function; without a number, the highest that is not deleted.
    ///
    /// # Errors
    /// `NotFound`; see also [`Store::tenants`].
    fn function(
        &self,
        tenant: &TenantName,
        name: &FunctionName,
        version: Option<Version>,
    ) -> Result<FunctionVersion>;

    /// Functions of a tenant, or versions of one of them.
    ///
    /// # Errors
    /// See [`Store::tenants`]. Nothing found is an empty list.
    fn functions(&self, tenant: &TenantName, query: &FunctionQuery)
    -> Result<Vec<FunctionVersion>>;

    /// At most `limit` (and at most [`limits::PAGE_MAX`]) queued calls that are due at `now`, of
    /// all tenants, passing over those in `running`.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn due(&self, now: Timestamp, running: &BTreeSet<InvocationId>, limit: usize) -> Result<Due>;

    /// A tenant's queued call, where it is neither settled nor a dead letter.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn queued(&self, tenant: &TenantName, id: InvocationId) -> Result<Option<AsyncCall>>;

    /// Sizes of the queue, of each tenant that has something in it, by name. Counts the queue,
    /// so it is for start-up and not for every call.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn backlog(&self) -> Result<Vec<Backlog>>;

    /// Dead letters of a tenant.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn dead_letters(&self, tenant: &TenantName, query: &DeadLetterQuery)
    -> Result<Vec<DeadLetter>>;

    /// One dead letter.
    ///
    /// # Errors
    /// `NotFound`; see also [`Store::tenants`].
    fn dead_letter(&self, tenant: &TenantName, id: InvocationId) -> Result<DeadLetter>;

    /// Every attempt of an invocation that is still kept, whole, the first one first. Empty where
    /// none is kept.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn invocation(&self, tenant: &TenantName, id: InvocationId) -> Result<Vec<InvocationRecord>>;

    /// Finished attempts of a tenant, newest id first.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn invocations(
        &self,
        tenant: &TenantName,
        query: &InvocationQuery,
    ) -> Result<Vec<InvocationRecord>>;

    /// The sums of the asked days.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn bill(&self, query: &BillQuery) -> Result<Vec<BillRow>>;

    /// What a tenant's calls cost in a month so far.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn month_spent(&self, tenant: &TenantName, month: Month) -> Result<Amount> {
        let rows = self.bill(&BillQuery {
            tenant: Some(tenant.clone()),
            first: month.first(),
            last: month.last(),
            by: Grouping::default(),
        })?;
        Ok(rows.iter().map(|row| row.usage.total()).sum())
    }

    /// Writes steps of many executions, each under the lease of its partition. Each item applies
    /// whole or not at all, and those that apply do so together: an `Ok` tells of each. Names that
    /// one item frees are free for the others. The ids of the items differ from each other.
    ///
    /// # Errors
    /// `Full`, `Transient`, `Io`: no item was applied, as far as is known. Where the reply was
    /// lost all may have been; a repeated item then finds its own revision (`Conflict`).
    fn commit_executions(
        &self,
        leases: &[Lease],
        items: &[ExecutionCommit],
    ) -> Result<Vec<Committed>>;

    /// One execution of a tenant, whole.
    ///
    /// # Errors
    /// `NotFound`; see also [`Store::tenants`].
    fn execution(&self, tenant: &TenantName, id: ExecutionId) -> Result<Execution>;

    /// The execution that has that name now, whole.
    ///
    /// # Errors
    /// `NotFound`; see also [`Store::tenants`].
    fn execution_named(&self, tenant: &TenantName, name: &str) -> Result<Execution>;

    /// These executions, whole, of whatever tenant, in the order of the ids asked for. Those that
    /// do not exist are left out.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn load_executions(&self, ids: &[ExecutionId]) -> Result<Vec<Execution>>;

    /// Executions of a tenant, without `state` and `blobs`.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn executions(&self, tenant: &TenantName, query: &ExecutionQuery) -> Result<Vec<Execution>>;

    /// The history of an execution. Empty where there is no such execution.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn history(&self, id: ExecutionId, query: &HistoryQuery) -> Result<Vec<HistoryRow>>;

    /// At most `limit` (and at most [`limits::PAGE_MAX`]) executions of a partition that did not
    /// end, by id, after `after`.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn open_executions(
        &self,
        partition: u32,
        after: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Vec<OpenExecution>>;

    /// At most `limit` (and at most [`limits::PAGE_MAX`]) executions of these partitions whose
    /// [`wake`](crate::ExecutionRow::wake) is at or before `until`, the earliest ones after `after`.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn timers_due(
        &self,
        partitions: &[u32],
        until: Timestamp,
        after: Option<(Timestamp, ExecutionId)>,
        limit: usize,
    ) -> Result<TimersDue>;

    /// At most `limit` (and at most [`limits::PAGE_MAX`]) effects of a partition that are to
    /// happen, by execution and number, after `after`.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn outbox(
        &self,
        partition: u32,
        after: Option<(ExecutionId, OpId)>,
        limit: usize,
    ) -> Result<Vec<OutboxItem>>;

    /// Takes those of `partitions` that nobody holds, whose lease ran out, or that a node of the
    /// same name holds: that one is an earlier run. Each gets a new epoch. Returns what was taken.
    ///
    /// # Errors
    /// `Full`, `Transient`, `Io`.
    fn acquire_leases(&self, claim: &Claim, partitions: &[u32]) -> Result<Vec<Lease>>;

    /// Holds leases longer. Returns those that are still its own; the others are lost.
    ///
    /// # Errors
    /// `Full`, `Transient`, `Io`.
    fn renew_leases(&self, claim: &Claim, leases: &[Lease]) -> Result<Vec<Lease>>;

    /// Gives up leases, so that others need not wait until they run out. Those that are lost
    /// already are passed over.
    ///
    /// # Errors
    /// `Full`, `Transient`, `Io`.
    fn release_leases(&self, leases: &[Lease]) -> Result<()>;

    /// Every lease that was ever taken, by partition; who was the last to hold it where it ran out.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn leases(&self) -> Result<Vec<Lease>>;

    /// The time by which leases are reckoned, where the store is shared by several nodes, whose
    /// clocks may differ. None where it is not: then the node's own.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn clock(&self) -> Result<Option<Timestamp>>;

    /// The value of a setting, where it has one.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// Hears of what other processes write into this store, until the returned value is dropped.
    /// The listener also hears of what this process writes (but not of calls that it queued), may
    /// hear of one thing twice, and must be quick. None where no other process can write: then there is nothing to hear.
    ///
    /// # Errors
    /// See [`Store::tenants`].
    fn subscribe(&self, listener: Listener) -> Result<Option<Box<dyn Subscription>>> {
        drop(listener);
        Ok(None)
    }

    /// Tells all that subscribed that there is something to do in a partition.
    ///
    /// # Errors
    /// `Transient`, `Io`.
    fn wake(&self, partition: u32) -> Result<()> {
        let _ = partition;
        Ok(())
    }

    /// Writes a copy that can be opened as a store into the directory `to`, which is created and
    /// must be empty. Work goes on meanwhile; the copy shows one moment of it.
    ///
    /// # Errors
    /// `Invalid` where there is something in `to`, or where the database brings its own means;
    /// `Full`, `Transient`, `Io`.
    fn backup(&self, to: &Path) -> Result<()>;

    /// Gives back the room of what was removed. Others wait meanwhile.
    ///
    /// # Errors
    /// `Full`, `Transient`, `Io`.
    fn compact(&self) -> Result<Compacted>;

    /// Looks through everything for damage. Takes as long as reading the whole store.
    ///
    /// # Errors
    /// `Corrupt` with the first damage found; see also [`Store::tenants`].
    fn check(&self) -> Result<()>;
}

/// Is told what was written.
pub type Listener = Box<dyn Fn(Wake) + Send + Sync>;

/// What keeps a listener listening.
pub trait Subscription: Send + Sync + std::fmt::Debug {}

/// What may be there to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Tenants, keys, functions or settings changed.
    Catalog,
    /// Calls were queued.
    Queue,
    /// Leases were taken or given up.
    Leases,
    /// Somebody said so with [`Store::wake`].
    Partition(u32),
    /// Something may have been missed: look at everything.
    Anything,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Blobs that nothing used.
    pub swept: Swept,
    /// Size of the database before, without blobs that are files.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
}

/// What one commit writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Attempts that finished, of any tenants.
    pub records: Vec<InvocationRecord>,
    /// Changes to the queue, in order.
    pub queue: Vec<QueueChange>,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.queue.is_empty()
    }
}

/// One thing an operator or developer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new tenant. `Conflict` where there is another of that name; the same again is fine.
    CreateTenant(Tenant),
    /// New budget and permission of a tenant. `NotFound` where it is unknown.
    UpdateTenant {
        /// Which one.
        name: TenantName,
        /// Replaces the budget.
        monthly_budget: Option<Amount>,
        /// Replaces the permission.
        allow_network: bool,
    },
    /// A new key. `NotFound` where the tenant is unknown, `Conflict` where there is another key of
    /// that id; the same again is fine.
    CreateKey(Key),
    /// A key is refused from now on. `NotFound` where the tenant has no such key; a key that is
    /// revoked keeps its first time.
    RevokeKey {
        /// Whose.
        tenant: TenantName,
        /// Which one.
        id: KeyId,
        /// Since when.
        at: Timestamp,
    },
    /// One version of a function, or all, can no longer be found. `NotFound` where there is none.
    /// Receipts and sums stay.
    DeleteFunction {
        /// Whose.
        tenant: TenantName,
        /// Which one.
        name: FunctionName,
        /// Only this version; without one, all.
        version: Option<Version>,
    },
    /// A dead letter is queued again, with the next attempt number and no failure. `NotFound`
    /// where the tenant has no such letter.
    Redrive {
        /// Whose.
        tenant: TenantName,
        /// Which one.
        id: InvocationId,
        /// The new `not_before`.
        at: Timestamp,
    },
    /// A dead letter is thrown away. `NotFound` where the tenant has no such letter.
    DeleteDeadLetter {
        /// Whose.
        tenant: TenantName,
        /// Which one.
        id: InvocationId,
    },
    /// A setting gets a value.
    PutSetting {
        /// Its name.
        name: String,
        /// Replaces its value.
        value: Vec<u8>,
    },
}

/// What holds for a store as long as it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Finished attempts whose details are kept: the newest of all tenants. Some more may be there
    /// until later commits remove them. Sums are kept for ever.
    pub keep_invocations: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { keep_invocations: limits::INVOCATIONS_KEPT_DEFAULT }
    }
}

/// What a commit of records removes of those before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// Records to keep. Never fewer than the commit has: were they its own, committed before, then
    /// forgetting them would count them again.
    pub(crate) keep: u64,
    /// Records to remove at most: enough to keep up, few enough to stay cheap.
    pub(crate) removals_max: usize,
}

impl Retention {
    pub(crate) fn of(options: &Options, records: usize) -> Self {
        Self { keep: options.keep_invocations.max(records as u64), removals_max: 64 + 2 * records }
    }
}

/// The page size that is granted where `asked` is wanted.
pub(crate) fn page(asked: usize) -> usize {
    asked.min(limits::PAGE_MAX)
}
