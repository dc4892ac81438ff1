//! Memory by use: swapping by class under pressure, the swap file against its disk, what looking
//! costs, faults, and the same in the simulator.

mod device;
mod faults;
mod growing;
mod looks;
mod order;
mod predicted;
pub(super) mod pressure;
mod stalls;
mod tail;

use anyhow::Context as _;
use serde::Serialize;

use super::{Common, Origin, save, temporary_folder};

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Folder on whose disk the swap files lie [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    folder: Option<std::path::PathBuf>,
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_enum, value_name = "PART,…")]
    parts: Vec<Part>,
    /// How many times memory the working sets are together
    #[arg(long, value_delimiter = ',', default_values_t = [2, 3], value_name = "N,…")]
    times: Vec<u64>,
    /// How often the parts `pressure`, `room` and `growing` are run; of the first two medians are shown
    #[arg(long, default_value_t = 1, value_name = "N")]
    runs: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The swap file against its disk, and results after swaps at random moments
    Device,
    /// Working sets of several times memory, swapped by class; and simulated
    Pressure,
    /// The same low class with memory enough: what it costs the top class without being swapped
    Room,
    /// The same without swap, first come first served, killing when memory is full
    FirstCome,
    /// Sandboxed processes, moved to the system's swap
    Processes,
    /// What it costs to look at memory
    Looks,
    /// What goes wrong, and who suffers
    Faults,
    /// Functions that take memory as fast as they can and more than there is
    Growing,
}

/// All figures, of the parts that were asked for.
#[derive(Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    origin: Origin,
    device: Option<device::Figures>,
    pressure: Vec<pressure::Figures>,
    predicted: Vec<predicted::Figures>,
    looks: Vec<looks::Figures>,
    faults: Option<faults::Figures>,
    growing: Vec<growing::Figures>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let origin = Origin::load(&args.common);
    origin.print("memory");
    let temporary = temporary_folder()?;
    let folder = args.folder.as_deref().unwrap_or_else(|| temporary.path());
    std::fs::create_dir_all(folder).context("make the folder for swap files")?;
    let quick = args.common.quick;
    let wants = |part| args.parts.is_empty() || args.parts.contains(&part);
    let mut figures = Figures {
        origin,
        device: None,
        pressure: Vec::new(),
        predicted: Vec::new(),
        looks: Vec::new(),
        faults: None,
        growing: Vec::new(),
    };
    if wants(Part::Device) {
        figures.device = Some(device::measure(folder, quick).context("measure the swap file")?);
    }
    for &times in &args.times {
        let manners = [
            (Part::Pressure, pressure::Manner::ByClass, args.runs),
            (Part::Room, pressure::Manner::WithRoom, args.runs),
            (Part::FirstCome, pressure::Manner::FirstCome, 1),
        ];
        let manners = manners.into_iter().filter(|(part, ..)| wants(*part));
        // In turns, so that what changes on the machine meanwhile falls on all.
        for run in 0..args.runs {
            for (_, manner, _) in manners.clone().filter(|(.., runs)| run < *runs) {
                press(&mut figures, times, manner, folder, quick)?;
            }
        }
        show_medians(&figures.pressure, times);
    }
    if wants(Part::Processes) {
        figures.pressure.extend(processes(folder, &args.times, quick)?);
    }
    if wants(Part::Looks) {
        figures.looks = looks::measure(folder, quick).context("measure what looks cost")?;
    }
    if wants(Part::Faults) {
        figures.faults = Some(faults::provoke(folder, quick).context("provoke faults")?);
    }
    if wants(Part::Growing) {
        let runs = args.runs;
        figures.growing = growing::repeat(folder, quick, runs).context("let functions grow")?;
    }
    save(&args.common, &figures)
}

/// One run, and where functions were swapped the same in the simulator.
fn press(
    figures: &mut Figures,
    times: u64,
    manner: pressure::Manner,
    folder: &std::path::Path,
    quick: bool,
) -> anyhow::Result<()> {
    let scenario = pressure::Scenario::new(times, manner, quick);
    let name = format!("{times} times memory, {}", manner.name());
    let measured = pressure::run(&scenario, folder).with_context(|| name.clone())?;
    measured.show(&name);
    if manner == pressure::Manner::ByClass {
        let plain = device::plain(folder, quick).context("measure the swap file")?;
        let fill = device::fill(folder, quick).context("measure how fast memory fills")?;
        let predicted = predicted::simulate(&scenario, &measured, &plain, fill);
        predicted.show();
        figures.predicted.push(predicted);
    }
    figures.pressure.push(measured);
    Ok(())
}

/// The top class beside low-class functions that do not fit, and beside the same ones that do: what is
/// between them comes of scarce memory, the rest of a low class that uses all cores.
fn show_medians(runs: &[pressure::Figures], times: u64) {
    let manners = [pressure::Manner::ByClass, pressure::Manner::WithRoom];
    let medians = manners.map(|manner| {
        let of = |value: fn(&pressure::Figures) -> Option<f64>| {
            median(runs.iter().filter(|run| run.is(times, manner)).filter_map(value))
        };
        let (calm, pressed) = (of(|run| run.top_p99_calm_ms)?, of(|run| run.top_p99_pressed_ms)?);
        println!(
            "{times} times memory, {}, medians: top class p99 {calm:.1} ms calm, {pressed:.1} ms pressed \
             ({:.2}×)",
            manner.name(),
            pressed / calm
        );
        Some(pressed)
    });
    if let [Some(scarce), Some(roomy)] = medians {
        println!("{times} times memory: scarce memory adds {:+.1} ms", scarce - roomy);
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[values.len().saturating_sub(1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// Nothing where the system has no swap.
fn processes(
    folder: &std::path::Path,
    times: &[u64],
    quick: bool,
) -> anyhow::Result<Vec<pressure::Figures>> {
    let swaps = std::fs::read_to_string("/proc/swaps").context("look for the system's swap")?;
    if swaps.lines().count() < 2 {
        println!("processes: skipped, the system has no swap (swapon)");
        return Ok(Vec::new());
    }
    let press = |&times: &u64| {
        let name = format!("processes, {times} times memory");
        let scenario = pressure::Scenario::of_processes(times, quick);
        let measured = pressure::run(&scenario, folder).with_context(|| name.clone())?;
        measured.show(&name);
        Ok(measured)
    };
    times.iter().map(press).collect()
}
