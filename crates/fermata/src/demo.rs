//! `fermata demo`: the crowding problem, and price classes without it, on this machine in a minute.
//!
//! It starts a platform, deploys the shop of `examples/shop`, offers more than the machine can do
//! for a while, once with price classes and once with classes ignored, and shows who felt it.
//!
//! Start reading at [`run`]; the shop is in [`shop`], its load in [`offer`].

#![expect(clippy::print_stdout, reason = "what the demo prints is its result")]

mod native;
mod offer;
mod progress;
mod shop;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::load::folder::Folder;
use crate::load::generator::{self, Settings};
use crate::load::machine::Machine;
use crate::load::platform::{ANY_PORT, Deployed, Platform, Start};
use crate::load::plot::{self, Frame};
use crate::load::report::{ClassLabel, Report, Run};
use crate::load::server::raise_open_files;
use crate::load::table::{self, Style};
use offer::Offer;
use progress::Progress;
use shop::{Code, ITEMS, Item};

/// See price classes keep a shop's pages fast under overload, beside a scheduler without them.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Stay up afterwards, for exploration
    #[arg(long)]
    keep: bool,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write the plot
    #[arg(long, value_name = "FILE", default_value = "fermata-demo.svg")]
    svg: PathBuf,
    /// Seconds of load under each policy
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(3..=3_600))]
    seconds: u16,
    /// Policies to compare
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "xx,hermod")]
    policies: Vec<String>,
}

/// Calls of one function that may wait for their answer at once.
const IN_FLIGHT_MAX: usize = 4_000;
/// How long answers are awaited after the last arrival.
const DRAIN: Duration = Duration::from_millis(1_500);
const SEED: u64 = 2_026;
/// Where `--keep` stays, so that the other commands find it without being told.
const KEEP_LISTEN: &str = "127.0.0.1:4566";

/// Runs the demo.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    println!("Fermata demo: a shop on {}\n", Machine::load());
    let folder = Folder::make("fermata-demo-")?;
    let functions = unpack(folder.path())?;
    let demo = Demo { args, folder, functions };
    let compared = demo.compare()?;
    demo.show(&compared)?;
    if demo.args.keep {
        demo.keep(&compared.offer)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the shop's functions to disk, as far as they can be had.
fn unpack(root: &Path) -> anyhow::Result<Vec<(&'static Item, PathBuf)>> {
    let mut functions = Vec::new();
    for item in &ITEMS {
        let building = || println!("building the shop's native function (once, about a minute) …");
        let executable = match item.code {
            Code::Embedded => None,
            Code::Native => match native::executable(building) {
                Ok(path) => Some(path),
                Err(reason) => {
                    println!("without {} ({}): {reason}", item.name, item.what);
                    continue;
                }
            },
        };
        functions.push((item, item.unpack(root, executable.as_deref())?));
    }
    Ok(functions)
}

struct Demo {
    args: Args,
    folder: Folder,
    functions: Vec<(&'static Item, PathBuf)>,
}

struct Compared {
    report: Report,
    offer: Offer,
    /// By policy: what `fermata bill` printed at the end of its run.
    bills: Vec<(String, String)>,
}

impl Demo {
    /// The same load under each policy, each on a fresh platform.
    fn compare(&self) -> anyhow::Result<Compared> {
        let mut measured: Option<Offer> = None;
        let (mut runs, mut bills, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        for policy in &self.args.policies {
            let mut platform = self.start(policy, ANY_PORT)?;
            let deployed = self.deploy(&platform, measured.is_none())?;
            let offer = match measured.take() {
                Some(offer) => {
                    offer.warm(platform.address()).context("warm the functions")?;
                    offer
                }
                None => self.measure(&platform, &deployed)?,
            };
            let (run, note) = self.load(policy, &platform, &offer)?;
            platform.check().with_context(|| format!("run the shop under {policy}"))?;
            runs.push(run);
            notes = vec![note.to_owned()];
            bills.push((policy.clone(), platform.print_of(&["bill"])?));
            measured = Some(offer);
        }
        let offer = measured.context("name at least one policy with --policies")?;
        Ok(Compared { report: Report::new(runs, notes), offer, bills })
    }

    fn start(&self, policy: &str, listen: &str) -> anyhow::Result<Platform> {
        let data_dir = self.folder.path().join("data").join(policy);
        Platform::start(Start { policy, data_dir: &data_dir, listen })
    }

    /// Deploys what the platform takes. What it refuses is said once.
    fn deploy(&self, platform: &Platform, is_first: bool) -> anyhow::Result<Vec<&'static Item>> {
        let mut deployed = Vec::new();
        for (item, folder) in &self.functions {
            match platform.deploy(folder)? {
                Deployed::Yes => deployed.push(*item),
                Deployed::Refused(reason) if is_first => {
                    println!("without {} ({}): {reason}", item.name, item.what);
                }
                Deployed::Refused(_) => {}
            }
        }
        Ok(deployed)
    }

    fn measure(&self, platform: &Platform, items: &[&'static Item]) -> anyhow::Result<Offer> {
        println!("by the CPU time of a call, all cores could run of each function alone:");
        let offer = Offer::measure(platform.address(), items, |item, result| {
            let name = format!("  {:10} {:12} {:22}", item.name, item.class, item.what);
            match result {
                Ok(per_s) => println!("{name}{per_s:>7.0} calls/s"),
                Err(error) => println!("{name} does not work here and is left out: {error:#}"),
            }
        });
        if offer.is_empty() {
            bail!("none of the shop's functions works on this machine");
        }
        let [calm, overload, _] = offer.totals();
        println!(
            "offered then: {calm:.2}× of that, {overload:.1}× for a while, {calm:.2}× again; \
             {} s under each policy\n",
            self.args.seconds
        );
        Ok(offer)
    }

    fn load(
        &self,
        policy: &str,
        platform: &Platform,
        offer: &Offer,
    ) -> anyhow::Result<(Run, &'static str)> {
        let plan = offer.plan(Duration::from_secs(self.args.seconds.into()), SEED);
        let in_flight_max = IN_FLIGHT_MAX.min(raise_open_files() / plan.streams.len().max(1));
        let settings = Settings { address: platform.address(), in_flight_max, drain: DRAIN };
        let mut progress = Progress::new(policy, &plan);
        let measured = generator::run(&plan, settings, |at| progress.show(at))?;
        progress.finish();
        let run = Run::new(policy, &plan, &ClassLabel::default_list(), &measured);
        Ok((run, measured.priority.note()))
    }

    fn show(&self, compared: &Compared) -> anyhow::Result<()> {
        let Compared { report, offer, bills } = compared;
        println!("{}", table::render(report, Style::for_stdout()));
        println!(
            "slowdown: p99 during the overload against calm. Latency counts from the moment at"
        );
        println!(
            "which a call was due. ≥: some were cut off at the end of the run, still waiting."
        );
        print!("{}", table::render_notes(report));
        let plan = offer.plan(Duration::from_secs(self.args.seconds.into()), SEED);
        let [_, overload, _] = offer.totals();
        let begin = plan.begin_of(1);
        let frame = Frame {
            title: "Who feels an overload of background work?".into(),
            subtitle: format!(
                "p99 of the calls that arrived in each half second · {}",
                report.machine
            ),
            length_s: plan.length().as_secs_f64(),
            overload_s: begin.as_secs_f64()..(begin + plan.phases[1].length).as_secs_f64(),
            overload_label: format!("offered: {overload:.1}× the machine"),
            panels: self.args.policies.iter().map(|policy| headline(policy)).collect(),
        };
        plot::save(&self.args.svg, report, &frame)?;
        println!("\nplot: {}", self.args.svg.display());
        if let Some(path) = &self.args.json {
            report.save(path)?;
            println!("figures: {}", path.display());
        }
        for (policy, bill) in bills {
            println!("\nbill of the run under {policy}:\n{}", bill.trim_end());
        }
        Ok(())
    }

    /// Starts the first policy's platform again, on its data, and waits for the user to end it.
    fn keep(&self, offer: &Offer) -> anyhow::Result<()> {
        let policy = self.args.policies.first().context("name at least one policy")?;
        let usual = self.start(policy, KEEP_LISTEN);
        let (platform, server) = match usual {
            Ok(platform) => (platform, String::new()),
            Err(_) => {
                let platform = self.start(policy, ANY_PORT)?;
                let server = format!(" --server {}", platform.url());
                (platform, server)
            }
        };
        println!("\nThe platform stays up at {}. Try, in another terminal:", platform.url());
        println!("  fermata top{server}");
        for name in offer.names() {
            println!("  fermata invoke {name} --class critical{server} '{{\"seed\":7}}'");
        }
        println!("  fermata bill{server}");
        println!("Ctrl-C ends it and removes its data.");
        self.folder.disarm();
        wait_for_interrupt()
    }
}

fn headline(policy: &str) -> String {
    match policy {
        "xx" => "xx: price classes".into(),
        "hermod" => "hermod: classes ignored, all share".into(),
        "fifo" => "fifo: classes ignored, first come first served".into(),
        other => other.into(),
    }
}

fn wait_for_interrupt() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("wait for Ctrl-C")?;
    runtime.block_on(tokio::signal::ctrl_c()).context("wait for Ctrl-C")
}
