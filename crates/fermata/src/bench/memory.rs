//! Memory by use: swapping by class under pressure, the swap file against its disk, faults, and the
//! same in the simulator.

mod device;
mod faults;
mod predicted;
mod pressure;

use anyhow::Context as _;
use serde::Serialize;

use super::{Common, Origin, save, temporary_folder};

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Folder on whose disk the swap files lie [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    folder: Option<std::path::PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// All figures.
#[derive(Debug, Serialize)]
struct Figures {
    origin: Origin,
    device: device::Figures,
    pressure: Vec<pressure::Figures>,
    predicted: Vec<predicted::Figures>,
    faults: faults::Figures,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let origin = Origin::load(&args.common);
    origin.print("memory");
    let temporary = temporary_folder()?;
    let folder = args.folder.as_deref().unwrap_or_else(|| temporary.path());
    std::fs::create_dir_all(folder).context("make the folder for swap files")?;
    let quick = args.common.quick;
    let device = device::measure(folder, quick).context("measure the swap file")?;
    let mut pressure = Vec::new();
    let mut predicted = Vec::new();
    for times in [2, 3] {
        for manner in [pressure::Manner::ByClass, pressure::Manner::FirstCome] {
            let scenario = pressure::Scenario::new(times, manner, quick);
            let name = format!("{times} times memory, {}", manner.name());
            let measured = pressure::run(&scenario, folder).with_context(|| name.clone())?;
            measured.show(&name);
            if manner == pressure::Manner::ByClass {
                let figures = predicted::simulate(&scenario, &measured, &device);
                figures.show();
                predicted.push(figures);
            }
            pressure.push(measured);
        }
    }
    let faults = faults::provoke(folder, quick).context("provoke faults")?;
    save(&args.common, &Figures { origin, device, pressure, predicted, faults })
}
