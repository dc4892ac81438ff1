//! `fermata sim figure3`: paper XX, Figure 3.

use std::collections::BTreeMap;
use std::time::Instant;

use sim::experiment::{Comparison, Figure3Config, figure3};
use sim::statistics::ClassReport;

use super::options::{Runs, entries};
use super::results::{Results, shown};
use super::{charts, output, progress};

/// A wave of load over 100 machines: what it does to each class, with and without classes
///
/// Paper XX, Figure 3: 100 machines × 8 cores, 4 shards, k = 3, no idle list, memory without limit;
/// 170, then 300, then 170 invocations a tick, changing at ticks 50 and 80.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// Policies, see `fermata sim policies`
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "xx-polling,xx-same-or-higher,hermod"
    )]
    policies: Vec<String>,
    /// Machines polled for one invocation
    #[arg(long, value_name = "N", default_value_t = 3)]
    k: usize,
    /// Ticks until the last arrival, from 81 up
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(81..=100_000))]
    ticks: u64,
    #[command(flatten)]
    runs: Runs,
    #[command(flatten)]
    output: output::Args,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut config = Figure3Config::default();
    config.compare.policies = entries(&args.policies, args.k)?;
    config.compare.seeds = args.runs.seeds();
    config.workload.end_tick = args.ticks;
    let comparison =
        progress::with(args.runs.threads, "figure 3", |runner| figure3(&config, runner));
    let title = "Tail latency of each price class under a wave of load (paper XX, Figure 3)";
    let mut results = Results::new("figure3", title, &config.compare.seeds);
    results.notes = vec![
        format!(
            "100 machines × 8 cores, 4 shards, k = {}, no idle list, memory without limit",
            args.k
        ),
        comparison.recipe.clone(),
    ];
    results.findings = findings(&comparison);
    results.add(&comparison, &BTreeMap::new());
    results.tables = vec![charts::class_table(&comparison), charts::policy_table(&comparison)];
    let subtitle = format!(
        "100 machines × 8 cores; 170, 300 and 170 invocations a tick; p99 of all that arrived in a tick, {} seeds together",
        config.compare.seeds.len()
    );
    let time = charts::over_time(&comparison, config.workload.tick_ns, title, &subtitle);
    let dots = charts::dots(
        &comparison,
        "p99 slowdown of each class, before, in and after the overload",
        "100 machines × 8 cores; mean over seeds with its 95 % confidence interval",
    );
    results.figures = vec![("figure3".into(), time), ("figure3-classes".into(), dots)];
    output::write(&args.output, &results, begun)
}

/// What the overload did to the classes of one policy, in words.
fn findings(comparison: &Comparison) -> Vec<String> {
    let finding = |policy: &sim::experiment::PolicyReport| {
        let of =
            |report: &&ClassReport| report.policy == policy.policy && report.overload.count > 0;
        let classes: Vec<String> = comparison
            .classes
            .iter()
            .filter(of)
            .map(|report| {
                let overload = &report.overload;
                format!(
                    "{} {} ({} s)",
                    report.class,
                    shown(overload.p99_slowdown),
                    super::results::digits(overload.p99_ms.mean / 1e3)
                )
            })
            .collect();
        format!("{}: p99 slowdown (p99 latency) in overload: {}", policy.policy, classes.join(", "))
    };
    comparison.policies.iter().map(finding).collect()
}
