//! Whatever happens in whatever order: nothing is lost or doubled, cores are never exceeded, no
//! lower class holds a core that a higher one wants, and all work ends.
//!
//! A small cluster is driven at random. Messages between one shard and one machine keep their
//! order; all else may overtake, and polls and their answers may be lost.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{ClassId, InvocationId, MachineId, Timestamp};
use policy::rng::Rng;
use policy::{
    Job, MachineInput, MachineOutput, Policy, ShardInput, ShardOutput, ToMachine, ToShard, fifo,
    hermod, xx,
};
use proptest::prelude::*;
use support::{Cluster, Decided, Mail, Size};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Away,
    On(MachineId, State),
    Rejected,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Preempted,
    Blocked,
}

/// What a checker knows of the world, from decisions and events alone.
struct World {
    cluster: Cluster,
    rng: Rng,
    now: Timestamp,
    size: Size,
    jobs: BTreeMap<InvocationId, (Job, Place)>,
    /// Those that a machine sent back: one that was on its way behind it may have found room.
    refused: BTreeSet<InvocationId>,
    loses_polls: bool,
    strict: bool,
}

/// The first law that was broken.
type Checked = Result<(), String>;

impl World {
    fn new(policy: &dyn Policy, size: Size, loses_polls: bool) -> Self {
        Self {
            cluster: Cluster::new(policy, size),
            rng: Rng::new(size.seed),
            now: Timestamp(0),
            size,
            jobs: BTreeMap::new(),
            refused: BTreeSet::new(),
            loses_polls,
            strict: true,
        }
    }

    /// Some hundred random events, then everything is let to its end.
    fn live(&mut self, events: usize) -> Checked {
        for number in 0..events {
            let passed = self.micros(3_000);
            self.now = self.now + passed;
            match self.rng.below(10) {
                0..=3 => self.arrive(number),
                4 => self.happen(State::Running, MachineInput::Finished)?,
                5 => self.happen(State::Running, MachineInput::Blocked)?,
                6 => self.happen(State::Blocked, MachineInput::Unblocked)?,
                7 => self.cluster.tick(self.now),
                _ => {}
            }
            for _ in 0..self.rng.below(6) {
                self.deliver()?;
            }
        }
        self.end()
    }

    fn micros(&mut self, below: usize) -> Duration {
        Duration::from_micros(u64::try_from(self.rng.below(below)).unwrap())
    }

    fn arrive(&mut self, number: usize) {
        let class = ClassId(u8::try_from(self.rng.below(5)).unwrap());
        let id = InvocationId(u128::try_from(number).unwrap() + 1);
        let job = Job { id, class, arrived: self.now };
        self.jobs.insert(id, (job, Place::Away));
        let shard = self.rng.below(support::index(self.size.shards));
        let shard = u32::try_from(shard).unwrap();
        self.cluster.arrive(shard, job);
    }

    /// Something happens to a random job in this state; its machine hears of it at once, as it
    /// would from its own executor.
    fn happen(&mut self, state: State, input: fn(InvocationId) -> MachineInput) -> Checked {
        let able = |(id, (_, place)): (&InvocationId, &(Job, Place))| match place {
            Place::On(machine, other) if *other == state => Some((*id, *machine)),
            _ => None,
        };
        let able: Vec<(InvocationId, MachineId)> = self.jobs.iter().filter_map(able).collect();
        if able.is_empty() {
            return Ok(());
        }
        let (id, machine) = able[self.rng.below(able.len())];
        let after = match input(id) {
            MachineInput::Finished(_) => Place::Done,
            MachineInput::Blocked(_) => Place::On(machine, State::Blocked),
            _ => Place::On(machine, State::Preempted),
        };
        self.jobs.get_mut(&id).unwrap().1 = after;
        self.step(Mail::Machine(machine, input(id)))
    }

    /// Delivers the first message of a random pair, or loses it where it is a poll.
    fn deliver(&mut self) -> Checked {
        let pairs: Vec<(u64, u64)> = self.cluster.mail.iter().map(pair).collect();
        if pairs.is_empty() {
            return Ok(());
        }
        let chosen = pairs[self.rng.below(pairs.len())];
        let first = pairs.iter().position(|pair| *pair == chosen).unwrap();
        let mail = self.cluster.mail.remove(first).unwrap();
        let lost = self.loses_polls && is_poll(&mail) && self.rng.below(5) == 0;
        if lost { Ok(()) } else { self.step(mail) }
    }

    fn step(&mut self, mail: Mail) -> Checked {
        let machine = match &mail {
            Mail::Machine(id, input) => {
                if let MachineInput::FromShard(_, ToMachine::Place(job, _)) = input {
                    self.placed(*id, *job)?;
                }
                Some(*id)
            }
            Mail::Shard(..) => None,
        };
        let mut decided = Vec::new();
        self.cluster.deliver(self.now, mail, &mut decided);
        for decision in &decided {
            self.note(decision)?;
        }
        machine.map_or(Ok(()), |machine| self.check(machine))
    }

    fn placed(&mut self, machine: MachineId, job: Job) -> Checked {
        match self.jobs.get_mut(&job.id) {
            Some((_, place @ Place::Away)) => {
                *place = Place::On(machine, State::Waiting);
                Ok(())
            }
            other => Err(format!("{} is placed although it is {other:?}", job.id)),
        }
    }

    fn note(&mut self, decision: &Decided) -> Checked {
        match decision {
            Decided::Machine(machine, MachineOutput::Run(id, _)) => {
                let ready = [State::Waiting, State::Preempted];
                self.turn(*id, *machine, &ready, State::Running)
            }
            Decided::Machine(machine, MachineOutput::Preempt(id, _)) => {
                self.turn(*id, *machine, &[State::Running], State::Preempted)
            }
            Decided::Machine(_, MachineOutput::ToShard(_, ToShard::Refused(job, _))) => {
                self.jobs.get_mut(&job.id).unwrap().1 = Place::Away;
                self.refused.insert(job.id);
                Ok(())
            }
            Decided::Shard(_, ShardOutput::Reject(job, _)) => {
                let place = &mut self.jobs.get_mut(&job.id).unwrap().1;
                let was = std::mem::replace(place, Place::Rejected);
                if was == Place::Away {
                    Ok(())
                } else {
                    Err(format!("{} is rejected twice", job.id))
                }
            }
            Decided::Machine(..) | Decided::Shard(..) => Ok(()),
        }
    }

    fn turn(&mut self, id: InvocationId, machine: MachineId, from: &[State], to: State) -> Checked {
        let place = &mut self.jobs.get_mut(&id).unwrap().1;
        match place {
            Place::On(on, state) if *on == machine && from.contains(state) => {
                *state = to;
                Ok(())
            }
            other => Err(format!("{id} becomes {to:?} on {machine} although it is {other:?}")),
        }
    }

    /// The laws of one machine, after each of its steps.
    fn check(&self, machine: MachineId) -> Checked {
        let here = |state: &[State]| {
            let jobs = self.jobs.values().filter_map(|(job, place)| match place {
                Place::On(on, other) if *on == machine && state.contains(other) => Some(*job),
                _ => None,
            });
            jobs.collect::<Vec<Job>>()
        };
        let running = here(&[State::Running]);
        let wanting = here(&[State::Waiting, State::Preempted]);
        if running.len() > self.size.cores {
            return Err(format!("{} run on {} cores", running.len(), self.size.cores));
        }
        if running.len() < self.size.cores && !wanting.is_empty() {
            return Err("a core is free although somebody wants one".into());
        }
        let lowest = running.iter().map(|job| job.class).min();
        if let Some(better) =
            wanting.iter().find(|job| Some(job.class) > lowest && lowest.is_some())
            && self.strict
        {
            return Err(format!(
                "{} of class {} waits behind a lower class",
                better.id, better.class.0
            ));
        }
        // First come, first served: of one class, who never ran came after all who did.
        for waiting in here(&[State::Waiting]) {
            if self.refused.contains(&waiting.id) {
                continue;
            }
            let younger = |job: &&Job| job.class == waiting.class && job.arrived > waiting.arrived;
            let passed = running.iter().chain(&here(&[State::Preempted])).find(younger).copied();
            let same_shard = self.size.shards == 1 && !self.loses_polls && self.size.machines == 1;
            if let Some(passed) = passed.filter(|_| same_shard) {
                return Err(format!("{} overtook {} of its class", passed.id, waiting.id));
            }
        }
        Ok(())
    }

    /// Lets everything run to its end.
    fn end(&mut self) -> Checked {
        self.loses_polls = false;
        for _ in 0..100_000 {
            while !self.cluster.mail.is_empty() {
                self.deliver()?;
            }
            self.happen(State::Blocked, MachineInput::Unblocked)?;
            self.happen(State::Running, MachineInput::Finished)?;
            let open = |place: &Place| matches!(place, Place::Away | Place::On(..));
            if !self.jobs.values().any(|(_, place)| open(place)) {
                return Ok(());
            }
            self.now = self.cluster.deadline().unwrap_or(self.now).max(self.now)
                + Duration::from_micros(1);
            self.cluster.tick(self.now);
        }
        let open = |(_, place): &&(Job, Place)| !matches!(place, Place::Done | Place::Rejected);
        let lost: Vec<&(Job, Place)> = self.jobs.values().filter(open).collect();
        Err(format!("these never ended: {lost:?}"))
    }
}

/// Who says it to whom.
fn pair(mail: &Mail) -> (u64, u64) {
    match mail {
        Mail::Shard(to, ShardInput::FromMachine(from, _)) => {
            (u64::from(to.0), 1_000 + u64::from(from.0))
        }
        Mail::Shard(to, _) => (u64::from(to.0), 0),
        Mail::Machine(to, MachineInput::FromShard(from, _)) => {
            (1_000 + u64::from(to.0), u64::from(from.0) + 1)
        }
        Mail::Machine(to, _) => (1_000 + u64::from(to.0), 0),
    }
}

fn is_poll(mail: &Mail) -> bool {
    match mail {
        Mail::Machine(_, MachineInput::FromShard(_, message)) => {
            matches!(message, ToMachine::Poll(..))
        }
        Mail::Shard(_, ShardInput::FromMachine(_, message)) => matches!(message, ToShard::Load(..)),
        Mail::Machine(..) | Mail::Shard(..) => false,
    }
}

fn sizes() -> impl Strategy<Value = Size> {
    let admission = prop_oneof![1_usize..6, Just(1_000)];
    let queue = prop_oneof![Just(3_usize), Just(1_000)];
    (1_u32..4, 1_u32..5, 1_usize..4, admission, queue, any::<u64>()).prop_map(
        |(shards, machines, cores, admission_max, queue_max, seed)| Size {
            shards,
            machines,
            cores,
            admission_max,
            queue_max,
            seed,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn price_classes_keep_their_laws(size in sizes(), loses_polls: bool, literal: bool) {
        let queue_rule = if literal { xx::QueueRule::PriceOverWait } else { xx::QueueRule::PriceTimesWait };
        let policy = xx::Xx::new(xx::Options { queue_rule, idle_list: false, ..xx::Options::default() });
        let result = World::new(&policy, size, loses_polls).live(300);
        prop_assert!(result.is_ok(), "{}", result.unwrap_err());
    }

    #[test]
    fn turns_inside_a_class_keep_the_same_laws(size in sizes(), loses_polls: bool, turn_us in 1_u64..5_000) {
        let turn = Duration::from_micros(turn_us);
        let options = xx::Options { core_rule: xx::CoreRule::Turns, turn, idle_list: false, ..xx::Options::default() };
        let result = World::new(&xx::Xx::new(options), size, loses_polls).live(300);
        prop_assert!(result.is_ok(), "{}", result.unwrap_err());
    }

    #[test]
    fn first_come_first_served_keeps_all_but_strictness(size in sizes(), loses_polls: bool) {
        let mut world = World::new(&fifo::Fifo::default(), size, loses_polls);
        world.strict = false;
        let result = world.live(300);
        prop_assert!(result.is_ok(), "{}", result.unwrap_err());
    }
}

/// Policies that break a law on purpose are found out: the checkers can fail.
#[test]
fn planted_faults_are_caught() {
    let size =
        Size { shards: 1, machines: 2, cores: 1, admission_max: 1_000, queue_max: 1_000, seed: 3 };
    let blind = World::new(&fifo::Fifo::default(), size, false).live(300);
    assert!(blind.unwrap_err().contains("behind a lower class"));
    let crowded = World::new(&hermod::Hermod::default(), size, false).live(300);
    assert!(crowded.unwrap_err().contains("run on 1 cores"));
    let mut forgetful = World::new(&xx::Xx::default(), size, false);
    forgetful.arrive(1);
    forgetful.cluster.mail.clear();
    assert!(forgetful.live(50).unwrap_err().contains("never ended"));
}
