//! A flood of the lowest class, and whether the top class feels it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::functions::{Function, LOWEST, Runtime, TOP, Task, spin_millis};
use super::{Common, Origin, data_dir, save, temporary_folder};
use crate::load::closed::{self, MakeRequest, Pressure};
use crate::load::connection::invoke;
use crate::load::generator::{self, Settings};
use crate::load::plan::{Payload, Phase, Plan, Stream};
use crate::load::platform::{ANY_PORT, Deployed, Platform, Start};
use crate::load::report::{ClassLabel, Report, Run};
use crate::load::server::raise_open_files;
use crate::load::table::{self, Style, number};

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// What runs: the same for the flood and for the top class
    #[arg(long, value_enum, default_value_t = Mix::Wasm)]
    runtime: Mix,
    /// Policies to compare
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "xx,hermod,fifo")]
    policies: Vec<String>,
    /// Length of each of the two phases: the top class alone, and with the flood
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Mix {
    /// Wasm functions
    Wasm,
    /// Python functions
    Process,
    /// Half of each
    Mixed,
}

/// Offered, as a multiple of what the machine can do of it.
const FLOOD: f64 = 10.0;
const TOP_SHARE: f64 = 0.3;
const TOP_CPU_MS: u32 = 2;
const FLOOD_CPU_MS: u32 = 100;
const SEED: u64 = 7;

/// How long everything takes.
pub(super) struct Lengths {
    pub(super) measure: Duration,
    pub(super) phase: Duration,
    pub(super) drain: Duration,
}

impl Lengths {
    fn of(args: &Args) -> Self {
        if args.common.quick {
            let [short, phase] = [100, 500].map(Duration::from_millis);
            return Self { measure: short, phase, drain: short };
        }
        Self {
            measure: Duration::from_millis(1_500),
            phase: Duration::from_secs(args.seconds.into()),
            drain: Duration::from_secs(1),
        }
    }
}

/// One of the functions under load.
pub(super) struct Part {
    function: Function,
    cpu_ms: u32,
    /// Of what the machine can do of it: in the calm, in the flood.
    shares: [f64; 2],
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let origin = Origin::load(&args.common);
    origin.print("flood");
    let folder = temporary_folder()?;
    let lengths = Lengths::of(args);
    let parts = parts(args.runtime, FLOOD);
    let mut capacities: Option<Vec<f64>> = None;
    let (mut runs, mut notes) = (Vec::new(), Vec::new());
    for policy in &args.policies {
        let data_dir = data_dir(folder.path(), policy);
        let listen = ANY_PORT;
        let mut platform = Platform::start(Start { policy, data_dir: &data_dir, listen })?;
        deploy(&platform, &parts, folder.path())?;
        // Each platform is pressed, so that each is warm; the load is by the first one's figures.
        let measured = measure(&platform, &parts, lengths.measure)?;
        let capacities = capacities.get_or_insert(measured);
        let plan = plan(&parts, capacities, lengths.phase);
        let in_flight_max = raise_open_files() / parts.len();
        let settings =
            Settings { address: platform.address(), in_flight_max, drain: lengths.drain };
        println!(
            "{policy}: {} s alone, then {} s with the flood",
            lengths.phase.as_secs_f64(),
            lengths.phase.as_secs_f64()
        );
        let measured = generator::run(&plan, settings, |_| {})?;
        platform.check().with_context(|| format!("flood {policy}"))?;
        notes = vec![measured.priority.note().to_owned()];
        runs.push(Run::new(policy, &plan, &ClassLabel::default_list(), &measured));
    }
    let report = Report::new(runs, notes);
    show(&report);
    save(&args.common, &report)
}

/// The functions; the lowest class is offered `flood` times what the machine can do of it.
pub(super) fn parts(mix: Mix, flood: f64) -> Vec<Part> {
    let runtimes: &[Runtime] = match mix {
        Mix::Wasm => &[Runtime::Wasm],
        Mix::Process => &[Runtime::Process],
        Mix::Mixed => &[Runtime::Wasm, Runtime::Process],
    };
    let count = f64::from(u32::try_from(runtimes.len()).expect("one or two"));
    let mut parts = Vec::new();
    for &runtime in runtimes {
        let suffix = match runtime {
            Runtime::Wasm => "wasm",
            Runtime::Process => "python",
        };
        let part = |name: &str, class, cpu_ms, shares: [f64; 2]| Part {
            function: Function {
                name: format!("{name}-{suffix}"),
                runtime,
                task: Task::Spin,
                class,
            },
            cpu_ms,
            shares: shares.map(|share| share / count),
        };
        parts.push(part("top", TOP, TOP_CPU_MS, [TOP_SHARE, TOP_SHARE]));
        parts.push(part("flood", LOWEST, FLOOD_CPU_MS, [0.0, flood]));
    }
    parts
}

pub(super) fn deploy(platform: &Platform, parts: &[Part], folder: &Path) -> anyhow::Result<()> {
    for part in parts {
        if let Deployed::Refused(reason) = part.function.deploy(platform, folder)? {
            bail!("{} cannot run here: {reason}", part.function.name);
        }
    }
    Ok(())
}

/// How many calls a second of each function all cores could run, were there nothing else.
pub(super) fn measure(
    platform: &Platform,
    parts: &[Part],
    length: Duration,
) -> anyhow::Result<Vec<f64>> {
    let address = platform.address();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let measure = |part: &Part| {
        let (name, class, cpu_ms) = (part.function.name.clone(), part.function.class, part.cpu_ms);
        let request: MakeRequest =
            Arc::new(move |_| invoke(address, &name, class, spin_millis(cpu_ms)));
        let pressure = Pressure { address, connections: 2 * cores, length };
        let closed = closed::run(pressure, &request);
        let per_s = closed.and_then(|closed| closed.capacity_per_s());
        per_s.with_context(|| format!("measure {}", part.function.name))
    };
    parts.iter().map(measure).collect()
}

pub(super) fn plan(parts: &[Part], capacities: &[f64], length: Duration) -> Plan {
    let stream = |(part, per_s): (&Part, &f64)| Stream {
        function: part.function.name.clone(),
        class: part.function.class.into(),
        payload: Payload::Fixed(spin_millis(part.cpu_ms)),
        rates_per_s: part.shares.map(|share| share * per_s).to_vec(),
    };
    Plan {
        phases: ["calm", "overload"].map(|name| Phase { name, length }).to_vec(),
        streams: parts.iter().zip(capacities).map(stream).collect(),
        seed: SEED,
    }
}

fn show(report: &Report) {
    println!("\n{}", table::render(report, Style::for_stdout()));
    println!("top-class p99, with the flood against alone:");
    for run in &report.runs {
        let top = run.classes.iter().find(|class| class.class == TOP);
        let ratio = top.map_or_else(
            || "–".into(),
            |top| {
                let flood = &top.overload;
                number(flood.slowdown, flood.is_at_least("slowdown"), "×")
            },
        );
        println!("  {:8} {ratio}", run.policy);
    }
    print!("{}", table::render_notes(report));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flood_is_ten_machines_and_the_top_class_three_tenths_whatever_the_mix() {
        for mix in [Mix::Wasm, Mix::Process, Mix::Mixed] {
            let parts = parts(mix, FLOOD);
            let total = |class, phase: usize| -> f64 {
                parts.iter().filter(|p| p.function.class == class).map(|p| p.shares[phase]).sum()
            };
            assert!((total(LOWEST, 1) - FLOOD).abs() < 1e-9);
            assert!(total(LOWEST, 0).abs() < 1e-9);
            assert!((total(TOP, 0) - TOP_SHARE).abs() < 1e-9);
            assert!((total(TOP, 1) - TOP_SHARE).abs() < 1e-9);
        }
    }

    #[test]
    fn rates_follow_what_the_machine_can_do() {
        let plan = plan(&parts(Mix::Wasm, FLOOD), &[1_000.0, 20.0], Duration::from_secs(8));
        let rates: Vec<&[f64]> = plan.streams.iter().map(|s| s.rates_per_s.as_slice()).collect();
        assert_eq!(rates, [&[300.0, 300.0][..], &[0.0, 200.0]]);
    }
}
