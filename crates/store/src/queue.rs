//! Asynchronous calls: queued until they succeed or are given up as dead letters.

use model::{FunctionName, InvocationId, TenantName, Timestamp, Version};

use crate::invocation::FailureNote;

/// An accepted call whose caller does not wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncCall {
    /// The call, the same through all attempts.
    pub id: InvocationId,
    /// Who pays.
    pub tenant: TenantName,
    /// What to call.
    pub function: FunctionName,
    /// Which version; without one, the latest when it is run.
    pub version: Option<Version>,
    /// Name of the effective class.
    pub class: String,
    /// Name of the highest class that the chain it belongs to may state.
    pub max_class: String,
    /// The input.
    pub payload: Vec<u8>,
    /// Who called, where a function did.
    pub caller: Option<InvocationId>,
    /// Functions above it in its call chain.
    pub depth: u32,
    /// W3C trace context it came with.
    pub traceparent: Option<String>,
    /// When it was accepted.
    pub arrived: Timestamp,
    /// Number of the attempt to run next, the first one being 1. Numbers go on after a redrive,
    /// so that each attempt has its own receipt.
    pub attempt: u32,
    /// Number of the first attempt since the call was accepted or last redriven.
    pub first_attempt: u32,
    /// Not to be run earlier.
    pub not_before: Timestamp,
    /// How the attempt before ended.
    pub last_failure: Option<FailureNote>,
}

/// A change to the queue. One that names a call which is not queued does nothing, so that a batch
/// can be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "most changes are calls that are accepted")]
pub enum QueueChange {
    /// Accept a call. Does nothing where its id is queued or a dead letter already.
    Enqueue(AsyncCall),
    /// An attempt failed and another follows.
    Retry {
        /// The call.
        id: InvocationId,
        /// Number of the attempt to run next.
        attempt: u32,
        /// When to run it at the earliest.
        not_before: Timestamp,
        /// How the last attempt ended.
        failure: FailureNote,
    },
    /// The call succeeded and leaves the queue.
    Complete(InvocationId),
    /// The call is given up and becomes a dead letter.
    Bury {
        /// The call.
        id: InvocationId,
        /// When it was given up.
        at: Timestamp,
        /// How its last attempt ended.
        failure: FailureNote,
    },
}

impl QueueChange {
    /// The call that changes.
    #[must_use]
    pub const fn id(&self) -> InvocationId {
        match self {
            Self::Enqueue(call) => call.id,
            Self::Retry { id, .. } | Self::Complete(id) | Self::Bury { id, .. } => *id,
        }
    }
}

/// What is to be run now, and when to look again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Calls whose time has come, by `not_before`, then by id.
    pub calls: Vec<AsyncCall>,
    /// The earliest `not_before` that is still to come, of any call.
    pub next: Option<Timestamp>,
}

/// A call that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The call; its `last_failure` tells why, its `attempt` is the last one made.
    pub call: AsyncCall,
    /// When it was given up.
    pub died: Timestamp,
}

/// Which dead letters to list, newest id first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// Only of this function.
    pub function: Option<FunctionName>,
    /// Where the page before ended.
    pub before: Option<InvocationId>,
    /// Letters wanted; at most [`model::limits::PAGE_MAX`] are returned.
    pub limit: usize,
}

/// How much one tenant has in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Whose.
    pub tenant: TenantName,
    /// Calls queued, those that run now included.
    pub queued: u64,
    /// Dead letters.
    pub dead: u64,
}
