//! What came out of one run: plain data.

use model::ClassId;

/// One invocation that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// When it first arrived.
    pub arrived_ns: u64,
    /// When it ended.
    pub finished_ns: u64,
    /// What it would have taken alone: CPU time and waits outside.
    pub alone_ns: u64,
    /// Its class.
    pub class: ClassId,
    /// Times that it began anew.
    pub restarts: u32,
}

impl Completion {
    /// From arrival to end.
    #[must_use]
    pub const fn latency_ns(&self) -> u64 {
        self.finished_ns - self.arrived_ns
    }

    /// Latency over what it would have taken alone.
    #[must_use]
    pub fn slowdown(&self) -> f64 {
        self.latency_ns() as f64 / self.alone_ns as f64
    }
}

/// What happened how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Invocations that arrived.
    pub arrived: u64,
    /// Of them, ran to the end.
    pub completed: u64,
    /// Of them, refused by the scheduler.
    pub rejected: u64,
    /// Of them, killed once too often.
    pub failed: u64,
    /// Times that a core was taken away for a higher class.
    pub preemptions: u64,
    /// Kills for want of memory.
    pub kills: u64,
    /// Functions that a lost machine took with it, each time.
    pub lost: u64,
    /// Times that a function was swapped out.
    pub swap_outs: u64,
    /// Events of the world: arrivals, milestones, wakes, waits. Void ones are not counted.
    pub events: u64,
    /// Messages that shards and machines took in.
    pub messages: u64,
}

impl Counts {
    /// Adds another run's.
    pub const fn add(&mut self, other: &Self) {
        self.arrived += other.arrived;
        self.completed += other.completed;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.preemptions += other.preemptions;
        self.kills += other.kills;
        self.lost += other.lost;
        self.swap_outs += other.swap_outs;
        self.events += other.events;
        self.messages += other.messages;
    }
}

/// What one machine went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineUse {
    /// Core time used until the last arrival, in nanoseconds.
    pub busy_ns: u64,
    /// Most RAM in use, in bytes.
    pub ram_peak: u64,
    /// Bytes written to swap, in all.
    pub swap_total: u64,
    /// Most bytes in swap at one time.
    pub swap_peak: u64,
    /// RAM in use × time until the last arrival, in megabyte-seconds.
    pub ram_mb_s: u64,
    /// Functions killed on it.
    pub kills: u64,
}

/// The cluster at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When.
    pub at_ns: u64,
    /// Part of all cores that was busy since the last sample.
    pub cores: f64,
    /// Part of RAM in use: smallest machine, 10 %, median, 90 %, largest. Zeros without memory.
    pub ram: [f64; 5],
    /// Bytes in swap: the same five.
    pub swap: [u64; 5],
    /// Invocations that the scheduler holds.
    pub held: usize,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The policy's name.
    pub policy: String,
    /// The seed.
    pub seed: u64,
    /// A hash over every decision and its time. The same seed gives the same hash.
    pub trace_hash: u64,
    /// Everything that ended, in order of its end. Empty where only counts are kept.
    pub completions: Vec<Completion>,
    /// How often what happened.
    pub counts: Counts,
    /// Each machine.
    pub machines: Vec<MachineUse>,
    /// By class: functions swapped out, bytes swapped out, kills.
    pub pressure: Vec<Pressure>,
    /// The cluster over time.
    pub samples: Vec<Sample>,
    /// When the last invocation arrived, and when the last ended.
    pub last_arrival_ns: u64,
    /// When the last one ended.
    pub end_ns: u64,
}

/// What want of memory did to one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Times that a function was swapped out.
    pub swap_outs: u64,
    /// Bytes of them.
    pub swap_bytes: u64,
    /// Kills.
    pub kills: u64,
}

impl Outcome {
    /// Part of each machine's cores that was busy until the last arrival.
    #[must_use]
    pub fn utilization(&self, cores: usize) -> Vec<f64> {
        let capacity = (self.last_arrival_ns.max(1) * cores as u64) as f64;
        self.machines.iter().map(|machine| machine.busy_ns as f64 / capacity).collect()
    }
}
