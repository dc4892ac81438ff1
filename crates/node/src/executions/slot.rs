//! One execution in memory, and what waits for it.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::{Effect, Execution, Input, Orchestrator, Outcome, Verdict};
use model::{ExecutionId, Timestamp};
use store::Revision;

use super::Ack;
use crate::catalog::Entry;
use crate::error::Error;

/// An execution that this node has something to do with right now.
pub(crate) enum Slot {
    /// It is being read from the store; what came meanwhile waits, in order.
    Loading(VecDeque<Waiting>),
    /// It is here.
    Hot(Box<Hot>),
}

/// An input that waits for its turn.
pub(crate) struct Waiting {
    pub(crate) what: What,
    pub(crate) ack: Option<Ack>,
}

/// What is to be done to an execution.
#[derive(Clone)]
pub(crate) enum What {
    /// Step it.
    Input(Box<Input>),
    /// The same by the end of an invocation, with its receipt, which is committed with the step.
    Recorded(Box<Input>, Box<store::InvocationRecord>),
    /// Act again on what the store's outbox holds: an earlier run of a node left it.
    Recover(Vec<Effect>),
    /// Forget it, with its history.
    Purge,
}

/// An execution that is here.
pub(crate) struct Hot {
    pub(crate) execution: Execution,
    /// What its row says that the engine does not know.
    pub(crate) row: store::ExecutionRow,
    pub(crate) entry: Arc<Entry>,
    /// Runs its turns, where they are interpreted.
    pub(crate) orchestrator: Option<Arc<dyn Orchestrator>>,
    pub(crate) revision: Revision,
    pub(crate) writing: Option<Writing>,
    pub(crate) waiting: VecDeque<Waiting>,
    /// When it was last looked at, for who is forgotten first.
    pub(crate) touched: u64,
    /// When its timer is due, as this node has noted it.
    pub(crate) armed: Option<Timestamp>,
    /// Its partition went to another node while it was being committed.
    pub(crate) lost: bool,
}

/// A step that is being committed.
#[derive(Default)]
pub(crate) struct Writing {
    /// To be done after the commit.
    pub(crate) effects: Vec<Effect>,
    /// To be told after the commit.
    pub(crate) acks: Vec<(Ack, Result<Verdict, Error>)>,
    /// Inputs without anybody who would repeat them, should the commit fail.
    pub(crate) inputs: Vec<What>,
    /// How it ended, if this step ended it.
    pub(crate) ended: Option<Outcome>,
    /// For whoever follows the history.
    pub(crate) history: Vec<engine::Record>,
    /// Told when a new execution is in the store, or why not.
    pub(crate) started: Option<Started>,
    pub(crate) purged: bool,
}

/// Hears what became of a start.
pub(crate) type Started = Box<dyn FnOnce(StartResult) + Send>;

/// What became of a start.
pub(crate) enum StartResult {
    /// It is in the store.
    New,
    /// There is one of that name, or of that id where it is a child.
    Exists(ExecutionId),
    /// It could not be written.
    Failed(Error),
    /// Nothing was done: the partition is another node's, or about to be.
    Moved,
}

impl What {
    /// Whether it is the end of something that was asked for: an interpreter can be given many such
    /// ends in one turn.
    pub(crate) fn is_end_of_ask(&self) -> bool {
        match self {
            Self::Input(input) | Self::Recorded(input, _) => matches!(
                **input,
                Input::Resolved { .. } | Input::Signal { .. } | Input::Token { .. }
            ),
            Self::Recover(_) | Self::Purge => false,
        }
    }
}

impl Hot {
    /// Whether it may be forgotten: the store has all of it and nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.writing.is_none() && self.waiting.is_empty()
    }
}
