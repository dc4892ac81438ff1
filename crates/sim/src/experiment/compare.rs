//! The same arrivals under several policies.

use super::seeds;
use crate::policies::Entry;
use crate::runner::Runner;
use crate::statistics::{Cell, ClassReport, Estimate, cells, quantile, reports};
use crate::workload::recording::Recording;
use crate::workload::{Phases, Workload};
use crate::world::{Counts, Outcome, WorldConfig, simulate};

/// Who is compared, and where.
#[derive(Clone, Debug)]
pub struct CompareConfig {
    /// The cluster.
    pub world: WorldConfig,
    /// Who is compared.
    pub policies: Vec<Entry>,
    /// The seeds; each policy sees the same.
    pub seeds: Vec<u64>,
    /// Length of the ticks of [`PolicyReport::ticks`]. None: no ticks, which saves memory on long
    /// traces.
    pub tick_ns: Option<u64>,
}

impl Default for CompareConfig {
    fn default() -> Self {
        Self { world: WorldConfig::default(), policies: Vec::new(), seeds: seeds(5), tick_ns: None }
    }
}

/// What came out of a comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// How the workload was made.
    pub recipe: String,
    /// The phases of the workload.
    pub phases: Phases,
    /// By policy, then by class, dearest first.
    pub classes: Vec<ClassReport>,
    /// By policy.
    pub policies: Vec<PolicyReport>,
}

/// One policy as a whole.
#[derive(Clone, Debug)]
pub struct PolicyReport {
    /// Its name.
    pub policy: String,
    /// Part of all cores that was busy until the last arrival.
    pub utilization: Estimate,
    /// The same of the idlest machine, and of the busiest.
    pub utilization_min: Estimate,
    /// The busiest machine's.
    pub utilization_max: Estimate,
    /// Mean slowdown of all invocations.
    pub mean_slowdown: Estimate,
    /// Messages between shards and machines for each invocation.
    pub messages: Estimate,
    /// Cores taken away for each invocation.
    pub preemptions: Estimate,
    /// What happened how often, all seeds together.
    pub counts: Counts,
    /// Over time; empty without [`CompareConfig::tick_ns`].
    pub ticks: Vec<Tick>,
    /// By seed: the trace hash.
    pub hashes: Vec<(u64, u64)>,
}

/// One tick, all seeds together.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Which tick, counted from 0.
    pub tick: usize,
    /// By class, cheapest first: the 99 % quantile of the slowdown of all that arrived in it. Not a
    /// number where none did.
    pub p99_slowdown: Vec<f64>,
    /// By class: the same of the latency in milliseconds.
    pub p99_ms: Vec<f64>,
    /// Part of all cores that was busy in it, mean over seeds.
    pub cores: f64,
}

/// What is kept of one run.
struct Run {
    cells: [Vec<Cell>; 3],
    outcome: Outcome,
    utilization: Vec<f64>,
    mean_slowdown: f64,
    /// Tick, class, slowdown, latency in ms.
    points: Vec<(u32, u8, f32, f32)>,
}

impl Run {
    fn new(config: &CompareConfig, workload: &dyn Workload, mut outcome: Outcome) -> Self {
        let cells = cells(&outcome, workload.phases(), workload.prices().len());
        let completions = std::mem::take(&mut outcome.completions);
        let mean_slowdown =
            completions.iter().map(|c| c.slowdown()).sum::<f64>() / completions.len().max(1) as f64;
        let point = |tick_ns: u64| {
            completions.iter().map(move |c| {
                let tick = u32::try_from(c.arrived_ns / tick_ns.max(1)).unwrap_or(u32::MAX);
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "seven digits are enough to plot"
                )]
                let (slowdown, ms) = (c.slowdown() as f32, (c.latency_ns() as f64 / 1e6) as f32);
                (tick, c.class.0, slowdown, ms)
            })
        };
        let points = config.tick_ns.map_or_else(Vec::new, |tick_ns| point(tick_ns).collect());
        let utilization = outcome.utilization(config.world.cores);
        Self { cells, outcome, utilization, mean_slowdown, points }
    }
}

/// Simulates all policies on the same arrivals.
#[must_use]
pub fn compare(config: &CompareConfig, workload: &dyn Workload, runner: &Runner<'_>) -> Comparison {
    let tasks: Vec<(&Entry, u64)> = config
        .policies
        .iter()
        .flat_map(|policy| config.seeds.iter().map(move |&seed| (policy, seed)))
        .collect();
    let runs = runner.run(&tasks, |&(policy, seed)| {
        Run::new(config, workload, simulate(&config.world, policy, workload, seed))
    });
    let mut comparison = Comparison {
        recipe: workload.recipe(),
        phases: workload.phases(),
        classes: Vec::new(),
        policies: Vec::new(),
    };
    for (policy, runs) in config.policies.iter().zip(runs.chunks(config.seeds.len().max(1))) {
        let cells: Vec<_> = runs.iter().map(|run| run.cells.clone()).collect();
        comparison.classes.extend(reports(&policy.name, workload.prices(), &cells));
        comparison.policies.push(report(config, workload, &policy.name, runs));
    }
    comparison
}

/// A recording under other machines, classes or policies: [`compare`] by the name of the question.
/// Change classes beforehand with [`Recording::set_class`]. Seeds change only what policies draw.
#[must_use]
pub fn replay(config: &CompareConfig, recording: &Recording, runner: &Runner<'_>) -> Comparison {
    compare(config, recording, runner)
}

fn report(
    config: &CompareConfig,
    workload: &dyn Workload,
    name: &str,
    runs: &[Run],
) -> PolicyReport {
    let estimate =
        |value: &dyn Fn(&Run) -> f64| Estimate::of(&runs.iter().map(value).collect::<Vec<f64>>());
    let per_arrival = |part: u64, run: &Run| part as f64 / run.outcome.counts.arrived.max(1) as f64;
    let mut counts = Counts::default();
    for run in runs {
        counts.add(&run.outcome.counts);
    }
    PolicyReport {
        policy: name.to_owned(),
        utilization: estimate(&|run| {
            run.utilization.iter().sum::<f64>() / run.utilization.len().max(1) as f64
        }),
        utilization_min: estimate(&|run| run.utilization.iter().copied().fold(f64::MAX, f64::min)),
        utilization_max: estimate(&|run| run.utilization.iter().copied().fold(0.0, f64::max)),
        mean_slowdown: estimate(&|run| run.mean_slowdown),
        messages: estimate(&|run| per_arrival(run.outcome.counts.messages, run)),
        preemptions: estimate(&|run| per_arrival(run.outcome.counts.preemptions, run)),
        counts,
        ticks: config
            .tick_ns
            .map_or_else(Vec::new, |tick_ns| ticks(config, tick_ns, workload.prices().len(), runs)),
        hashes: runs.iter().map(|run| (run.outcome.seed, run.outcome.trace_hash)).collect(),
    }
}

fn ticks(config: &CompareConfig, tick_ns: u64, classes: usize, runs: &[Run]) -> Vec<Tick> {
    let index = |tick: u32| usize::try_from(tick).expect("an index fits");
    let last = runs.iter().flat_map(|run| &run.points).map(|point| index(point.0)).max();
    let count = last.map_or(0, |last| last + 1);
    let mut slowdowns: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); classes]; count];
    let mut latencies = slowdowns.clone();
    for &(tick, class, slowdown, ms) in runs.iter().flat_map(|run| &run.points) {
        slowdowns[index(tick)][usize::from(class)].push(f64::from(slowdown));
        latencies[index(tick)][usize::from(class)].push(f64::from(ms));
    }
    let p99 = |values: &mut Vec<f64>| quantile(values, 0.99).unwrap_or(f64::NAN);
    let point = |tick: usize| {
        // Samples and ticks need not be equally long: the sample at the tick's end counts.
        let end_ns = (tick as u64 + 1) * tick_ns;
        let sample = usize::try_from(end_ns.div_ceil(config.world.sample_ns)).unwrap_or(1).max(1);
        let samples = runs.iter().filter_map(|run| run.outcome.samples.get(sample - 1));
        let cores: Vec<f64> = samples.map(|sample| sample.cores).collect();
        Tick {
            tick,
            p99_slowdown: slowdowns[tick].iter_mut().map(p99).collect(),
            p99_ms: latencies[tick].iter_mut().map(p99).collect(),
            cores: cores.iter().sum::<f64>() / cores.len().max(1) as f64,
        }
    };
    (0..count).map(point).collect()
}
