//! What one turn has asked for so far, and what is known to have ended.

use model::limits;
use model::suspend::{Ask, InvokeMode, OpId, Resolution, Step, Until};
use wasmtime::Global;

use super::channel::Channel;
use super::state::Operations;
use crate::executor::{DurableTurn, TokenMaker};

/// The turn of a running guest.
pub(in super::super) struct Turn {
    pub(super) token: TokenMaker,
    pub(super) operations: Operations,
    asks: Vec<(OpId, Ask)>,
    drops: Vec<OpId>,
    status: Option<Vec<u8>>,
    /// What it waits for, once it said so.
    pub(super) wait: Option<Until>,
    /// Where its stack goes, of a module that went through the asyncify pass.
    pub(super) stack: Option<Stack>,
    /// Of a program that asks by reading and writing.
    pub(in super::super) channel: Option<Channel>,
}

/// The way to put a stack into the guest's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stack {
    pub(super) state: Global,
    pub(super) data: Global,
    /// Address and length of the room for frames; none before the guest told it.
    pub(super) buffer: Option<(u32, u32)>,
    pub(super) is_unwinding: bool,
}

/// Why something cannot be asked for. Its code is what the guest gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// An argument is malformed, or there is no such operation.
    Invalid,
    /// Larger than the cap.
    TooLarge,
    /// It has not ended.
    Pending,
    /// Too many are open.
    TooMany,
}

impl Refusal {
    pub(super) const fn code(self) -> i32 {
        match self {
            Self::Invalid => -3,
            Self::TooLarge => -4,
            Self::Pending => -5,
            Self::TooMany => -6,
        }
    }
}

impl Turn {
    /// A turn that knows what its execution asked for in earlier ones, and what ended since.
    pub(super) fn new(start: DurableTurn, operations: Operations) -> Self {
        let DurableTurn { image: _, resolved, token } = start;
        let mut turn = Self {
            token,
            operations,
            asks: Vec::new(),
            drops: Vec::new(),
            status: None,
            wait: None,
            stack: None,
            channel: None,
        };
        for (id, resolution) in resolved {
            turn.operations.end(id, resolution);
        }
        turn
    }

    /// Asks for something; nothing is done before the turn is over.
    pub(super) fn ask(&mut self, ask: Ask) -> Result<OpId, Refusal> {
        if self.operations.open.len() >= limits::OPEN_OPS_MAX {
            return Err(Refusal::TooMany);
        }
        self.operations.last += 1;
        let id = OpId(self.operations.last);
        self.operations.open.push(id);
        self.asks.push((id, ask));
        Ok(id)
    }

    /// Takes back what was asked for, or throws away how it ended.
    pub(super) fn drop(&mut self, id: OpId) -> Result<(), Refusal> {
        let asked = self.asks.len();
        self.asks.retain(|(other, _)| *other != id);
        let was_open = self.operations.open.len();
        self.operations.open.retain(|other| *other != id);
        if self.operations.open.len() < was_open {
            if self.asks.len() == asked {
                self.drops.push(id);
            }
            return Ok(());
        }
        self.operations.take(id).map(|_| ()).ok_or(Refusal::Invalid)
    }

    pub(super) fn set_status(&mut self, status: &[u8]) -> Result<(), Refusal> {
        if status.len() > limits::CUSTOM_STATUS_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        self.status = Some(status.to_vec());
        Ok(())
    }

    /// How something ended; it is forgotten after that.
    pub(super) fn outcome(&mut self, id: OpId) -> Result<Resolution, Refusal> {
        if self.operations.open.contains(&id) {
            return Err(Refusal::Pending);
        }
        self.operations.take(id).ok_or(Refusal::Invalid)
    }

    /// Checks that what is to be waited for exists.
    pub(super) fn check(&self, until: &Until) -> Result<(), Refusal> {
        let operations = &self.operations;
        let exists = |id: &OpId| operations.ended.contains_key(id) || operations.open.contains(id);
        let is_right = match until {
            Until::Any(ids) => !ids.is_empty() && ids.iter().all(exists),
            Until::All(ids) => ids.iter().all(exists),
            Until::Next => !(operations.open.is_empty() && operations.unseen.is_empty()),
        };
        if is_right { Ok(()) } else { Err(Refusal::Invalid) }
    }

    /// What a wait returns, if it is over: the operation that ended first, or for all of them the
    /// first that did not end well, or 0.
    pub(super) fn is_over(&mut self, until: &Until) -> Option<u64> {
        let Operations { ended, order, unseen, .. } = &mut self.operations;
        match until {
            Until::Any(ids) => order.iter().find(|id| ids.contains(id)).map(|id| id.0),
            Until::All(ids) => {
                let failed =
                    ids.iter().find(|id| !matches!(ended.get(*id), Some(Resolution::Ok(_))));
                let all = ids.iter().all(|id| ended.contains_key(id));
                all.then(|| failed.map_or(0, |id| id.0))
            }
            Until::Next => unseen.pop_front().map(|id| id.0),
        }
    }

    /// The end of a turn that waits.
    pub(super) fn step(&mut self, until: Until) -> Step {
        let open = |ids: Vec<OpId>| {
            ids.into_iter().filter(|id| self.operations.open.contains(id)).collect()
        };
        let until = match until {
            Until::Any(ids) => Until::Any(open(ids)),
            Until::All(ids) => Until::All(open(ids)),
            Until::Next => Until::Next,
        };
        Step::Wait {
            asks: std::mem::take(&mut self.asks),
            drops: std::mem::take(&mut self.drops),
            until,
            status: self.status.take(),
        }
    }

    /// What a finished function asked for and nobody would have to wait for: that has to be safe
    /// before its end is.
    pub(super) fn last_wishes(&mut self) -> Option<Until> {
        self.asks.retain(|(_, ask)| match ask {
            Ask::Invoke { mode, .. } => *mode == InvokeMode::Detach,
            Ask::SendSignal { .. } => true,
            Ask::Timer { .. } | Ask::Signal { .. } | Ask::Token { .. } => false,
        });
        let ids: Vec<OpId> = self.asks.iter().map(|(id, _)| *id).collect();
        if ids.is_empty() { None } else { Some(Until::All(ids)) }
    }
}

impl Operations {
    /// What was dropped meanwhile is passed over.
    fn end(&mut self, id: OpId, resolution: Resolution) {
        let was_open = self.open.len();
        self.open.retain(|open| *open != id);
        if self.open.len() < was_open {
            self.ended.insert(id, resolution);
            self.order.push_back(id);
            self.unseen.push_back(id);
        }
    }

    fn take(&mut self, id: OpId) -> Option<Resolution> {
        let resolution = self.ended.remove(&id)?;
        self.order.retain(|other| *other != id);
        self.unseen.retain(|other| *other != id);
        Some(resolution)
    }
}
