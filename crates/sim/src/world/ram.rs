//! Memory in the world: who has how much, who waits for some, what goes out to swap and comes back.
//!
//! A function's memory is whole in RAM while it executes. One that is swapped out and gets a core
//! is blocked until its memory is back. One that needs memory where only higher ranks have some
//! waits, and whoever ranks below it waits behind it.

use std::collections::{BTreeMap, BTreeSet};

use model::{Bytes64, CpuTime, MachineId, SwapPlace, SwapRoom, Timestamp, limits};
use policy::Memory;
use policy::memory::{Action, Holder, Planner, Rank, Standing, View, Whereabouts};

use super::events::Event;
use super::jobs::{Entry, Jobs, State};
use super::{MemoryConfig, Taking, World, index};
use crate::memory::Growth;
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
    /// Empty between uses.
    holders: Vec<Holder>,
    actions: Vec<Action>,
}

/// The memory of one machine.
#[derive(Debug)]
struct Site {
    planner: Planner,
    /// When the planner is asked again, though nothing happens.
    armed_ns: u64,
    /// A look is planned.
    is_looked_at: bool,
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
    fn new(config: &MemoryConfig) -> Self {
        Self {
            planner: Planner::new(config.marks),
            armed_ns: u64::MAX,
            is_looked_at: false,
            used: 0,
            leaving: 0,
            swapped: 0,
            holders: BTreeMap::new(),
            waiting: BTreeSet::new(),
            told: None,
            writing_until_ns: 0,
            reading_until_ns: 0,
            ram_peak: 0,
            swap_peak: 0,
            swap_total: 0,
            kills: 0,
            mb_ns: 0,
            since_ns: 0,
        }
    }

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
        let sites = (0..machines).map(|_| Site::new(&config)).collect();
        Self { config, sites, holders: Vec::new(), actions: Vec::new() }
    }

    pub(crate) fn sums(&self, jobs: &Jobs, machine: u32) -> Sums {
        let site = &self.sites[index(machine)];
        let of = |part: fn(&Entry) -> u64| -> u64 {
            site.holders.values().map(|&slot| part(jobs.get(slot))).sum()
        };
        let ram = match self.config.taking {
            Taking::Asked => self.config.ram,
            // What is taken unasked may be more than there is.
            Taking::Unasked { .. } => u64::MAX,
        };
        Sums {
            ram,
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

/// What a job needs more in RAM before it can go on.
fn wants(config: &MemoryConfig, job: &Entry) -> u64 {
    let target = Growth::bytes(job.level, config.start.min(job.peak), job.peak);
    target.saturating_sub(job.resident)
}

fn holder_of(config: &MemoryConfig, job: &Entry, standing: Standing) -> Holder {
    Holder {
        id: job.id,
        rank: rank(job),
        cpu: CpuTime(job.progress_ns),
        resident: Bytes64(job.resident),
        swapped: Bytes64(job.swapped),
        wants: Bytes64(wants(config, job)),
        growth: Bytes64(job.growth),
        standing,
        whereabouts: if job.swapped > 0 { Whereabouts::Swap } else { Whereabouts::Ram },
        fixed: false,
        swaps_to: SwapPlace::File,
    }
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
        let job = *self.jobs.get(slot);
        let needed = wants(&ram.config, &job);
        if needed == 0 {
            return Room::Has;
        }
        let total = Bytes64(ram.config.ram);
        let site = &ram.sites[index(job.machine)];
        let rank = rank(&job);
        let is_first = site.waiting.last().is_none_or(|&(other, _)| other <= rank);
        let left = ram.config.ram.saturating_sub(site.used).checked_sub(needed);
        // The planner would say the same.
        let is_plenty =
            is_first && left.is_some_and(|left| left >= site.planner.high_mark(total).0);
        let may = match ram.config.taking {
            Taking::Asked => false,
            // As much as there is and a little more; then it stops by itself.
            Taking::Unasked { .. } if job.is_executing() => {
                site.used <= ram.config.ram.saturating_add(limits::MEMORY_STOP_BYTES)
            }
            Taking::Unasked { .. } if job.resident + job.swapped == 0 => {
                self.viewed(job.machine, |planner, view| planner.admits(rank, view))
            }
            Taking::Unasked { .. } => false,
        };
        if is_plenty || may {
            self.site(job.machine).waiting.remove(&(rank, slot));
            self.look_soon(job.machine);
            return self.take_memory(slot, needed);
        }
        self.site(job.machine).waiting.insert((rank, slot));
        self.plan_memory(job.machine, Some(slot))
    }

    fn site(&mut self, machine: u32) -> &mut Site {
        &mut self.ram.as_mut().expect("memory is followed").sites[index(machine)]
    }

    /// Asks the planner until it has nothing more to say. What became of the one that asked.
    fn plan_memory(&mut self, machine: u32, asking: Option<u32>) -> Room {
        let mut room = Room::Waits;
        loop {
            let mut actions = self.planned(machine);
            if actions.is_empty() {
                break;
            }
            for action in actions.drain(..) {
                let (Action::SwapOut(id, _)
                | Action::Hold(id, _)
                | Action::Bring(id, _)
                | Action::Kill(id, _)) = action
                else {
                    continue;
                };
                let slot = self.jobs.find(id).expect("the planner was shown it");
                let is_asking = asking == Some(slot);
                match action {
                    Action::Bring(..) => {
                        // One that lost its core meanwhile is blocked as any other.
                        let is_blocked = self.jobs.get(slot).state == State::Memory;
                        let got = self.bring(slot);
                        if is_asking && !is_blocked {
                            room = got;
                        } else if got == Room::Has {
                            self.unblock(slot);
                        }
                    }
                    Action::SwapOut(..) => {
                        self.swap_out(slot);
                        if is_asking {
                            let rank = rank(self.jobs.get(slot));
                            self.site(machine).waiting.insert((rank, slot));
                            room = Room::Waits;
                        }
                    }
                    Action::Hold(..) => self.wait_for_memory(slot),
                    Action::Kill(..) => {
                        self.kill(slot);
                        if is_asking {
                            room = Room::Killed;
                        }
                    }
                    Action::Forget(..) => {}
                }
            }
            self.ram.as_mut().expect("memory is followed").actions = actions;
            if room == Room::Killed {
                self.freed.push(machine);
                break;
            }
        }
        self.arm_planner(machine);
        room
    }

    pub(super) fn plan_memory_again(&mut self, machine: u32) {
        if self.site(machine).armed_ns == self.now_ns {
            self.site(machine).armed_ns = u64::MAX;
            self.plan_memory(machine, None);
        }
    }

    fn arm_planner(&mut self, machine: u32) {
        let now_ns = self.now_ns;
        let site = self.site(machine);
        let Some(at_ns) = site.planner.deadline().map(|at| at.0.max(now_ns)) else { return };
        if at_ns < site.armed_ns {
            site.armed_ns = at_ns;
            self.agenda.plan(at_ns, Event::PlanMemory { machine });
        }
    }

    /// What the planner says of the machine as it is.
    fn planned(&mut self, machine: u32) -> Vec<Action> {
        let now = Timestamp(self.now_ns);
        let ram = self.ram.as_mut().expect("memory is followed");
        let mut actions = std::mem::take(&mut ram.actions);
        self.viewed(machine, |planner, view| planner.plan(now, view, &mut actions));
        actions
    }

    /// Shows the planner the machine as it is.
    fn viewed<T>(&mut self, machine: u32, ask: impl FnOnce(&mut Planner, &View<'_>) -> T) -> T {
        let ram = self.ram.as_mut().expect("memory is followed");
        let config = ram.config;
        let mut holders = std::mem::take(&mut ram.holders);
        let site = &mut ram.sites[index(machine)];
        let is_next = |(_, slot): &(&Rank, &u32)| self.jobs.get(**slot).state == State::Ready;
        let next = site.holders.iter().rev().find(is_next).map(|(_, slot)| *slot);
        let holder = |(&rank, &slot): (&Rank, &u32)| {
            let job = self.jobs.get(slot);
            let standing = if site.waiting.contains(&(rank, slot)) {
                Standing::Waiting
            } else if job.is_executing() {
                Standing::Running
            } else if next == Some(slot) {
                Standing::Next
            } else {
                Standing::Later
            };
            holder_of(&config, job, standing)
        };
        holders.extend(site.holders.iter().map(holder));
        let newcomers = site.waiting.iter().filter(|(rank, _)| !site.holders.contains_key(rank));
        let newcomer =
            |&(_, slot): &(Rank, u32)| holder_of(&config, self.jobs.get(slot), Standing::Waiting);
        holders.extend(newcomers.map(newcomer));
        holders.sort_by_key(|holder| holder.rank);
        let view = View {
            total: Bytes64(config.ram),
            used: Bytes64(site.used),
            leaving: Bytes64(site.leaving),
            swap_free: SwapRoom {
                file: Bytes64(config.swap - site.swapped),
                ..SwapRoom::default()
            },
            holders: &holders,
            idle: &[],
        };
        let answer = ask(&mut site.planner, &view);
        holders.clear();
        ram.holders = holders;
        answer
    }

    /// Memory was taken unasked: that shows at the next look.
    fn look_soon(&mut self, machine: u32) {
        let now_ns = self.now_ns;
        let ram = self.ram.as_mut().expect("memory is followed");
        let Taking::Unasked { look_ns } = ram.config.taking else { return };
        let site = &mut ram.sites[index(machine)];
        if !std::mem::replace(&mut site.is_looked_at, true) {
            self.agenda.plan((now_ns / look_ns + 1) * look_ns, Event::LookAtMemory { machine });
        }
    }

    /// Looks at what each function of the machine has, and plans. Again soon, while any grows.
    pub(super) fn look_at_memory(&mut self, machine: u32) {
        let ram = self.ram.as_mut().expect("memory is followed");
        let Taking::Unasked { look_ns } = ram.config.taking else { return };
        let site = &mut ram.sites[index(machine)];
        site.is_looked_at = false;
        let mut anyone_grows = false;
        for &slot in site.holders.values() {
            let job = self.jobs.get_mut(slot);
            let grown =
                if job.is_executing() { job.resident.saturating_sub(job.looked) } else { 0 };
            job.growth = grown.saturating_mul(1_000_000_000) / look_ns;
            job.looked = job.resident;
            anyone_grows |= grown > 0;
        }
        self.plan_memory(machine, None);
        if anyone_grows {
            self.look_soon(machine);
        }
    }

    /// Gives a waiting job what it wants.
    fn bring(&mut self, slot: u32) -> Room {
        let job = *self.jobs.get(slot);
        let needed = wants(&self.ram.as_ref().expect("memory is followed").config, &job);
        let was_waiting = self.site(job.machine).waiting.remove(&(rank(&job), slot));
        assert!(was_waiting, "the planner brings back those that wait");
        self.take_memory(slot, needed)
    }

    /// Takes its core; it waits until it is given more.
    fn wait_for_memory(&mut self, slot: u32) {
        let job = *self.jobs.get(slot);
        if job.is_executing() {
            self.stop(slot, State::Memory);
            self.site(job.machine).waiting.insert((rank(&job), slot));
            self.block(slot);
        }
    }

    /// Writes a whole function's memory out.
    fn swap_out(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let job = *self.jobs.get(slot);
        let bytes = job.resident;
        let per_s = self.ram.as_ref().expect("memory is followed").config.swap_out_per_s;
        let entry = self.jobs.get_mut(slot);
        entry.resident = 0;
        entry.looked = 0;
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
            State::Running { .. } | State::Shared { .. } => self.wait_for_memory(slot),
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
        // What comes back is no growth.
        entry.looked += entry.swapped;
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
        (entry.resident, entry.swapped) = (0, 0);
        (entry.looked, entry.growth) = (0, 0);
        self.tell_memory(job.machine);
        self.freed.push(job.machine);
    }

    /// Lets those who wait for memory try again, the highest rank first.
    pub(super) fn retry_waiting(&mut self, machine: u32) {
        self.plan_memory(machine, None);
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
        if job.kills < limits::KILL_RESTARTS_MAX {
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
        let swap_free = Bytes64(ram.config.swap - site.swapped);
        let memory = Memory { total: Bytes64(total), used: Bytes64(site.used), swap_free };
        self.inputs.push_back(Input::Memory(MachineId(machine), memory));
    }
}
