//! Options that several experiments take: the cluster, what arrives, who is compared, how often.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use sim::memory::Growth;
use sim::workload::azure::{Azure2019, Azure2021, ClassRule, Offset, Recipe};
use sim::workload::recording::Recording;
use sim::workload::synthetic::{Correlation, RunTime, Spread, Step, Synthetic};
use sim::workload::{MB, Workload};
use sim::world::{IoConfig, LossConfig, MemoryConfig};
use sim::{Entry, WorldConfig, find, policies};

use crate::text;

/// How often, and on how many threads.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Runs {
    /// Seeds; each policy sees the same arrivals of each
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) threads: usize,
}

impl Runs {
    pub(super) fn seeds(&self) -> Vec<u64> {
        sim::experiment::seeds(self.seeds)
    }
}

/// The cluster.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Cluster {
    /// Machines
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) machines: u32,
    /// Cores of each
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    cores: u32,
    /// Scheduler shards
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    shards: u32,
    /// Machines polled for one invocation, where a policy polls
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) k: usize,
    /// RAM of each machine; without it there is more than anyone uses, and no idle list
    #[arg(long, value_name = "GB")]
    ram_gb: Option<f64>,
    /// Swap of each machine, with --ram-gb
    #[arg(long, value_name = "GB", default_value_t = 500.0)]
    swap_gb: f64,
    /// Bandwidth to and from swap; 0: it takes no time, as in the paper
    #[arg(long, value_name = "MB/S", default_value_t = 0.0)]
    swap_mb_s: f64,
    /// How a function's memory grows over its run
    #[arg(long, value_name = "MODEL", value_enum, default_value_t = GrowthArg::FrontLoaded)]
    growth: GrowthArg,
    /// Delay of a message between a shard and a machine
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    delay_us: u64,
    /// Waits of each invocation for something outside, which free its core
    #[arg(long, value_name = "N", default_value_t = 0)]
    io_waits: u32,
    /// Length of one such wait
    #[arg(long, value_name = "MS", default_value_t = 100)]
    io_ms: u64,
    /// Mean time after which a machine fails; it comes back empty
    #[arg(long, value_name = "SECONDS")]
    fails_after_s: Option<f64>,
    /// How long a failed machine is away
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    away_s: f64,
}

/// How memory grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum GrowthArg {
    /// Most of it early, as in the paper's prototype
    FrontLoaded,
    /// Evenly
    Linear,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be positive; what is too large is the most"
)]
fn whole(name: &str, value: f64, unit: f64) -> anyhow::Result<u64> {
    if !value.is_finite() || value < 0.0 {
        bail!("{name} is {value}, which is no amount");
    }
    Ok((value * unit) as u64)
}

/// A poll and its answer take two delays, and a shard waits 20 ms for them.
pub(super) fn check_delay(delay_us: f64) -> anyhow::Result<()> {
    if !(0.0..10_000.0).contains(&delay_us) {
        bail!(
            "a delay of {delay_us} µs is not below 10,000: no answer to a poll would come in time"
        );
    }
    Ok(())
}

impl Cluster {
    pub(super) fn world(&self) -> anyhow::Result<WorldConfig> {
        check_delay(self.delay_us as f64)?;
        let gb = 1_000.0 * MB as f64;
        let bandwidth = whole("--swap-mb-s", self.swap_mb_s, MB as f64)?;
        let memory = match self.ram_gb {
            None => None,
            Some(ram) => Some(MemoryConfig {
                ram: whole("--ram-gb", ram, gb)?.max(1),
                swap: whole("--swap-gb", self.swap_gb, gb)?,
                swap_out_per_s: bandwidth,
                swap_in_per_s: bandwidth,
                growth: self.growth.model(),
                ..MemoryConfig::default()
            }),
        };
        let io = (self.io_waits > 0).then_some(IoConfig {
            up_to: model::ClassId(u8::MAX),
            waits: self.io_waits,
            length_ns: self.io_ms.saturating_mul(1_000_000),
            after_percent: 0,
        });
        let loss = match self.fails_after_s {
            None => None,
            Some(up) => Some(LossConfig {
                mean_up_ns: whole("--fails-after-s", up, 1e9)?.max(1),
                away_ns: whole("--away-s", self.away_s, 1e9)?,
            }),
        };
        Ok(WorldConfig {
            machines: self.machines,
            cores: usize::try_from(self.cores).context("count the cores")?,
            shards: self.shards,
            memory,
            delay_ns: self.delay_us.saturating_mul(1_000),
            io,
            loss,
            ..WorldConfig::default()
        })
    }

    /// All cores, against those of the paper's cluster.
    fn scale(&self) -> f64 {
        f64::from(self.machines) * f64::from(self.cores) / 800.0
    }

    /// The cluster in words.
    pub(super) fn describe(&self) -> String {
        self.describe_with(&[self.machines])
    }

    /// The same where the numbers of machines are others.
    pub(super) fn describe_with(&self, machines: &[u32]) -> String {
        let numbers: Vec<String> = machines.iter().map(u32::to_string).collect();
        let noun = if machines == [1] { "machine" } else { "machines" };
        let mut out = format!(
            "{} {noun} × {} cores, {} shards, k = {}",
            numbers.join(" or "),
            self.cores,
            self.shards,
            self.k
        );
        if let Some(ram) = self.ram_gb {
            let speed = if self.swap_mb_s > 0.0 {
                format!("at {} MB/s", self.swap_mb_s)
            } else {
                "in no time".to_owned()
            };
            out += &format!("; {ram} GB RAM and {} GB swap {speed}", self.swap_gb);
        } else {
            out += "; memory without limit";
        }
        if self.delay_us > 0 {
            out += &format!("; messages take {} µs", self.delay_us);
        }
        if self.io_waits > 0 {
            out += &format!("; {} waits of {} ms each", self.io_waits, self.io_ms);
        }
        if let Some(up) = self.fails_after_s {
            out += &format!("; a machine fails every {up} s and is away for {} s", self.away_s);
        }
        out
    }
}

impl GrowthArg {
    pub(super) const fn model(self) -> Growth {
        match self {
            Self::FrontLoaded => Growth::FrontLoaded,
            Self::Linear => Growth::Linear,
        }
    }
}

/// What arrives.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Workload")]
pub(super) struct Arriving {
    /// A trace instead of the paper's generator: a folder of the Azure 2019 trace (invocations.csv,
    /// durations.csv, memory.csv), a .csv of the Azure 2021 trace, or a recording of
    /// `fermata serve --record` (.jsonl)
    #[arg(long, value_name = "PATH")]
    trace: Option<PathBuf>,
    /// Invocations a tick: before, in and after the overload; one number: all the time
    /// [default: 170,300,170 on 800 cores, and in proportion]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    rates: Vec<f64>,
    /// Ticks at which the overload begins and ends
    #[arg(long, value_name = "TICK,TICK", value_delimiter = ',', default_value = "50,80")]
    overload: Vec<u64>,
    /// Ticks until the last arrival
    #[arg(long, value_name = "N", default_value_t = 200)]
    ticks: u64,
    /// Length of a tick
    #[arg(long, value_name = "MS", default_value_t = 100)]
    tick_ms: u64,
    /// All invocations of a tick at its beginning, as a simulator in ticks has it
    #[arg(long)]
    batched: bool,
    /// Pareto α of run times, above 1; 1.5 has a heavy tail. The mean stays
    #[arg(long, value_name = "ALPHA", default_value_t = 25.0)]
    alpha: f64,
    /// How surely dear invocations are short, 0 to 1; below 0: long
    #[arg(long, value_name = "PART", default_value_t = 0.0, allow_negative_numbers = true)]
    correlation: f64,
    /// Trace: copies laid over each other, each rotated by a time of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    copies: u32,
    /// Trace: the first minute
    #[arg(long, value_name = "N", default_value_t = 0)]
    from_minute: usize,
    /// Trace: how many minutes [default: all]
    #[arg(long, value_name = "N")]
    minutes: Option<usize>,
    /// Trace: evenly spaced in the minute, not anywhere in it
    #[arg(long)]
    even: bool,
    /// Trace: weights by which each function gets its class, cheapest first [default: by trigger]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    class_weights: Vec<u32>,
    /// Trace of 2019: its memory is multiplied by this
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    memory_factor: f64,
}

impl Arriving {
    /// The workload, on a cluster of that size.
    pub(super) fn load(&self, cluster: &Cluster) -> anyhow::Result<Box<dyn Workload>> {
        let Some(path) = &self.trace else { return Ok(Box::new(self.synthetic(cluster)?)) };
        let recipe = self.recipe();
        let context = || format!("load the trace {}", path.display());
        if path.is_dir() {
            return Ok(Box::new(Azure2019::load(path, recipe).with_context(context)?));
        }
        if path.extension().is_some_and(|extension| extension == "csv" || extension == "txt") {
            return Ok(Box::new(Azure2021::load(path, recipe).with_context(context)?));
        }
        Ok(Box::new(Recording::load(path).with_context(context)?))
    }

    /// Whether the paper's generator makes it.
    pub(super) const fn is_synthetic(&self) -> bool {
        self.trace.is_none()
    }

    /// The paper's generator with these options.
    pub(super) fn synthetic(&self, cluster: &Cluster) -> anyhow::Result<Synthetic> {
        let scaled = [170.0, 300.0, 170.0].map(|rate| rate * cluster.scale());
        let rates = if self.rates.is_empty() { scaled.to_vec() } else { self.rates.clone() };
        if rates.iter().any(|rate| !rate.is_finite() || *rate <= 0.0) {
            bail!("--rates are numbers above 0");
        }
        if self.alpha <= 1.0 || !(-1.0..=1.0).contains(&self.correlation) {
            bail!("--alpha is above 1, and --correlation between -1 and 1");
        }
        let (steps, overload_ticks) = self.steps(&rates)?;
        Ok(Synthetic {
            tick_ns: self.tick_ms.max(1).saturating_mul(1_000_000),
            steps,
            overload_ticks,
            end_tick: self.ticks,
            spread: if self.batched { Spread::Batched } else { Spread::Poisson },
            run_time: self.run_time(),
            correlation: match self.correlation {
                0.0 => Correlation::None,
                part if part < 0.0 => Correlation::DearIsLong(-part),
                part => Correlation::DearIsShort(part),
            },
            ..Synthetic::default()
        })
    }

    fn run_time(&self) -> RunTime {
        let light = RunTime::default();
        if (self.alpha - light.alpha).abs() < 1e-9 { light } else { RunTime::with_tail(self.alpha) }
    }

    fn steps(&self, rates: &[f64]) -> anyhow::Result<(Vec<Step>, (u64, u64))> {
        let step = |from_tick, rate| Step { from_tick, rate };
        match (rates, &self.overload[..]) {
            (&[rate], _) => Ok((vec![step(0, rate)], (self.ticks, self.ticks))),
            (&[before, overload, after], &[from, to])
                if 0 < from && from < to && to <= self.ticks =>
            {
                Ok((vec![step(0, before), step(from, overload), step(to, after)], (from, to)))
            }
            _ => bail!(
                "--rates is one number or three, and --overload two ticks in order within --ticks"
            ),
        }
    }

    fn recipe(&self) -> Recipe {
        Recipe {
            copies: self.copies.max(1),
            from_minute: self.from_minute,
            minutes: self.minutes.unwrap_or(usize::MAX),
            offset: if self.even { Offset::Even } else { Offset::Uniform },
            class: if self.class_weights.is_empty() {
                ClassRule::ByTrigger
            } else {
                ClassRule::PerFunction(self.class_weights.clone())
            },
            memory_factor: self.memory_factor,
            ..Recipe::default()
        }
    }
}

/// Policies by their names.
pub(super) fn entries(names: &[String], k: usize) -> anyhow::Result<Vec<Entry>> {
    let all = || policies(k).into_iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
    let entry = |name: &String| {
        find(name, k).with_context(|| {
            format!("no policy {name:?}; there are {} (see `fermata sim policies`)", all())
        })
    };
    if names.iter().any(|name| name == "all") {
        return Ok(policies(k));
    }
    names.iter().map(entry).collect()
}

/// All policies, each with what it does.
pub(super) fn print_policies() {
    let rows: Vec<Vec<String>> =
        policies(3).into_iter().map(|entry| vec![entry.name, entry.about]).collect();
    text::print(&text::table(&["policy", "what it does"], &rows));
}
