//! `fermata bench agree`: one flood on this machine and in the simulator, side by side.
//!
//! A platform records what arrives and how long it takes; the simulator then plays the recording on
//! one machine with as many cores. Both run the same policy code. What the simulator leaves out
//! (HTTP, starts, switches between functions, the kernel) is what is left between them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sim::statistics::{Cell, cells};
use sim::workload::recording::Recording;
use sim::workload::{Phases, Workload as _};
use sim::{WorldConfig, find, simulate};

use super::flood::{self, Lengths, Mix};
use super::{data_dir, temporary_folder};
use crate::load::generator::{self, Settings};
use crate::load::platform::{ANY_PORT, Platform, Start};
use crate::load::server::raise_open_files;
use crate::sim::agree::{Agreement, Source};
use crate::sim::output;

/// One flood, measured on this machine and predicted by the simulator
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// Which functions
    #[arg(long, value_enum, default_value = "wasm")]
    runtime: Mix,
    /// Policies
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "xx,hermod,fifo")]
    policies: Vec<String>,
    /// Runs of each policy, each with other arrivals
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    runs: u64,
    /// Tiny input: shows that the bench works, measures nothing
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    output: output::Args,
}

/// Offered of the lowest class, as a multiple of what the machine can do. Little enough that all of
/// it is carried to its end, so that the slow ones are measured too.
const FLOOD: f64 = 2.0;
/// How long the last ones may take.
const DRAIN: Duration = Duration::from_secs(120);

/// One policy, all runs.
type Pair = (String, Vec<[Vec<Cell>; 3]>, Vec<[Vec<Cell>; 3]>);

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let begun = Instant::now();
    let folder = temporary_folder()?;
    let lengths = if args.quick {
        Lengths {
            measure: Duration::from_millis(100),
            phase: Duration::from_millis(300),
            drain: DRAIN,
        }
    } else {
        Lengths {
            measure: Duration::from_millis(1_500),
            phase: Duration::from_secs(3),
            drain: DRAIN,
        }
    };
    let parts = flood::parts(args.runtime, FLOOD);
    let capacities = {
        let data = data_dir(folder.path(), "measure");
        let platform = Platform::start(Start { policy: "xx", data_dir: &data, listen: ANY_PORT })?;
        flood::deploy(&platform, &parts, folder.path())?;
        flood::measure(&platform, &parts, lengths.measure)?
    };
    let mut pairs: Vec<Pair> = Vec::new();
    let mut prices = None;
    for policy in &args.policies {
        let (mut measured, mut predicted) = (Vec::new(), Vec::new());
        for run in 1..=if args.quick { 1 } else { args.runs } {
            println!("{policy}: run {run}");
            let mut plan = flood::plan(&parts, &capacities, lengths.phase);
            plan.seed = run;
            let name = format!("{policy}-{run}");
            let file = folder.path().join(format!("{name}.jsonl"));
            record(&file, policy, &data_dir(folder.path(), &name), |platform| {
                flood::deploy(platform, &parts, folder.path())?;
                let in_flight_max = raise_open_files() / parts.len();
                let settings =
                    Settings { address: platform.address(), in_flight_max, drain: lengths.drain };
                generator::run(&plan, settings, |_| {}).map(drop)
            })?;
            let recording = load(&file, lengths.phase)?;
            let context = || format!("read latencies from {}", file.display());
            measured.push(recording.measured_cells().with_context(context)?);
            predicted.push(predict(&recording, policy, run)?);
            prices = Some(recording.prices().clone());
        }
        pairs.push((policy.clone(), measured, predicted));
    }
    let prices = prices.context("measure any policy")?;
    let mut agreement = Agreement::new(prices, args.runs);
    for (policy, measured, predicted) in &pairs {
        agreement.add(policy, Source::Measured, measured);
        agreement.add(policy, Source::Predicted, predicted);
    }
    agreement.write(&args.output, begun, args.quick)
}

/// Runs a platform that records, and ends it.
fn record(
    file: &Path,
    policy: &str,
    data_dir: &Path,
    work: impl FnOnce(&Platform) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let start = Start { policy, data_dir, listen: ANY_PORT };
    let mut platform = Platform::start_recording(start, file)?;
    work(&platform)?;
    platform.check().with_context(|| format!("record under {policy}"))
}

/// The recording with its phases: the second one begins a phase's length after the first arrival.
fn load(file: &Path, phase: Duration) -> anyhow::Result<Recording> {
    let mut recording =
        Recording::load(file).with_context(|| format!("load the recording {}", file.display()))?;
    let first_ns = recording.arrivals(1).next().context("find a recorded call")?.at_ns;
    let phase_ns = u64::try_from(phase.as_nanos()).unwrap_or(u64::MAX);
    recording.phases = Phases { overload_ns: first_ns + phase_ns, after_ns: u64::MAX };
    Ok(recording)
}

/// The same arrivals in virtual time, on a machine with as many cores.
fn predict(recording: &Recording, policy: &str, seed: u64) -> anyhow::Result<[Vec<Cell>; 3]> {
    let policy = find(policy, 3).with_context(|| format!("find the policy {policy}"))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let world = WorldConfig { machines: 1, cores, shards: 1, ..WorldConfig::default() };
    let outcome = simulate(&world, &policy, recording, seed);
    Ok(cells(&outcome, recording.phases, recording.prices().len()))
}
