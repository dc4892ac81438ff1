//! How the simulated cluster is made.

use model::ClassId;
use policy::memory::Watermarks;

use crate::memory::Growth;

/// Machines, shards, and what may go wrong. `Default` is the paper's cluster with memory absurdly
/// high, as in its Figure 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldConfig {
    /// Number of machines.
    pub machines: u32,
    /// Cores of each.
    pub cores: usize,
    /// Scheduler shards.
    pub shards: u32,
    /// Memory of each machine. None: more than anyone uses; then it is not followed at all, no
    /// machine ever tells of any, and none is on an idle list.
    pub memory: Option<MemoryConfig>,
    /// Time that a message takes between a shard and a machine.
    pub delay_ns: u64,
    /// Waits for something outside, during which the core is free.
    pub io: Option<IoConfig>,
    /// Machines that fail.
    pub loss: Option<LossConfig>,
    /// Functions that one machine takes.
    pub admission_max: usize,
    /// Functions that one shard holds.
    pub queue_max: usize,
    /// Whether every step is checked; see [`crate::check`].
    pub checks: Checks,
    /// How often usage is noted.
    pub sample_ns: u64,
    /// What is kept of each completion.
    pub keep: Keep,
}

/// Whether the invariants are looked at in each step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checks {
    /// They are not: several times faster.
    #[default]
    Off,
    /// Those of any scheduler: nothing lost or doubled, capacity, memory, no core idle.
    Any,
    /// Those too that price classes promise: strict by class, first come first served in a class.
    Strict,
}

/// What is kept of each completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// All of it.
    #[default]
    Completions,
    /// Counts only, for runs of which each completion would not fit in memory.
    Counts,
}

/// One machine's memory and swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// RAM for functions, in bytes.
    pub ram: u64,
    /// Swap, in bytes.
    pub swap: u64,
    /// Bytes that are written to swap in a second. 0: in no time, as in the paper.
    pub swap_out_per_s: u64,
    /// Bytes that are read back in a second. 0: in no time.
    pub swap_in_per_s: u64,
    /// What a function uses when it starts.
    pub start: u64,
    /// How it grows from there.
    pub growth: Growth,
    /// Whether it asks for what it grows by. In the paper's simulator everyone does.
    pub taking: Taking,
    /// How much of it is kept free. None where everyone asks before it takes.
    pub marks: Watermarks,
}

/// Whether a function that grows asks first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taking {
    /// It does, and waits until it is given more. It never has what is not there.
    #[default]
    Asked,
    /// It takes memory, as on a real machine. That shows when all are looked at; then somebody
    /// leaves for it. Only to begin and to come back from swap a function asks.
    Unasked {
        /// Between two looks.
        look_ns: u64,
    },
}

/// Each function waits so often for so long, evenly over its run or over the end of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoConfig {
    /// Waits of one invocation.
    pub waits: u32,
    /// Length of one.
    pub length_ns: u64,
    /// The part of its run before which it does not wait.
    pub after_percent: u8,
    /// Functions of classes above this one do not wait.
    pub up_to: ClassId,
}

/// Each machine fails by itself after an exponential time and comes back, empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossConfig {
    /// Mean time that a machine is up.
    pub mean_up_ns: u64,
    /// Time that it is away.
    pub away_ns: u64,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            machines: 100,
            cores: 8,
            shards: 4,
            memory: None,
            delay_ns: 0,
            io: None,
            loss: None,
            admission_max: usize::MAX,
            queue_max: usize::MAX,
            checks: Checks::Off,
            sample_ns: crate::workload::TICK_NS,
            keep: Keep::Completions,
        }
    }
}

/// The paper's machine of section 4.3: 32 GB of RAM, 500 GB of swap that costs no time.
impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            ram: 32_000 * crate::workload::MB,
            swap: 500_000 * crate::workload::MB,
            swap_out_per_s: 0,
            swap_in_per_s: 0,
            marks: Watermarks::NONE,
            start: 100 * crate::workload::MB,
            growth: Growth::default(),
            taking: Taking::Asked,
        }
    }
}
