//! Paper XX, Figure 3: tail latency under a wave of load, by class, with and without classes.

use model::ClassId;

use super::seeds;
use crate::policies::{Entry, find};
use crate::runner::Runner;
use crate::statistics::{Cell, ClassReport, Estimate, cells, quantile, reports};
use crate::workload::Workload;
use crate::workload::synthetic::Synthetic;
use crate::world::{Outcome, WorldConfig, simulate};

/// Figure 3's parameters. `Default`: 100 machines × 8 cores, 4 shards, k = 3, no idle list, memory
/// absurdly high; 170, 300 and again 170 invocations a tick, changing at ticks 50 and 80.
#[derive(Clone, Debug)]
pub struct Figure3Config {
    /// The cluster.
    pub world: WorldConfig,
    /// What arrives.
    pub workload: Synthetic,
    /// Who is compared.
    pub policies: Vec<Entry>,
    /// The seeds; each policy sees the same.
    pub seeds: Vec<u64>,
}

impl Default for Figure3Config {
    fn default() -> Self {
        let k = 3;
        let names = ["xx-polling", "hermod", "xx-same-or-higher"];
        Self {
            world: WorldConfig::default(),
            workload: Synthetic::default(),
            policies: names.iter().filter_map(|name| find(name, k)).collect(),
            seeds: seeds(5),
        }
    }
}

/// One tick of one policy, over all seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Which tick.
    pub tick: u64,
    /// By class: the 99 % quantile of the slowdown of all that arrived in it, all seeds together.
    /// Not a number where none did.
    pub p99_slowdown: Vec<f64>,
    /// By class: the same of the latency in milliseconds.
    pub p99_ms: Vec<f64>,
    /// Part of all cores that was busy in it, mean over seeds.
    pub cores: f64,
}

/// What Figure 3 shows.
#[derive(Clone, Debug)]
pub struct Figure3 {
    /// By policy, then by class, dearest first.
    pub classes: Vec<ClassReport>,
    /// By policy: its name, and its ticks.
    pub ticks: Vec<(String, Vec<Tick>)>,
    /// By policy: part of the cores that was busy from first to last arrival.
    pub utilization: Vec<(String, Estimate)>,
    /// By policy and seed: the trace hash.
    pub hashes: Vec<(String, u64, u64)>,
    /// How the workload was made.
    pub recipe: String,
    /// The tick at which the overload begins, and at which it ends.
    pub overload_ticks: (u64, u64),
}

struct Run {
    cells: [Vec<Cell>; 3],
    outcome: Outcome,
}

/// Simulates all policies on the same arrivals.
#[must_use]
pub fn figure3(config: &Figure3Config, runner: &Runner<'_>) -> Figure3 {
    let prices = config.workload.prices();
    let phases = config.workload.phases();
    let tasks: Vec<(&Entry, u64)> = config
        .policies
        .iter()
        .flat_map(|policy| config.seeds.iter().map(move |&seed| (policy, seed)))
        .collect();
    let runs = runner.run(&tasks, |&(policy, seed)| {
        let outcome = simulate(&config.world, policy, &config.workload, seed);
        Run { cells: cells(&outcome, phases, prices.len()), outcome }
    });
    let mut figure = Figure3 {
        classes: Vec::new(),
        ticks: Vec::new(),
        utilization: Vec::new(),
        hashes: Vec::new(),
        recipe: config.workload.recipe(),
        overload_ticks: config.workload.overload_ticks,
    };
    for (policy, runs) in config.policies.iter().zip(runs.chunks(config.seeds.len().max(1))) {
        let name = policy.name.clone();
        let of_runs: Vec<_> = runs.iter().map(|run| run.cells.clone()).collect();
        figure.classes.extend(reports(&name, prices, &of_runs));
        figure.ticks.push((name.clone(), ticks(config, runs)));
        let busy = |run: &Run| {
            let machines = run.outcome.utilization(config.world.cores);
            machines.iter().sum::<f64>() / machines.len().max(1) as f64
        };
        let busy = Estimate::of(&runs.iter().map(busy).collect::<Vec<f64>>());
        figure.utilization.push((name.clone(), busy));
        let hash = |run: &Run| (name.clone(), run.outcome.seed, run.outcome.trace_hash);
        figure.hashes.extend(runs.iter().map(hash));
    }
    figure
}

fn ticks(config: &Figure3Config, runs: &[Run]) -> Vec<Tick> {
    let classes = config.workload.prices.len();
    let end = usize::try_from(config.workload.end_tick).unwrap_or(usize::MAX);
    let mut slowdowns: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); classes]; end];
    let mut latencies: Vec<Vec<Vec<f64>>> = slowdowns.clone();
    for completion in runs.iter().flat_map(|run| &run.outcome.completions) {
        let tick = completion.arrived_ns / config.workload.tick_ns;
        let tick = usize::try_from(tick).unwrap_or(usize::MAX).min(end - 1);
        let ClassId(class) = completion.class;
        slowdowns[tick][usize::from(class)].push(completion.slowdown());
        latencies[tick][usize::from(class)].push(completion.latency_ns() as f64 / 1e6);
    }
    let p99 = |values: &mut Vec<f64>| quantile(values, 0.99).unwrap_or(f64::NAN);
    let point = |tick: usize| {
        let samples = runs.iter().filter_map(|run| run.outcome.samples.get(tick));
        let cores: Vec<f64> = samples.map(|sample| sample.cores).collect();
        Tick {
            tick: tick as u64,
            p99_slowdown: slowdowns[tick].iter_mut().map(p99).collect(),
            p99_ms: latencies[tick].iter_mut().map(p99).collect(),
            cores: cores.iter().sum::<f64>() / cores.len().max(1) as f64,
        }
    };
    (0..end).map(point).collect()
}
