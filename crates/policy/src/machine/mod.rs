//! One machine: admission, the machine scheduler ([`cores`]) and the dispatcher ([`dispatcher`]).
//!
//! A function is waiting (never ran), running, ready (ran, wants a core again) or blocked. A
//! blocked one that wants a core again takes its place in its class by first arrival, before those
//! that came after it; it does not take a core from its own class.
//!
//! Invariants, after each step:
//! - no core is free while a function wants one;
//! - under the strict rule nobody wants a core while a lower class holds one;
//! - where turns are taken nobody wants a core while one of its class holds one who had more turns;
//! - functions not blocked never exceed the admission limit by a placement;
//! - a shard that was told of no room is told when there is room again.

mod cores;
mod dispatcher;
mod line;

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use model::{Bytes64, ClassId, InvocationId, ShardId, Timestamp, limits};

use self::cores::{Cores, Grant};
use self::dispatcher::{Dispatcher, Sample};
use crate::message::{
    Load, MachineInput, MachineOutput, Memory, PreemptReason, RefuseReason, RunReason, ToMachine,
    ToShard,
};
use crate::options::{CoreRule, Options};
use crate::order::Order;
use crate::{Lane, Machine, MachineConfig};

/// The machine of every policy here; its [`Options`] make the difference.
#[derive(Debug)]
pub(crate) struct ScheduledMachine {
    options: Arc<Options>,
    admission_max: usize,
    /// Only looked up in, never gone through: its order is not the same in two runs.
    functions: HashMap<InvocationId, Function>,
    /// By class; those beyond [`Self::classes`] are none.
    lanes: [Counts; limits::CLASSES_MAX],
    classes: usize,
    /// Functions that are not blocked: they count for admission.
    active: usize,
    cores: Cores,
    dispatcher: Dispatcher,
    memory: Option<Memory>,
    /// Shards that were told of no room since there last was some.
    turned_away: BTreeSet<ShardId>,
    /// When the next turn ends.
    turn_due: Option<Timestamp>,
}

/// A [`Lane`], half as large: every poll reads all of them.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    waiting: u32,
    running: u32,
    preempted: u32,
    blocked: u32,
}

impl Counts {
    const fn all(self) -> u32 {
        self.waiting + self.running + self.preempted + self.blocked
    }
}

/// Small, since each is looked for in the table of all: with its id it is 64 bytes.
#[derive(Clone, Copy, Debug)]
struct Function {
    class: ClassId,
    state: State,
    /// With its turns and its id, its place in its class.
    arrived: Timestamp,
    turns: u64,
    /// Since when it holds the core that it has, or wants one that it does not have.
    since: Timestamp,
    /// How long it held cores before that.
    had_ns: u64,
}

impl Function {
    /// How long it held a core until now, in nanoseconds.
    fn had_ns_at(&self, now: Timestamp) -> u64 {
        match self.state {
            State::Running => self.had_ns + now.0.saturating_sub(self.since.0),
            State::Waiting | State::Ready | State::Blocked => self.had_ns,
        }
    }

    const fn order(&self, id: InvocationId) -> Order {
        Order { turns: self.turns, arrived: self.arrived, id }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Ready,
    Blocked,
}

impl ScheduledMachine {
    pub(crate) fn new(config: MachineConfig, options: Arc<Options>) -> Self {
        let classes = config.prices.len();
        Self {
            admission_max: config.admission_max,
            functions: HashMap::new(),
            lanes: [Counts::default(); limits::CLASSES_MAX],
            classes,
            active: 0,
            cores: Cores::new(options.core_rule, config.cores, classes),
            dispatcher: Dispatcher::new(config.id, config.shards, config.seed),
            memory: None,
            turned_away: BTreeSet::new(),
            turn_due: None,
            options,
        }
    }

    fn said_by_shard(
        &mut self,
        now: Timestamp,
        shard: ShardId,
        said: &ToMachine,
        out: &mut Vec<MachineOutput>,
    ) {
        match said {
            &ToMachine::Poll(poll, class) => {
                let load = self.load(class);
                if !load.room {
                    self.turned_away.insert(shard);
                }
                out.push(MachineOutput::ToShard(shard, ToShard::Load(poll, load)));
            }
            ToMachine::Place(job, _) => {
                let no_room = self.why_no_room();
                let Entry::Vacant(place) = self.functions.entry(job.id) else { return };
                if let Some(reason) = no_room {
                    self.turned_away.insert(shard);
                    out.push(MachineOutput::ToShard(shard, ToShard::Refused(*job, reason)));
                    return;
                }
                place.insert(Function {
                    class: job.class,
                    state: State::Waiting,
                    arrived: job.arrived,
                    turns: 0,
                    since: now,
                    had_ns: 0,
                });
                self.active += 1;
                self.count(job.class, State::Waiting, u32::wrapping_add);
                self.cores.want(Order::of(job), job.class);
            }
            &ToMachine::IdleLength(poll, length) => {
                if let Some(sample) = self.sample() {
                    let answer = (shard, poll, length);
                    self.dispatcher.answered(now, answer, sample, &self.options, out);
                }
            }
        }
    }

    fn blocked(&mut self, now: Timestamp, id: InvocationId) {
        let Some(function) = self.functions.get(&id).copied() else { return };
        if function.state != State::Blocked {
            self.leave_cores(id, &function);
            self.note_turns(now, id);
            self.active -= 1;
            self.set_state(id, State::Blocked, now);
        }
    }

    fn unblocked(&mut self, now: Timestamp, id: InvocationId) {
        let Some(function) = self.functions.get(&id) else { return };
        if function.state == State::Blocked {
            self.cores.want(function.order(id), function.class);
            self.active += 1;
            self.set_state(id, State::Ready, now);
        }
    }

    fn finished(&mut self, id: InvocationId) {
        let Some(function) = self.functions.remove(&id) else { return };
        if function.state != State::Blocked {
            self.leave_cores(id, &function);
            self.active -= 1;
        }
        self.count(function.class, function.state, u32::wrapping_sub);
    }

    fn boost(&mut self, id: InvocationId, class: ClassId) {
        let Some(function) = self.functions.get_mut(&id) else { return };
        let (before, state) = (function.class, function.state);
        if class <= before {
            return;
        }
        function.class = class;
        let order = function.order(id);
        match state {
            State::Running => self.cores.reclass_running(order, before, class),
            State::Waiting | State::Ready => {
                self.cores.unwant(order, before);
                self.cores.want(order, class);
            }
            State::Blocked => {}
        }
        self.count(before, state, u32::wrapping_sub);
        self.count(class, state, u32::wrapping_add);
    }

    /// Gives cores to those who must have them.
    fn schedule(&mut self, now: Timestamp, out: &mut Vec<MachineOutput>) {
        loop {
            while let Some(grant) = self.cores.next_grant() {
                self.grant(now, grant, out);
            }
            if self.options.core_rule != CoreRule::Turns || !self.end_turn(now, out) {
                break;
            }
        }
        if self.options.core_rule == CoreRule::Turns {
            self.turn_due = self.next_turn_end();
        }
    }

    fn grant(&mut self, now: Timestamp, grant: Grant, out: &mut Vec<MachineOutput>) {
        let Grant { to, from } = grant;
        let taker = self.functions.get_mut(&to.id).expect("it gets a core");
        let (waited, by_class, state) = (now.since(taker.since), taker.class, taker.state);
        (taker.state, taker.since) = (State::Running, now);
        self.count(by_class, state, u32::wrapping_sub);
        self.count(by_class, State::Running, u32::wrapping_add);
        let reason = if let Some(victim) = from {
            let victim_class = self.functions[&victim.id].class;
            let reason = PreemptReason::HigherClass { by: to.id, by_class };
            self.take_core(now, victim.id, reason, out);
            RunReason::Preempting { victim: victim.id, victim_class, waited }
        } else {
            match self.options.core_rule {
                CoreRule::StrictByClass | CoreRule::Turns | CoreRule::FirstCome => {
                    RunReason::CoreFree { waited }
                }
                CoreRule::Shared => RunReason::Shared { sharing: self.cores.running() },
            }
        };
        out.push(MachineOutput::Run(to.id, reason));
    }

    /// A function whose core is gone already waits for one again.
    fn take_core(
        &mut self,
        now: Timestamp,
        id: InvocationId,
        reason: PreemptReason,
        out: &mut Vec<MachineOutput>,
    ) {
        out.push(MachineOutput::Preempt(id, reason));
        self.note_turns(now, id);
        self.set_state(id, State::Ready, now);
        if self.options.core_rule == CoreRule::Turns {
            let function = &self.functions[&id];
            self.cores.want(function.order(id), function.class);
        }
    }

    /// Where turns are taken, ends one that is over while somebody of the class waits who had fewer.
    fn end_turn(&mut self, now: Timestamp, out: &mut Vec<MachineOutput>) -> bool {
        let is_over = |&(holder, fewest): &(Order, u64)| {
            self.turns(self.functions[&holder.id].had_ns_at(now)) > fewest
        };
        let Some((holder, _)) = self.cores.rivals().find(is_over) else { return false };
        let function = self.functions[&holder.id];
        self.cores.release(holder, function.class);
        let had = Duration::from_nanos(function.had_ns_at(now));
        let reason = PreemptReason::TurnOver { had };
        self.take_core(now, holder.id, reason, out);
        true
    }

    /// When the first turn ends for which somebody waits.
    fn next_turn_end(&self) -> Option<Timestamp> {
        let end = |(holder, fewest): (Order, u64)| {
            let function = &self.functions[&holder.id];
            let turns = u32::try_from(fewest.saturating_add(1)).unwrap_or(u32::MAX);
            let needed = self.options.turn.saturating_mul(turns);
            function.since + needed.saturating_sub(Duration::from_nanos(function.had_ns))
        };
        self.cores.rivals().map(end).min()
    }

    fn turns(&self, had_ns: u64) -> u64 {
        let turn_ns = u64::try_from(self.options.turn.as_nanos()).unwrap_or(u64::MAX);
        had_ns / turn_ns.max(1)
    }

    /// Counts the turns of a function that loses its core; its place in its class follows.
    fn note_turns(&mut self, now: Timestamp, id: InvocationId) {
        if self.options.core_rule != CoreRule::Turns {
            return;
        }
        let Some(function) = self.functions.get(&id) else { return };
        let had_ns = function.had_ns_at(now);
        let turns = self.turns(had_ns);
        let function = self.functions.get_mut(&id).expect("just seen");
        (function.had_ns, function.turns) = (had_ns, turns);
    }

    /// Tells those who were turned away that there is room again.
    fn tell_room(&mut self, out: &mut Vec<MachineOutput>) {
        if !self.turned_away.is_empty() && self.why_no_room().is_none() {
            while let Some(shard) = self.turned_away.pop_first() {
                out.push(MachineOutput::ToShard(shard, ToShard::Room));
            }
        }
    }

    fn why_no_room(&self) -> Option<RefuseReason> {
        if self.active >= self.admission_max {
            return Some(RefuseReason::Admission { limit: self.admission_max });
        }
        let memory = self.memory?;
        // What swap can take is as good as free: the memory planner makes room by class.
        let free = Bytes64(dispatcher::free(memory).0.saturating_add(memory.swap_free.0));
        // Where nothing runs, nothing here could ever free memory: then it takes one all the same.
        let full = dispatcher::is_below(free, self.options.memory_full_percent, memory);
        (full && self.active > 0).then_some(RefuseReason::Memory { free })
    }

    fn load(&self, class: ClassId) -> Load {
        let same_or_higher = &self.lanes[usize::from(class.0).min(self.classes)..self.classes];
        Load {
            functions: self.functions.len(),
            same_or_higher: same_or_higher.iter().map(|lane| size(lane.all())).sum(),
            room: self.why_no_room().is_none(),
            memory_free: self.memory.map_or(Bytes64(0), dispatcher::free),
        }
    }

    fn sample(&self) -> Option<Sample> {
        Some(Sample { memory: self.memory?, functions: self.functions.len() })
    }

    fn leave_cores(&mut self, id: InvocationId, function: &Function) {
        let (order, class) = (function.order(id), function.class);
        match function.state {
            State::Running => self.cores.release(order, class),
            State::Waiting | State::Ready => self.cores.unwant(order, class),
            State::Blocked => {}
        }
    }

    fn set_state(&mut self, id: InvocationId, state: State, now: Timestamp) {
        let function = self.functions.get_mut(&id).expect("the caller has just seen it");
        let (class, before) = (function.class, function.state);
        (function.state, function.since) = (state, now);
        self.count(class, before, u32::wrapping_sub);
        self.count(class, state, u32::wrapping_add);
    }

    fn count(&mut self, class: ClassId, state: State, change: fn(u32, u32) -> u32) {
        let lane = &mut self.lanes[usize::from(class.0)];
        let counter = match state {
            State::Waiting => &mut lane.waiting,
            State::Running => &mut lane.running,
            State::Ready => &mut lane.preempted,
            State::Blocked => &mut lane.blocked,
        };
        *counter = change(*counter, 1);
    }
}

impl Machine for ScheduledMachine {
    fn step(&mut self, now: Timestamp, input: MachineInput, out: &mut Vec<MachineOutput>) {
        let sampled_now = matches!(input, MachineInput::Memory(_));
        match input {
            MachineInput::FromShard(shard, said) => self.said_by_shard(now, shard, &said, out),
            MachineInput::Blocked(id) => self.blocked(now, id),
            MachineInput::Unblocked(id) => self.unblocked(now, id),
            MachineInput::Finished(id) => self.finished(id),
            MachineInput::Boost(id, class) => self.boost(id, class),
            MachineInput::Memory(memory) => self.memory = Some(memory),
            MachineInput::Tick => {}
        }
        self.schedule(now, out);
        self.tell_room(out);
        if let Some(sample) = self.sample()
            && self.options.idle_list
        {
            self.dispatcher.expire(now, sample, &self.options, out);
            if sampled_now {
                self.dispatcher.sampled(now, sample, &self.options, out);
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.dispatcher.deadline().into_iter().chain(self.turn_due).min()
    }

    fn functions(&self) -> usize {
        self.functions.len()
    }

    fn holds(&self, id: InvocationId) -> bool {
        self.functions.contains_key(&id)
    }

    fn lanes(&self) -> Vec<Lane> {
        let lane = |counts: &Counts| Lane {
            waiting: size(counts.waiting),
            running: size(counts.running),
            preempted: size(counts.preempted),
            blocked: size(counts.blocked),
        };
        self.lanes[..self.classes].iter().map(lane).collect()
    }
}

fn size(count: u32) -> usize {
    usize::try_from(count).expect("a count of things in memory")
}
