//! The invocations that are in the world: a slab whose places are used again.

use model::{ClassId, InvocationId, Timestamp};
use policy::Job;

use crate::scheduler::Submission;
use crate::workload::Arrival;

/// Where an invocation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// With the scheduler, on no machine.
    Held,
    /// On a machine, wants a core.
    Ready,
    /// Has a core since then.
    Running { since_ns: u64 },
    /// Has a share of the cores; it entered when its group's virtual time was that.
    Shared { since: u128 },
    /// Waits for something outside.
    Io,
    /// Waits for memory: for room, or for its own to be read back.
    Memory,
}

/// One invocation in the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) id: InvocationId,
    pub(crate) class: ClassId,
    pub(crate) function: u32,
    pub(crate) arrived_ns: u64,
    pub(crate) cpu_ns: u64,
    /// CPU time had, up to the last time that it was looked at.
    pub(crate) progress_ns: u64,
    /// The progress at which something happens next.
    pub(crate) milestone_ns: u64,
    pub(crate) state: State,
    pub(crate) machine: u32,
    /// Rises whenever planned events of this job become void. Kept when the place is used again.
    pub(crate) generation: u32,
    /// Waits outside that are done.
    pub(crate) io_done: u32,
    pub(crate) restarts: u32,
    /// Restarts because it was killed, not because its machine was lost.
    pub(crate) kills: u32,
    /// Memory it comes to use, and how far it has grown: steps of growth done.
    pub(crate) peak: u64,
    pub(crate) level: u32,
    /// Its memory in RAM, on its way out, and in swap.
    pub(crate) resident: u64,
    pub(crate) swapped: u64,
    /// What it had in RAM at the last look, and what it grew by before that, in a second.
    pub(crate) looked: u64,
    pub(crate) growth: u64,
}

impl Entry {
    pub(crate) const fn job(&self) -> Job {
        Job { id: self.id, class: self.class, arrived: Timestamp(self.arrived_ns) }
    }

    pub(crate) const fn submission(&self) -> Submission {
        Submission { job: self.job(), function: self.function, cpu_ns: self.cpu_ns }
    }

    pub(crate) const fn is_executing(&self) -> bool {
        matches!(self.state, State::Running { .. } | State::Shared { .. })
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    entries: Vec<Entry>,
    free: Vec<u32>,
    arrived: u64,
    live: usize,
}

/// The slot in an id that [`Jobs::insert`] made.
#[expect(clippy::cast_possible_truncation, reason = "the lower half of an id is its slot")]
pub(crate) const fn slot_of(id: InvocationId) -> u32 {
    id.0 as u32
}

fn index(slot: u32) -> usize {
    usize::try_from(slot).expect("a slot is an index")
}

impl Jobs {
    /// Takes an arrival in. Its id holds its number above its slot, so that later ones sort later.
    pub(crate) fn insert(&mut self, arrival: &Arrival) -> u32 {
        self.arrived += 1;
        self.live += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            u32::try_from(self.entries.len()).expect("fewer jobs at once than a u32 counts")
        });
        let generation = self.entries.get(index(slot)).map_or(0, |old| old.generation + 1);
        let entry = Entry {
            id: InvocationId((u128::from(self.arrived) << 32) | u128::from(slot)),
            class: arrival.class,
            function: arrival.function,
            arrived_ns: arrival.at_ns,
            cpu_ns: arrival.cpu_ns.max(1),
            progress_ns: 0,
            milestone_ns: 0,
            state: State::Held,
            machine: u32::MAX,
            generation,
            io_done: 0,
            restarts: 0,
            kills: 0,
            peak: arrival.memory_peak,
            level: 0,
            resident: 0,
            swapped: 0,
            looked: 0,
            growth: 0,
        };
        if index(slot) == self.entries.len() {
            self.entries.push(entry);
        } else {
            self.entries[index(slot)] = entry;
        }
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        let entry = &mut self.entries[index(slot)];
        entry.generation = entry.generation.wrapping_add(1);
        entry.id = InvocationId(0);
        self.free.push(slot);
        self.live -= 1;
    }

    pub(crate) fn get(&self, slot: u32) -> &Entry {
        &self.entries[index(slot)]
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.entries[index(slot)]
    }

    /// The slot of that invocation, if it is in the world.
    pub(crate) fn find(&self, id: InvocationId) -> Option<u32> {
        let slot = slot_of(id);
        (self.entries.get(index(slot))?.id == id).then_some(slot)
    }

    pub(crate) fn is_current(&self, slot: u32, generation: u32) -> bool {
        self.get(slot).generation == generation
    }

    pub(crate) const fn arrived(&self) -> u64 {
        self.arrived
    }

    pub(crate) const fn live(&self) -> usize {
        self.live
    }

    /// The slots of all that are in the world, oldest first.
    pub(crate) fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<&Entry> = self.entries.iter().filter(|e| e.id.0 != 0).collect();
        slots.sort_by_key(|entry| entry.id);
        slots.into_iter().map(|entry| slot_of(entry.id)).collect()
    }
}
