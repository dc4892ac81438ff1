//! `fermata sim sweep`: a comparison repeated while one parameter changes.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{anyhow, bail};
use serde_json::json;
use sim::experiment::{Comparison, Parameter, SweepConfig, SweepPoint, sweep};
use sim::statistics::ClassReport;

use super::axis::plain;
use super::figure::{Axis, Figure, Look, Panel, Point, Row, Series};
use super::options::{Arriving, Cluster, Runs, check_delay, entries};
use super::results::Results;
use super::{charts, output, progress};

/// A comparison repeated while one parameter changes
///
/// Parameters: load (a factor to all rates), k, shards, machines and cores (the rates change with
/// them), machines-only (the rates stay), ram-gb, swap-mb-s (0: free), delay-us, io-waits (of a tick
/// each), alpha (Pareto; the mean stays), correlation (1: dear ones are short, -1: long).
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// What changes
    #[arg(value_name = "PARAMETER")]
    parameter: String,
    /// Its values
    #[arg(value_name = "VALUES", allow_hyphen_values = true)]
    values: Values,
    /// Policies, see `fermata sim policies`
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "xx-polling,xx-same-or-higher,hermod"
    )]
    policies: Vec<String>,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    arriving: Arriving,
    #[command(flatten)]
    runs: Runs,
    #[command(flatten)]
    output: output::Args,
}

/// Numbers with commas between; the first may be negative, so one argument has them all.
#[derive(Clone, Debug)]
struct Values(Vec<f64>);

impl FromStr for Values {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            let number = part.trim().parse::<f64>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| format!("{part:?} is no number"))
        };
        text.split(',').map(number).collect::<Result<_, _>>().map(Self)
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let begun = Instant::now();
    if !args.arriving.is_synthetic() {
        bail!("a sweep takes the paper's generator; use `compare` or `replay` for a trace");
    }
    entries(&args.policies, args.cluster.k)?;
    if args.parameter == "delay-us" {
        args.values.0.iter().try_for_each(|&value| check_delay(value))?;
    }
    let parameter: Parameter = args.parameter.parse().map_err(|error: String| anyhow!(error))?;
    let config = SweepConfig {
        world: args.cluster.world()?,
        workload: args.arriving.synthetic(&args.cluster)?,
        policies: args.policies.clone(),
        k: args.cluster.k,
        parameter,
        values: args.values.0.clone(),
        seeds: args.runs.seeds(),
    };
    let points = progress::with(args.runs.threads, "sweep", |runner| sweep(&config, runner))
        .map_err(|error| anyhow!(error))?;
    let name = &args.parameter;
    let title = format!("Each class while {} changes", meaning(name));
    let mut results = Results::new("sweep", &title, &config.seeds);
    results.notes = vec![format!("at rest: {}", args.cluster.describe())];
    results.notes.extend(points.last().map(|point| point.comparison.recipe.clone()));
    for SweepPoint { value, comparison } in &points {
        let at = BTreeMap::from([("parameter", json!(name)), ("value", json!(value))]);
        results.add(comparison, &at);
    }
    let merged = merge(&points, name);
    results.tables = vec![charts::class_table(&merged), charts::policy_table(&merged)];
    let picture = picture(&points, name, &title, &args.cluster.describe());
    results.figures.push((format!("sweep-{name}"), picture));
    output::write(&args.output, &results, begun)
}

/// All points as one comparison, whose policies say their point.
fn merge(points: &[SweepPoint], parameter: &str) -> Comparison {
    let mut merged =
        points.first().map(|point| point.comparison.clone()).expect("there is at least one value");
    merged.classes.clear();
    merged.policies.clear();
    for SweepPoint { value, comparison } in points {
        let name = |policy: &str| format!("{policy}, {parameter} {}", plain(*value));
        merged.classes.extend(comparison.classes.iter().map(|report| {
            let policy = name(&report.policy);
            ClassReport { policy, ..report.clone() }
        }));
        merged.policies.extend(comparison.policies.iter().map(|report| {
            let policy = name(&report.policy);
            sim::experiment::PolicyReport { policy, ..report.clone() }
        }));
    }
    merged
}

/// A parameter in words, with its unit.
fn meaning(parameter: &str) -> &'static str {
    match parameter {
        "load" => "load, as a multiple",
        "k" => "machines polled",
        "shards" => "shards",
        "machines" => "machines, load in proportion",
        "machines-only" => "machines",
        "cores" => "cores of a machine, load in proportion",
        "ram-gb" => "RAM of a machine, GB",
        "swap-mb-s" => "swap bandwidth, MB/s (0: free)",
        "delay-us" => "delay of a message, µs",
        "io-waits" => "waits for I/O of an invocation, 100 ms each",
        "alpha" => "Pareto α of run times",
        _ => "correlation of price and run time (1: dear ones are short)",
    }
}

/// A panel a policy and phase, a line a class.
fn picture(points: &[SweepPoint], parameter: &str, title: &str, about: &str) -> Figure {
    let first = &points[0].comparison;
    let classes = charts::classes_of(&first.classes);
    let phases: Vec<usize> =
        charts::phases_of(first).into_iter().filter(|phase| *phase < 2).collect();
    let all = points.iter().flat_map(|point| &point.comparison.classes);
    let values: Vec<f64> = all
        .flat_map(|report| phases.iter().map(|&nth| charts::phase(report, nth).p99_slowdown.mean))
        .collect();
    let xs: Vec<f64> = points.iter().map(|point| point.value).collect();
    let is_wide = xs.iter().all(|x| *x > 0.0)
        && xs.iter().copied().fold(0.0, f64::max)
            > 20.0 * xs.iter().copied().fold(f64::MAX, f64::min);
    let x = if is_wide {
        Axis::log(&format!("{} (log scale)", meaning(parameter)), xs.iter().copied())
    } else {
        Axis::linear(meaning(parameter), xs.iter().copied())
    };
    let line = |policy: &str, nth: usize, place: usize| -> Series {
        let class = &classes[place].0;
        let point = |point: &SweepPoint| {
            let report = point
                .comparison
                .classes
                .iter()
                .find(|r| r.policy == policy && r.class == *class)?;
            let phase = charts::phase(report, nth);
            let p99 = phase.p99_slowdown;
            let span = Some((p99.low.max(1e-3), p99.high));
            (phase.count > 0).then_some(Point { x: point.value, y: p99.mean, span })
        };
        let points = points.iter().filter_map(point).collect();
        Series { color: charts::color(class, place), look: Look::Dotted(2), points }
    };
    let row = |&nth: &usize| Row {
        height_px: 340,
        panels: first
            .policies
            .iter()
            .map(|policy| Panel {
                title: if phases.len() == 1 {
                    policy.policy.clone()
                } else {
                    format!(
                        "{}, {}",
                        policy.policy,
                        ["before the overload", "in the overload"][nth]
                    )
                },
                x: x.clone(),
                y: Axis::log("p99 slowdown (log scale)", values.iter().copied()),
                shade: None,
                mark: None,
                series: (0..classes.len())
                    .rev()
                    .map(|place| line(&policy.policy, nth, place))
                    .collect(),
            })
            .collect(),
    };
    Figure {
        title: title.to_owned(),
        subtitle: about.to_owned(),
        rows: phases.iter().map(row).collect(),
        legend: charts::class_legend(&first.classes),
    }
}
