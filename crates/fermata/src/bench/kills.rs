//! A server that is killed again and again (`kill -9`) in the middle of its work: nothing that it
//! acknowledged is lost, and nothing inside the platform happens twice.
//!
//! Executions of twenty calls each are started under names of their own, some in every life of the
//! server, and one execution is sent a numbered signal in every life. A request that got no answer is
//! repeated in the next life. In the end every execution must have ended well, with a history without
//! gap or repetition; the bill must have each call and each execution exactly once; and the one that
//! is signalled must have woken exactly as often as it was signalled.

mod check;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use indicatif::ProgressBar;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use policy::rng::Rng;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use super::steps::{deploy_file, progress, store_word};
use super::{Common, Origin, data_dir, save, temporary_folder};
use crate::load::connection::Connection;
use crate::load::platform::{ANY_PORT, Platform, Start, serve_command};

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// How often the server is killed
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    kills: usize,
    /// Executions that run meanwhile
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    executions: usize,
    /// Where the platform keeps its executions: `sqlite`, or the address of an empty schema of
    /// PostgreSQL. An address with a password is better given as `FERMATA_STORE`
    #[arg(long, value_name = "ADDRESS", env = "FERMATA_STORE", default_value = "sqlite")]
    store: String,
    /// Draws the moments of the kills; another one each time where absent
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// Calls of one execution.
const CALLS: usize = 20;
/// Kills of which the server has not said yet where it listens, in a hundred.
const EARLY_PERCENT: usize = 15;
/// The longest time from then to the kill.
const EARLY_MS_MAX: usize = 60;
/// The longest time from when it listens to the kill.
const LIFE_MS_MAX: usize = 80;
/// Requests under way at once.
const AT_ONCE: usize = 8;
/// Bound for everything to end after the last kill.
const END_TIMEOUT: Duration = Duration::from_secs(120);
/// The one that is signalled.
const WAITER: &str = "waiter";

#[derive(Clone, Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    origin: Origin,
    store: &'static str,
    seed: u64,
    kills: usize,
    /// Kills after which the next server found work that was under way.
    kills_at_work: usize,
    /// Kills before the server listened.
    kills_early: usize,
    executions: usize,
    /// Those whose start had been acknowledged before a kill of the same life.
    steps: usize,
    signals: usize,
    seconds: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let origin = Origin::load(&args.common);
    origin.print("kills");
    let seed = args.seed.unwrap_or_else(|| u64::from(std::process::id()) << 16 | 0x5eed);
    println!("again with: fermata bench kills --seed {seed} --kills {}", args.kills);
    let (kills, executions) =
        if args.common.quick { (5, 10) } else { (args.kills, args.executions.max(1)) };
    let store = store_word(&args.store)?;
    if store == "memory" {
        bail!("what is in memory does not survive a kill");
    }
    let folder = temporary_folder()?;
    let data = data_dir(folder.path(), "platform");
    let begun = Instant::now();
    let mut world = World {
        folder: folder.path(),
        data: &data,
        store: &args.store,
        rng: Rng::new(seed),
        bar: progress(kills),
        wanted: (0..executions).map(|number| format!("k-{number}")).collect(),
        signals: kills,
        signalled: 0,
        at_work: 0,
        early: 0,
    };
    world.deploy()?;
    for life in 0..kills {
        world
            .live_and_die(executions.div_ceil(kills).max(1))
            .with_context(|| format!("life {life} of the server (--seed {seed})"))?;
        world.bar.inc(1);
    }
    world.bar.finish_and_clear();
    world.end(executions).with_context(|| format!("after {kills} kills (--seed {seed})"))?;
    let figures = Figures {
        origin,
        store,
        seed,
        kills,
        kills_at_work: world.at_work,
        kills_early: world.early,
        executions,
        steps: executions * CALLS,
        signals: world.signals,
        seconds: begun.elapsed().as_secs_f64(),
    };
    println!(
        "{kills} kills, {} of them at work, {} before it listened: {executions} executions of \
         {CALLS} calls and {} signals, each exactly once",
        figures.kills_at_work, figures.kills_early, figures.signals
    );
    save(&args.common, &figures)
}

/// The server's lives, and what is wanted of it.
struct World<'a> {
    folder: &'a Path,
    data: &'a Path,
    store: &'a str,
    rng: Rng,
    bar: ProgressBar,
    /// Executions whose start was not acknowledged yet.
    wanted: BTreeSet<String>,
    /// Signals to be sent in all.
    signals: usize,
    /// And those that were acknowledged.
    signalled: usize,
    at_work: usize,
    early: usize,
}

impl World<'_> {
    fn platform(&self) -> anyhow::Result<Platform> {
        let start = Start { policy: "xx", data_dir: self.data, listen: ANY_PORT };
        Platform::start_with(start, &self.flags(), None)
    }

    /// One that starts again under its name goes on at once, whatever port it is given.
    fn flags(&self) -> [&str; 4] {
        ["--store", self.store, "--node", "killed"]
    }

    /// The functions, the waiter, and a tenth of the executions, so that every life has work.
    fn deploy(&mut self) -> anyhow::Result<()> {
        let platform = self.platform()?;
        let empty = include_bytes!("../../../../examples/guests/empty.wasm");
        let paced = include_bytes!("../../../../examples/guests/paced.wasm");
        let chain = json!({ "sequence": vec!["empty"; CALLS] }).to_string();
        let folder = self.folder;
        deploy_file(&platform, folder, "empty", ("empty.wasm", empty), "runtime = \"wasm\"")?;
        let sequence = "runtime = \"sequence\"";
        deploy_file(
            &platform,
            folder,
            "chain",
            ("chain.sequence.json", chain.as_bytes()),
            sequence,
        )?;
        let durable = "runtime = \"wasm\"\ndurable = true";
        deploy_file(&platform, folder, "paced", ("paced.wasm", paced), durable)?;
        let waiter = start(platform.address(), "paced", WAITER, format!("0 {}", self.signals));
        let tenth = self.wanted.len() / 10;
        block_on(async {
            let status = Connection::open(platform.address()).await?.send(waiter).await?.status;
            if status != StatusCode::CREATED {
                bail!("the waiter was not started: {status}");
            }
            self.start_some(platform.address(), tenth, Instant::now() + END_TIMEOUT).await;
            Ok(())
        })?;
        end_by_kill(&platform)
    }

    /// One life: the server starts, gets some work, and is killed at a random moment.
    fn live_and_die(&mut self, starts: usize) -> anyhow::Result<()> {
        if self.rng.below(100) < EARLY_PERCENT {
            return self.die_early();
        }
        let platform = self.platform()?;
        let life = millis(self.rng.below(LIFE_MS_MAX)) + micros(self.rng.below(1_000));
        let end = Instant::now() + life;
        block_on(async {
            let (address, number) = (platform.address(), self.signalled);
            let signal = tokio::spawn(async move {
                let left = end.saturating_duration_since(Instant::now());
                tokio::time::timeout(left, signal(address, number)).await
            });
            self.start_some(address, starts, end).await;
            match signal.await.context("send a signal")? {
                Ok(Ok(())) => self.signalled += 1,
                Ok(Err(refused)) => refused.or_lost()?,
                Err(_) => {}
            }
            tokio::time::sleep_until(end.into()).await;
            Ok(())
        })?;
        end_by_kill(&platform)?;
        drop(platform);
        self.at_work += usize::from(found_work(self.data));
        Ok(())
    }

    /// Killed while it starts.
    fn die_early(&mut self) -> anyhow::Result<()> {
        self.early += 1;
        let start = Start { policy: "xx", data_dir: self.data, listen: ANY_PORT };
        let executable = std::env::current_exe().context("find this program's own file")?;
        let mut command = serve_command(&executable, start, &self.flags());
        let log = File::create(self.data.join("serve.log")).context("make the server's log")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().context("start a server")?;
        std::thread::sleep(millis(self.rng.below(EARLY_MS_MAX)));
        child.kill().context("kill it")?;
        child.wait().context("wait for its end")?;
        self.at_work += usize::from(found_work(self.data));
        Ok(())
    }

    /// Starts that many more executions, as far as there is time.
    async fn start_some(&mut self, address: SocketAddr, count: usize, end: Instant) {
        let mut names: Vec<String> = self.wanted.iter().take(count).cloned().collect();
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < AT_ONCE
                && let Some(name) = names.pop()
            {
                under_way.spawn(async move {
                    let left = end.saturating_duration_since(Instant::now());
                    let started = tokio::time::timeout(left, start_one(address, &name)).await;
                    matches!(started, Ok(true)).then_some(name)
                });
            }
            match under_way.join_next().await {
                Some(Ok(Some(name))) => drop(self.wanted.remove(&name)),
                Some(_) => {}
                None => return,
            }
        }
    }

    /// The last life: everything is done, and everything is counted.
    fn end(&mut self, executions: usize) -> anyhow::Result<()> {
        let platform = self.platform()?;
        let address = platform.address();
        block_on(async {
            let end = Instant::now() + END_TIMEOUT;
            while !self.wanted.is_empty() && Instant::now() < end {
                self.start_some(address, executions, end).await;
            }
            if !self.wanted.is_empty() {
                bail!("{} executions were not started", self.wanted.len());
            }
            while self.signalled < self.signals {
                match signal(address, self.signalled).await {
                    Ok(()) => self.signalled += 1,
                    Err(Refused::Lost(reason)) => bail!("signal {}: {reason}", self.signalled),
                    Err(refused) => refused.or_lost()?,
                }
            }
            let checked = check::all(address, executions, self.signals);
            tokio::time::timeout(END_TIMEOUT, checked).await.context("wait for the end of all")?
        })
    }
}

/// Why a signal was not acknowledged.
enum Refused {
    /// Nobody answered; it may have been taken.
    Lost(String),
    /// The server said no.
    Said(StatusCode, String),
}

impl Refused {
    /// A server that is killed answers nothing, or that it cannot just now.
    fn or_lost(self) -> anyhow::Result<()> {
        match self {
            Self::Lost(_) => Ok(()),
            Self::Said(status, _) if status.is_server_error() => Ok(()),
            Self::Said(status, text) => bail!("a signal was refused: {status}: {text}"),
        }
    }
}

async fn signal(address: SocketAddr, number: usize) -> Result<(), Refused> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("/v1/executions/{WAITER}/signals/go"))
        .header(HOST, address.to_string())
        .header("x-fermata-event-id", number.to_string())
        .body(Full::new(Bytes::new()))
        .expect("the request is well formed");
    let lost = |error: crate::load::connection::Lost| Refused::Lost(error.to_string());
    let mut connection = Connection::open(address).await.map_err(lost)?;
    let answer = connection.send(request).await.map_err(lost)?;
    if answer.status == StatusCode::ACCEPTED {
        return Ok(());
    }
    Err(Refused::Said(answer.status, String::from_utf8_lossy(&answer.body).into_owned()))
}

fn start(address: SocketAddr, function: &str, name: &str, input: String) -> Request<Full<Bytes>> {
    Request::builder()
        .method(Method::POST)
        .uri(format!("/v1/functions/{function}/executions?name={name}&if_exists=join"))
        .header(HOST, address.to_string())
        .body(Full::new(Bytes::from(input)))
        .expect("the request is well formed")
}

/// Whether the start was acknowledged.
async fn start_one(address: SocketAddr, name: &str) -> bool {
    let sent = async {
        let mut connection = Connection::open(address).await?;
        connection.send(start(address, "chain", name, String::new())).await
    };
    sent.await.is_ok_and(|answer| answer.status.is_success())
}

fn end_by_kill(platform: &Platform) -> anyhow::Result<()> {
    let id = i32::try_from(platform.process_id()).context("read the process's number")?;
    kill(Pid::from_raw(id), Signal::SIGKILL).context("kill the server")
}

/// Whether the server that wrote the log went on with something.
fn found_work(data: &Path) -> bool {
    let log = fs::read_to_string(data.join("serve.log")).unwrap_or_default();
    log.contains("executions go on from where they were left")
}

const fn millis(count: usize) -> Duration {
    Duration::from_millis(count as u64)
}

const fn micros(count: usize) -> Duration {
    Duration::from_micros(count as u64)
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the client")?.block_on(work)
}
