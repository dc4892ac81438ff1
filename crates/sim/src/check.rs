//! Looks over the scheduler's shoulder: after each step the invariants must hold.
//!
//! The checker keeps its own books from what the world and the scheduler say. Whatever contradicts
//! them ends the run with a panic that tells what was seen. Checked of any scheduler: no invocation
//! lost or doubled, no more running than cores, no core free while a placed function wants one,
//! memory and swap within their limits and equal to the sum of what is held. Checked of price
//! classes: nobody wants a core while a lower class holds one, first come first served in a class,
//! nobody held at a shard for ever.

use std::collections::{BTreeMap, BTreeSet};

use model::{ClassId, InvocationId, Timestamp};
use policy::Job;

use crate::scheduler::Output;
use crate::world::{Checks, Counts, Sums, WorldConfig};

/// The longest that a shard may hold an invocation under price classes.
const HELD_MAX_NS: u64 = 60_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Held,
    /// Never ran.
    Waiting(u32),
    /// Ran and lost its core.
    Preempted(u32),
    /// Was blocked and wants a core again.
    Back(u32),
    Running(u32),
    Blocked(u32),
}

impl Place {
    const fn machine(self) -> Option<u32> {
        match self {
            Self::Held => None,
            Self::Waiting(m)
            | Self::Preempted(m)
            | Self::Back(m)
            | Self::Running(m)
            | Self::Blocked(m) => Some(m),
        }
    }
}

type Order = (ClassId, Timestamp, InvocationId);

/// What the checker knows of one machine.
#[derive(Clone, Debug, Default)]
struct Local {
    waiting: BTreeSet<Order>,
    preempted: BTreeSet<Order>,
    back: BTreeSet<Order>,
    running: BTreeSet<Order>,
    sharing: usize,
}

/// The books of one run.
#[derive(Debug)]
pub struct Checker {
    strict: bool,
    cores: usize,
    now_ns: u64,
    jobs: BTreeMap<InvocationId, (Job, Place)>,
    held: BTreeSet<(Timestamp, InvocationId)>,
    machines: Vec<Local>,
    touched: BTreeSet<u32>,
    /// Blocked, killed, or lost with their machine in this instant. The scheduler hears of it only
    /// after what it was told before, and may still decide on them; the world passes over that.
    unheard: BTreeSet<InvocationId>,
}

impl Checker {
    /// Empty books.
    #[must_use]
    pub fn new(config: &WorldConfig) -> Self {
        let machines = usize::try_from(config.machines).expect("fits");
        Self {
            strict: config.checks == Checks::Strict,
            cores: config.cores,
            now_ns: 0,
            jobs: BTreeMap::new(),
            held: BTreeSet::new(),
            machines: vec![Local::default(); machines],
            touched: BTreeSet::new(),
            unheard: BTreeSet::new(),
        }
    }

    fn violation(&self, what: &str, id: InvocationId) -> ! {
        let known = self.jobs.get(&id);
        panic!("check failed at {} ns: {what}: {id}, known as {known:?}", self.now_ns);
    }

    fn place_of(&self, id: InvocationId, what: &str) -> (Job, Place) {
        self.jobs.get(&id).copied().unwrap_or_else(|| self.violation(what, id))
    }

    fn local(&mut self, machine: u32) -> &mut Local {
        self.touched.insert(machine);
        &mut self.machines[usize::try_from(machine).expect("fits")]
    }

    fn set(&mut self, job: Job, place: Place) {
        let order = (job.class, job.arrived, job.id);
        let held = (job.arrived, job.id);
        if let Some((_, old)) = self.jobs.insert(job.id, (job, place)) {
            self.unlist(old, order);
        }
        match place {
            Place::Held => self.held.insert(held),
            Place::Waiting(machine) => self.local(machine).waiting.insert(order),
            Place::Preempted(machine) => self.local(machine).preempted.insert(order),
            Place::Back(machine) => self.local(machine).back.insert(order),
            Place::Running(machine) => self.local(machine).running.insert(order),
            Place::Blocked(_) => false,
        };
    }

    fn unlist(&mut self, place: Place, order: Order) {
        match place {
            Place::Held => self.held.remove(&(order.1, order.2)),
            Place::Waiting(machine) => self.local(machine).waiting.remove(&order),
            Place::Preempted(machine) => self.local(machine).preempted.remove(&order),
            Place::Back(machine) => self.local(machine).back.remove(&order),
            Place::Running(machine) => self.local(machine).running.remove(&order),
            Place::Blocked(_) => false,
        };
    }

    fn forget(&mut self, id: InvocationId) {
        if let Some((job, place)) = self.jobs.remove(&id) {
            self.unlist(place, (job.class, job.arrived, job.id));
        }
    }

    pub(crate) fn arrived(&mut self, job: &Job) {
        if self.jobs.contains_key(&job.id) {
            self.violation("arrived twice", job.id);
        }
        self.set(*job, Place::Held);
    }

    pub(crate) fn begun_anew(&mut self, job: &Job) {
        self.unheard.insert(job.id);
        self.set(*job, Place::Held);
    }

    pub(crate) fn decided(&mut self, now_ns: u64, output: Output) {
        self.now_ns = now_ns;
        if let Output::Run(_, id) | Output::Share(_, id) | Output::Preempt(_, id) = output
            && self.unheard.contains(&id)
            && !self.fits(output, id)
        {
            return;
        }
        match output {
            Output::Placed(machine, id) => {
                let (job, place) = self.place_of(id, "placed and unknown");
                if place != Place::Held {
                    self.violation("placed twice", id);
                }
                self.set(job, Place::Waiting(machine.0));
            }
            Output::Returned(_, id) => {
                let (job, place) = self.place_of(id, "returned and unknown");
                if !matches!(place, Place::Waiting(_)) {
                    self.violation("returned after it ran", id);
                }
                self.set(job, Place::Held);
            }
            Output::Run(machine, id) => self.given_core(machine.0, id),
            Output::Share(machine, id) => self.given_share(machine.0, id),
            Output::Preempt(machine, id) => {
                let (job, place) = self.place_of(id, "preempted and unknown");
                match place {
                    Place::Running(at) if at == machine.0 => {
                        self.set(job, Place::Preempted(machine.0));
                    }
                    Place::Held
                    | Place::Waiting(_)
                    | Place::Preempted(_)
                    | Place::Back(_)
                    | Place::Running(_)
                    | Place::Blocked(_) => self.violation("preempted without a core", id),
                }
            }
            Output::Reject(id) => {
                let (_, place) = self.place_of(id, "refused and unknown");
                if place != Place::Held {
                    self.violation("refused after it was placed", id);
                }
                self.forget(id);
            }
        }
    }

    /// Whether a decision agrees with where the invocation is.
    fn fits(&self, output: Output, id: InvocationId) -> bool {
        let running = self.jobs.get(&id).map(|(_, place)| matches!(place, Place::Running(_)));
        let wanting = self.jobs.get(&id).map(|(_, place)| {
            matches!(place, Place::Waiting(_) | Place::Preempted(_) | Place::Back(_))
        });
        match output {
            Output::Run(..) | Output::Share(..) => wanting == Some(true),
            Output::Preempt(..) => running == Some(true),
            Output::Placed(..) | Output::Returned(..) | Output::Reject(_) => true,
        }
    }

    fn given_core(&mut self, machine: u32, id: InvocationId) {
        let (job, place) = self.place_of(id, "run and unknown");
        if matches!(place, Place::Held | Place::Running(_) | Place::Blocked(_)) {
            self.violation("got a core that it could not use", id);
        }
        if self.strict && place.machine() != Some(machine) {
            self.violation("ran on another machine", id);
        }
        let cores = self.cores;
        let strict = self.strict;
        let order = (job.class, job.arrived, job.id);
        let local = self.local(machine);
        if local.running.len() >= cores {
            self.violation("more run than there are cores", id);
        }
        let class_from = (job.class, Timestamp(0), InvocationId(0));
        let older = local.waiting.range(class_from..order).next().is_some();
        let class_to = (job.class, Timestamp(u64::MAX), InvocationId(u128::MAX));
        let preempted = local.preempted.range(class_from..=class_to).next().is_some();
        if strict && matches!(place, Place::Waiting(_)) && (older || preempted) {
            self.violation("ran before one of its class that came first", id);
        }
        self.set(job, Place::Running(machine));
    }

    fn given_share(&mut self, machine: u32, id: InvocationId) {
        let (job, place) = self.place_of(id, "run and unknown");
        match place {
            Place::Held | Place::Running(_) | Place::Blocked(_) => {
                self.violation("got a share that it could not use", id);
            }
            Place::Waiting(_) | Place::Preempted(_) | Place::Back(_) => {
                self.set(job, Place::Running(machine));
                self.local(machine).sharing = usize::MAX;
            }
        }
    }

    pub(crate) fn blocked(&mut self, id: InvocationId) {
        let (job, place) = self.place_of(id, "blocked and unknown");
        self.unheard.insert(id);
        if let Some(machine) = place.machine() {
            self.set(job, Place::Blocked(machine));
        }
    }

    pub(crate) fn unblocked(&mut self, id: InvocationId) {
        let (job, place) = self.place_of(id, "unblocked and unknown");
        if let Some(machine) = place.machine() {
            self.set(job, Place::Back(machine));
        }
    }

    pub(crate) fn finished(&mut self, id: InvocationId) {
        self.place_of(id, "finished twice");
        self.forget(id);
    }

    pub(crate) fn failed(&mut self, id: InvocationId) {
        self.finished(id);
        self.unheard.insert(id);
    }

    pub(crate) fn settled(&mut self, now_ns: u64, held: usize, sums: impl Fn(u32) -> Option<Sums>) {
        self.now_ns = now_ns;
        self.unheard.clear();
        assert_eq!(held, self.held.len(), "at {now_ns} ns the scheduler holds another number");
        if let Some(&(arrived, id)) = self.held.first()
            && self.strict
            && now_ns - arrived.0 > HELD_MAX_NS
        {
            self.violation("starves at the shard", id);
        }
        for machine in std::mem::take(&mut self.touched) {
            self.check_machine(machine);
            if let Some(sums) = sums(machine) {
                assert!(sums.used <= sums.ram, "at {now_ns} ns on {machine}: over RAM: {sums:?}");
                assert!(
                    sums.swapped <= sums.swap,
                    "at {now_ns} ns on {machine}: over swap: {sums:?}"
                );
                let agree = sums.used == sums.held && sums.swapped == sums.swapped_held;
                assert!(agree, "at {now_ns} ns on {machine}: memory is not conserved: {sums:?}");
            }
        }
    }

    fn check_machine(&self, machine: u32) {
        let local = &self.machines[usize::try_from(machine).expect("fits")];
        let wanting = [&local.waiting, &local.preempted, &local.back];
        let Some(highest) = wanting.iter().filter_map(|set| set.last()).max() else { return };
        let shared = local.sharing > 0;
        if shared || local.running.len() < self.cores {
            self.violation("wants a core while one is free", highest.2);
        }
        let lowest = local.running.first().map_or(highest.0, |order| order.0);
        if self.strict && lowest < highest.0 {
            self.violation("wants a core that a lower class holds", highest.2);
        }
    }

    pub(crate) fn ended(&self, counts: &Counts) {
        if let Some((&id, _)) = self.jobs.first_key_value() {
            self.violation("was lost", id);
        }
        let done = counts.completed + counts.rejected + counts.failed;
        assert_eq!(counts.arrived, done, "what arrives ends once: {counts:?}");
    }
}
