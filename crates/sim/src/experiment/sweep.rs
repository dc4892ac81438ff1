//! A comparison repeated while one parameter changes.

use std::str::FromStr;

use super::{CompareConfig, Comparison, compare, seeds};
use crate::memory::Growth;
use crate::policies::{Entry, find};
use crate::runner::{Progress, Runner};
use crate::workload::synthetic::{Correlation, RunTime, Synthetic};
use crate::workload::{MB, TICK_NS};
use crate::world::{IoConfig, MemoryConfig, WorldConfig};

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// All rates are multiplied by the value.
    Load,
    /// Machines polled.
    K,
    /// Scheduler shards.
    Shards,
    /// Machines; the rates change with them, so that the load stays.
    Machines,
    /// Machines; the rates stay.
    MachinesOnly,
    /// Cores of a machine; the rates change with them.
    Cores,
    /// RAM of a machine, in GB; swap of 500 GB that costs no time, where no memory is set.
    Ram,
    /// Swap out and in, in MB a second; 0 is free.
    SwapBandwidth,
    /// Delay of a message, in microseconds.
    Delay,
    /// Waits of one invocation, of a tick each.
    IoWaits,
    /// Pareto α. Below 25 the mean stays that of 25.
    Alpha,
    /// How surely dear functions are short; negative: long.
    Correlation,
}

impl Parameter {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 12] = [
        ("load", Self::Load),
        ("k", Self::K),
        ("shards", Self::Shards),
        ("machines", Self::Machines),
        ("machines-only", Self::MachinesOnly),
        ("cores", Self::Cores),
        ("ram-gb", Self::Ram),
        ("swap-mb-s", Self::SwapBandwidth),
        ("delay-us", Self::Delay),
        ("io-waits", Self::IoWaits),
        ("alpha", Self::Alpha),
        ("correlation", Self::Correlation),
    ];
}

impl FromStr for Parameter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, parameter)| *parameter).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("{text:?} is no parameter; there are {}", names.join(", "))
        })
    }
}

/// What is swept.
#[derive(Clone, Debug)]
pub struct SweepConfig {
    /// The cluster at rest.
    pub world: WorldConfig,
    /// The workload at rest.
    pub workload: Synthetic,
    /// Names of the policies.
    pub policies: Vec<String>,
    /// Machines polled, at rest.
    pub k: usize,
    /// What changes.
    pub parameter: Parameter,
    /// Its values.
    pub values: Vec<f64>,
    /// The seeds.
    pub seeds: Vec<u64>,
}

impl Default for SweepConfig {
    fn default() -> Self {
        Self {
            world: WorldConfig::default(),
            workload: Synthetic::default(),
            policies: vec!["xx-polling".into(), "hermod".into()],
            k: 3,
            parameter: Parameter::Load,
            values: vec![0.6, 0.8, 1.0, 1.1, 1.2],
            seeds: seeds(5),
        }
    }
}

/// One value.
#[derive(Clone, Debug)]
pub struct SweepPoint {
    /// The parameter's value.
    pub value: f64,
    /// The comparison at that value.
    pub comparison: Comparison,
}

/// Compares at each value.
///
/// # Errors
/// The first name that is no policy's.
pub fn sweep(config: &SweepConfig, runner: &Runner<'_>) -> Result<Vec<SweepPoint>, String> {
    let runs = config.policies.len() * config.seeds.len();
    let total = runs * config.values.len();
    let point = |(nth, &value): (usize, &f64)| {
        let progress = |part: Progress| {
            (runner.progress)(Progress { done: nth * runs + part.done, total });
        };
        let runner = Runner { threads: runner.threads, progress: &progress };
        let (world, workload, k) = set(config, value);
        let policy = |name: &String| {
            find(name, k).ok_or_else(|| format!("{name:?} is the name of no policy"))
        };
        let policies: Result<Vec<Entry>, String> = config.policies.iter().map(policy).collect();
        let compared = CompareConfig {
            world,
            policies: policies?,
            seeds: config.seeds.clone(),
            tick_ns: None,
        };
        Ok(SweepPoint { value, comparison: compare(&compared, &workload, &runner) })
    };
    config.values.iter().enumerate().map(point).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "values are small positive numbers; others saturate"
)]
fn set(config: &SweepConfig, value: f64) -> (WorldConfig, Synthetic, usize) {
    let (mut world, mut workload, mut k) =
        (config.world.clone(), config.workload.clone(), config.k);
    let scale = |workload: &mut Synthetic, factor: f64| {
        workload.steps.iter_mut().for_each(|step| step.rate *= factor);
    };
    let memory = world.memory.unwrap_or_default();
    match config.parameter {
        Parameter::Load => scale(&mut workload, value),
        Parameter::K => k = value as usize,
        Parameter::Shards => world.shards = value as u32,
        Parameter::Machines => {
            scale(&mut workload, value / f64::from(world.machines));
            world.machines = value as u32;
        }
        Parameter::MachinesOnly => world.machines = value as u32,
        Parameter::Cores => {
            scale(&mut workload, value / world.cores as f64);
            world.cores = value as usize;
        }
        Parameter::Ram => {
            world.memory = Some(MemoryConfig { ram: (value * 1_000.0) as u64 * MB, ..memory });
        }
        Parameter::SwapBandwidth => {
            let per_s = value as u64 * MB;
            let growth: Growth = memory.growth;
            world.memory = Some(MemoryConfig {
                swap_out_per_s: per_s,
                swap_in_per_s: per_s,
                growth,
                ..memory
            });
        }
        Parameter::Delay => world.delay_ns = (value * 1_000.0) as u64,
        Parameter::IoWaits => {
            let up_to = model::ClassId(u8::MAX);
            world.io =
                Some(IoConfig { waits: value as u32, length_ns: TICK_NS, after_percent: 0, up_to });
        }
        Parameter::Alpha => workload.run_time = RunTime::with_tail(value),
        Parameter::Correlation => {
            workload.correlation = if value < 0.0 {
                Correlation::DearIsLong(-value)
            } else {
                Correlation::DearIsShort(value)
            };
        }
    }
    (world, workload, k)
}
