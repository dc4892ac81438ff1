//! What shards, machines and their shell say to each other: plain data.

use core::time::Duration;
use model::{Bytes64, ClassId, InvocationId, MachineId, ShardId, Timestamp};

/// One invocation as the scheduler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which invocation.
    pub id: InvocationId,
    /// Its effective class.
    pub class: ClassId,
    /// When it first arrived at the platform. A restart keeps it.
    pub arrived: Timestamp,
}

/// One question "how full are you?" and its answer belong together by this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PollId(pub u64);

/// A machine's answer to a poll, and part of its idle-list entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Functions on the machine that are not finished, of every class.
    pub functions: usize,
    /// Those of the asked class or a higher one.
    pub same_or_higher: usize,
    /// Whether it would take one more now.
    pub room: bool,
    /// Memory free for functions.
    pub memory_free: Bytes64,
}

/// A machine's memory as sampled by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What functions may use in all.
    pub total: Bytes64,
    /// What they use now.
    pub used: Bytes64,
    /// What swap can still take of it.
    pub swap_free: Bytes64,
}

/// A machine's entry in an idle list. Its dispatcher owns it; a higher `version` replaces a lower
/// one and a stale update is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleEntry {
    /// The machine.
    pub machine: MachineId,
    /// Counts the dispatcher's updates.
    pub version: u64,
    /// Functions on the machine; the shard's copy rises as it places.
    pub functions: usize,
    /// Memory free for functions.
    pub memory_free: Bytes64,
}

/// What a shard takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardInput {
    /// A new invocation, or one to be placed again after its machine was lost.
    Arrive(Job),
    /// Its caller no longer waits: drop it if it is still held.
    Withdraw(InvocationId),
    /// The effective class of a held invocation rises (a holder is boosted).
    Boost(InvocationId, ClassId),
    /// Said by a machine.
    FromMachine(MachineId, ToShard),
    /// The machine is gone. The shell sends `Arrive` for each invocation that was on it.
    MachineLost(MachineId),
    /// The machine is there (again).
    MachineJoined(MachineId),
    /// The deadline is reached.
    Tick,
}

/// What a machine says to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToShard {
    /// Answer to [`ToMachine::Poll`].
    Load(PollId, Load),
    /// Could not take this invocation: it goes back to the head of its class.
    Refused(Job, RefuseReason),
    /// Has room again after refusing or answering a poll with no room.
    Room,
    /// How long is your idle list? (power of k choices)
    IdleLength(PollId),
    /// Put me on your idle list, or replace my entry there.
    IdleJoin(IdleEntry),
    /// Take me off. `version` as in [`IdleEntry`].
    IdleLeave {
        /// Counts the dispatcher's updates.
        version: u64,
    },
}

/// What a shard says to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToMachine {
    /// How full are you, seen from this class?
    Poll(PollId, ClassId),
    /// Run this.
    Place(Job, PlaceReason),
    /// Answer to [`ToShard::IdleLength`].
    IdleLength(PollId, usize),
}

/// What a shard decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardOutput {
    /// Send this to the machine.
    ToMachine(MachineId, ToMachine),
    /// The queue is full: the invocation is refused.
    Reject(Job, RefuseReason),
    /// Nothing has room: the invocation stays queued (said once for each time that it is held).
    Held(InvocationId),
}

/// Why a machine was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceReason {
    /// It was on the shard's idle list with the smallest queue.
    IdleList {
        /// Its functions, by the shard's copy, before this one.
        functions: usize,
        /// Its free memory, by the shard's copy.
        memory_free: Bytes64,
        /// Machines on the list.
        candidates: usize,
        /// Time in the shard's queue.
        queued: Duration,
    },
    /// It had the smallest count of those polled.
    Polled {
        /// Its count, as the policy counts.
        counted: usize,
        /// Machines that answered.
        answered: usize,
        /// Time in the shard's queue, the polling included.
        queued: Duration,
    },
    /// No choice was made by load: there is one machine, or the policy draws at random or by hash.
    Direct {
        /// Time in the shard's queue.
        queued: Duration,
    },
}

/// Why an invocation was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefuseReason {
    /// The machine's admission limit is reached.
    Admission {
        /// The limit.
        limit: usize,
    },
    /// The shard's queue is full.
    QueueFull {
        /// The limit.
        limit: usize,
    },
    /// The machine's memory is full.
    Memory {
        /// Memory free for functions.
        free: Bytes64,
    },
}

/// What a machine takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineInput {
    /// Said by a shard.
    FromShard(ShardId, ToMachine),
    /// A function waits for something else than a core: its core is free.
    Blocked(InvocationId),
    /// What it waited for is there: it wants a core again.
    Unblocked(InvocationId),
    /// It ended, however that was.
    Finished(InvocationId),
    /// Its effective class rises (a holder is boosted).
    Boost(InvocationId, ClassId),
    /// Its memory was sampled.
    Memory(Memory),
    /// The deadline is reached.
    Tick,
}

/// What a machine decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineOutput {
    /// Give it a core: start it, or let it go on.
    Run(InvocationId, RunReason),
    /// Take its core away; it keeps its progress.
    Preempt(InvocationId, PreemptReason),
    /// Send this to the shard.
    ToShard(ShardId, ToShard),
}

/// Why a function got a core now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunReason {
    /// A core was free.
    CoreFree {
        /// Time on this machine without a core since it last wanted one.
        waited: Duration,
    },
    /// It took the core of a lower class.
    Preempting {
        /// Whose core.
        victim: InvocationId,
        /// The victim's class.
        victim_class: ClassId,
        /// Time on this machine without a core since it last wanted one.
        waited: Duration,
    },
    /// Cores are shared by all functions at once.
    Shared {
        /// Functions that share, this one included.
        sharing: usize,
    },
}

/// Why a function lost its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreemptReason {
    /// A higher class wanted it.
    HigherClass {
        /// Who.
        by: InvocationId,
        /// Its class.
        by_class: ClassId,
    },
    /// Its turn was over, and another of its class that had fewer wanted the core.
    TurnOver {
        /// How long it held cores so far.
        had: Duration,
    },
}
