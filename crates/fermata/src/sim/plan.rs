//! `fermata sim plan`: the fewest machines that keep the targets of the classes.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Instant;

use anyhow::bail;
use serde_json::json;
use sim::experiment::{Plan, PlanConfig, PlanTry, Target, plan};

use super::figure::{Axis, Figure, Look, Panel, Point, Row, Series};
use super::options::{Arriving, Cluster, Runs, entries};
use super::results::{Cell, Results, Table, class_rows};
use super::{charts, output, progress};

/// The smallest number of machines that keeps the targets of the classes
///
/// From a trace or a recording (--trace), or the paper's generator, whose rates stay those of
/// --machines while machines are sought.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// A target: CLASS=1.2 (p99 slowdown) or CLASS=50ms (p99 latency); may be given several times
    #[arg(long = "target", value_name = "CLASS=LIMIT", required = true)]
    targets: Vec<TargetArg>,
    /// The policy
    #[arg(long, value_name = "NAME", default_value = "xx")]
    policy: String,
    /// The fewest machines that come into question
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    from: u32,
    /// The most
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    to: u32,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    arriving: Arriving,
    #[command(flatten)]
    runs: Runs,
    #[command(flatten)]
    output: output::Args,
}

/// A target as it is written.
#[derive(Clone, Debug, PartialEq)]
struct TargetArg(Target);

impl FromStr for TargetArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no target: write CLASS=1.2 or CLASS=50ms");
        let (class, limit) = text.split_once('=').ok_or_else(wrong)?;
        let (number, is_ms) =
            limit.strip_suffix("ms").map_or((limit, false), |number| (number, true));
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        if class.is_empty() || !number.is_finite() || number <= 0.0 {
            return Err(wrong());
        }
        let (p99_slowdown, p99_ms) =
            if is_ms { (None, Some(number)) } else { (Some(number), None) };
        Ok(Self(Target { class: class.to_owned(), p99_slowdown, p99_ms }))
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let begun = Instant::now();
    let workload = args.arriving.load(&args.cluster)?;
    let targets: Vec<Target> = args.targets.iter().map(|target| target.0.clone()).collect();
    for target in &targets {
        if workload.prices().find(&target.class).is_none() {
            let names: Vec<&str> =
                workload.prices().iter().map(|(_, class)| class.name.as_str()).collect();
            bail!("no class {:?} arrives; there are {}", target.class, names.join(", "));
        }
    }
    if args.from > args.to {
        bail!("--from {} is more than --to {}", args.from, args.to);
    }
    let policy = entries(std::slice::from_ref(&args.policy), args.cluster.k)?.remove(0);
    let config = PlanConfig {
        world: args.cluster.world()?,
        machines: args.from..=args.to,
        seeds: args.runs.seeds(),
        ..PlanConfig::new(policy, targets.clone())
    };
    let found = progress::with(args.runs.threads, "plan", |runner| {
        plan(&config, workload.as_ref(), runner)
    });
    let mut results =
        Results::new("plan", "The fewest machines that keep the targets", &config.seeds);
    let about = format!("{} on machines like these: {}", args.policy, args.cluster.describe());
    results.notes = vec![about.clone(), workload.recipe()];
    results.findings = vec![answer(&found, args)];
    results.extra.insert("machines".into(), json!(found.machines));
    let target = |target: &Target| json!({"class": target.class, "p99_slowdown": target.p99_slowdown, "p99_ms": target.p99_ms});
    results.extra.insert("targets".into(), targets.iter().map(target).collect());
    for tried in &found.tried {
        let at = BTreeMap::from([("machines", json!(tried.machines)), ("kept", json!(tried.kept))]);
        results.rows.extend(class_rows(&tried.classes, &at));
    }
    results.tables = vec![table(&found)];
    results.figures = vec![("plan".into(), picture(&found, &targets, &about))];
    output::write(&args.output, &results, begun)
}

fn answer(found: &Plan, args: &Args) -> String {
    let targets: Vec<String> = args
        .targets
        .iter()
        .map(|TargetArg(target)| match (target.p99_slowdown, target.p99_ms) {
            (Some(slowdown), _) => format!("{} p99 slowdown at most {slowdown}", target.class),
            (None, ms) => format!("{} p99 at most {} ms", target.class, ms.unwrap_or_default()),
        })
        .collect();
    let targets = targets.join(", ");
    match found.machines {
        Some(machines) => format!("{machines} machines keep: {targets}"),
        None => format!("not even {} machines keep: {targets}", args.to),
    }
}

/// Tries in order of machines.
fn sorted(found: &Plan) -> Vec<&PlanTry> {
    let mut tries: Vec<&PlanTry> = found.tried.iter().collect();
    tries.sort_by_key(|tried| tried.machines);
    tries
}

fn table(found: &Plan) -> Table {
    let mut rows = Vec::new();
    for tried in sorted(found) {
        for report in &tried.classes {
            for nth in (0..3).filter(|&nth| charts::phase(report, nth).count > 0) {
                let phase = charts::phase(report, nth);
                rows.push(vec![
                    Cell::text(&tried.machines.to_string()),
                    Cell::text(if tried.kept { "yes" } else { "no" }),
                    Cell::Number(tried.utilization),
                    Cell::text(&report.class),
                    Cell::text(charts::PHASES[nth]),
                    Cell::Estimate(phase.p99_slowdown),
                    Cell::Estimate(phase.p99_ms),
                ]);
            }
        }
    }
    let header =
        ["machines", "targets kept", "cores busy", "class", "phase", "p99 slowdown", "p99 ms"];
    Table {
        name: "tried".into(),
        title: "What was tried".into(),
        header: header.map(str::to_owned).to_vec(),
        rows,
    }
}

fn picture(found: &Plan, targets: &[Target], about: &str) -> Figure {
    let tries = sorted(found);
    let reports = tries.first().map(|tried| tried.classes.as_slice()).unwrap_or_default();
    let classes = charts::classes_of(reports);
    let worst = |tried: &PlanTry, place: usize, pick: fn(&sim::statistics::PhaseReport) -> f64| {
        let phases = (0..3).map(|nth| charts::phase(&tried.classes[place], nth));
        phases.filter(|phase| phase.count > 0).map(pick).fold(0.0, f64::max)
    };
    let panel = |label: &str,
                 pick: fn(&sim::statistics::PhaseReport) -> f64,
                 limit: fn(&Target) -> Option<f64>| {
        let line = |(place, (class, _)): (usize, &(String, f64))| Series {
            color: charts::color(class, place),
            look: Look::Dotted(2),
            points: tries
                .iter()
                .map(|tried| Point::at(f64::from(tried.machines), worst(tried, place, pick)))
                .collect(),
        };
        let series: Vec<Series> = classes.iter().enumerate().rev().map(line).collect();
        let mark = targets
            .iter()
            .find_map(|target| Some((limit(target)?, format!("{}'s target", target.class))));
        let values: Vec<f64> = series.iter().flat_map(|s| &s.points).map(|point| point.y).collect();
        Panel {
            title: "worst phase of each class".to_owned(),
            x: Axis::log(
                "machines (log scale)",
                tries.iter().map(|tried| f64::from(tried.machines)),
            ),
            y: Axis::log(label, values.into_iter().chain(mark.as_ref().map(|mark| mark.0))),
            shade: None,
            mark,
            series,
        }
    };
    Figure {
        title: "Each class against the number of machines".to_owned(),
        subtitle: about.to_owned(),
        rows: vec![Row {
            height_px: 380,
            panels: vec![
                panel(
                    "p99 slowdown (log scale)",
                    |phase| phase.p99_slowdown.mean,
                    |target| target.p99_slowdown,
                ),
                panel(
                    "p99 latency, ms (log scale)",
                    |phase| phase.p99_ms.mean,
                    |target| target.p99_ms,
                ),
            ],
        }],
        legend: charts::class_legend(reports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_slowdown_or_a_time() {
        let target = |text: &str| text.parse::<TargetArg>().map(|target| target.0);
        let slowdown = Target { class: "critical".into(), p99_slowdown: Some(1.2), p99_ms: None };
        assert_eq!(target("critical=1.2"), Ok(slowdown));
        let time = Target { class: "economy".into(), p99_slowdown: None, p99_ms: Some(50.0) };
        assert_eq!(target("economy=50ms"), Ok(time));
        for bad in ["critical", "=1", "critical=", "critical=x", "critical=-1", "critical=infms"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
