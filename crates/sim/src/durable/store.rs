//! What survives. A commit is all or nothing, item by item; everything else here is a look-up.

use std::collections::BTreeMap;

use engine::{Effect, Execution, Output, Record};
use model::suspend::OpId;
use model::{ExecutionId, Timestamp};

#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) revision: u64,
    pub(super) state: Vec<u8>,
    pub(super) history: Vec<Record>,
    /// Records that a new beginning took away.
    pub(super) forgotten: u64,
    pub(super) outbox: BTreeMap<OpId, Vec<u8>>,
    pub(super) timer: Option<Timestamp>,
}

/// One execution's part of a commit.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) id: ExecutionId,
    /// The revision that was loaded; 0 for a new one.
    pub(super) expected: u64,
    pub(super) state: Vec<u8>,
    pub(super) outputs: Vec<Output>,
    /// Time of each step and the bytes that were held from then on.
    pub(super) held: Vec<(Timestamp, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) rows: BTreeMap<ExecutionId, Row>,
}

impl Store {
    pub(super) fn load(&self, id: ExecutionId) -> Option<(u64, Execution)> {
        let row = self.rows.get(&id)?;
        Some((row.revision, Execution::decode(&row.state).expect("as it was encoded")))
    }

    /// Applies a change where the revision is the one expected.
    pub(super) fn apply(&mut self, change: &Change) -> bool {
        let row = self.rows.entry(change.id).or_default();
        if row.revision != change.expected {
            return false;
        }
        row.revision += 1;
        row.state.clone_from(&change.state);
        for output in &change.outputs {
            match output {
                Output::Effect(effect) => {
                    row.outbox.insert(effect.key(), effect.encode());
                }
                Output::Settled(key) => {
                    row.outbox.remove(key);
                }
                Output::Arm(at) => row.timer = Some(*at),
                Output::Disarm => row.timer = None,
                Output::History(record) => row.history.push(record.clone()),
                Output::ForgetHistory { before } => {
                    let kept = row.history.iter().filter(|record| record.seq >= *before).count();
                    row.forgotten += (row.history.len() - kept) as u64;
                    row.history.retain(|record| record.seq >= *before);
                }
                Output::Ended { .. } | Output::Touched | Output::Closed { .. } => {}
            }
        }
        true
    }

    /// Whether exactly this effect is in the outbox.
    pub(super) fn holds(&self, id: ExecutionId, effect: &Effect) -> bool {
        let kept = self.rows.get(&id).and_then(|row| row.outbox.get(&effect.key()));
        kept.is_some_and(|bytes| *bytes == effect.encode())
    }
}
