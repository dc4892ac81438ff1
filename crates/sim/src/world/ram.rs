//! Memory in the world: who has how much, who waits for some, what goes out to swap and comes back.
//!
//! A function's memory is whole in RAM while it executes. One that is swapped out and gets a core
//! is blocked until its memory is back. One that needs memory where only higher ranks have some
//! waits, and whoever ranks below it waits behind it.

use std::collections::{BTreeMap, BTreeSet};

use model::{Bytes64, CpuTime, InvocationId, MachineId, Timestamp};
use policy::Memory;
use policy::memory::Candidate;

use super::events::Event;
use super::jobs::{Entry, Jobs, State};
use super::{MemoryConfig, World, index};
use crate::memory::{Growth, Plan, Rank, Resident, Standing, plan};
use crate::scheduler::Input;
use crate::workload::MB;

/// Whether a job has the memory it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It has.
    Has,
    /// It is noted as waiting, or its memory is being read back.
    Waits,
    /// It was killed.
    Killed,
}

/// The memory of all machines.
#[derive(Debug)]
pub(crate) struct Ram {
    pub(super) config: MemoryConfig,
    sites: Vec<Site>,
}

/// The memory of one machine.
#[derive(Debug, Default)]
struct Site {
    /// In use, what is on its way out included.
    used: u64,
    leaving: u64,
    swapped: u64,
    /// Those with memory in RAM or swap.
    holders: BTreeMap<Rank, u32>,
    /// Those that wait for room.
    waiting: BTreeSet<(Rank, u32)>,
    /// What the scheduler was last told.
    told: Option<u64>,
    /// When the swap device has done what it was asked.
    writing_until_ns: u64,
    reading_until_ns: u64,
    ram_peak: u64,
    swap_peak: u64,
    swap_total: u64,
    kills: u64,
    /// Use × time.
    mb_ns: u128,
    since_ns: u64,
}

impl Site {
    fn set_used(&mut self, now_ns: u64, used: u64) {
        self.mb_ns += u128::from(self.used / MB) * u128::from(now_ns - self.since_ns);
        self.since_ns = now_ns;
        self.used = used;
        self.ram_peak = self.ram_peak.max(used);
    }
}

/// What a machine's jobs have, and what is counted: these agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sums {
    pub(crate) ram: u64,
    pub(crate) used: u64,
    pub(crate) held: u64,
    pub(crate) swap: u64,
    pub(crate) swapped: u64,
    pub(crate) swapped_held: u64,
}

impl Ram {
    pub(super) fn new(config: MemoryConfig, machines: usize) -> Self {
        Self { config, sites: (0..machines).map(|_| Site::default()).collect() }
    }

    pub(crate) fn sums(&self, jobs: &Jobs, machine: u32) -> Sums {
        let site = &self.sites[index(machine)];
        let of = |part: fn(&Entry) -> u64| -> u64 {
            site.holders.values().map(|&slot| part(jobs.get(slot))).sum()
        };
        Sums {
            ram: self.config.ram,
            used: site.used,
            held: of(|job| job.resident) + site.leaving,
            swap: self.config.swap,
            swapped: site.swapped,
            swapped_held: of(|job| job.swapped),
        }
    }

    pub(super) fn mb_s(&mut self, machine: usize, now_ns: u64) -> u64 {
        let site = &mut self.sites[machine];
        site.set_used(now_ns, site.used);
        u64::try_from(site.mb_ns / 1_000_000_000).unwrap_or(u64::MAX)
    }

    /// RAM and swap in use over the machines: least, 10 %, median, 90 %, most.
    pub(super) fn spread(&self) -> ([f64; 5], [u64; 5]) {
        let five = |mut values: Vec<u64>| {
            values.sort_unstable();
            let last = values.len() - 1;
            [0, last / 10, last / 2, last * 9 / 10, last].map(|at| values[at])
        };
        let used = five(self.sites.iter().map(|site| site.used).collect());
        let swapped = five(self.sites.iter().map(|site| site.swapped).collect());
        (used.map(|used| used as f64 / self.config.ram as f64), swapped)
    }

    /// Writes what a machine went through into its usage.
    pub(super) fn account(&self, machine: usize, usage: &mut super::MachineUse) {
        let site = &self.sites[machine];
        usage.ram_peak = site.ram_peak;
        usage.swap_peak = site.swap_peak;
        usage.swap_total = site.swap_total;
        usage.kills = site.kills;
    }
}

const fn rank(job: &Entry) -> Rank {
    Rank::new(job.class, Timestamp(job.arrived_ns), job.id)
}

/// How long that many bytes take.
fn transfer_ns(bytes: u64, per_s: u64) -> u64 {
    let ns = u128::from(bytes) * 1_000_000_000 / u128::from(per_s);
    u64::try_from(ns).unwrap_or(u64::MAX)
}

impl World {
    /// Gives the job all the memory that it wants at its level, or notes it as waiting.
    pub(super) fn get_memory(&mut self, slot: u32) -> Room {
        let Some(ram) = &self.ram else { return Room::Has };
        let config = ram.config;
        loop {
            let job = *self.jobs.get(slot);
            let target = Growth::bytes(job.level, config.start.min(job.peak), job.peak);
            if target <= job.resident {
                return Room::Has;
            }
            if target > config.ram {
                self.kill(slot);
                return Room::Killed;
            }
            let needed = target - job.resident;
            match self.make_room(slot, needed) {
                Plan::SwapOut => return self.take_memory(slot, needed),
                Plan::Wait => {
                    let rank = rank(&job);
                    self.site(job.machine).waiting.insert((rank, slot));
                    return Room::Waits;
                }
                Plan::SwapFull => {
                    let victim = self.kill_someone(slot);
                    if victim == slot {
                        return Room::Killed;
                    }
                }
            }
        }
    }

    fn site(&mut self, machine: u32) -> &mut Site {
        &mut self.ram.as_mut().expect("memory is followed").sites[index(machine)]
    }

    /// Frees that many bytes for the job. `SwapOut`: they are free now.
    fn make_room(&mut self, slot: u32, needed: u64) -> Plan {
        let job = *self.jobs.get(slot);
        let by = rank(&job);
        let ram = self.ram.as_ref().expect("memory is followed");
        let config = ram.config;
        let site = &ram.sites[index(job.machine)];
        if site.waiting.last().is_some_and(|&(waiting, other)| waiting > by && other != slot) {
            return Plan::Wait;
        }
        let free = config.ram - site.used;
        if needed <= free {
            return Plan::SwapOut;
        }
        // What is on its way out counts as freed: it has only to be waited for.
        let missing = needed.saturating_sub(free + site.leaving);
        if missing == 0 {
            return Plan::Wait;
        }
        let next = site
            .holders
            .iter()
            .rev()
            .find(|(_, other)| **other != slot && self.jobs.get(**other).state == State::Ready);
        let next = next.map(|(_, other)| *other);
        let residents = site.holders.iter().map(|(&rank, &other)| {
            let holder = self.jobs.get(other);
            let standing = if holder.is_executing() {
                Standing::Running
            } else if next == Some(other) {
                Standing::Next
            } else {
                Standing::Later
            };
            Resident { id: holder.id, rank, bytes: Bytes64(holder.resident), standing }
        });
        let mut chosen = Vec::new();
        let swap_free = Bytes64(config.swap - site.swapped);
        let plan = plan(residents, by, Bytes64(missing), swap_free, &mut chosen);
        if plan != Plan::SwapOut {
            return plan;
        }
        for (id, _) in chosen {
            let victim = self.jobs.find(id).expect("it holds memory");
            self.swap_out(victim);
        }
        if config.swap_out_per_s == 0 { Plan::SwapOut } else { Plan::Wait }
    }

    /// Writes a whole function's memory out.
    fn swap_out(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let job = *self.jobs.get(slot);
        let bytes = job.resident;
        let per_s = self.ram.as_ref().expect("memory is followed").config.swap_out_per_s;
        let entry = self.jobs.get_mut(slot);
        entry.resident = 0;
        entry.swapped += bytes;
        let site = self.site(job.machine);
        site.swapped += bytes;
        site.swap_total += bytes;
        site.swap_peak = site.swap_peak.max(site.swapped);
        if per_s == 0 {
            let used = site.used - bytes;
            site.set_used(now_ns, used);
        } else {
            site.leaving += bytes;
            let done_ns = site.writing_until_ns.max(now_ns) + transfer_ns(bytes, per_s);
            site.writing_until_ns = done_ns;
            let machine = job.machine;
            self.agenda.plan(done_ns, Event::SwappedOut { machine, bytes });
        }
        self.counts.swap_outs += 1;
        let pressure = &mut self.pressure[usize::from(job.class.0)];
        pressure.swap_outs += 1;
        pressure.swap_bytes += bytes;
        match job.state {
            State::Running { .. } | State::Shared { .. } => {
                self.stop(slot, State::Memory);
                self.site(job.machine).waiting.insert((rank(&job), slot));
                self.block(slot);
            }
            State::Memory => {
                // It was being read back, or waits for more: it begins to wait again.
                let entry = self.jobs.get_mut(slot);
                entry.generation = entry.generation.wrapping_add(1);
                self.site(job.machine).waiting.insert((rank(&job), slot));
            }
            State::Held | State::Ready | State::Io => {}
        }
    }

    pub(super) fn swapped_out(&mut self, machine: u32, bytes: u64) {
        let now_ns = self.now_ns;
        let site = self.site(machine);
        site.leaving -= bytes;
        let used = site.used - bytes;
        site.set_used(now_ns, used);
        self.freed.push(machine);
        self.tell_memory(machine);
    }

    /// Takes free memory for the job; what it has in swap is read back.
    fn take_memory(&mut self, slot: u32, needed: u64) -> Room {
        let now_ns = self.now_ns;
        let job = *self.jobs.get(slot);
        let per_s = self.ram.as_ref().expect("memory is followed").config.swap_in_per_s;
        let site = self.site(job.machine);
        let used = site.used + needed;
        site.set_used(now_ns, used);
        site.swapped -= job.swapped;
        site.holders.insert(rank(&job), slot);
        let entry = self.jobs.get_mut(slot);
        entry.resident += needed;
        entry.swapped = 0;
        let generation = entry.generation;
        self.tell_memory(job.machine);
        if job.swapped == 0 || per_s == 0 {
            return Room::Has;
        }
        let site = self.site(job.machine);
        let done_ns = site.reading_until_ns.max(now_ns) + transfer_ns(job.swapped, per_s);
        site.reading_until_ns = done_ns;
        self.agenda.plan(done_ns, Event::SwappedIn { slot, generation });
        Room::Waits
    }

    /// Frees all that the job has.
    pub(super) fn release_memory(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        if self.ram.is_none() {
            return;
        }
        let job = *self.jobs.get(slot);
        if job.machine == u32::MAX {
            return;
        }
        let site = self.site(job.machine);
        site.waiting.remove(&(rank(&job), slot));
        if site.holders.remove(&rank(&job)).is_none() {
            return;
        }
        let used = site.used - job.resident;
        site.set_used(now_ns, used);
        site.swapped -= job.swapped;
        let entry = self.jobs.get_mut(slot);
        entry.resident = 0;
        entry.swapped = 0;
        self.tell_memory(job.machine);
        self.freed.push(job.machine);
    }

    /// Lets those who wait for memory try again, the highest rank first.
    pub(super) fn retry_waiting(&mut self, machine: u32) {
        while let Some(&(rank, slot)) = self.site(machine).waiting.last() {
            self.site(machine).waiting.remove(&(rank, slot));
            let generation = self.jobs.get(slot).generation;
            match self.get_memory(slot) {
                Room::Has => self.unblock(slot),
                Room::Waits => {
                    let again = self.site(machine).waiting.contains(&(rank, slot));
                    debug_assert!(again || self.jobs.is_current(slot, generation));
                    if again {
                        return;
                    }
                }
                Room::Killed => {}
            }
        }
    }

    /// Kills the lowest class's least progressed function of those that rank no higher.
    fn kill_someone(&mut self, by: u32) -> u32 {
        let machine = self.jobs.get(by).machine;
        let limit = rank(self.jobs.get(by));
        let holders = &self.ram.as_ref().expect("memory is followed").sites[index(machine)].holders;
        let candidates = holders.range(..=limit).map(|(_, &slot)| {
            let job = self.jobs.get(slot);
            Candidate {
                id: job.id,
                class: job.class,
                cpu: CpuTime(job.progress_ns),
                arrived: Timestamp(job.arrived_ns),
            }
        });
        let victim = policy::memory::victim(candidates).map(|(id, _): (InvocationId, _)| id);
        let slot = victim.and_then(|id| self.jobs.find(id)).unwrap_or(by);
        self.kill(slot);
        slot
    }

    /// Kills a function. It begins anew with its first arrival time, unless that was once too often.
    fn kill(&mut self, slot: u32) {
        let job = *self.jobs.get(slot);
        self.counts.kills += 1;
        self.pressure[usize::from(job.class.0)].kills += 1;
        self.site(job.machine).kills += 1;
        if job.is_executing() {
            self.stop(slot, State::Ready);
        }
        self.inputs.push_back(Input::Finished(MachineId(job.machine), job.id));
        if job.kills < model::limits::KILL_RESTARTS_MAX {
            self.jobs.get_mut(slot).kills += 1;
            self.begin_anew(slot);
        } else {
            self.counts.failed += 1;
            if let Some(checker) = &mut self.checker {
                checker.failed(job.id);
            }
            self.retire(slot);
        }
    }

    /// Tells the scheduler what is free, where that changed by 1 % of RAM.
    pub(super) fn tell_memory(&mut self, machine: u32) {
        let Some(ram) = &mut self.ram else { return };
        let total = ram.config.ram;
        let site = &mut ram.sites[index(machine)];
        if site.told.is_some_and(|told| told.abs_diff(site.used) < total / 100) {
            return;
        }
        site.told = Some(site.used);
        let memory = Memory { total: Bytes64(total), used: Bytes64(site.used) };
        self.inputs.push_back(Input::Memory(MachineId(machine), memory));
    }
}
