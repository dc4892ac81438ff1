//! Capacity planning: the fewest machines that keep what was promised to the classes.

use std::ops::RangeInclusive;

use super::{CompareConfig, compare, seeds};
use crate::policies::Entry;
use crate::runner::Runner;
use crate::statistics::{ClassReport, PhaseReport};
use crate::workload::Workload;
use crate::world::WorldConfig;

/// What is promised to one class, in every phase of the workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The class's name.
    pub class: String,
    /// The 99 % quantile of the slowdown is at most that.
    pub p99_slowdown: Option<f64>,
    /// The 99 % quantile of the latency is at most so many milliseconds.
    pub p99_ms: Option<f64>,
}

/// What is planned.
#[derive(Clone, Debug)]
pub struct PlanConfig {
    /// The cluster; the number of its machines is what is sought.
    pub world: WorldConfig,
    /// Under which policy.
    pub policy: Entry,
    /// What is promised.
    pub targets: Vec<Target>,
    /// From the fewest to the most machines that come into question.
    pub machines: RangeInclusive<u32>,
    /// The seeds: a target is kept where the mean over them keeps it.
    pub seeds: Vec<u64>,
}

impl PlanConfig {
    /// Those targets under that policy, on 1 to 1,000 machines, with five seeds.
    #[must_use]
    pub fn new(policy: Entry, targets: Vec<Target>) -> Self {
        let world = WorldConfig::default();
        Self { world, policy, targets, machines: 1..=1_000, seeds: seeds(5) }
    }
}

/// One number of machines that was tried.
#[derive(Clone, Debug)]
pub struct PlanTry {
    /// How many.
    pub machines: u32,
    /// Whether all targets are kept.
    pub kept: bool,
    /// What the classes had, dearest first.
    pub classes: Vec<ClassReport>,
    /// Part of the cores that was busy.
    pub utilization: f64,
}

/// A plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The fewest machines that keep all targets. None: the most that come into question do not.
    pub machines: Option<u32>,
    /// All that was tried, in that order.
    pub tried: Vec<PlanTry>,
}

/// Seeks by bisection: more machines are taken to keep whatever fewer keep.
#[must_use]
pub fn plan(config: &PlanConfig, workload: &dyn Workload, runner: &Runner<'_>) -> Plan {
    let mut tried = Vec::new();
    let (mut low, mut high) = (*config.machines.start(), *config.machines.end());
    let mut best = None;
    // From below by doubling, so that a cluster far too large is never simulated.
    let mut next = low;
    while best.is_none() && low <= high {
        let attempt = attempt(config, workload, runner, next);
        if attempt.kept {
            best = Some(next);
            high = next - 1;
        } else {
            low = next + 1;
        }
        tried.push(attempt);
        next = next.saturating_mul(2).min(high);
    }
    while best.is_some() && low <= high {
        let middle = low + (high - low) / 2;
        let attempt = attempt(config, workload, runner, middle);
        if attempt.kept {
            best = Some(middle);
            high = middle - 1;
        } else {
            low = middle + 1;
        }
        tried.push(attempt);
    }
    Plan { machines: best, tried }
}

fn attempt(
    config: &PlanConfig,
    workload: &dyn Workload,
    runner: &Runner<'_>,
    machines: u32,
) -> PlanTry {
    let compared = CompareConfig {
        world: WorldConfig { machines, ..config.world.clone() },
        policies: vec![config.policy.clone()],
        seeds: config.seeds.clone(),
        tick_ns: None,
    };
    let comparison = compare(&compared, workload, runner);
    let kept = config.targets.iter().all(|target| keeps(&comparison.classes, target));
    let utilization = comparison.policies.first().map_or(0.0, |policy| policy.utilization.mean);
    PlanTry { machines, kept, classes: comparison.classes, utilization }
}

fn keeps(classes: &[ClassReport], target: &Target) -> bool {
    let within = |value: f64, limit: Option<f64>| limit.is_none_or(|limit| value <= limit);
    let phase = |phase: &PhaseReport| {
        phase.count == 0
            || (within(phase.p99_slowdown.mean, target.p99_slowdown)
                && within(phase.p99_ms.mean, target.p99_ms))
    };
    classes
        .iter()
        .filter(|report| report.class == target.class)
        .all(|report| phase(&report.before) && phase(&report.overload) && phase(&report.after))
}
