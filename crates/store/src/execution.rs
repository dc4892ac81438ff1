//! Executions: what is kept of each, and what one step of it writes.

use std::fmt;
use std::time::Duration;

use model::suspend::OpId;
use model::{Amount, ExecutionId, FunctionName, Kind, TenantName, Timestamp, Version};

use crate::blob::BlobHash;
use crate::invocation::InvocationRecord;

/// How often an execution was committed; 0 before it exists. Each commit of a row adds one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// How far an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExecutionStatus {
    /// A turn runs, or is about to.
    Running,
    /// It waits for something.
    Suspended,
    /// A person paused it.
    Paused,
    /// It ended with an answer.
    Succeeded,
    /// It ended without one.
    Failed,
    /// A person or its parent ended it.
    Cancelled,
}

/// What is kept of an execution beside its history and outbox.
///
/// The fields up to `created` are taken from its first commit and never change, but for the name:
/// see [`ExecutionCommit::free_name`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionRow {
    /// Who pays.
    pub tenant: TenantName,
    /// A name that no other kept execution of the tenant has.
    pub name: Option<String>,
    /// What runs.
    pub function: FunctionName,
    /// How that runs.
    pub kind: Kind,
    /// Name of the effective class.
    pub class: String,
    /// Name of the highest class that its chain may state.
    pub max_class: String,
    /// The execution that waits for it, and under which number.
    pub parent: Option<(ExecutionId, OpId)>,
    /// When it was started.
    pub created: Timestamp,
    /// Which version of the function it is pinned to.
    pub version: Version,
    /// How far it is.
    pub status: ExecutionStatus,
    /// When it last changed.
    pub updated: Timestamp,
    /// When it ended. None while it is open.
    pub finished: Option<Timestamp>,
    /// When it is to be looked at again at the latest: its earliest timer, or the end of its
    /// retention. [`Store::timers_due`](crate::Store::timers_due) finds it by this.
    pub wake: Option<Timestamp>,
    /// What it waits for, for a person.
    pub waits: String,
    /// What it tells a person about itself.
    pub custom_status: Option<Vec<u8>>,
    /// What it cost so far.
    pub cost: Amount,
    /// Bytes it is billed for while it is suspended.
    pub state_bytes: u64,
    /// Blobs that its state or its outbox refers to. They stay as long as this says so.
    pub blobs: Vec<BlobHash>,
    /// All the rest, encoded by the engine. Opaque here.
    pub state: Vec<u8>,
}

/// An execution as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// Which one.
    pub id: ExecutionId,
    /// How often it was committed.
    pub revision: Revision,
    /// The rest. A list leaves `state` and `blobs` empty.
    pub row: ExecutionRow,
}

/// What one step of an execution writes: all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionCommit {
    /// Which execution.
    pub id: ExecutionId,
    /// What its revision must be; 0 where it must not exist.
    pub expected: Revision,
    /// What becomes of it.
    pub row: RowChange,
    /// Gives up its name, so that another may take it. The name of `row` is not looked at then.
    pub free_name: bool,
    /// Forgets history before this number, first of all.
    pub forget_history_before: Option<u64>,
    /// New history. A number that is there already stays as it is.
    pub history: Vec<HistoryRow>,
    /// New effects that are to happen. One of a number that is there is replaced.
    pub outbox_put: Vec<(OpId, Vec<u8>)>,
    /// Effects that have happened.
    pub outbox_done: Vec<OpId>,
    /// Finished attempts that end with this step, counted once however often they come.
    pub records: Vec<InvocationRecord>,
    /// Blobs that come with this step, each kept under its hash. What `row` and `history` refer to
    /// is here or was put before.
    pub blobs: Vec<(BlobHash, Vec<u8>)>,
}

/// What becomes of an execution in a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// It stays, and so does its revision; the rest of the commit applies.
    Keep,
    /// It becomes this, and its revision the next.
    Put(Box<ExecutionRow>),
    /// It goes, with all of its history and outbox.
    Purge,
}

/// One event in the life of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// Its number, rising.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, encoded by the engine. Opaque here.
    pub bytes: Vec<u8>,
    /// Blobs that `bytes` refers to. They stay as long as this row.
    pub blobs: Vec<BlobHash>,
}

/// What became of one item of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is applied, and the revision is this one now.
    Applied(Revision),
    /// Nothing of it is applied: the revision is another (0 where there is no such execution).
    Conflict {
        /// The revision it has.
        found: Revision,
    },
    /// Nothing of it is applied: another execution has the name.
    NameTaken(ExecutionId),
    /// Nothing of it is applied: none of the leases holds its partition any more.
    Fenced,
    /// Nothing of it is applied: it refers to a blob that is not there. Put it again.
    BlobMissing(BlobHash),
}

/// The right to write the executions of one partition, until another node takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The partition.
    pub partition: u32,
    /// Who has it.
    pub node: NodeName,
    /// Where other nodes reach that one. Empty where they do not.
    pub address: String,
    /// Rises each time the partition changes hands. A write under an earlier one is refused.
    pub epoch: u64,
    /// Another node may take it from then on.
    pub until: Timestamp,
}

/// A node's name, its own among all that share a store: 1 to 64 of `a-z`, `0-9`, `-`, `_`, `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

/// A text that cannot name a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node name is 1 to 64 of a-z, 0-9, -, _ and .")]
pub struct NodeNameError;

/// Who takes or renews leases, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub node: NodeName,
    /// Where other nodes reach it.
    pub address: String,
    /// The time, by [`Store::clock`](crate::Store::clock) where that has one.
    pub now: Timestamp,
    /// How long the leases hold from then on.
    pub ttl: Duration,
}

/// Which executions to list, newest id first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutionQuery {
    /// Only in this state.
    pub status: Option<ExecutionStatus>,
    /// Only those that did not end.
    pub open: bool,
    /// Only of this function.
    pub function: Option<FunctionName>,
    /// Only pinned to this version.
    pub version: Option<Version>,
    /// Only those whose name begins so.
    pub name_prefix: Option<String>,
    /// Only children of this execution.
    pub parent: Option<ExecutionId>,
    /// Only those started then or later.
    pub since: Option<Timestamp>,
    /// Only those started before then.
    pub until: Option<Timestamp>,
    /// Where the page before ended.
    pub before: Option<ExecutionId>,
    /// Executions wanted; at most [`model::limits::PAGE_MAX`] are returned.
    pub limit: usize,
}

/// Which history to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The order, and where the page before ended.
    pub order: HistoryOrder,
    /// Rows wanted; at most [`model::limits::PAGE_MAX`] are returned.
    pub limit: usize,
}

/// An order of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryOrder {
    /// Oldest first, from this number on.
    From(u64),
    /// Newest first, below this number where there is one.
    Before(Option<u64>),
}

/// An execution that did not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenExecution {
    /// Which one.
    pub id: ExecutionId,
    /// Its [`ExecutionRow::wake`].
    pub wake: Option<Timestamp>,
    /// How far it is.
    pub status: ExecutionStatus,
}

/// Executions whose time has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimersDue {
    /// By time, then by id.
    pub due: Vec<(Timestamp, ExecutionId)>,
    /// The earliest time after those asked for, where there is one.
    pub next: Option<Timestamp>,
}

/// An effect that is to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxItem {
    /// Of which execution.
    pub id: ExecutionId,
    /// Its number there.
    pub op: OpId,
    /// What is to happen. Opaque here.
    pub bytes: Vec<u8>,
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

    /// The word for it.
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

    /// The status that [`ExecutionStatus::as_str`] calls so.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl Revision {
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl ExecutionCommit {
    /// A commit that changes nothing yet.
    #[must_use]
    pub const fn new(id: ExecutionId, expected: Revision) -> Self {
        Self {
            id,
            expected,
            row: RowChange::Keep,
            free_name: false,
            forget_history_before: None,
            history: Vec::new(),
            outbox_put: Vec::new(),
            outbox_done: Vec::new(),
            records: Vec::new(),
            blobs: Vec::new(),
        }
    }

    /// Every blob it refers to that it does not bring.
    pub(crate) fn blobs_wanted(&self) -> impl Iterator<Item = BlobHash> {
        let row = match &self.row {
            RowChange::Put(row) => row.blobs.as_slice(),
            RowChange::Keep | RowChange::Purge => &[],
        };
        let history = self.history.iter().flat_map(|row| &row.blobs);
        let brought = |hash: &&BlobHash| self.blobs.iter().any(|(known, _)| known == *hash);
        row.iter().chain(history).filter(move |hash| !brought(hash)).copied()
    }

    /// The revision after it, where it applies.
    pub(crate) const fn revision_after(&self) -> Revision {
        match self.row {
            RowChange::Keep => self.expected,
            RowChange::Put(_) => self.expected.next(),
            RowChange::Purge => Revision(0),
        }
    }
}

impl Claim {
    /// The lease it makes of a partition.
    pub(crate) fn lease(&self, partition: u32, epoch: u64) -> Lease {
        let until = self.now + self.ttl;
        let (node, address) = (self.node.clone(), self.address.clone());
        Lease { partition, node, address, epoch, until }
    }
}

impl Lease {
    /// Whether a write under it is one of the holder `held`.
    pub(crate) fn is(&self, held: &Self) -> bool {
        (self.partition, &self.node, self.epoch) == (held.partition, &held.node, held.epoch)
    }
}

impl NodeName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let allowed =
            |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_' | b'.');
        let fits = (1..=model::limits::NAME_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(allowed) { Ok(Self(text.into())) } else { Err(NodeNameError) }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
