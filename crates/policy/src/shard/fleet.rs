//! What a shard believes of the machines: who has room, who is on its idle list.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

use model::{Bytes64, MachineId, Timestamp};

use super::polls::Asked;
use crate::message::IdleEntry;
use crate::rng::Rng;

/// Whether a machine would take a job, as far as the shard knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// It never said no, or all that was held has found a place since.
    Open,
    /// It had no room and now has some, perhaps for a single job. Without this state, one freed
    /// place would be answered with everything the shard holds. The number tells in which backlog
    /// this was learned; with the next backlog the machine counts as open again.
    Tight(u64),
    /// Tight, and asked whether it has room for another one.
    Asked,
    /// It said that it has no room. It will say when it has.
    Full,
}

#[derive(Debug)]
struct Record {
    room: Room,
    /// Index in the list of its room: `placeable` or `full`.
    position: usize,
    /// Of the last update taken from its dispatcher.
    version: u64,
    idle: Option<Idle>,
}

#[derive(Clone, Copy, Debug)]
struct Idle {
    functions: usize,
    memory_free: Bytes64,
}

/// Smallest queue first, then most free memory, then machine id (DESIGN rule 3).
type IdleKey = (usize, Reverse<u64>, MachineId);

/// The machine to take from the idle list.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleChoice {
    pub(super) machine: MachineId,
    pub(super) functions: usize,
    pub(super) memory_free: Bytes64,
    pub(super) candidates: usize,
}

#[derive(Debug)]
pub(super) struct Fleet {
    machines: Records,
    /// Open or tight, in no order: to draw from.
    placeable: Vec<MachineId>,
    /// Full, in no order: to draw from.
    full: Vec<MachineId>,
    /// The idle list's placeable part.
    idle: BTreeSet<IdleKey>,
    /// The whole idle list's length.
    idle_machines: usize,
    /// When which entry of the idle list is too old, oldest first; superseded ones included.
    expiries: VecDeque<(Timestamp, MachineId, u64)>,
    /// How long an entry is believed without a refresh. None: for ever.
    idle_expiry: Option<Duration>,
    /// Counts the times that nothing was queued any more.
    backlog: u64,
}

impl Record {
    const fn is_placeable(&self) -> bool {
        matches!(self.room, Room::Open | Room::Tight(_))
    }

    fn idle_key(&self, machine: MachineId) -> Option<IdleKey> {
        let idle = self.idle?;
        Some((idle.functions, Reverse(idle.memory_free.0), machine))
    }
}

/// By the number of the machine: each message from or to one asks for its record, and in a large
/// fleet every step of a search is a miss of the cache.
#[derive(Debug, Default)]
struct Records(Vec<Option<Record>>);

impl Records {
    fn index(machine: MachineId) -> usize {
        usize::try_from(machine.0).expect("a machine's number is an index")
    }

    fn get(&self, machine: MachineId) -> Option<&Record> {
        self.0.get(Self::index(machine))?.as_ref()
    }

    fn get_mut(&mut self, machine: MachineId) -> Option<&mut Record> {
        self.0.get_mut(Self::index(machine))?.as_mut()
    }

    fn insert(&mut self, machine: MachineId, record: Record) {
        let index = Self::index(machine);
        if index >= self.0.len() {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(record);
    }

    fn remove(&mut self, machine: MachineId) -> Option<Record> {
        self.0.get_mut(Self::index(machine))?.take()
    }
}

impl Fleet {
    pub(super) fn new(machines: &[MachineId], idle_expiry: Option<Duration>) -> Self {
        let mut fleet = Self {
            machines: Records::default(),
            placeable: Vec::new(),
            full: Vec::new(),
            idle: BTreeSet::new(),
            idle_machines: 0,
            expiries: VecDeque::new(),
            idle_expiry,
            backlog: 0,
        };
        for &machine in machines {
            fleet.join(machine);
        }
        fleet
    }

    /// A machine that nothing is known of. One that was known begins anew.
    pub(super) fn join(&mut self, machine: MachineId) {
        self.lose(machine);
        let position = self.placeable.len();
        self.placeable.push(machine);
        let record = Record { room: Room::Open, position, version: 0, idle: None };
        self.machines.insert(machine, record);
    }

    pub(super) fn lose(&mut self, machine: MachineId) {
        self.leave_idle_list(machine);
        let Some(record) = self.machines.remove(machine) else { return };
        self.unlist(record.room, record.position);
    }

    /// The machine has room again, by its own word.
    pub(super) fn has_room(&mut self, machine: MachineId) {
        let backlog = self.backlog;
        let Some(record) = self.machines.get(machine) else { return };
        match record.room {
            Room::Full | Room::Asked => self.set_room(machine, Room::Tight(backlog)),
            Room::Open | Room::Tight(_) => {}
        }
    }

    /// The machine has no room, by its own word.
    pub(super) fn has_no_room(&mut self, machine: MachineId) {
        self.set_room(machine, Room::Full);
    }

    /// It did not answer in time: it may be tried.
    pub(super) fn did_not_answer(&mut self, machine: MachineId) {
        let backlog = self.backlog;
        if self.machines.get(machine).is_some_and(|record| record.room == Room::Asked) {
            self.set_room(machine, Room::Tight(backlog));
        }
    }

    pub(super) fn is_full(&self, machine: MachineId) -> bool {
        self.machines.get(machine).is_none_or(|record| record.room == Room::Full)
    }

    /// Nothing is held any more: whoever has room counts as open.
    pub(super) fn backlog_ended(&mut self) {
        self.backlog += 1;
    }

    pub(super) fn placeable(&self) -> &[MachineId] {
        &self.placeable
    }

    pub(super) fn any_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// Draws up to `k` machines that have room as far as is known, to be asked for a job.
    pub(super) fn draw_placeable(&mut self, k: usize, rng: &mut Rng) -> Vec<Asked> {
        let mut drawn = Vec::with_capacity(k);
        rng.choose(&self.placeable, k, &mut drawn);
        for &machine in &drawn {
            self.set_aside_if_tight(machine);
        }
        drawn.into_iter().map(|machine| Asked { machine, answered: false }).collect()
    }

    /// Draws up to `k` machines that said no, to be asked again.
    pub(super) fn draw_full(&mut self, k: usize, rng: &mut Rng) -> Vec<Asked> {
        let mut drawn = Vec::with_capacity(k);
        rng.choose(&self.full, k, &mut drawn);
        drawn.into_iter().map(|machine| Asked { machine, answered: false }).collect()
    }

    /// A job was sent there: its copy in the idle list rises.
    pub(super) fn placed(&mut self, machine: MachineId) {
        let Some(record) = self.machines.get_mut(machine) else { return };
        let before = record.idle_key(machine);
        if let Some(idle) = &mut record.idle {
            idle.functions += 1;
        }
        if let (Some(before), true) = (before, record.is_placeable()) {
            self.idle.remove(&before);
            self.idle.extend(record.idle_key(machine));
        }
    }

    /// Whether the machine may have had a single place, now given away. If so it is set aside, to
    /// be asked before it gets another job.
    pub(super) fn set_aside_if_tight(&mut self, machine: MachineId) -> bool {
        let tight = self.is_tight(machine);
        if tight {
            self.set_room(machine, Room::Asked);
        }
        tight
    }

    pub(super) fn idle_machines(&self) -> usize {
        self.idle_machines
    }

    pub(super) fn best_idle(&self) -> Option<IdleChoice> {
        let &(functions, Reverse(memory_free), machine) = self.idle.first()?;
        let candidates = self.idle.len();
        Some(IdleChoice { machine, functions, memory_free: Bytes64(memory_free), candidates })
    }

    /// Takes an entry in, unless it is not newer than what is known.
    pub(super) fn update_idle(&mut self, now: Timestamp, entry: IdleEntry) {
        if !self.is_newer(entry.machine, entry.version) {
            return;
        }
        self.leave_idle_list(entry.machine);
        let record = self.machines.get_mut(entry.machine).expect("newer than its record");
        record.version = entry.version;
        record.idle = Some(Idle { functions: entry.functions, memory_free: entry.memory_free });
        if record.is_placeable() {
            self.idle.extend(record.idle_key(entry.machine));
        }
        self.idle_machines += 1;
        if let Some(expiry) = self.idle_expiry {
            self.expiries.push_back((now + expiry, entry.machine, entry.version));
        }
    }

    pub(super) fn leave_idle(&mut self, machine: MachineId, version: u64) {
        if self.is_newer(machine, version) {
            self.leave_idle_list(machine);
            self.machines.get_mut(machine).expect("newer than its record").version = version;
        }
    }

    /// Drops entries that were not refreshed for too long: their leave was lost.
    pub(super) fn expire_idle(&mut self, now: Timestamp) {
        while let Some(&(due, machine, version)) = self.expiries.front() {
            if due > now {
                return;
            }
            self.expiries.pop_front();
            if self.machines.get(machine).is_some_and(|record| record.version == version) {
                self.leave_idle_list(machine);
            }
        }
    }

    fn is_newer(&self, machine: MachineId, version: u64) -> bool {
        self.machines.get(machine).is_some_and(|record| version > record.version)
    }

    fn is_tight(&self, machine: MachineId) -> bool {
        let tight = Room::Tight(self.backlog);
        self.machines.get(machine).is_some_and(|record| record.room == tight)
    }

    fn leave_idle_list(&mut self, machine: MachineId) {
        let Some(record) = self.machines.get_mut(machine) else { return };
        if let Some(key) = record.idle_key(machine) {
            self.idle.remove(&key);
            self.idle_machines -= 1;
            record.idle = None;
        }
    }

    fn set_room(&mut self, machine: MachineId, room: Room) {
        let Some(record) = self.machines.get_mut(machine) else { return };
        let (before, position) = (record.room, record.position);
        if before == room {
            return;
        }
        record.room = room;
        if let Some(key) = record.idle_key(machine) {
            if record.is_placeable() {
                self.idle.insert(key);
            } else {
                self.idle.remove(&key);
            }
        }
        self.unlist(before, position);
        if let Some(list) = self.list_of(room) {
            list.push(machine);
            let last = list.len() - 1;
            self.machines.get_mut(machine).expect("looked up above").position = last;
        }
    }

    /// The list of all machines with such room.
    fn list_of(&mut self, room: Room) -> Option<&mut Vec<MachineId>> {
        match room {
            Room::Open | Room::Tight(_) => Some(&mut self.placeable),
            Room::Full => Some(&mut self.full),
            Room::Asked => None,
        }
    }

    /// Takes a machine off its list; the last one there takes its position.
    fn unlist(&mut self, room: Room, position: usize) {
        let Some(list) = self.list_of(room) else { return };
        list.swap_remove(position);
        if let Some(moved) = list.get(position).copied() {
            let moved = self.machines.get_mut(moved).expect("a listed machine has its record");
            moved.position = position;
        }
    }
}
