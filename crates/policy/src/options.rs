//! The named choices that the paper leaves open, with the settled ones as defaults.

use core::time::Duration;

/// Which head a shard places next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueRule {
    /// The largest price × (wait + ε): an old head of a low class wins in the end (DESIGN rule 1).
    #[default]
    PriceTimesWait,
    /// The largest price ÷ (wait + ε): the paper's ratio read literally, which serves the newest
    /// first. For comparison.
    PriceOverWait,
    /// The first that came, whatever its class.
    FirstCome,
}

/// Which functions of a polled machine count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PollCount {
    /// All of them (paper XX, section 3.2).
    #[default]
    All,
    /// Those of the job's class or a higher one: the others cannot delay it (DESIGN rule 4).
    SameOrHigher,
}

/// Who gets a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CoreRule {
    /// Preemptive, strict by class, first come first served inside one (DESIGN rule 5).
    #[default]
    StrictByClass,
    /// Preemptive and strict by class; inside one, whoever had fewer turns of [`Options::turn`] goes
    /// first, so that one long function does not keep short ones waiting.
    Turns,
    /// First come, first served, to its end, whatever the class.
    FirstCome,
    /// Everything at once: processor sharing.
    Shared,
}

/// Every choice of a policy. `Default` is what DESIGN section 4 settles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Machines polled for one job, and shards asked before joining an idle list.
    pub k: usize,
    /// Whether there are idle lists at all.
    pub idle_list: bool,
    /// Which functions count when polling.
    pub poll_count: PollCount,
    /// Which job next.
    pub queue_rule: QueueRule,
    /// Who gets a core.
    pub core_rule: CoreRule,
    /// Length of a turn under [`CoreRule::Turns`]. Not zero.
    pub turn: Duration,
    /// ε of the queue rule: how much a price alone weighs before there is any wait. With 1 ms, a
    /// new call at 2.0 goes before one at 0.3 that has waited up to 5.7 ms.
    pub epsilon: Duration,
    /// The longest wait for answers to a poll; then the answers there are decide.
    pub poll_timeout: Duration,
    /// How often a shard that holds work asks some of the full machines again, in case that a
    /// [`crate::ToShard::Room`] was lost.
    pub hold_recheck: Duration,
    /// Free memory, in percent of all, from which a machine joins an idle list.
    pub idle_join_percent: u8,
    /// Free memory, in percent of all, below which it leaves.
    pub idle_leave_percent: u8,
    /// Change of free memory, in percent of all, at which it refreshes its entry.
    pub idle_refresh_percent: u8,
    /// How often it refreshes its entry in any case. A shard drops an entry that missed three.
    /// None: never, and entries stay.
    pub idle_heartbeat: Option<Duration>,
    /// Memory free in RAM and swap together, in percent of all RAM, below which a machine that runs
    /// something takes no more.
    pub memory_full_percent: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            k: 3,
            idle_list: true,
            poll_count: PollCount::All,
            queue_rule: QueueRule::PriceTimesWait,
            core_rule: CoreRule::StrictByClass,
            turn: Duration::from_millis(30),
            epsilon: Duration::from_millis(1),
            poll_timeout: Duration::from_millis(20),
            hold_recheck: Duration::from_secs(1),
            idle_join_percent: 20,
            idle_leave_percent: 10,
            idle_refresh_percent: 10,
            idle_heartbeat: Some(Duration::from_millis(500)),
            memory_full_percent: 2,
        }
    }
}
