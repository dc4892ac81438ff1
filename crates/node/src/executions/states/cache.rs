//! Machines between two turns, so that they need not be read again while they are busy.

use std::collections::{HashMap, VecDeque};

use model::ExecutionId;

use super::turn::Run;

/// Machines that are held at most.
const MACHINES_MAX: usize = 1_024;
/// Bytes of all their states together; documents of some size count with what they were read from.
const BYTES_MAX: usize = 64 << 20;

/// Machines by execution. What the store has is the truth: a machine is only used where it stands at
/// the very state that the turn begins with.
#[derive(Default)]
pub(super) struct Cache {
    held: HashMap<ExecutionId, Held>,
    order: VecDeque<(u64, ExecutionId)>,
    ticks: u64,
    bytes: usize,
}

struct Held {
    tick: u64,
    state: Vec<u8>,
    bytes: usize,
    run: Run,
}

impl Cache {
    /// The machine at that state.
    pub(super) fn take(&mut self, id: ExecutionId, state: &[u8]) -> Option<Run> {
        let held = self.held.remove(&id)?;
        self.bytes -= held.bytes;
        (held.state == state).then_some(held.run)
    }

    /// Holds a machine at a state; `bytes` are those of its documents.
    pub(super) fn put(&mut self, id: ExecutionId, state: Vec<u8>, bytes: usize, run: Run) {
        let bytes = bytes + state.len();
        if bytes > BYTES_MAX {
            return;
        }
        self.ticks += 1;
        let tick = self.ticks;
        if let Some(before) = self.held.insert(id, Held { tick, state, bytes, run }) {
            self.bytes -= before.bytes;
        }
        self.bytes += bytes;
        self.order.push_back((tick, id));
        while self.held.len() > MACHINES_MAX
            || self.bytes > BYTES_MAX
            || self.order.len() > 4 * MACHINES_MAX
        {
            let Some((tick, id)) = self.order.pop_front() else { return };
            if self.held.get(&id).is_some_and(|held| held.tick == tick)
                && let Some(held) = self.held.remove(&id)
            {
                self.bytes -= held.bytes;
            }
        }
    }
}
