//! The simulated cluster: machines, cores, memory and progress, in virtual time.
//!
//! [`World::run`] takes arrivals and a scheduler and plays until all is done. What arrived is
//! carried to its end, however late, so that slow work is never left out of the figures.
//!
//! An instant goes so: an event or arrival makes inputs for the scheduler; its outputs change the
//! world; these changes may make further inputs (no memory for the one that was to run: it is
//! blocked). When none is left, time goes on.

mod config;
mod events;
mod execution;
mod faults;
mod jobs;
mod outcome;
mod ram;
mod sharing;
mod usage;

pub use config::{Checks, IoConfig, Keep, LossConfig, MemoryConfig, Taking, WorldConfig};
pub use outcome::{Completion, Counts, MachineUse, Outcome, Pressure, Sample};
pub(crate) use ram::Sums;

use std::collections::VecDeque;

use model::{InvocationId, MachineId, PriceList, Timestamp};

use self::events::{Agenda, Event};
use self::jobs::{Jobs, State};
use self::ram::Ram;
use self::sharing::Shares;
use crate::check::Checker;
use crate::policies::{self, Sharing};
use crate::random::{Purpose, Stream};
use crate::scheduler::{Cluster, Input, Output, Scheduler};
use crate::workload::{Arrivals, Workload};

/// A cluster in the middle of a run.
pub struct World {
    config: WorldConfig,
    now_ns: u64,
    agenda: Agenda,
    jobs: Jobs,
    machines: Vec<Site>,
    /// Empty where no policy shares cores.
    shares: Vec<Shares>,
    /// By class, the group in which it shares.
    share_group: Vec<usize>,
    ram: Option<Ram>,
    scheduler: Box<dyn Scheduler>,
    /// The earliest wake that is planned.
    armed_ns: u64,
    inputs: VecDeque<Input>,
    /// Machines on which memory became free in this instant.
    freed: Vec<u32>,
    outputs: Vec<Output>,
    checker: Option<Box<Checker>>,
    loss: Stream,
    hash: u64,
    completions: Vec<Completion>,
    counts: Counts,
    pressure: Vec<Pressure>,
    samples: Vec<Sample>,
    last_sample_busy_ns: u64,
    usage: Vec<MachineUse>,
    arrivals_over: bool,
    last_arrival_ns: u64,
    /// Events since the last decision, once nothing arrives any more.
    idle_events: u64,
    /// Events since the last look ahead.
    unforeseen: usize,
}

/// Events without a decision after which the run is given up, where nothing arrives any more: ticks
/// and heartbeats alone go on for ever.
const IDLE_EVENTS_MAX: u64 = 1_000_000;

/// Events that are looked at ahead of their time, together.
const AHEAD: usize = 8;

/// One machine's cores.
#[derive(Clone, Copy, Debug, Default)]
struct Site {
    up: bool,
    busy: usize,
    busy_since_ns: u64,
    busy_ns: u64,
}

/// Simulates one policy on one workload, once.
///
/// # Panics
/// Where a check is on and fails, with what was seen; and where `policy` names a class that the
/// workload does not know.
#[must_use]
pub fn simulate(
    config: &WorldConfig,
    policy: &policies::Entry,
    workload: &dyn Workload,
    seed: u64,
) -> Outcome {
    let cluster = Cluster {
        machines: config.machines,
        cores: config.cores,
        shards: config.shards,
        prices: workload.prices().clone(),
        delay_ns: config.delay_ns,
        admission_max: config.admission_max,
        queue_max: config.queue_max,
        seed,
    };
    let scheduler = policy.scheduler(cluster);
    let world = World::new(config.clone(), scheduler, policy.sharing, workload.prices(), seed);
    let mut outcome = world.run(workload.arrivals(seed));
    policy.name.clone_into(&mut outcome.policy);
    outcome.seed = seed;
    outcome
}

fn index(id: u32) -> usize {
    usize::try_from(id).expect("an index fits")
}

impl World {
    /// An empty cluster under that scheduler.
    #[must_use]
    pub fn new(
        config: WorldConfig,
        scheduler: Box<dyn Scheduler>,
        sharing: Sharing,
        prices: &PriceList,
        seed: u64,
    ) -> Self {
        let classes = prices.len();
        let (weights, share_group) = match sharing {
            Sharing::Equal => (vec![1], vec![0; classes]),
            Sharing::ByPrice => (
                prices.iter().map(|(_, class)| class.price.0).collect(),
                (0..classes).collect::<Vec<usize>>(),
            ),
        };
        let machines = index(config.machines);
        let checker = match config.checks {
            Checks::Off => None,
            Checks::Any | Checks::Strict => Some(Box::new(Checker::new(&config))),
        };
        Self {
            now_ns: 0,
            agenda: Agenda::default(),
            jobs: Jobs::default(),
            machines: vec![Site { up: true, ..Site::default() }; machines],
            shares: (0..machines).map(|_| Shares::new(config.cores, &weights)).collect(),
            share_group,
            ram: config.memory.map(|memory| Ram::new(memory, machines)),
            scheduler,
            armed_ns: u64::MAX,
            inputs: VecDeque::new(),
            freed: Vec::new(),
            outputs: Vec::new(),
            checker,
            loss: Stream::new(seed, Purpose::Loss),
            hash: 0xcbf2_9ce4_8422_2325,
            completions: Vec::new(),
            counts: Counts::default(),
            pressure: vec![Pressure::default(); classes],
            samples: Vec::new(),
            last_sample_busy_ns: 0,
            usage: Vec::new(),
            arrivals_over: false,
            last_arrival_ns: 0,
            idle_events: 0,
            unforeseen: 0,
            config,
        }
    }

    /// Plays until all that arrives is done.
    #[must_use]
    pub fn run(mut self, mut arrivals: Arrivals<'_>) -> Outcome {
        self.begin();
        let mut next_arrival = arrivals.next();
        loop {
            let event_ns = self.agenda.next_ns().unwrap_or(u64::MAX);
            // Of one time, what ends comes before what arrives.
            if let Some(arrival) = next_arrival.filter(|arrival| arrival.at_ns < event_ns) {
                assert!(arrival.at_ns >= self.now_ns, "arrivals come in order of time");
                self.now_ns = arrival.at_ns;
                self.last_arrival_ns = arrival.at_ns;
                self.counts.events += 1;
                let slot = self.jobs.insert(&arrival);
                let submission = self.jobs.get(slot).submission();
                if let Some(checker) = &mut self.checker {
                    checker.arrived(&submission.job);
                }
                self.inputs.push_back(Input::Arrive(submission));
                next_arrival = arrivals.next();
                self.settle();
                continue;
            }
            if next_arrival.is_none() && !self.arrivals_over {
                self.arrivals_over = true;
                self.freeze_usage();
            }
            if self.arrivals_over && self.jobs.live() == 0 {
                return self.end();
            }
            if self.unforeseen == 0 {
                self.look_ahead();
            }
            self.unforeseen = (self.unforeseen + 1) % AHEAD;
            let Some((at_ns, event)) = self.agenda.pop() else { self.stuck() };
            // A sample comes however long a function runs.
            self.idle_events += u64::from(!matches!(event, Event::Sample));
            if self.arrivals_over && self.idle_events > IDLE_EVENTS_MAX {
                self.stuck();
            }
            self.now_ns = at_ns;
            if self.happen(event) {
                self.counts.events += 1;
                self.settle();
            }
        }
    }

    /// In a large cluster each milestone is of a job and a machine that are in no cache any more. Where they
    /// are looked at together, the memory of all is on its way at the same time.
    fn look_ahead(&self) {
        let milestone = |event| match event {
            Event::Milestone { slot, .. } => Some(self.jobs.get(slot)),
            _ => None,
        };
        for job in self.agenda.upcoming().take(2 * AHEAD).skip(AHEAD).filter_map(milestone) {
            std::hint::black_box(job.machine);
        }
        for job in self.agenda.upcoming().take(AHEAD).filter_map(milestone) {
            self.scheduler.foresee(MachineId(job.machine), job.id);
        }
    }

    fn begin(&mut self) {
        self.agenda.plan(self.config.sample_ns, Event::Sample);
        if let Some(loss) = self.config.loss {
            for machine in 0..self.config.machines {
                self.plan_loss(machine, &loss);
            }
        }
        if self.ram.is_some() {
            for machine in 0..self.config.machines {
                self.tell_memory(machine);
            }
        }
        self.settle();
    }

    /// Nothing is planned and something is unfinished: the scheduler forgot it.
    fn stuck(&self) -> ! {
        let slots = self.jobs.slots();
        let oldest = slots.first().map(|&slot| *self.jobs.get(slot));
        panic!(
            "at {} ns nothing will happen any more, and {} invocations are not done; the oldest: \
             {oldest:?}",
            self.now_ns,
            slots.len()
        );
    }

    /// Lets an event happen. False where it was void.
    fn happen(&mut self, event: Event) -> bool {
        match event {
            Event::Milestone { slot, generation } => {
                let current = self.jobs.is_current(slot, generation);
                if current {
                    self.reach_milestone(slot);
                }
                current
            }
            Event::SharedMilestone { machine, generation } => {
                let current = self.shares[index(machine)].generation == generation;
                if current {
                    self.reach_shared_milestones(machine);
                }
                current
            }
            Event::Wake => {
                let current = self.armed_ns == self.now_ns;
                if current {
                    self.armed_ns = u64::MAX;
                    self.inputs.push_back(Input::Wake);
                }
                current
            }
            Event::IoDone { slot, generation } => {
                let current = self.jobs.is_current(slot, generation);
                if current {
                    self.unblock(slot);
                }
                current
            }
            Event::SwappedOut { machine, bytes } => {
                self.swapped_out(machine, bytes);
                true
            }
            Event::SwappedIn { slot, generation } => {
                let current = self.jobs.is_current(slot, generation);
                if current {
                    self.unblock(slot);
                }
                current
            }
            Event::PlanMemory { machine } => {
                self.plan_memory_again(machine);
                true
            }
            Event::LookAtMemory { machine } => {
                self.look_at_memory(machine);
                true
            }
            Event::Lose { machine } => {
                self.lose(machine);
                true
            }
            Event::Join { machine } => {
                self.join(machine);
                true
            }
            Event::Sample => {
                self.sample();
                self.check();
                false
            }
        }
    }

    /// Carries inputs to the scheduler and its outputs into the world until nothing is left.
    fn settle(&mut self) {
        let now = Timestamp(self.now_ns);
        loop {
            let Some(input) = self.inputs.pop_front() else {
                let Some(machine) = self.freed.pop() else { break };
                self.retry_waiting(machine);
                continue;
            };
            let mut outputs = std::mem::take(&mut self.outputs);
            self.scheduler.step(now, input, &mut outputs);
            for output in outputs.drain(..) {
                self.idle_events = 0;
                self.note(output);
                self.apply(output);
            }
            self.outputs = outputs;
        }
        if let Some(deadline) = self.scheduler.deadline()
            && deadline.0 < self.armed_ns
        {
            self.armed_ns = deadline.0.max(self.now_ns);
            self.agenda.plan(self.armed_ns, Event::Wake);
        }
        self.check();
    }

    fn check(&mut self) {
        if let Some(checker) = &mut self.checker {
            let ram = self.ram.as_ref();
            checker.settled(self.now_ns, self.scheduler.held(), |machine| {
                ram.map(|ram| ram.sums(&self.jobs, machine))
            });
        }
    }

    /// Takes a decision into the trace.
    fn note(&mut self, output: Output) {
        let (kind, machine, id) = match output {
            Output::Placed(machine, id) => (1, machine.0, id),
            Output::Returned(machine, id) => (2, machine.0, id),
            Output::Run(machine, id) => (3, machine.0, id),
            Output::Share(machine, id) => (4, machine.0, id),
            Output::Preempt(machine, id) => (5, machine.0, id),
            Output::Reject(id) => (6, 0, id),
        };
        let (low, high) = (id.0 & u128::from(u64::MAX), id.0 >> 64);
        let id = u64::try_from(low).expect("a half") ^ u64::try_from(high).expect("a half");
        for word in [self.now_ns, (u64::from(machine) << 8) | kind, id] {
            self.hash = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }

    fn apply(&mut self, output: Output) {
        if let Some(checker) = &mut self.checker {
            checker.decided(self.now_ns, output);
        }
        match output {
            Output::Placed(machine, id) => {
                if let Some(slot) = self.jobs.find(id) {
                    let job = self.jobs.get_mut(slot);
                    job.machine = machine.0;
                    job.state = State::Ready;
                }
            }
            Output::Returned(_, id) => {
                if let Some(slot) = self.jobs.find(id) {
                    self.jobs.get_mut(slot).state = State::Held;
                }
            }
            Output::Run(machine, id) => self.give_core(machine, id),
            Output::Share(machine, id) => self.give_share(machine, id),
            Output::Preempt(_, id) => {
                if let Some(slot) = self.jobs.find(id)
                    && self.jobs.get(slot).is_executing()
                {
                    self.counts.preemptions += 1;
                    self.stop(slot, State::Ready);
                }
            }
            Output::Reject(id) => {
                if let Some(slot) = self.jobs.find(id) {
                    self.counts.rejected += 1;
                    self.jobs.remove(slot);
                }
            }
        }
    }

    fn unblock(&mut self, slot: u32) {
        let job = self.jobs.get_mut(slot);
        job.state = State::Ready;
        let (machine, id) = (MachineId(job.machine), job.id);
        if let Some(checker) = &mut self.checker {
            checker.unblocked(id);
        }
        self.inputs.push_back(Input::Unblocked(machine, id));
    }

    fn block(&mut self, slot: u32) {
        let job = self.jobs.get(slot);
        let (machine, id) = (MachineId(job.machine), job.id);
        if let Some(checker) = &mut self.checker {
            checker.blocked(id);
        }
        self.inputs.push_back(Input::Blocked(machine, id));
    }

    fn end(mut self) -> Outcome {
        self.counts.arrived = self.jobs.arrived();
        self.counts.messages = self.scheduler.messages();
        if let Some(checker) = &self.checker {
            checker.ended(&self.counts);
        }
        if let Some(ram) = &self.ram {
            for (machine, usage) in self.usage.iter_mut().enumerate() {
                ram.account(machine, usage);
            }
        }
        Outcome {
            policy: String::new(),
            seed: 0,
            trace_hash: self.hash,
            completions: self.completions,
            counts: self.counts,
            machines: self.usage,
            pressure: self.pressure,
            samples: self.samples,
            last_arrival_ns: self.last_arrival_ns,
            end_ns: self.now_ns,
        }
    }

    /// Ends an invocation: it is out of the world.
    fn retire(&mut self, slot: u32) -> InvocationId {
        self.release_memory(slot);
        let id = self.jobs.get(slot).id;
        self.jobs.remove(slot);
        id
    }
}
