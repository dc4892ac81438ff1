//! The global scheduler shard: which job next, on which machine (paper XX, section 3.2; DESIGN
//! rules 1 to 4).
//!
//! A job is at each moment in one of three places: in the queue ([`queue`]), on behalf of whom a
//! poll is under way ([`polls`]), or gone to a machine. What the shard believes of the machines is
//! in [`fleet`].
//!
//! Invariants, after each step:
//! - the queue is empty, or no machine is known that might take a job;
//! - a job is in the queue or in one poll, never in both;
//! - a job that comes back finds its old place in its class.

mod fleet;
mod polls;
mod queue;

use alloc::vec::Vec;

use model::{ClassId, InvocationId, MachineId, Timestamp};

use self::fleet::Fleet;
use self::polls::{Asked, Poll, Polls};
use self::queue::{Queue, Queued};
use crate::message::{Job, PlaceReason, RefuseReason, ShardInput, ShardOutput, ToMachine, ToShard};
use crate::options::Options;
use crate::rng::Rng;
use crate::{Shard, ShardConfig};

/// Heartbeats that an idle-list entry may miss before the shard drops it.
const HEARTBEATS_MISSED_MAX: u32 = 3;

/// The shard of every policy here; its [`Options`] make the difference.
#[derive(Debug)]
pub(crate) struct PlacingShard {
    options: Options,
    queue_max: usize,
    rng: Rng,
    queue: Queue,
    polls: Polls,
    fleet: Fleet,
    /// When to ask full machines again. Set while work is held.
    recheck: Option<Timestamp>,
    /// Jobs that came into the queue in this step, to say of which of them that they are held.
    entered: Vec<InvocationId>,
}

impl PlacingShard {
    pub(crate) fn new(config: &ShardConfig, options: Options) -> Self {
        let expiry = options.idle_heartbeat.map(|beat| beat * HEARTBEATS_MISSED_MAX);
        Self {
            queue_max: config.queue_max,
            rng: Rng::new(config.seed),
            queue: Queue::new(options.queue_rule, options.epsilon, &config.prices),
            polls: Polls::new(options.poll_count),
            fleet: Fleet::new(&config.machines, expiry),
            recheck: None,
            entered: Vec::new(),
            options,
        }
    }

    fn arrive(&mut self, now: Timestamp, job: Job, out: &mut Vec<ShardOutput>) {
        if self.queue.contains(job.id) || self.polls.contains(job.id) {
            return;
        }
        if self.queue.len() + self.polls.jobs() >= self.queue_max {
            let reason = RefuseReason::QueueFull { limit: self.queue_max };
            let displaced = self.queue.displaced_by(job.class).and_then(|id| self.queue.remove(id));
            let Some(displaced) = displaced else {
                out.push(ShardOutput::Reject(job, reason));
                return;
            };
            out.push(ShardOutput::Reject(displaced.job, reason));
        }
        self.enqueue(Queued { job, since: now });
    }

    fn said_by_machine(
        &mut self,
        now: Timestamp,
        machine: MachineId,
        said: &ToShard,
        out: &mut Vec<ShardOutput>,
    ) {
        match said {
            &ToShard::Load(poll, load) => {
                if load.room {
                    self.fleet.has_room(machine);
                } else {
                    self.fleet.has_no_room(machine);
                }
                if let Some(poll) = self.polls.answer(poll, machine, &load) {
                    self.conclude(now, &poll, out);
                }
            }
            &ToShard::Refused(job, _) => {
                self.fleet.has_no_room(machine);
                if !self.queue.contains(job.id) && !self.polls.contains(job.id) {
                    self.enqueue(Queued { job, since: now });
                }
            }
            ToShard::Room => self.fleet.has_room(machine),
            &ToShard::IdleLength(poll) => {
                let length = ToMachine::IdleLength(poll, self.fleet.idle_machines());
                out.push(ShardOutput::ToMachine(machine, length));
            }
            &ToShard::IdleJoin(entry) => {
                if self.options.idle_list && entry.machine == machine {
                    self.fleet.update_idle(now, entry);
                }
            }
            &ToShard::IdleLeave { version } => self.fleet.leave_idle(machine, version),
        }
    }

    fn boost(&mut self, id: InvocationId, class: ClassId) {
        if let Some(mut queued) = self.queue.remove(id) {
            queued.job.class = queued.job.class.max(class);
            self.queue.push(queued);
        }
        self.polls.boost(id, class);
    }

    fn lose(&mut self, now: Timestamp, machine: MachineId, out: &mut Vec<ShardOutput>) {
        self.fleet.lose(machine);
        let mut complete = Vec::new();
        self.polls.forget_machine(machine, &mut complete);
        for poll in &complete {
            self.conclude(now, poll, out);
        }
    }

    /// Acts on what came due by `now`.
    fn expire(&mut self, now: Timestamp, out: &mut Vec<ShardOutput>) {
        self.fleet.expire_idle(now);
        while let Some(poll) = self.polls.expired(now) {
            for asked in poll.asked.iter().filter(|asked| !asked.answered) {
                self.fleet.did_not_answer(asked.machine);
            }
            self.conclude(now, &poll, out);
        }
        if self.recheck.is_some_and(|due| due <= now) {
            self.recheck = None;
            let asked = self.fleet.draw_full(self.options.k.max(1), &mut self.rng);
            self.ask(now, None, asked, out);
        }
    }

    /// Ends a poll: its job goes to the best that answered, or back to its place in the queue.
    fn conclude(&mut self, now: Timestamp, poll: &Poll, out: &mut Vec<ShardOutput>) {
        let Some(queued) = poll.job else { return };
        match poll.best {
            Some(best) if !self.fleet.is_full(best.machine) => {
                let waited = now.since(queued.since);
                let (counted, answered) = (best.counted, poll.answered());
                let reason = PlaceReason::Polled { counted, answered, queued: waited };
                self.place(now, queued.job, best.machine, reason, out);
            }
            Some(_) | None => self.enqueue(queued),
        }
    }

    fn enqueue(&mut self, queued: Queued) {
        self.queue.push(queued);
        self.entered.push(queued.job.id);
    }

    /// Places, or starts polls for, all that can go now.
    fn drain(&mut self, now: Timestamp, out: &mut Vec<ShardOutput>) {
        loop {
            let idle = self.fleet.best_idle();
            let placeable = self.fleet.placeable();
            if self.queue.is_empty() || placeable.is_empty() {
                return;
            }
            let only = if placeable.len() == 1 { Some(placeable[0]) } else { None };
            let Some(queued) = self.queue.pop_next(now) else { return };
            let waited = now.since(queued.since);
            if let Some(idle) = idle {
                let reason = PlaceReason::IdleList {
                    functions: idle.functions,
                    memory_free: idle.memory_free,
                    candidates: idle.candidates,
                    queued: waited,
                };
                self.place(now, queued.job, idle.machine, reason, out);
            } else if let Some(machine) = only {
                let reason = PlaceReason::Direct { queued: waited };
                self.place(now, queued.job, machine, reason, out);
            } else {
                let asked = self.fleet.draw_placeable(self.options.k.max(1), &mut self.rng);
                self.ask(now, Some(queued), asked, out);
            }
        }
    }

    fn place(
        &mut self,
        now: Timestamp,
        job: Job,
        machine: MachineId,
        reason: PlaceReason,
        out: &mut Vec<ShardOutput>,
    ) {
        out.push(ShardOutput::ToMachine(machine, ToMachine::Place(job, reason)));
        self.fleet.placed(machine);
        if !self.queue.is_empty() && self.fleet.set_aside_if_tight(machine) {
            let asked = alloc::vec![Asked { machine, answered: false }];
            self.ask(now, None, asked, out);
        }
    }

    fn ask(
        &mut self,
        now: Timestamp,
        job: Option<Queued>,
        asked: Vec<Asked>,
        out: &mut Vec<ShardOutput>,
    ) {
        if asked.is_empty() {
            return;
        }
        let class = job.map_or(ClassId(0), |queued| queued.job.class);
        let (id, poll) = self.polls.start(job, asked, now + self.options.poll_timeout);
        for asked in &poll.asked {
            out.push(ShardOutput::ToMachine(asked.machine, ToMachine::Poll(id, class)));
        }
    }

    /// Says what is held, and arranges to ask again.
    fn hold(&mut self, now: Timestamp, out: &mut Vec<ShardOutput>) {
        for id in self.entered.drain(..) {
            if self.queue.contains(id) {
                out.push(ShardOutput::Held(id));
            }
        }
        if self.queue.is_empty() {
            self.fleet.backlog_ended();
            self.recheck = None;
        } else if self.recheck.is_none() && self.fleet.any_full() {
            self.recheck = Some(now + self.options.hold_recheck);
        }
    }
}

impl Shard for PlacingShard {
    fn step(&mut self, now: Timestamp, input: ShardInput, out: &mut Vec<ShardOutput>) {
        self.expire(now, out);
        match input {
            ShardInput::Arrive(job) => self.arrive(now, job, out),
            ShardInput::Withdraw(id) => {
                self.queue.remove(id);
                self.polls.withdraw(id);
            }
            ShardInput::Boost(id, class) => self.boost(id, class),
            ShardInput::FromMachine(machine, said) => {
                self.said_by_machine(now, machine, &said, out)
            }
            ShardInput::MachineLost(machine) => self.lose(now, machine, out),
            ShardInput::MachineJoined(machine) => {
                self.lose(now, machine, out);
                self.fleet.join(machine);
            }
            ShardInput::Tick => {}
        }
        self.drain(now, out);
        self.hold(now, out);
    }

    fn deadline(&self) -> Option<Timestamp> {
        [self.polls.deadline(), self.recheck].into_iter().flatten().min()
    }

    fn queued(&self) -> Vec<usize> {
        let mut lengths: Vec<usize> = self.queue.lengths().collect();
        for class in self.polls.classes() {
            lengths[usize::from(class.0)] += 1;
        }
        lengths
    }

    fn idle_machines(&self) -> usize {
        self.fleet.idle_machines()
    }
}
