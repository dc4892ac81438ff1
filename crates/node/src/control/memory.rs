//! Memory of the machines: shows the planner what functions hold, and does what it says.
//!
//! A function that has to wait for memory is *blocked* for its machine, so that its core goes to
//! another; when its memory is there, the machine hears that it wants a core again. What was
//! ordered is noted with the invocation at once, so that the next view shows it as under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::{
    Bytes64, ClassId, CpuTime, Failure, FailureKind, InvocationId, MachineId, SwapPlace, SwapRoom,
    Timestamp,
};
use policy::memory::{
    Action, EndReason, FreeReason, HoldReason, Holder, Idle, Planner, Rank, Standing, View,
    Watermarks, Whereabouts,
};
use policy::{MachineInput, Memory};
use runtime::{MemoryUse, Reclaim, SwapUse};

use super::flight::{Ending, Flight, Place};
use super::steps::Reason;
use super::{Control, flights::Flights};
use crate::settings::Bands;
use crate::types::{ClassMemory, MemoryStatus};

/// Between two looks at the memory of all functions, where there is plenty.
const LOOK_CALM: Duration = Duration::from_millis(100);
/// And where a machine is near its low watermark.
const LOOK_TENSE: Duration = Duration::from_millis(10);
/// No more than one part in so many of the control thread's time goes into looks, nor into plans.
const LOOK_SHARE: u32 = 10;
/// The least between two plans that events ask for.
const PLAN_EVERY: Duration = Duration::from_millis(2);
/// Between two times that the executions of a class are forgotten.
const SHRINK_EVERY: Duration = Duration::from_secs(1);
/// A function whose swapping failed is left alone for so long.
const LEAVE_ALONE: Duration = Duration::from_secs(1);
/// What a function that begins is taken to need at once.
const START_BYTES: u64 = 1 << 20;

/// The memory of all machines.
pub(crate) struct Memories {
    total: Bytes64,
    sites: Vec<Site>,
    /// Fermata's swap file and the system's swap at the last look, where there are such.
    swap: Option<SwapUse>,
    system_swap: Option<SwapUse>,
    /// By class, since the start.
    counts: Vec<ClassMemory>,
    /// When the executions of each class were last asked to be forgotten, and how many were.
    shrunk: Vec<Option<Timestamp>>,
    executions_freed: Vec<Arc<AtomicU64>>,
    /// How often the sampler shall look, in microseconds.
    look_micros: Arc<AtomicU64>,
    looked: Timestamp,
}

/// One machine's.
struct Site {
    planner: Planner,
    /// As of the last look.
    used: u64,
    idle: Vec<Idle>,
    /// When the next plan is due that an event asked for.
    plan_at: Option<Timestamp>,
    planned: Timestamp,
    /// The next plan comes no sooner than so long after it.
    pause: Duration,
    /// Something waits, is out or is on its way, or little is free.
    is_tense: bool,
    /// The most that was seen at a look: without what was only promised to somebody.
    peak: u64,
}

/// What is known of one invocation's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    resident: u64,
    swapped: u64,
    /// A second.
    growth: u64,
    whereabouts: Whereabouts,
    /// It is blocked for its machine because of memory.
    pub(crate) waits: bool,
    /// It could not be swapped out, until then.
    fixed_until: Option<Timestamp>,
    is_fixed: bool,
    swaps_to: SwapPlace,
    /// It holds no core and has said so.
    pub(crate) rests: bool,
    /// The planner has said that it may begin; good for one core.
    may_begin: bool,
    /// It is swapped out as soon as it rests.
    leaves_at_rest: bool,
    /// What it is let have when it comes back.
    coming: u64,
    out_since: Option<Timestamp>,
    /// Times it was swapped out, and for how long in all.
    pub(crate) swap_outs: u32,
    pub(crate) out_for: Duration,
    pub(crate) swapped_bytes: u64,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            resident: 0,
            swapped: 0,
            growth: 0,
            whereabouts: Whereabouts::Ram,
            waits: false,
            fixed_until: None,
            is_fixed: false,
            swaps_to: SwapPlace::File,
            rests: true,
            may_begin: false,
            leaves_at_rest: false,
            coming: 0,
            out_since: None,
            swap_outs: 0,
            out_for: Duration::ZERO,
            swapped_bytes: 0,
        }
    }
}

impl Held {
    /// Whether it may have a core as far as its memory goes.
    fn is_there(&self) -> bool {
        self.whereabouts == Whereabouts::Ram && !self.waits && !self.leaves_at_rest
    }

    /// What it takes of RAM now, promised or there.
    fn takes(&self) -> u64 {
        match self.whereabouts {
            Whereabouts::Returning => self.resident.max(self.coming),
            Whereabouts::Ram | Whereabouts::Leaving | Whereabouts::Swap => self.resident,
        }
    }

    fn wants(&self, is_launched: bool) -> u64 {
        match self.whereabouts {
            // All that comes back. What it had when it was told to leave is a look older.
            Whereabouts::Swap => self.swapped,
            Whereabouts::Leaving => self.swapped.max(self.coming),
            Whereabouts::Returning => 0,
            Whereabouts::Ram if !is_launched => START_BYTES,
            Whereabouts::Ram => self.growth / 10,
        }
    }

    /// The kill or restart of the invocation begins its memory anew; what was counted stays.
    pub(crate) fn begin_again(&mut self) {
        let Self { swap_outs, out_for, swapped_bytes, .. } = *self;
        *self = Self { swap_outs, out_for, swapped_bytes, ..Self::default() };
    }
}

impl Memories {
    pub(crate) fn new(
        total: Bytes64,
        machines: usize,
        classes: usize,
        look_micros: Arc<AtomicU64>,
    ) -> Self {
        let site = || Site {
            planner: Planner::new(Watermarks::default()),
            used: 0,
            idle: Vec::new(),
            plan_at: None,
            planned: Timestamp(0),
            pause: PLAN_EVERY,
            is_tense: false,
            peak: 0,
        };
        look_micros.store(micros(LOOK_CALM), Ordering::Relaxed);
        Self {
            total,
            sites: (0..machines).map(|_| site()).collect(),
            swap: None,
            system_swap: None,
            counts: vec![ClassMemory::default(); classes],
            shrunk: vec![None; classes],
            executions_freed: (0..classes).map(|_| Arc::default()).collect(),
            look_micros,
            looked: Timestamp(0),
        }
    }

    /// When a plan is due.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let of_site = |site: &Site| {
            let stay = site.is_tense.then(|| site.planner.deadline()).flatten();
            site.plan_at.into_iter().chain(stay.map(|at| at.max(site.planned + site.pause))).min()
        };
        self.sites.iter().filter_map(of_site).min()
    }

    /// What the machine has in use.
    pub(crate) fn used(&self, machine: MachineId) -> Bytes64 {
        Bytes64(self.site(machine).used)
    }

    fn site(&self, machine: MachineId) -> &Site {
        &self.sites[index(machine)]
    }

    fn site_mut(&mut self, machine: MachineId) -> &mut Site {
        &mut self.sites[index(machine)]
    }

    fn machines(&self) -> impl Iterator<Item = MachineId> + use<> {
        (0..self.sites.len()).map(|index| MachineId(u32::try_from(index).expect("from a u32")))
    }

    fn want_plan(&mut self, machine: MachineId, now: Timestamp) {
        let site = self.site_mut(machine);
        if site.is_tense && site.plan_at.is_none() {
            site.plan_at = Some(now.max(site.planned + site.pause));
        }
    }

    /// For the status.
    pub(crate) fn status(&self, flights: &Flights) -> MemoryStatus {
        let mut swapped = vec![0_usize; self.counts.len()];
        let mut waiting = vec![0_usize; self.counts.len()];
        for flight in flights.iter() {
            let class = usize::from(flight.work.class.0);
            swapped[class] += usize::from(flight.memory.whereabouts == Whereabouts::Swap);
            waiting[class] += usize::from(flight.memory.waits);
        }
        let mut classes = self.counts.clone();
        for (class, (swapped, waiting)) in classes.iter_mut().zip(swapped.into_iter().zip(waiting))
        {
            (class.swapped, class.waiting) = (swapped, waiting);
        }
        for (class, freed) in classes.iter_mut().zip(&self.executions_freed) {
            class.executions_freed = freed.load(Ordering::Relaxed);
        }
        let peak = self.sites.iter().map(|site| site.peak).max().unwrap_or(0);
        MemoryStatus {
            swap: self.swap,
            system_swap: self.system_swap,
            classes,
            peak: Bytes64(peak),
        }
    }
}

impl Control {
    /// The memory of all functions was looked at.
    pub(super) fn sampled(&mut self, now: Timestamp, used: &MemoryUse) {
        let passed = now.since(self.memories.looked);
        self.memories.looked = now;
        (self.memories.swap, self.memories.system_swap) = (used.swap, used.system_swap);
        let mut looked_at = vec![0; self.memories.sites.len()];
        for held in &used.held {
            if let Some(flight) = self.flights.get_mut(&held.id) {
                if let Some(machine) = flight.machine {
                    looked_at[index(machine)] += held.resident.0;
                }
                let memory = &mut flight.memory;
                let grown = held.resident.0.saturating_sub(memory.resident);
                let is_running = matches!(flight.place, Place::Running | Place::Starting);
                memory.growth = if is_running { per_second(grown, passed) } else { 0 };
                (memory.resident, memory.swapped) = (held.resident.0, held.swapped.0);
                (memory.is_fixed, memory.swaps_to) = (held.fixed, held.swaps_to);
            }
        }
        let machines = self.memories.sites.len() as u64;
        let mut idle: BTreeMap<ClassId, u64> = BTreeMap::new();
        for one in &used.idle {
            // What has run nothing yet is the first to go.
            let class = self.prices.find(&one.class).unwrap_or(ClassId(0));
            // Warm instances belong to no machine in particular; each bears its share.
            *idle.entry(class).or_default() += one.bytes.0 / machines;
        }
        let idle: Vec<Idle> =
            idle.into_iter().map(|(class, bytes)| Idle { class, bytes: Bytes64(bytes) }).collect();
        let idle_bytes: u64 = idle.iter().map(|idle| idle.bytes.0).sum();
        for (machine, bytes) in self.memories.machines().zip(looked_at) {
            let site = self.memories.site_mut(machine);
            site.idle.clone_from(&idle);
            site.peak = site.peak.max(bytes + idle_bytes);
            self.plan_memory(now, machine);
        }
        let took = self.clock.now().since(now);
        self.memories.choose_look(took);
    }

    /// Plans that events asked for.
    pub(super) fn plan_due_memory(&mut self, now: Timestamp) {
        for machine in self.memories.machines() {
            let site = self.memories.site(machine);
            let stay = site.planner.deadline().filter(|_| site.is_tense);
            let stay = stay.map(|at| at.max(site.planned + site.pause));
            if site.plan_at.into_iter().chain(stay).any(|at| at <= now) {
                self.plan_memory(now, machine);
            }
        }
    }

    /// Shows the planner one machine and does what it says.
    fn plan_memory(&mut self, now: Timestamp, machine: MachineId) {
        let begun = self.clock.now();
        let (total, bands) = (self.memories.total, self.bands);
        let mut holders = Vec::new();
        let (mut used, mut leaving, mut is_tense) = (0, 0, false);
        let mut swap_free = self.memories.swap_free();
        let next = self.flights.on(machine).filter(|f| f.place == Place::Preempted);
        let next = next.map(|flight| (rank(bands, flight), flight.work.id)).max().map(|(_, id)| id);
        for flight in self.flights.on(machine) {
            let memory = &flight.memory;
            used += memory.takes();
            let is_ending = flight.ending.is_some();
            if is_ending || memory.whereabouts == Whereabouts::Leaving {
                leaving += memory.resident;
                if !is_ending {
                    // Where more is on its way than fits, some of it will stay.
                    let left = swap_free.without(memory.swaps_to, Bytes64(memory.resident));
                    swap_free = left.unwrap_or_default();
                }
            }
            let is_away = memory.whereabouts != Whereabouts::Ram;
            is_tense |= memory.waits || is_away || is_ending;
            if memory.takes() > 0 || is_away || memory.waits {
                holders.push(holder(bands, flight, now, next == Some(flight.work.id)));
            }
        }
        holders.sort_by_key(|holder| holder.rank);
        let site = self.memories.site_mut(machine);
        let idle_bytes: u64 = site.idle.iter().map(|idle| idle.bytes.0).sum();
        used += idle_bytes;
        site.used = used;
        let high = site.planner.high_mark(total).0;
        site.is_tense = is_tense || total.0.saturating_sub(used) < high;
        (site.plan_at, site.planned) = (None, now);
        let view = View {
            total,
            used: Bytes64(used),
            leaving: Bytes64(leaving),
            swap_free,
            holders: &holders,
            idle: &site.idle,
        };
        let mut actions = Vec::new();
        site.planner.plan(now, &view, &mut actions);
        let memory = Memory { total, used: Bytes64(used), swap_free: swap_free.sum() };
        self.cluster.tell_machine(machine, MachineInput::Memory(memory));
        self.forget_executions(now, &actions);
        for action in actions {
            self.act_on_memory(now, action);
        }
        let pause = self.clock.now().since(begun).saturating_mul(LOOK_SHARE).max(PLAN_EVERY);
        self.memories.site_mut(machine).pause = pause;
    }

    /// Before anybody leaves, executions that only wait are forgotten, up to the class of whoever
    /// leaves: the store has them.
    fn forget_executions(&mut self, now: Timestamp, actions: &[Action]) {
        let class_of = |action: &Action| match action {
            Action::Forget(class, _) => Some(*class),
            Action::SwapOut(id, _) | Action::Kill(id, _) => {
                self.flights.get(id).map(|flight| flight.work.class)
            }
            Action::Hold(..) | Action::Bring(..) => None,
        };
        let Some(highest) = actions.iter().filter_map(class_of).max() else { return };
        for class in (0..=highest.0).map(ClassId) {
            let index = usize::from(class.0);
            let shrunk = &mut self.memories.shrunk[index];
            if shrunk.is_none_or(|at| now.since(at) >= SHRINK_EVERY) {
                *shrunk = Some(now);
                let freed = &self.memories.executions_freed[index];
                (self.on_scarce)(&self.prices.get(class).name, freed);
            }
        }
    }

    fn act_on_memory(&mut self, now: Timestamp, action: Action) {
        match action {
            Action::Forget(class, reason) => self.free_idle(class, reason),
            Action::SwapOut(id, reason) => {
                self.note(now, id, Reason::SwapOut(reason));
                let waited = self.stop_for_memory(now, id);
                let Some(flight) = self.flights.get_mut(&id) else { return };
                let memory = &mut flight.memory;
                memory.whereabouts = Whereabouts::Leaving;
                memory.coming = memory.resident;
                memory.waits |= waited;
                memory.leaves_at_rest = !memory.rests;
                if memory.rests {
                    flight.work.executor.swap_out(id);
                }
            }
            Action::Hold(id, reason) => {
                self.note(now, id, Reason::HeldForMemory(reason));
                if self.stop_for_memory(now, id)
                    && let Some(flight) = self.flights.get_mut(&id)
                {
                    flight.memory.waits = true;
                }
            }
            Action::Bring(id, reason) => self.bring(now, id, reason),
            Action::Kill(id, reason) => self.kill_for_memory(now, id, reason),
        }
    }

    /// Asks the warm sandboxes of a class to go.
    fn free_idle(&mut self, class: ClassId, reason: FreeReason) {
        let name = self.prices.get(class).name.clone();
        let mut sandboxes = 0;
        for executor in &self.executors {
            let reclaimed = executor.reclaim(Reclaim::Class(&name));
            sandboxes += reclaimed.sandboxes;
            if class == ClassId(0) {
                sandboxes += executor.reclaim(Reclaim::Class("")).sandboxes;
            }
        }
        if sandboxes > 0 {
            let why = Reason::SwapOut(reason).why(&self.prices);
            tracing::debug!(class = name, sandboxes, %why, "warm sandboxes are asked to go");
            self.memories.counts[usize::from(class.0)].idle_freed += sandboxes;
        }
    }

    /// It has stopped by itself, since all functions hold more than there is: it is held as the
    /// planner would have held it, had it known in time.
    pub(super) fn short_of_memory(&mut self, now: Timestamp, id: InvocationId) {
        if !self.stop_for_memory(now, id) {
            return;
        }
        let Some(flight) = self.flights.get_mut(&id) else { return };
        flight.memory.waits = true;
        let Some(machine) = flight.machine else { return };
        let (total, growth) = (self.memories.total, Bytes64(flight.memory.growth));
        let site = self.memories.site_mut(machine);
        let (free, min) = (total.0.saturating_sub(site.used), site.planner.min_mark(total));
        site.is_tense = true;
        let reason = HoldReason { free: Bytes64(free), min, growth };
        self.note(now, id, Reason::HeldForMemory(reason));
        self.memories.want_plan(machine, now);
    }

    /// Takes the function's core, if it has one; whether it had.
    fn stop_for_memory(&mut self, now: Timestamp, id: InvocationId) -> bool {
        let Some(flight) = self.flights.get_mut(&id) else { return false };
        if !matches!(flight.place, Place::Running | Place::Starting) {
            return false;
        }
        flight.work.executor.preempt(id);
        self.tell_machine_of(id, MachineInput::Blocked(id));
        self.move_to(now, id, Place::Memory);
        true
    }

    fn bring(&mut self, now: Timestamp, id: InvocationId, reason: policy::memory::BringReason) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        flight.note(now, Reason::Brought(reason));
        match flight.memory.whereabouts {
            Whereabouts::Swap => {
                flight.memory.whereabouts = Whereabouts::Returning;
                flight.memory.coming = flight.memory.swapped;
                flight.work.executor.swap_in(id);
            }
            Whereabouts::Ram => {
                flight.memory.may_begin = !flight.launched;
                self.memory_is_there(now, id);
            }
            Whereabouts::Leaving | Whereabouts::Returning => {}
        }
    }

    /// It waited for memory and has it: its machine may give it a core.
    fn memory_is_there(&mut self, now: Timestamp, id: InvocationId) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        if !std::mem::replace(&mut flight.memory.waits, false) {
            return;
        }
        if flight.is_waiting_outside {
            self.move_to(now, id, Place::Blocked);
        } else {
            let place = if flight.launched { Place::Preempted } else { Place::Waiting };
            self.move_to(now, id, place);
            self.tell_machine_of(id, MachineInput::Unblocked(id));
        }
    }

    /// Whether a function that was given a core may use it. If not, it waits for memory.
    pub(super) fn may_run(&mut self, now: Timestamp, id: InvocationId) -> bool {
        let Some(flight) = self.flights.get_mut(&id) else { return false };
        let Some(machine) = flight.machine else { return true };
        let may_begin = std::mem::take(&mut flight.memory.may_begin);
        let Some(flight) = self.flights.get(&id) else { return false };
        let site = self.memories.site(machine);
        let may = if flight.launched || may_begin || !site.is_tense {
            flight.memory.is_there()
        } else {
            self.admits(machine, rank(self.bands, flight), now)
        };
        if may {
            return true;
        }
        let flight = self.flights.get_mut(&id).expect("looked at above");
        flight.memory.waits = true;
        self.tell_machine_of(id, MachineInput::Blocked(id));
        self.move_to(now, id, Place::Memory);
        self.memories.want_plan(machine, now);
        false
    }

    fn admits(&self, machine: MachineId, rank: Rank, now: Timestamp) -> bool {
        let site = self.memories.site(machine);
        let mut holders: Vec<Holder> =
            self.flights.on(machine).map(|flight| holder(self.bands, flight, now, false)).collect();
        holders.sort_by_key(|holder| holder.rank);
        let view = View {
            total: self.memories.total,
            used: Bytes64(site.used),
            leaving: Bytes64(0),
            swap_free: self.memories.swap_free(),
            holders: &holders,
            idle: &[],
        };
        site.planner.admits(rank, &view)
    }

    /// It holds no core now: what was put off until then is done.
    pub(super) fn rests(&mut self, id: InvocationId) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        flight.memory.rests = true;
        if std::mem::replace(&mut flight.memory.leaves_at_rest, false) {
            flight.work.executor.swap_out(id);
        }
    }

    pub(super) fn swapped_out(
        &mut self,
        now: Timestamp,
        id: InvocationId,
        bytes: Bytes64,
        took: Duration,
    ) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let memory = &mut flight.memory;
        memory.whereabouts = Whereabouts::Swap;
        memory.resident = memory.resident.saturating_sub(bytes.0);
        memory.swapped = bytes.0;
        memory.out_since = Some(now);
        memory.swap_outs += 1;
        memory.swapped_bytes += bytes.0;
        flight.note(now, Reason::SwappedOut { bytes, took });
        let (class, machine) = (flight.work.class, flight.machine);
        let counts = &mut self.memories.counts[usize::from(class.0)];
        counts.swap_outs += 1;
        counts.swapped_out.0 += bytes.0;
        if let Some(machine) = machine {
            self.memories.want_plan(machine, now);
        }
    }

    pub(super) fn swapped_in(
        &mut self,
        now: Timestamp,
        id: InvocationId,
        bytes: Bytes64,
        took: Duration,
    ) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let memory = &mut flight.memory;
        memory.whereabouts = Whereabouts::Ram;
        memory.resident = memory.resident.max(bytes.0);
        (memory.swapped, memory.coming) = (0, 0);
        if let Some(since) = memory.out_since.take() {
            memory.out_for += now.since(since);
        }
        flight.note(now, Reason::SwappedIn { bytes, took });
        let counts = &mut self.memories.counts[usize::from(flight.work.class.0)];
        counts.swap_ins += 1;
        counts.swapped_in.0 += bytes.0;
        self.memory_is_there(now, id);
    }

    pub(super) fn swap_failed(&mut self, now: Timestamp, id: InvocationId, why: String) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let memory = &mut flight.memory;
        memory.whereabouts = Whereabouts::Ram;
        (memory.swapped, memory.coming) = (0, 0);
        memory.fixed_until = Some(now + LEAVE_ALONE);
        flight.note(now, Reason::SwapFailed(why));
        let (class, machine) = (flight.work.class, flight.machine);
        self.memories.counts[usize::from(class.0)].swap_failures += 1;
        if let Some(machine) = machine {
            self.memories.want_plan(machine, now);
        }
    }

    /// Its memory is free: others may have waited for that.
    pub(super) fn memory_freed(&mut self, now: Timestamp, flight: &mut Flight) {
        if let Some(since) = flight.memory.out_since.take() {
            flight.memory.out_for += now.since(since);
        }
        if let Some(machine) = flight.machine {
            self.memories.want_plan(machine, now);
        }
    }

    /// Ends a function so that others have its memory. It may begin again.
    fn kill_for_memory(&mut self, now: Timestamp, id: InvocationId, reason: EndReason) {
        let total = self.memories.total.0;
        let Some(flight) = self.flights.get_mut(&id) else { return };
        if flight.ending.is_some() {
            return;
        }
        flight.note(now, Reason::KilledForMemory(reason));
        self.memories.counts[usize::from(flight.work.class.0)].kills += 1;
        let message = match reason {
            EndReason::Full { .. } => {
                let machine = flight.machine.map(|machine| machine.to_string()).unwrap_or_default();
                format!("the functions of {machine} used more than its {total} bytes of memory")
            }
            EndReason::TooLarge { needs, .. } => format!(
                "it needs {} bytes of memory, and the whole machine has {total} for functions",
                needs.0
            ),
        };
        flight.ending = Some(Ending::Memory);
        let failure = Failure::new(FailureKind::OutOfMemory, message);
        if flight.launched {
            flight.work.executor.end(id, failure);
        }
    }
}

impl Memories {
    /// What each swap could still take at the last look.
    fn swap_free(&self) -> SwapRoom {
        let free = |swap: Option<SwapUse>| {
            swap.map_or(Bytes64(0), |swap| Bytes64(swap.total.0.saturating_sub(swap.used.0)))
        };
        SwapRoom { file: free(self.swap), system: free(self.system_swap) }
    }

    /// Looks the more often the less is free, for memory is taken without asking: four looks before
    /// a function could fill it. The last look `took` so long: with very many functions it is the
    /// looks that would fill the control thread, of which they get one part in ten.
    fn choose_look(&self, took: Duration) {
        /// Faster than a core can touch new memory.
        const FILL_BYTES_PER_MICRO: u64 = 1_000;
        let free = |site: &Site| self.total.0.saturating_sub(site.used);
        let least = self.sites.iter().map(free).min().unwrap_or(0);
        let look = (least / FILL_BYTES_PER_MICRO / 4).clamp(micros(LOOK_TENSE), micros(LOOK_CALM));
        self.look_micros
            .store(look.max(micros(took.saturating_mul(LOOK_SHARE))), Ordering::Relaxed);
    }
}

/// A policy that ignores classes ignores them here too.
fn rank(bands: Bands, flight: &Flight) -> Rank {
    let class = match bands {
        Bands::ByClass => flight.work.class,
        Bands::Same => ClassId(0),
    };
    Rank::new(class, flight.work.arrived, flight.work.id)
}

fn holder(bands: Bands, flight: &Flight, now: Timestamp, is_next: bool) -> Holder {
    let memory = &flight.memory;
    let is_ending = flight.ending.is_some();
    let standing = match flight.place {
        _ if is_ending => Standing::Later,
        _ if memory.waits => Standing::Waiting,
        Place::Running | Place::Starting => Standing::Running,
        Place::Preempted if is_next => Standing::Next,
        Place::Queued | Place::Waiting | Place::Preempted | Place::Blocked | Place::Memory => {
            Standing::Later
        }
    };
    let cpu = u64::try_from(flight.durations.running.as_nanos()).unwrap_or(u64::MAX);
    Holder {
        id: flight.work.id,
        rank: rank(bands, flight),
        cpu: CpuTime(cpu),
        resident: Bytes64(memory.takes()),
        swapped: Bytes64(memory.swapped),
        wants: Bytes64(memory.wants(flight.launched)),
        growth: Bytes64(memory.growth),
        standing,
        whereabouts: if is_ending { Whereabouts::Leaving } else { memory.whereabouts },
        swaps_to: memory.swaps_to,
        fixed: memory.is_fixed || memory.fixed_until.is_some_and(|until| now < until),
    }
}

fn index(machine: MachineId) -> usize {
    usize::try_from(machine.0).expect("a list's index fits")
}

fn per_second(bytes: u64, passed: Duration) -> u64 {
    let millis = passed.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1_000 / millis).unwrap_or(u64::MAX)
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_out_wants_what_comes_back_and_who_leaves_what_it_had() {
        let held = |whereabouts| Held { swapped: 80, coming: 99, whereabouts, ..Held::default() };
        assert_eq!(held(Whereabouts::Swap).wants(true), 80);
        assert_eq!(held(Whereabouts::Leaving).wants(true), 99);
    }
}
