//! `fermata sim speed`: how fast the simulator is, and how it grows.

use std::time::{Duration, Instant};

use plotters::style::RGBColor;
use serde_json::{Value, json};
use sim::experiment::{CompareConfig, Figure3Config, figure3, seeds};
use sim::workload::synthetic::Synthetic;
use sim::world::{Counts, Keep};
use sim::{Entry, Runner, WorldConfig, find, simulate};

use super::figure::{Axis, Figure, Look, Panel, Point, Row, Series};
use super::options::entries;
use super::output;
use super::results::{Cell, Results, Table, digits};

/// How fast the simulator itself is: events and invocations a second, and growth
///
/// An event is what something takes in: an arrival, a milestone or a wake in the world, or a message
/// in a shard or machine.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// Grow as long as a run is expected to end within that time
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    limit_s: f64,
    /// Policies whose speed is measured, see `fermata sim policies`; `all` for all
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "xx,xx-polling,hermod,fifo,oracle"
    )]
    policies: Vec<String>,
    /// Ticks of each of those runs
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    ticks: u64,
    #[command(flatten)]
    output: output::Args,
}

/// One measurement.
struct Run {
    what: String,
    threads: usize,
    counts: Counts,
    passed: Duration,
    /// Resident memory of the process at its highest so far, in MB.
    peak_mb: Option<f64>,
}

impl Run {
    fn of(what: String, threads: usize, work: impl FnOnce() -> Counts) -> Self {
        let begun = Instant::now();
        let counts = work();
        Self { what, threads, counts, passed: begun.elapsed(), peak_mb: peak_mb() }
    }

    const fn events(&self) -> f64 {
        (self.counts.events + self.counts.messages) as f64
    }

    fn per_s(&self, count: f64) -> f64 {
        count / self.passed.as_secs_f64().max(1e-9)
    }

    fn row(&self) -> Vec<Cell> {
        let completed = self.counts.completed as f64;
        vec![
            Cell::text(&self.what),
            Cell::Number(self.threads as f64),
            Cell::Number(completed),
            Cell::Number(self.events()),
            Cell::Number(self.passed.as_secs_f64()),
            Cell::Number(self.per_s(completed) / 1e3),
            Cell::Number(self.per_s(self.events()) / 1e6),
            self.peak_mb.map_or(Cell::Nothing, Cell::Number),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what,
            "threads": self.threads,
            "completions": self.counts.completed,
            "events": self.counts.events + self.counts.messages,
            "seconds": self.passed.as_secs_f64(),
            "completions_per_s": self.per_s(self.counts.completed as f64),
            "events_per_s": self.per_s(self.events()),
            "peak_mb": self.peak_mb,
        })
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let begun = Instant::now();
    let figure = figure_3();
    let policies = each_policy(&entries(&args.policies, 3)?, args.ticks);
    let growth = growth(args.limit_s);
    let mut results = Results::new("speed", "How fast the simulator is", &[1]);
    results.notes = vec![
        "each policy: 100 machines × 8 cores, 200 invocations a tick (load 0.84)".to_owned(),
        "growth: xx-polling, load 0.84, one thread, counts only".to_owned(),
    ];
    results.findings = vec![format!(
        "Figure 3, five seeds, two policies: {} s; {} million events a second on one thread ({})",
        digits(figure[0].passed.as_secs_f64()),
        digits(policies.first().map_or(0.0, |run| run.per_s(run.events()) / 1e6)),
        policies.first().map_or("", |run| run.what.as_str()),
    )];
    let runs = [("figure3", &figure), ("policies", &policies), ("growth", &growth)];
    for (name, runs) in runs {
        results.extra.insert(name.into(), runs.iter().map(Run::json).collect());
        results.tables.push(table(name, runs));
    }
    results.figures = vec![("growth".into(), picture(&growth))];
    output::write(&args.output, &results, begun)
}

fn table(name: &str, runs: &[Run]) -> Table {
    let title = match name {
        "figure3" => "Figure 3 of the paper, five seeds",
        "policies" => "Each policy",
        _ => "Growth",
    };
    let header = [
        "what",
        "threads",
        "invocations",
        "events",
        "seconds",
        "thousand invocations/s",
        "million events/s",
        "MB at most so far",
    ];
    Table {
        name: name.to_owned(),
        title: title.to_owned(),
        header: header.map(str::to_owned).to_vec(),
        rows: runs.iter().map(Run::row).collect(),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn figure_3() -> Vec<Run> {
    let all = Figure3Config::default();
    let names: [&[&str]; 2] =
        [&["xx-polling", "hermod"], &["xx-polling", "xx-same-or-higher", "hermod"]];
    let run = |names: &[&str]| {
        let policies: Vec<Entry> = names.iter().filter_map(|name| find(name, 3)).collect();
        let compare = CompareConfig { policies, ..all.compare.clone() };
        let config = Figure3Config { compare, ..all.clone() };
        Run::of(names.join(", "), cores(), || {
            let mut counts = Counts::default();
            let figure = figure3(&config, &Runner::default());
            figure.policies.iter().for_each(|policy| counts.add(&policy.counts));
            counts
        })
    };
    names.into_iter().map(run).collect()
}

/// Each on one thread, then the first of them on all cores.
fn each_policy(policies: &[Entry], ticks: u64) -> Vec<Run> {
    let workload = Synthetic::steady(200.0, ticks);
    let world = WorldConfig::default();
    let one = |policy: &Entry| {
        Run::of(policy.name.clone(), 1, || simulate(&world, policy, &workload, 1).counts)
    };
    let mut runs: Vec<Run> = policies.iter().map(one).collect();
    for policy in policies.iter().take(2) {
        let many = seeds(4 * cores() as u64);
        runs.push(Run::of(format!("{}, {} seeds", policy.name, many.len()), cores(), || {
            let mut counts = Counts::default();
            let run = |&seed: &u64| simulate(&world, policy, &workload, seed).counts;
            Runner::default().run(&many, run).iter().for_each(|run| counts.add(run));
            counts
        }));
    }
    runs
}

/// Sizes: machines, cores, ticks.
const SIZES: [(u32, u32, u32); 10] = [
    (100, 8, 1_000),
    (100, 8, 10_000),
    (100, 8, 500_000),
    (1_000, 8, 100),
    (1_000, 8, 1_000),
    (10_000, 8, 100),
    (1_000, 64, 100),
    (10_000, 64, 20),
    (10_000, 64, 100),
    (10_000, 64, 620),
];

fn growth(limit_s: f64) -> Vec<Run> {
    let Some(policy) = find("xx-polling", 3) else { return Vec::new() };
    let mut runs: Vec<Run> = Vec::new();
    for (machines, cores, ticks) in SIZES {
        let rate = 0.25 * f64::from(machines) * f64::from(cores);
        let per_event_s =
            runs.last().map_or(1e-6, |run: &Run| run.passed.as_secs_f64() / run.events().max(1.0));
        // Eleven events an invocation.
        if rate * f64::from(ticks) * 11.0 * per_event_s > limit_s {
            continue;
        }
        let world = WorldConfig {
            machines,
            cores: usize::try_from(cores).unwrap_or(1),
            keep: Keep::Counts,
            ..WorldConfig::default()
        };
        let workload = Synthetic::steady(rate, u64::from(ticks));
        let what = format!("{machines} machines × {cores} cores, {ticks} ticks");
        runs.push(Run::of(what, 1, || simulate(&world, &policy, &workload, 1).counts));
    }
    runs
}

/// The resident memory of this process at its highest, in MB.
fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    let kb: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kb / 1e3)
}

const GRAY: RGBColor = RGBColor(0x8a, 0x8f, 0x98);
const COLORS: [RGBColor; 5] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
];

/// One line a cluster, from its shortest run to its longest.
fn picture(growth: &[Run]) -> Figure {
    let cluster = |run: &Run| run.what.split(',').next().unwrap_or_default().to_owned();
    let mut clusters: Vec<String> = growth.iter().map(cluster).collect();
    clusters.dedup();
    let colored = || clusters.iter().zip(COLORS.iter().cycle());
    let lines = |value: fn(&Run) -> f64| -> Vec<Series> {
        let line = |(name, color): (&String, &RGBColor)| {
            let runs = growth.iter().filter(|run| cluster(run) == *name);
            let points = runs.map(|run| Point::at(run.counts.completed as f64, value(run)));
            Series { color: *color, look: Look::Dotted(2), points: points.collect() }
        };
        colored().map(line).collect()
    };
    let sizes = || growth.iter().map(|run| run.counts.completed as f64);
    let panel = |title: &str, y: Axis, series: Vec<Series>| Panel {
        title: title.to_owned(),
        x: Axis::log("invocations simulated (log scale)", sizes()),
        y,
        shade: None,
        mark: None,
        series,
    };
    let seconds = |run: &Run| run.passed.as_secs_f64();
    let speed = |run: &Run| run.per_s(run.events()) / 1e6;
    // What linear growth from the first run would be.
    let slope = growth.first().map_or(0.0, |run| seconds(run) / run.counts.completed.max(1) as f64);
    let mut linear: Vec<Point> = sizes().map(|size| Point::at(size, slope * size)).collect();
    linear.sort_by(|one, other| one.x.total_cmp(&other.x));
    let times = growth.iter().map(seconds).chain(linear.iter().map(|point| point.y));
    let time_axis = Axis::log("seconds (log scale)", times.collect::<Vec<_>>());
    let dashes = Series { color: GRAY, look: Look::Dashes, points: linear };
    let time_lines = std::iter::once(dashes).chain(lines(seconds)).collect();
    let speed_axis = Axis::linear("million events a second", growth.iter().map(speed).chain([0.0]));
    let legend = colored().map(|(name, color)| (name.clone(), *color));
    Figure {
        title: "How the simulator grows, up to 10,000 machines × 64 cores".to_owned(),
        subtitle: "xx-polling, load 0.84, one thread, counts only; one line a cluster, longer runs to the right".to_owned(),
        rows: vec![Row {
            height_px: 360,
            panels: vec![
                panel("Time", time_axis, time_lines),
                panel("Speed", speed_axis, lines(speed)),
            ],
        }],
        legend: legend.chain([("linear growth from the smallest".to_owned(), GRAY)]).collect(),
    }
}
