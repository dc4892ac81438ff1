//! What the world asks of a scheduler, whatever its shape.
//!
//! The world knows machines, cores, memory and progress. A scheduler decides who runs where. The
//! policies of the crate `policy` come in through [`crate::live`]; schedulers that have no live form
//! (a central queue that sees everything, an oracle that knows run times) are in
//! [`crate::baseline`].

use model::{InvocationId, MachineId, Timestamp};
use policy::{Job, Memory};

/// An invocation on its way in, with what only an oracle may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission {
    /// What every scheduler sees.
    pub job: Job,
    /// Which function is called.
    pub function: u32,
    /// CPU time that it will take. For oracles.
    pub cpu_ns: u64,
}

/// What a scheduler is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// An invocation arrives, or arrives again after its machine was lost or it was killed.
    Arrive(Submission),
    /// It ended on that machine.
    Finished(MachineId, InvocationId),
    /// It waits for something else than a core.
    Blocked(MachineId, InvocationId),
    /// It wants a core again.
    Unblocked(MachineId, InvocationId),
    /// The machine is gone, with all that was on it.
    Lost(MachineId),
    /// The machine is there again, empty.
    Joined(MachineId),
    /// The machine's memory was sampled.
    Memory(MachineId, Memory),
    /// The scheduler's deadline is reached.
    Wake,
}

/// What a scheduler decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The invocation is on this machine now.
    Placed(MachineId, InvocationId),
    /// The machine did not take it: it is with the scheduler again.
    Returned(MachineId, InvocationId),
    /// It has a core.
    Run(MachineId, InvocationId),
    /// It has a share of the machine's cores.
    Share(MachineId, InvocationId),
    /// It lost its core and keeps its progress.
    Preempt(MachineId, InvocationId),
    /// It is refused for good.
    Reject(InvocationId),
}

/// Decides who runs where.
pub trait Scheduler: Send {
    /// Takes one input; appends what follows from it to `out`, in order.
    fn step(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>);
    /// When [`Input::Wake`] is due, if nothing else comes before.
    fn deadline(&self) -> Option<Timestamp>;
    /// This one is soon heard of on that machine: what is known of both may be fetched from memory.
    fn foresee(&self, _machine: MachineId, _id: InvocationId) {}
    /// Invocations that it holds: arrived and on no machine.
    fn held(&self) -> usize;
    /// Messages between shards and machines so far.
    fn messages(&self) -> u64;
}

/// What a scheduler needs to know at its start.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Number of machines; their ids are 0, 1, ….
    pub machines: u32,
    /// Cores of each.
    pub cores: usize,
    /// Scheduler shards, where there are shards.
    pub shards: u32,
    /// The classes.
    pub prices: model::PriceList,
    /// Time from shard to machine and back again, each.
    pub delay_ns: u64,
    /// Functions that one machine takes.
    pub admission_max: usize,
    /// Functions that one shard holds.
    pub queue_max: usize,
    /// The run's seed.
    pub seed: u64,
}
