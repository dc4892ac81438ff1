//! The checkers: quiet over good policies in every sort of world, loud over planted bugs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use model::{InvocationId, Timestamp};
use policy::{
    Lane, Machine, MachineConfig, MachineInput, MachineOutput, Policy, RunReason, Shard,
    ShardConfig, ShardInput, ShardOutput, ToMachine, xx,
};
use sim::policies::paper_options;
use sim::workload::MB;
use sim::workload::synthetic::Synthetic;
use sim::world::{Checks, IoConfig, LossConfig, MemoryConfig};
use sim::{Entry, WorldConfig, policies, simulate};

/// Ten machines of four cores, 1.3 times what they can do for a while.
fn workload() -> Synthetic {
    let mut workload = Synthetic { end_tick: 40, overload_ticks: (15, 30), ..Synthetic::default() };
    workload.steps[0].rate = 9.0;
    workload.steps[1] = sim::workload::synthetic::Step { from_tick: 15, rate: 16.0 };
    workload.steps[2] = sim::workload::synthetic::Step { from_tick: 30, rate: 9.0 };
    workload
}

fn world(checks: Checks) -> WorldConfig {
    WorldConfig { machines: 10, cores: 4, shards: 3, checks, ..WorldConfig::default() }
}

fn worlds() -> Vec<(&'static str, WorldConfig)> {
    let plain = || world(Checks::Any);
    let tight = MemoryConfig { ram: 12_000 * MB, swap: 60_000 * MB, ..MemoryConfig::default() };
    let slow = MemoryConfig { swap_out_per_s: 500 * MB, swap_in_per_s: 500 * MB, ..tight };
    let full = MemoryConfig { swap: 3_000 * MB, ..tight };
    let io = IoConfig {
        waits: 3,
        length_ns: 50_000_000,
        after_percent: 0,
        up_to: model::ClassId(u8::MAX),
    };
    let loss = LossConfig { mean_up_ns: 3_000_000_000, away_ns: 400_000_000 };
    vec![
        ("plain", plain()),
        ("delay", WorldConfig { delay_ns: 300_000, ..plain() }),
        ("waits", WorldConfig { io: Some(io), ..plain() }),
        ("loss", WorldConfig { loss: Some(loss), ..plain() }),
        ("memory", WorldConfig { memory: Some(tight), ..plain() }),
        ("slow swap", WorldConfig { memory: Some(slow), ..plain() }),
        ("full swap", WorldConfig { memory: Some(full), ..plain() }),
        (
            "all at once",
            WorldConfig {
                memory: Some(slow),
                io: Some(io),
                loss: Some(loss),
                delay_ns: 100_000,
                ..plain()
            },
        ),
    ]
}

#[test]
fn every_policy_passes_in_every_world() {
    for (name, config) in worlds() {
        for policy in policies(3) {
            let checks = if policy.strict { Checks::Strict } else { Checks::Any };
            let config = WorldConfig { checks, ..config.clone() };
            let run = || simulate(&config, &policy, &workload(), 1);
            let outcome = catch_unwind(AssertUnwindSafe(run));
            let outcome = outcome.unwrap_or_else(|_| panic!("{} in {name}", policy.name));
            assert!(outcome.counts.completed > 100, "{} in {name}", policy.name);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_checks_change_nothing() {
    for (name, config) in
        worlds().into_iter().filter(|(name, _)| matches!(*name, "plain" | "all at once"))
    {
        for policy in policies(3) {
            let hash = |checks, seed| {
                let config = WorldConfig { checks, ..config.clone() };
                simulate(&config, &policy, &workload(), seed).trace_hash
            };
            assert_eq!(hash(Checks::Off, 4), hash(Checks::Any, 4), "{} in {name}", policy.name);
            assert_ne!(hash(Checks::Off, 4), hash(Checks::Off, 5), "{} in {name}", policy.name);
        }
    }
}

/// A bug planted in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// The shard forgets each fiftieth arrival.
    LoseArrival,
    /// The shard forgets the lowest class.
    Starve,
    /// The shard places each fiftieth job twice, on two machines.
    PlaceTwice,
    /// The machine forgets to start each fiftieth function.
    ForgetRun,
    /// The machine starts a function without taking the core from its victim.
    ForgetPreempt,
    /// The machine starts each fiftieth function twice.
    RunTwice,
    /// The machine has a core too many.
    CoreTooMany,
    /// The machine schedules first come first served whatever the class.
    IgnoreClass,
    /// The shard tells the machine that the job arrived later than it did.
    Reorder,
    /// A core that becomes free stays free until something else happens.
    SleepOnFinish,
}

struct Mutant {
    inner: xx::Xx,
    bug: Bug,
}

struct MutantShard {
    inner: Box<dyn Shard>,
    bug: Bug,
    count: u64,
}

struct MutantMachine {
    inner: Box<dyn Machine>,
    bug: Bug,
    count: u64,
    /// Held back until the next step.
    late: Vec<MachineOutput>,
}

impl Policy for Mutant {
    fn name(&self) -> &'static str {
        "mutant"
    }

    fn shard(&self, config: ShardConfig) -> Box<dyn Shard> {
        Box::new(MutantShard { inner: self.inner.shard(config), bug: self.bug, count: 0 })
    }

    fn machine(&self, mut config: MachineConfig) -> Box<dyn Machine> {
        if self.bug == Bug::CoreTooMany {
            config.cores += 1;
        }
        let late = Vec::new();
        Box::new(MutantMachine { inner: self.inner.machine(config), bug: self.bug, count: 0, late })
    }
}

impl Shard for MutantShard {
    fn step(&mut self, now: Timestamp, input: ShardInput, out: &mut Vec<ShardOutput>) {
        if let ShardInput::Arrive(job) = &input {
            self.count += 1;
            if self.bug == Bug::Starve && job.class == model::ClassId(0) {
                return;
            }
            if self.bug == Bug::LoseArrival && self.count.is_multiple_of(50) {
                return;
            }
        }
        let from = out.len();
        self.inner.step(now, input, out);
        for at in from..out.len() {
            if let ShardOutput::ToMachine(machine, ToMachine::Place(job, reason)) = &out[at] {
                let (machine, mut job, reason) = (*machine, *job, reason.clone());
                if self.bug == Bug::PlaceTwice && self.count.is_multiple_of(50) {
                    let other = model::MachineId((machine.0 + 1) % 10);
                    out.push(ShardOutput::ToMachine(other, ToMachine::Place(job, reason)));
                } else if self.bug == Bug::Reorder && self.count.is_multiple_of(7) {
                    job.arrived = Timestamp(job.arrived.0 / 2);
                    out[at] = ShardOutput::ToMachine(machine, ToMachine::Place(job, reason));
                }
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.inner.deadline()
    }

    fn queued(&self) -> Vec<usize> {
        self.inner.queued()
    }

    fn idle_machines(&self) -> usize {
        self.inner.idle_machines()
    }
}

impl Machine for MutantMachine {
    fn step(&mut self, now: Timestamp, input: MachineInput, out: &mut Vec<MachineOutput>) {
        out.append(&mut self.late);
        let finished = matches!(input, MachineInput::Finished(_));
        let mut said = Vec::new();
        self.inner.step(now, input, &mut said);
        if finished && self.bug == Bug::SleepOnFinish {
            self.late = said;
            return;
        }
        for output in said {
            let started: Option<(InvocationId, RunReason)> = match &output {
                MachineOutput::Run(id, reason) => Some((*id, *reason)),
                MachineOutput::Preempt(..) | MachineOutput::ToShard(..) => None,
            };
            self.count += u64::from(started.is_some());
            let fiftieth = started.is_some() && self.count.is_multiple_of(50);
            match (self.bug, &output) {
                (Bug::ForgetRun, _) if fiftieth => {}
                (Bug::ForgetPreempt, MachineOutput::Preempt(..)) => {}
                (Bug::RunTwice, _) if fiftieth => out.extend([output.clone(), output]),
                _ => out.push(output),
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.inner.deadline()
    }

    fn functions(&self) -> usize {
        self.inner.functions()
    }

    fn holds(&self, id: InvocationId) -> bool {
        self.inner.holds(id)
    }

    fn lanes(&self) -> Vec<Lane> {
        self.inner.lanes()
    }
}

fn caught(bug: Bug) -> Option<String> {
    let mut options = paper_options(3);
    if bug == Bug::IgnoreClass {
        options.core_rule = xx::CoreRule::FirstCome;
    }
    let mutant = Mutant { inner: xx::Xx::new(options), bug };
    let entry = Entry::live("mutant", "a planted bug", Arc::new(mutant));
    let run = || simulate(&world(Checks::Strict), &entry, &workload(), 1);
    let panic = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
}

#[test]
fn planted_bugs_are_caught_and_named() {
    for (bug, expected) in [
        (Bug::LoseArrival, "starves at the shard"),
        (Bug::Starve, "starves at the shard"),
        (Bug::PlaceTwice, "placed twice"),
        (Bug::ForgetRun, "wants a core"),
        (Bug::ForgetPreempt, "more run than there are cores"),
        (Bug::RunTwice, "got a core that it could not use"),
        (Bug::CoreTooMany, "more run than there are cores"),
        (Bug::IgnoreClass, "wants a core that a lower class holds"),
        (Bug::Reorder, "ran before one of its class that came first"),
        (Bug::SleepOnFinish, "wants a core while one is free"),
    ] {
        let text = caught(bug).unwrap_or_else(|| panic!("{bug:?} was not noticed"));
        assert!(text.contains(expected), "{bug:?} was noticed as: {text}");
    }
}
