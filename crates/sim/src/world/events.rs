//! What happens when: a queue of events in virtual time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Something that happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A job with a core of its own reaches its milestone.
    Milestone { slot: u32, generation: u32 },
    /// On a machine that shares its cores some job reaches its milestone.
    SharedMilestone { machine: u32, generation: u32 },
    /// The scheduler's deadline.
    Wake,
    /// What a job waited for outside is there.
    IoDone { slot: u32, generation: u32 },
    /// A job's memory is out.
    SwappedOut { machine: u32, bytes: u64 },
    /// A job's memory is in again.
    SwappedIn { slot: u32, generation: u32 },
    /// What the memory planner decides may be different now.
    PlanMemory { machine: u32 },
    /// The memory of a machine's functions is looked at.
    LookAtMemory { machine: u32 },
    /// A machine fails.
    Lose { machine: u32 },
    /// A machine comes back.
    Join { machine: u32 },
    /// The end of a tick: usage is noted.
    Sample,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at_ns: u64,
    /// Of two at one time the one planned first happens first.
    sequence: u64,
    event: Event,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // The standard heap gives the largest: the earliest is to be that.
        (other.at_ns, other.sequence).cmp(&(self.at_ns, self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Events to come, earliest first.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Entry>,
    planned: u64,
}

impl Agenda {
    pub(crate) fn plan(&mut self, at_ns: u64, event: Event) {
        self.planned += 1;
        self.heap.push(Entry { at_ns, sequence: self.planned, event });
    }

    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.at_ns)
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|entry| (entry.at_ns, entry.event))
    }
}
