//! `fermata sim`: the laboratory's experiments from the command line.
//!
//! The experiments themselves are functions of the crate `sim`; here they get their options, all
//! cores, a progress bar, and their results become tables, CSV, JSON, plots and one HTML page.
//!
//! Start reading at [`run`]; each experiment has a file of its name.

pub(crate) mod agree;
mod axis;
mod charts;
mod compare;
mod figure;
mod figure3;
mod figure4;
mod html;
mod options;
pub(crate) mod output;
mod pages;
mod plan;
mod png;
mod progress;
mod replay;
mod results;
mod speed;
mod sweep;

use std::process::ExitCode;

/// Simulate shards, machines and price classes with the code that runs live.
///
/// Nothing is measured here: time is virtual, and the same seeds give the same results on every
/// machine.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    experiment: Experiment,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Experiment {
    Figure3(figure3::Args),
    Figure4(figure4::Args),
    Compare(Box<compare::Args>),
    Sweep(Box<sweep::Args>),
    Replay(Box<replay::Args>),
    Plan(Box<plan::Args>),
    Speed(speed::Args),
    /// The policies that can be simulated, with their options
    Policies,
}

/// Runs an experiment.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    pages::want_large();
    match args.experiment {
        Experiment::Figure3(args) => figure3::run(&args),
        Experiment::Figure4(args) => figure4::run(&args),
        Experiment::Compare(args) => compare::run(&args),
        Experiment::Sweep(args) => sweep::run(&args),
        Experiment::Replay(args) => replay::run(&args),
        Experiment::Plan(args) => plan::run(&args),
        Experiment::Speed(args) => speed::run(&args),
        Experiment::Policies => {
            options::print_policies();
            Ok(())
        }
    }?;
    Ok(ExitCode::SUCCESS)
}
