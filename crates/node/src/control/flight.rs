//! One invocation on its way: where it is, where its time went, and why.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{Bytes64, ClassId, InvocationId, MachineId, ShardId, Timestamp, limits};
use runtime::{Code, DurableTurn, Executor};
use store::Mode;

use super::Reply;
use super::memory::Held;
use super::steps::Reason;
use crate::types::Durations;

/// An invocation to be scheduled.
pub(crate) struct Submission {
    pub(crate) id: InvocationId,
    pub(crate) code: Arc<Code>,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) class: ClassId,
    /// The highest class that whoever began the chain may state.
    pub(crate) max_class: ClassId,
    pub(crate) arrived: Timestamp,
    pub(crate) payload: Bytes,
    pub(crate) traceparent: Option<String>,
    pub(crate) caller: Option<InvocationId>,
    /// Functions above it in its call chain.
    pub(crate) depth: u32,
    pub(crate) attempt: u32,
    pub(crate) first_attempt: u32,
    pub(crate) mode: Mode,
    pub(crate) token: String,
    /// The turn of an execution that it is, where it is one.
    pub(crate) durable: Option<DurableTurn>,
    pub(crate) reply: Reply,
    pub(crate) recorded_by: RecordedBy,
}

/// Who writes an invocation's receipt down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordedBy {
    /// The writer of receipts.
    Writer,
    /// Whoever asked for it, who gets it with the end: an execution commits it with the step that
    /// the end leads to.
    Caller,
}

/// Where an invocation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a shard's queue or being placed.
    Queued,
    /// On a machine, before its first core.
    Waiting,
    /// Has a core; the handler has not begun.
    Starting,
    /// The handler holds a core.
    Running,
    /// Lost its core, or waits for one after it was blocked.
    Preempted,
    /// Waits for something else than a core.
    Blocked,
    /// Could have a core and waits for memory.
    Memory,
}

pub(crate) struct Flight {
    pub(crate) work: Submission,
    pub(crate) shard: ShardId,
    pub(crate) machine: Option<MachineId>,
    pub(crate) place: Place,
    since: Timestamp,
    pub(crate) durations: Durations,
    pub(crate) started: Option<Timestamp>,
    pub(crate) cold: bool,
    /// The executor was told to start it.
    pub(crate) launched: bool,
    /// It waits for something else than a core or memory.
    pub(crate) is_waiting_outside: bool,
    pub(crate) memory: Held,
    /// Why it is being ended, if it is.
    pub(crate) ending: Option<Ending>,
    /// Times it was killed for memory and begun again.
    pub(crate) restarts: u32,
    pub(crate) steps: Vec<(Timestamp, Reason)>,
    pub(crate) steps_dropped: u32,
    active_before: Duration,
}

/// Why an invocation is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its time limit.
    Timeout,
    /// The machine's memory was full and it was chosen.
    Memory,
    /// Whoever waited for it no longer does.
    Cancelled,
}

/// Steps kept of one invocation; a function that blocks for ever must not fill the memory.
const STEPS_MAX: usize = 256;
/// And so many beyond them that tell of anything but cores: those come and go a hundred times a
/// second, and must not hide when a function was swapped out or why it ended.
const RARE_STEPS_MAX: usize = 64;

impl Flight {
    pub(crate) fn new(work: Submission, shard: ShardId) -> Self {
        let since = work.arrived;
        Self {
            work,
            shard,
            machine: None,
            place: Place::Queued,
            since,
            durations: Durations::default(),
            started: None,
            cold: false,
            launched: false,
            is_waiting_outside: false,
            memory: Held::default(),
            ending: None,
            restarts: 0,
            steps: Vec::with_capacity(6),
            steps_dropped: 0,
            active_before: Duration::ZERO,
        }
    }

    /// Moves it to another place; the time in the old one is booked there.
    pub(crate) fn enter(&mut self, now: Timestamp, place: Place) {
        let spent = now.since(self.since);
        let durations = &mut self.durations;
        match self.place {
            Place::Queued => durations.queued += spent,
            Place::Waiting => durations.waiting += spent,
            Place::Starting => durations.starting += spent,
            Place::Running => durations.running += spent,
            Place::Preempted => durations.preempted += spent,
            Place::Blocked => durations.blocked += spent,
            Place::Memory => durations.memory += spent,
        }
        if is_active(self.place) {
            self.active_before += spent;
        }
        self.since = self.since.max(now);
        self.place = place;
        durations.total = now.since(self.work.arrived);
        durations.swap_outs = self.memory.swap_outs;
        durations.swapped = self.memory.out_for;
        durations.swapped_bytes = Bytes64(self.memory.swapped_bytes);
    }

    /// When its time limit ends if nothing happens before: only time counts in which the function
    /// could do something, so a preempted function is not ended for what others did.
    pub(crate) fn limit_ends(&self) -> Option<Timestamp> {
        let left = self.work.code.timeout.saturating_sub(self.active_before);
        is_active(self.place).then(|| self.since + left)
    }

    pub(crate) fn note(&mut self, now: Timestamp, reason: Reason) {
        let max = if reason.is_of_core() { STEPS_MAX } else { STEPS_MAX + RARE_STEPS_MAX };
        if self.steps.len() < max {
            self.steps.push((now, reason));
        } else {
            self.steps_dropped = self.steps_dropped.saturating_add(1);
        }
    }

    /// Back to the queue after it was killed for memory; it keeps its arrival and its history.
    pub(crate) fn begin_again(&mut self, now: Timestamp) {
        assert!(self.restarts < limits::KILL_RESTARTS_MAX, "restarts are bounded");
        self.enter(now, Place::Queued);
        self.restarts += 1;
        self.machine = None;
        self.launched = false;
        self.is_waiting_outside = false;
        self.memory.begin_again();
        self.ending = None;
        self.active_before = Duration::ZERO;
    }
}

fn is_active(place: Place) -> bool {
    match place {
        Place::Starting | Place::Running | Place::Blocked => true,
        Place::Queued | Place::Waiting | Place::Preempted | Place::Memory => false,
    }
}
