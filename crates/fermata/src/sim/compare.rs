//! `fermata sim compare`: the same arrivals under several policies.

use std::collections::BTreeMap;
use std::time::Instant;

use sim::experiment::{CompareConfig, compare};

use super::options::{Arriving, Cluster, Runs, entries};
use super::results::Results;
use super::{charts, output, progress};

/// The same arrivals under several policies
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// Policies, see `fermata sim policies`; `all` for all of them
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "xx-polling,xx-same-or-higher,hermod,fifo,oracle"
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

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let begun = Instant::now();
    let workload = args.arriving.load(&args.cluster)?;
    let tick_ns =
        args.arriving.is_synthetic().then(|| args.arriving.synthetic(&args.cluster)).transpose()?;
    let tick_ns = tick_ns.map(|synthetic| synthetic.tick_ns);
    let config = CompareConfig {
        world: args.cluster.world()?,
        policies: entries(&args.policies, args.cluster.k)?,
        seeds: args.runs.seeds(),
        tick_ns,
    };
    let comparison = progress::with(args.runs.threads, "compare", |runner| {
        compare(&config, workload.as_ref(), runner)
    });
    let title = "The same arrivals under several policies";
    let mut results = Results::new("compare", title, &config.seeds);
    results.notes = vec![args.cluster.describe(), comparison.recipe.clone()];
    results.add(&comparison, &BTreeMap::new());
    results.tables = vec![charts::class_table(&comparison), charts::policy_table(&comparison)];
    let about = format!("{}; {} seeds", args.cluster.describe(), config.seeds.len());
    let dots = charts::dots(&comparison, "p99 slowdown of each class", &about);
    results.figures.push(("compare".into(), dots));
    if let Some(tick_ns) = tick_ns {
        let time =
            charts::over_time(&comparison, tick_ns, "p99 slowdown of each class over time", &about);
        results.figures.push(("compare-over-time".into(), time));
    }
    output::write(&args.output, &results, begun)
}
