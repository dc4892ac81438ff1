//! How soon a top-class call runs while every core is busy with work that never yields.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::busy::Cores;
use super::functions::{Function, LOWEST, Runtime, TOP, Task, spin_forever};
use super::probe::{Probe, Probed};
use super::{Common, Origin, data_dir, save, temporary_folder};
use crate::load::connection::{Connection, get, invoke};
use crate::load::platform::{ANY_PORT, Deployed, Platform, Start};
use crate::load::table::{Cell, Style, Tone, layout, number};

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Top-class calls of each kind
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    calls: usize,
    #[command(flatten)]
    common: Common,
}

/// Not a multiple of anything that ticks.
const GAP: Duration = Duration::from_micros(3_700);
/// Time for the background work to take its cores.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);
const BUSY_POLL: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    origin: Origin,
    /// From the request's sending to the handler's first instruction.
    wasm: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Kind>,
    notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Kind {
    #[serde(flatten)]
    probed: Probed,
    /// The share of core time in which the cores were not idle while the calls were made.
    cores_busy: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let origin = Origin::load(&args.common);
    origin.print("preempt");
    let folder = temporary_folder()?;
    let calls = if args.common.quick { 5 } else { args.calls.max(1) };
    let wasm = measure(folder.path(), Runtime::Wasm, calls)?;
    let wasm = wasm.map_err(|reason| anyhow::anyhow!("Wasm is refused: {reason}"))?;
    let (process, notes) = match measure(folder.path(), Runtime::Process, calls)? {
        Ok(process) => (Some(process), Vec::new()),
        Err(reason) => (None, vec![format!("no process figures: {reason}")]),
    };
    let figures = Figures { origin, wasm, process, notes };
    show(&figures);
    save(&args.common, &figures)
}

/// Each kind has a platform of its own, so that the one's background work does not hold the other's
/// cores. Gives the reason where the platform refuses the kind.
fn measure(folder: &Path, runtime: Runtime, calls: usize) -> anyhow::Result<Result<Kind, String>> {
    let name = match runtime {
        Runtime::Wasm => "wasm",
        Runtime::Process => "process",
    };
    let data_dir = data_dir(folder, name);
    let start = Start { policy: "xx", data_dir: &data_dir, listen: ANY_PORT };
    let platform = Platform::start(start)?;
    for (task, class) in [(Task::Spin, LOWEST), (Task::Clock, TOP)] {
        let function = Function { name: format!("{task:?}").to_lowercase(), runtime, task, class };
        if let Deployed::Refused(reason) = function.deploy(&platform, folder)? {
            return Ok(Err(reason));
        }
    }
    let address = platform.address();
    let probe = |calls| Probe { address, functions: vec!["clock"; calls], class: TOP, gap: GAP };
    // Once before, so that the clock function is warm: preemption is measured, not a cold start.
    probe(3).run().context("call the clock function")?;
    let background = Background::begin(address, runtime)?;
    let before = Cores::load()?;
    let probed = probe(calls).run().context("call the clock function under load")?;
    let cores_busy = Cores::load()?.busy_since(before);
    background.end()?;
    Ok(Ok(Kind { probed, cores_busy }))
}

/// Calls that never end, one and a half for each core.
struct Background {
    client: tokio::runtime::Runtime,
    calls: JoinSet<anyhow::Result<String>>,
}

impl Background {
    /// Starts them and waits until they hold every core.
    fn begin(address: SocketAddr, runtime: Runtime) -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let client = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("start the background's client")?;
        let mut calls = JoinSet::new();
        for _ in 0..cores + cores.div_ceil(2) {
            let call = async move {
                let request = invoke(address, "spin", LOWEST, spin_forever(runtime));
                let answer = Connection::open(address).await?.send(request).await?;
                Ok(String::from_utf8_lossy(&answer.body).into_owned())
            };
            calls.spawn_on(call, client.handle());
        }
        let mut background = Self { client, calls };
        let deadline = Instant::now() + BUSY_TIMEOUT;
        while running(&background.client, address)? < cores {
            background.check_running()?;
            if Instant::now() > deadline {
                bail!("background work did not take {cores} cores within {BUSY_TIMEOUT:?}");
            }
            std::thread::sleep(BUSY_POLL);
        }
        Ok(background)
    }

    /// They must still be running, else the cores were not busy.
    fn end(mut self) -> anyhow::Result<()> {
        self.check_running()?;
        self.client.shutdown_background();
        Ok(())
    }

    fn check_running(&mut self) -> anyhow::Result<()> {
        match self.calls.try_join_next() {
            None => Ok(()),
            Some(ended) => {
                bail!("background work that never ends did end: {}", ended.context("call it")??)
            }
        }
    }
}

#[derive(Deserialize)]
struct Status {
    classes: Vec<Lane>,
}

#[derive(Deserialize)]
struct Lane {
    class: String,
    running: usize,
}

/// How many cores the lowest class holds.
fn running(client: &tokio::runtime::Runtime, address: SocketAddr) -> anyhow::Result<usize> {
    let answer = client.block_on(async {
        Connection::open(address).await?.send(get(address, "/v1/status")).await
    })?;
    let status: Status = serde_json::from_slice(&answer.body).context("read the status")?;
    let lane = status.classes.iter().find(|lane| lane.class == LOWEST);
    Ok(lane.context("find the lowest class's lane")?.running)
}

fn show(figures: &Figures) {
    let faint = |text: &str| Cell::new(Tone::Faint, text);
    let heads = [
        "",
        "calls",
        "p50 µs",
        "p99 µs",
        "max µs",
        "in the platform: p50 µs",
        "p99 µs",
        "cores busy",
    ];
    let mut rows = vec![heads.map(faint).to_vec()];
    let kinds = [("wasm", Some(&figures.wasm)), ("process (Python)", figures.process.as_ref())];
    for (name, kind) in kinds {
        let Some(kind) = kind else { continue };
        let Probed { start, in_platform, .. } = &kind.probed;
        let us = |value| Cell::plain(number(Some(value), false, ""));
        rows.push(vec![
            Cell::new(Tone::Head, name),
            Cell::plain(start.count.to_string()),
            us(start.p50_us),
            us(start.p99_us),
            us(start.max_us),
            us(in_platform.p50_us),
            us(in_platform.p99_us),
            Cell::plain(format!("{:.1} %", kind.cores_busy * 100.0)),
        ]);
    }
    println!("from a top-class request's sending to its handler's first instruction,");
    println!("every core being busy with background work that never yields:\n");
    println!("{}", layout(&rows, 1, Style::for_stdout()));
    for note in &figures.notes {
        println!("Note: {note}.");
    }
}
