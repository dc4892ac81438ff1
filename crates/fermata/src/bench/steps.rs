//! Durable steps: how long one takes, how many a second, what it writes, and what it costs to
//! suspend a continuation and to go on.
//!
//! A step is what a sequence does between one answer and the next: the answer is an event of the
//! execution, the step that it leads to is committed, and only then the next function (an empty one
//! in Wasm) is called. Its time is what lies between two such events in the execution's history.

mod client;
mod continuation;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::{Common, Origin, data_dir, save, temporary_folder};
use crate::load::platform::{ANY_PORT, Deployed, Platform, Start};
use crate::load::report::rounded;
use crate::load::statistics::Latencies;
use crate::load::table::number;

use client::Client;
use continuation::{Contents, Naps};

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Where the platform keeps its executions: `sqlite`, `memory`, or the address of an empty
    /// schema of PostgreSQL. An address with a password is better given as `FERMATA_STORE`
    #[arg(long, value_name = "ADDRESS", env = "FERMATA_STORE", default_value = "sqlite")]
    store: String,
    /// Executions under way at once
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 8, 64, 256])]
    concurrency: Vec<usize>,
    /// How long each concurrency is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 6)]
    seconds: u64,
    /// Put the platform's data (and the file that is synchronized for comparison) below this folder,
    /// to measure its disk
    #[arg(long, value_name = "DIR")]
    dir: Option<std::path::PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// How much is done.
struct Amounts {
    /// Functions in the sequence.
    length: usize,
    /// Executions of it, one after the other.
    alone: usize,
    fsyncs: usize,
    press: Duration,
    naps: usize,
}

impl Amounts {
    const fn of(args: &Args) -> Self {
        if args.common.quick {
            let press = Duration::from_millis(50);
            Self { length: 5, alone: 2, fsyncs: 5, press, naps: 3 }
        } else {
            let press = Duration::from_secs(args.seconds);
            Self { length: 100, alone: 30, fsyncs: 1_000, press, naps: 200 }
        }
    }
}

/// A distribution in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Spread {
    p50: f64,
    p99: f64,
}

impl Spread {
    fn of(latencies: &Latencies) -> anyhow::Result<Self> {
        let quantile = |share| latencies.quantile_us(share).context("nothing was measured");
        Ok(Self { p50: quantile(0.5)?, p99: quantile(0.99)? })
    }
}

#[derive(Clone, Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    origin: Origin,
    /// `sqlite`, `postgres` or `memory`.
    store: &'static str,
    /// One step of one execution, nothing else being under way.
    step_us: Spread,
    /// Of four kilobytes and an `fdatasync` after them, on the disk of the platform's data, before
    /// and after the steps.
    fsync_us: Spread,
    /// From sending the start of an execution to the answer that it is safe, over HTTP.
    start_us: Spread,
    steps_per_second: BTreeMap<usize, f64>,
    /// What the platform's process wrote to the disk for each step, by concurrency. Not known where a
    /// server of its own does the writing.
    bytes_per_step: Option<BTreeMap<usize, u64>>,
    /// A continuation with a mebibyte of memory, all of it changed in each turn: from its last
    /// instruction to the client's hearing that it is safely suspended.
    suspend_us: Spread,
    /// And from sending the signal that it waits for to its first instruction with its memory back.
    resume_us: Spread,
    /// The same with memory that compresses.
    suspend_text_us: Spread,
    resume_text_us: Spread,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let origin = Origin::load(&args.common);
    origin.print("steps");
    let folder = match &args.dir {
        Some(dir) => crate::load::folder::Folder::make_in(dir, "fermata-bench-")?,
        None => temporary_folder()?,
    };
    let amounts = Amounts::of(args);
    let store = store_word(&args.store)?;
    let data_dir = data_dir(folder.path(), "platform");
    let start = Start { policy: "xx", data_dir: &data_dir, listen: ANY_PORT };
    let platform = Platform::start_with(start, &["--store", &args.store], None)?;
    let bar = progress(args.concurrency.len() + 4);
    let bench = Bench { platform, folder: folder.path(), amounts, store, bar };
    let figures = bench.measure(origin, &args.concurrency)?;
    bench.bar.finish_and_clear();
    show(&figures);
    save(&args.common, &figures)
}

struct Bench<'a> {
    platform: Platform,
    folder: &'a Path,
    amounts: Amounts,
    store: &'static str,
    bar: ProgressBar,
}

impl Bench<'_> {
    fn measure(&self, origin: Origin, concurrency: &[usize]) -> anyhow::Result<Figures> {
        self.deploy()?;
        let client = Client::new(self.platform.address())?;
        client.warm_up("chain", self.amounts.length)?;
        let mut fsync = Latencies::default();
        self.at("synchronizing a file");
        time_fsyncs(self.folder, self.amounts.fsyncs / 2 + 1, Duration::ZERO, |time| {
            fsync.record(time)
        })?;
        self.at("steps of one execution");
        let alone = client.alone("chain", self.amounts.alone)?;
        time_fsyncs(self.folder, self.amounts.fsyncs / 2 + 1, Duration::ZERO, |time| {
            fsync.record(time)
        })?;
        let mut steps_per_second = BTreeMap::new();
        let mut bytes_per_step = BTreeMap::new();
        for executions in concurrency.iter().copied() {
            self.at(&format!("steps of {executions} executions"));
            let before = self.written_bytes();
            let done = client.press("chain", executions, self.amounts.press)?;
            let written = self.written_bytes().saturating_sub(before);
            let steps = done.executions * u64::try_from(self.amounts.length)?;
            let steps_f = f64::from(u32::try_from(steps).context("count the steps")?);
            steps_per_second.insert(executions, rounded(steps_f / done.took.as_secs_f64()));
            bytes_per_step.insert(executions, written / steps.max(1));
        }
        self.at("suspending what is random");
        let random = Naps { rounds: self.amounts.naps, contents: Contents::Random };
        let random = random.take(&client)?;
        self.at("suspending text");
        let text = Naps { rounds: self.amounts.naps, contents: Contents::Text }.take(&client)?;
        Ok(Figures {
            origin,
            store: self.store,
            step_us: Spread::of(&alone.steps)?,
            fsync_us: Spread::of(&fsync)?,
            start_us: Spread::of(&alone.starts)?,
            steps_per_second,
            bytes_per_step: (self.store != "postgres").then_some(bytes_per_step),
            suspend_us: Spread::of(&random.suspends)?,
            resume_us: Spread::of(&random.resumes)?,
            suspend_text_us: Spread::of(&text.suspends)?,
            resume_text_us: Spread::of(&text.resumes)?,
        })
    }

    fn at(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.inc(1);
    }

    fn deploy(&self) -> anyhow::Result<()> {
        let empty = include_bytes!("../../../../examples/guests/empty.wasm");
        let paced = include_bytes!("../../../../examples/guests/paced.wasm");
        let chain = json!({ "sequence": vec!["empty"; self.amounts.length] }).to_string();
        let deploy = |name, code, is| deploy_file(&self.platform, self.folder, name, code, is);
        deploy("empty", ("empty.wasm", empty.as_slice()), "runtime = \"wasm\"")?;
        deploy("chain", ("chain.sequence.json", chain.as_bytes()), "runtime = \"sequence\"")?;
        deploy("paced", ("paced.wasm", paced), "runtime = \"wasm\"\ndurable = true")
    }

    /// What the platform's process had written to disks.
    fn written_bytes(&self) -> u64 {
        let path = format!("/proc/{}/io", self.platform.process_id());
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
    }
}

/// Deploys one file of code, with what else its manifest is to say.
pub(super) fn deploy_file(
    platform: &Platform,
    root: &Path,
    name: &str,
    (file, code): (&str, &[u8]),
    is: &str,
) -> anyhow::Result<()> {
    let folder = root.join("functions").join(name);
    let manifest = format!("name = \"{name}\"\npath = \"{file}\"\n{is}\n");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join(file), code))
        .and_then(|()| fs::write(folder.join("fermata.toml"), manifest))
        .with_context(|| format!("write the function {name}"))?;
    match platform.deploy(&folder)? {
        Deployed::Yes => Ok(()),
        Deployed::Refused(reason) => bail!("{name} is refused: {reason}"),
    }
}

/// The sort of store that an address names.
pub(super) fn store_word(address: &str) -> anyhow::Result<&'static str> {
    match address.split(':').next() {
        Some("sqlite") => Ok("sqlite"),
        Some("memory") => Ok("memory"),
        Some("postgres" | "postgresql") => Ok("postgres"),
        _ => bail!("{address:?} is none of sqlite, memory and postgres://…"),
    }
}

/// Writes and synchronizes a few bytes again and again, after a pause each time.
pub(super) fn time_fsyncs(
    folder: &Path,
    count: usize,
    pause: Duration,
    mut record: impl FnMut(Duration),
) -> anyhow::Result<()> {
    let mut file = File::create(folder.join("floor")).context("make a file")?;
    for _ in 0..count {
        std::thread::sleep(pause);
        let begun = Instant::now();
        file.write_all(&[7; 4_096])
            .and_then(|()| file.sync_data())
            .context("synchronize a file")?;
        record(begun.elapsed());
    }
    Ok(())
}

/// A bar on a terminal; nothing elsewhere.
pub(super) fn progress(phases: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:32} {elapsed} {msg}");
    let style = style.expect("the template is well formed").progress_chars("━━╌");
    ProgressBar::new(u64::try_from(phases).unwrap_or(u64::MAX)).with_style(style)
}

fn show(figures: &Figures) {
    let us = |spread: Spread| {
        let one = |value| number(Some(value), false, "");
        format!("p50 {} µs, p99 {} µs", one(spread.p50), one(spread.p99))
    };
    println!("store: {}", figures.store);
    println!("fdatasync of 4 KiB              {}", us(figures.fsync_us));
    println!("durable step                    {}", us(figures.step_us));
    println!("start, until it is safe         {}", us(figures.start_us));
    for (executions, rate) in &figures.steps_per_second {
        let bytes = figures.bytes_per_step.as_ref().and_then(|bytes| bytes.get(executions));
        let bytes = bytes.map_or_else(String::new, |bytes| format!(", {bytes} bytes each"));
        let rate = number(Some(*rate), false, "");
        println!("steps a second, {executions:>4} at once    {rate}{bytes}");
    }
    println!("suspend 1 MiB, random           {}", us(figures.suspend_us));
    println!("resume 1 MiB, random            {}", us(figures.resume_us));
    println!("suspend 1 MiB, text             {}", us(figures.suspend_text_us));
    println!("resume 1 MiB, text              {}", us(figures.resume_text_us));
}
