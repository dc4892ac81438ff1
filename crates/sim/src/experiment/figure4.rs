//! Paper XX, Figure 4: how memory use and swapping spread over machines as the load rises.

use super::seeds;
use crate::memory::Growth;
use crate::policies::Entry;
use crate::runner::Runner;
use crate::statistics::{Cell, ClassReport, Estimate, cells, quantile, reports};
use crate::workload::synthetic::Synthetic;
use crate::workload::{MB, Workload};
use crate::world::{MemoryConfig, Outcome, WorldConfig, simulate};
use policy::xx;

/// Figure 4's parameters.
#[derive(Clone, Debug)]
pub struct Figure4Config {
    /// The cluster; its memory's growth is set by `growths`.
    pub world: WorldConfig,
    /// RAM and swap of each machine.
    pub memory: MemoryConfig,
    /// The policy.
    pub policy: Entry,
    /// What arrives, at each of the rates.
    pub workload: Synthetic,
    /// Invocations a tick.
    pub rates: Vec<f64>,
    /// Growth models.
    pub growths: Vec<Growth>,
    /// The seeds.
    pub seeds: Vec<u64>,
}

/// 100 machines × 8 cores, 32 GB of RAM and 500 GB of swap each that costs no time; the whole of XX,
/// idle list and all, k = 3; 100 ticks at each rate. The prototype's length of a run is not known;
/// bytes swapped in all grow with it, the peak does not.
impl Default for Figure4Config {
    fn default() -> Self {
        Self {
            world: WorldConfig::default(),
            memory: MemoryConfig::default(),
            policy: swapping_xx(3),
            workload: Synthetic::steady(0.0, 100),
            rates: vec![80.0, 110.0, 140.0, 170.0, 185.0, 200.0, 210.0, 220.0, 230.0],
            growths: vec![Growth::FrontLoaded, Growth::Linear],
            seeds: seeds(5),
        }
    }
}

/// The whole of XX on machines with swap: full RAM alone turns nobody away.
#[must_use]
pub fn swapping_xx(k: usize) -> Entry {
    let options = xx::Options { k, memory_full_percent: 0, ..xx::Options::default() };
    Entry::xx("xx", "price classes: idle lists, else least loaded of k, strict machines", options)
}

/// Quantiles over machines, each with its interval over seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Five {
    /// The least.
    pub min: Estimate,
    /// A tenth of the machines stay below.
    pub p10: Estimate,
    /// Half of them.
    pub median: Estimate,
    /// Nine tenths.
    pub p90: Estimate,
    /// The most.
    pub max: Estimate,
}

/// One class's part in swapping, per run.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassSwap {
    /// The class.
    pub class: String,
    /// Functions swapped out.
    pub swap_outs: Estimate,
    /// Part of all bytes swapped out.
    pub part: Estimate,
    /// Functions killed.
    pub kills: Estimate,
}

/// One rate under one growth model.
#[derive(Clone, Debug)]
pub struct Figure4Point {
    /// Invocations a tick.
    pub rate: f64,
    /// How memory grew.
    pub growth: Growth,
    /// Part of the cores that was busy.
    pub cores: Five,
    /// Part of RAM in use, mean over time.
    pub ram: Five,
    /// Most of RAM in use at one time.
    pub ram_peak: Five,
    /// Bytes written to swap in all, in GB.
    pub swap_total_gb: Five,
    /// Most bytes in swap at one time, in GB.
    pub swap_peak_gb: Five,
    /// Which classes were swapped, dearest first.
    pub swapped: Vec<ClassSwap>,
    /// Kills in one run.
    pub kills: Estimate,
    /// Latencies, dearest class first; all under "before".
    pub classes: Vec<ClassReport>,
}

/// What Figure 4 shows.
#[derive(Clone, Debug)]
pub struct Figure4 {
    /// By growth, then by rate.
    pub points: Vec<Figure4Point>,
    /// How the workload was made, at the last rate.
    pub recipe: String,
}

struct Run {
    outcome: Outcome,
    cells: [Vec<Cell>; 3],
}

/// Simulates Figure 4.
#[must_use]
pub fn figure4(config: &Figure4Config, runner: &Runner<'_>) -> Figure4 {
    let at_rate = |rate: f64| {
        let mut workload = config.workload.clone();
        workload.steps.iter_mut().for_each(|step| step.rate = rate);
        workload
    };
    let mut tasks = Vec::new();
    for &growth in &config.growths {
        for &rate in &config.rates {
            tasks.extend(config.seeds.iter().map(|&seed| (growth, rate, seed)));
        }
    }
    let runs = runner.run(&tasks, |&(growth, rate, seed)| {
        let memory = Some(MemoryConfig { growth, ..config.memory });
        let world = WorldConfig { memory, ..config.world.clone() };
        let workload = at_rate(rate);
        let mut outcome = simulate(&world, &config.policy, &workload, seed);
        let cells = cells(&outcome, workload.phases(), workload.prices().len());
        outcome.completions = Vec::new();
        Run { outcome, cells }
    });
    let seeds = config.seeds.len().max(1);
    let points = tasks.chunks(seeds).zip(runs.chunks(seeds));
    let points = points.map(|(tasks, runs)| point(config, tasks[0].0, tasks[0].1, runs)).collect();
    let last = config.rates.last().copied().unwrap_or_default();
    Figure4 { points, recipe: at_rate(last).recipe() }
}

fn point(config: &Figure4Config, growth: Growth, rate: f64, runs: &[Run]) -> Figure4Point {
    let ram_mb = (config.memory.ram / MB) as f64;
    let gb = |bytes: u64| bytes as f64 / (1_000 * MB) as f64;
    let per_s = |outcome: &Outcome| outcome.last_arrival_ns.max(1) as f64 / 1e9;
    let machines = |part: &dyn Fn(&Outcome, usize) -> f64| {
        five(runs, |run| {
            (0..run.outcome.machines.len()).map(|machine| part(&run.outcome, machine)).collect()
        })
    };
    let estimate =
        |value: &dyn Fn(&Run) -> f64| Estimate::of(&runs.iter().map(value).collect::<Vec<f64>>());
    let prices = config.workload.prices();
    let swapped = prices.iter().rev().map(|(id, class)| {
        let of = |run: &Run| run.outcome.pressure[usize::from(id.0)];
        let all = |run: &Run| run.outcome.pressure.iter().map(|p| p.swap_bytes).sum::<u64>().max(1);
        ClassSwap {
            class: class.name.clone(),
            swap_outs: estimate(&|run| of(run).swap_outs as f64),
            part: estimate(&|run| of(run).swap_bytes as f64 / all(run) as f64),
            kills: estimate(&|run| of(run).kills as f64),
        }
    });
    let cells: Vec<_> = runs.iter().map(|run| run.cells.clone()).collect();
    Figure4Point {
        rate,
        growth,
        cores: five(runs, |run| run.outcome.utilization(config.world.cores)),
        ram: machines(&|o, m| o.machines[m].ram_mb_s as f64 / per_s(o) / ram_mb),
        ram_peak: machines(&|o, m| o.machines[m].ram_peak as f64 / config.memory.ram as f64),
        swap_total_gb: machines(&|o, m| gb(o.machines[m].swap_total)),
        swap_peak_gb: machines(&|o, m| gb(o.machines[m].swap_peak)),
        swapped: swapped.collect(),
        kills: estimate(&|run| run.outcome.counts.kills as f64),
        classes: reports(&config.policy.name, prices, &cells),
    }
}

fn five(runs: &[Run], values: impl Fn(&Run) -> Vec<f64>) -> Five {
    let mut all: Vec<Vec<f64>> = runs.iter().map(values).collect();
    let mut at = |part: f64| {
        let of_runs = all.iter_mut().filter_map(|values| quantile(values, part));
        Estimate::of(&of_runs.collect::<Vec<f64>>())
    };
    Five { min: at(0.0), p10: at(0.1), median: at(0.5), p90: at(0.9), max: at(1.0) }
}
