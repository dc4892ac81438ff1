//! Scheduling decisions with their reasons (paper XX, section 3; DESIGN section 4).
//!
//! Two sorts of state machine make all decisions: a [`Shard`] (global scheduler shard: which
//! invocation next, on which machine) and a [`Machine`] (one machine's dispatcher and core
//! scheduler). They exchange plain-data messages ([`message`]), so that a network, a simulator or a
//! loop in one thread may carry them. A [`Policy`] makes both; `xx` is Fermata's, the others are
//! baselines. The live node and the simulator link this same code.
//!
//! This crate must never read a clock, draw its own randomness, do I/O, log, or know how a function
//! runs. Time comes in as `now`; random draws come from a generator seeded by the caller.
//! Start reading at [`message`], then `xx/`.
//!
//! Invariants:
//! - a decision carries its reason as data;
//! - every step is a pure function of state, `now` and input: same inputs, same outputs;
//! - integers only, ordered maps only.

#![no_std]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;

pub mod message;

mod machine;
mod options;
mod order;
mod shard;

pub mod budget;
pub mod fifo;
pub mod hermod;
pub mod memory;
pub mod rng;
pub mod xx;

pub use message::{
    IdleEntry, Job, Load, MachineInput, MachineOutput, Memory, PlaceReason, PollId, PreemptReason,
    RefuseReason, RunReason, ShardInput, ShardOutput, ToMachine, ToShard,
};

use alloc::boxed::Box;
use alloc::vec::Vec;
use model::{InvocationId, MachineId, PriceList, ShardId, Timestamp};

/// A global scheduler shard: the queue of each class, its idle list, placement.
pub trait Shard: Send {
    /// Takes one input; appends what follows from it to `out`, in order.
    fn step(&mut self, now: Timestamp, input: ShardInput, out: &mut Vec<ShardOutput>);
    /// When [`ShardInput::Tick`] is due, if nothing else comes before.
    fn deadline(&self) -> Option<Timestamp>;
    /// Invocations held, by class: index is [`model::ClassId`].
    fn queued(&self) -> Vec<usize>;
    /// Machines on this shard's idle list.
    fn idle_machines(&self) -> usize;
}

/// One machine: dispatcher (memory, idle list, admission) and machine scheduler (cores).
pub trait Machine: Send {
    /// Takes one input; appends what follows from it to `out`, in order.
    fn step(&mut self, now: Timestamp, input: MachineInput, out: &mut Vec<MachineOutput>);
    /// When [`MachineInput::Tick`] is due, if nothing else comes before.
    fn deadline(&self) -> Option<Timestamp>;
    /// How many functions the machine holds.
    fn functions(&self) -> usize;
    /// Whether it holds this one.
    fn holds(&self, id: InvocationId) -> bool;
    /// What the machine holds, by class: index is [`model::ClassId`].
    fn lanes(&self) -> Vec<Lane>;
}

/// What one machine holds of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// Placed here and never run yet.
    pub waiting: usize,
    /// On a core now.
    pub running: usize,
    /// Ran, lost its core to a higher class, waits to go on.
    pub preempted: usize,
    /// Waiting for something else than a core.
    pub blocked: usize,
}

/// What makes a shard and a machine of one scheduling policy.
pub trait Policy: Send + Sync {
    /// The name by which `--policy` chooses it.
    fn name(&self) -> &'static str;
    /// A shard with nothing queued.
    fn shard(&self, config: ShardConfig) -> Box<dyn Shard>;
    /// A machine with nothing placed.
    fn machine(&self, config: MachineConfig) -> Box<dyn Machine>;
}

/// What a shard needs to know at its start.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// This shard.
    pub id: ShardId,
    /// All machines that it may poll.
    pub machines: Vec<MachineId>,
    /// The classes and their prices.
    pub prices: PriceList,
    /// Seed of the shard's own random draws.
    pub seed: u64,
    /// The most it holds; above, [`ShardOutput::Reject`].
    pub queue_max: usize,
}

/// What a machine needs to know at its start.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// This machine.
    pub id: MachineId,
    /// All shards, for power-of-k registration in an idle list.
    pub shards: Vec<ShardId>,
    /// Cores that functions may hold at once.
    pub cores: usize,
    /// Functions started and not finished that it takes, blocked ones not counted; above,
    /// [`ToShard::Refused`].
    pub admission_max: usize,
    /// The classes and their prices.
    pub prices: PriceList,
    /// Seed of the machine's own random draws.
    pub seed: u64,
}

/// The names that [`by_name`] knows.
pub const NAMES: &[&str] = &["xx", "xx-turns", "hermod", "fifo"];

/// The policy of that name, with its settled choices.
#[must_use]
pub fn by_name(name: &str) -> Option<Box<dyn Policy>> {
    match name {
        "xx" => Some(Box::new(xx::Xx::default())),
        "xx-turns" => Some(Box::new(xx::Xx::turns())),
        "hermod" => Some(Box::new(hermod::Hermod::default())),
        "fifo" => Some(Box::new(fifo::Fifo::default())),
        _ => None,
    }
}
