//! `fermata bench`: what the platform promises, measured on this machine.
//!
//! Each bench starts a platform of its own, in a process of its own, and prints with its figures
//! the machine and the commit they belong to. `--quick` runs the whole path with tiny input, for
//! tests: its figures mean nothing.
//!
//! Start reading at [`run`]; each bench has a file of its name.

#![expect(clippy::print_stdout, reason = "what a bench prints is its result")]

mod agree;
mod bare;
mod busy;
mod flood;
mod functions;
mod kills;
mod maps;
mod memory;
mod preempt;
mod probe;
mod sleep;
mod start;
mod states;
mod steps;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::load::folder::Folder;
use crate::load::machine::{COMMIT, Machine};
use crate::load::report::save_json;

/// Measure what the platform promises on this machine.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Bench {
    /// The lowest class offered at 10× what the machine can do, beside a top class at 30 %
    Flood(flood::Args),
    /// A server that is killed again and again: nothing is lost, nothing happens twice
    Kills(kills::Args),
    /// Swapping by class under pressure, the swap file against its disk, and faults
    Memory(memory::Args),
    /// How soon a top-class call runs while every core is busy with work that never yields
    Preempt(preempt::Args),
    /// Cold starts, round trips, and calls a second
    Start(start::Args),
    /// Many sleeping executions: memory, start-up, how late they wake, and recovery
    Sleep(sleep::Args),
    /// Durable steps: their time, how many a second, and what suspending costs
    Steps(steps::Args),
    /// Chains and fan-outs of state machines, beside what their functions take
    States(states::Args),
    Agree(agree::Args),
    /// The axum handler that `bench start` compares with
    #[command(hide = true)]
    BareServer,
}

/// What every bench takes.
#[derive(clap::Args, Clone, Debug)]
struct Common {
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Tiny input: shows that the bench works, measures nothing
    #[arg(long)]
    quick: bool,
}

/// On what and from what a figure was made.
#[derive(Clone, Debug, Serialize)]
struct Origin {
    machine: Machine,
    commit: &'static str,
    quick: bool,
}

impl Origin {
    fn load(common: &Common) -> Self {
        Self { machine: Machine::load(), commit: COMMIT, quick: common.quick }
    }

    fn print(&self, bench: &str) {
        println!("fermata bench {bench} · {} · commit {}", self.machine, self.commit);
        if self.quick {
            println!("--quick: these figures mean nothing");
        }
        println!();
    }
}

/// Runs a bench.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.bench {
        Bench::Flood(args) => flood::run(&args),
        Bench::Kills(args) => kills::run(&args),
        Bench::Memory(args) => memory::run(&args),
        Bench::Preempt(args) => preempt::run(&args),
        Bench::Start(args) => start::run(&args),
        Bench::Sleep(args) => sleep::run(&args),
        Bench::Steps(args) => steps::run(&args),
        Bench::States(args) => states::run(&args),
        Bench::Agree(args) => agree::run(&args),
        Bench::BareServer => bare::serve(),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn save(common: &Common, figures: &impl Serialize) -> anyhow::Result<()> {
    let Some(path) = &common.json else { return Ok(()) };
    save_json(path, figures)?;
    println!("figures: {}", path.display());
    Ok(())
}

/// A folder for one bench's platforms.
fn temporary_folder() -> anyhow::Result<Folder> {
    Folder::make("fermata-bench-")
}

/// Where the platform of that name keeps its data.
fn data_dir(folder: &Path, name: &str) -> PathBuf {
    folder.join("data").join(name)
}
