//! Many executions that sleep: what one takes of the memory, how late they wake, how long a server
//! with them in its store takes to start, and how soon one that was killed goes on with all its work.
//!
//! Each is a function in Wasm that waits for a timer between two turns (`examples/guests/nap.c`), under
//! a name that tells when it is to wake.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HOST;
use hyper::{Method, Request};
use indicatif::ProgressBar;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;

use super::steps::{deploy_file, progress, store_word};
use super::{Common, Origin, data_dir, save, temporary_folder};
use crate::load::connection::{Connection, get};
use crate::load::platform::{ANY_PORT, Platform, Start};
use crate::load::report::rounded;
use crate::load::statistics::Latencies;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Sleeping executions; several numbers give a curve
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    executions: Vec<u64>,
    /// How many are to wake in a second: their times are spread evenly
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    wakes_per_second: u64,
    /// Executions that are under way when the server is killed
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    open: u64,
    /// Where the platform keeps its executions: `sqlite`, or the address of an empty schema of
    /// PostgreSQL. An address with a password is better given as `FERMATA_STORE`
    #[arg(long, value_name = "ADDRESS", env = "FERMATA_STORE", default_value = "sqlite")]
    store: String,
    /// How much longer than its beginning suggests it may take to start all of them: the first one sleeps
    /// until then at the least
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    reserve: u64,
    #[command(flatten)]
    common: Common,
}

/// Requests under way at once.
const AT_ONCE: usize = 32;
const PAGE: usize = 999;
const CHAINS: &str = "/v1/executions?function=chain";
const FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:empty";
/// Calls of one execution that is under way: so many that none ends before all have begun.
const CALLS: usize = 200;
/// A server that starts again works unwatched for so long: reading histories would be in its way.
const UNWATCHED: Duration = Duration::from_secs(3);
/// Starts may take so much longer than the first ones did.
const STARTS_SLOWER: f64 = 1.6;
const END_TIMEOUT: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    origin: Origin,
    store: &'static str,
    wakes_per_second: u64,
    sleeping: Vec<Sleeping>,
    recovery: Recovery,
}

/// So many sleeping executions.
#[derive(Clone, Debug, Serialize)]
struct Sleeping {
    executions: u64,
    starts_per_second: f64,
    /// By which the server that started them has grown.
    bytes_each: u64,
    /// The same of one that started with them in its store.
    bytes_each_started: u64,
    /// On the disk, with their histories and receipts.
    disk_bytes_each: Option<u64>,
    start_up_s: f64,
    /// From the time that each was to wake at to the end of its turn.
    late_p50_ms: f64,
    late_p99_ms: f64,
    late_max_ms: f64,
}

/// A server that was killed while executions were under way.
#[derive(Clone, Debug, Serialize)]
struct Recovery {
    open: u64,
    /// Until the new one listens.
    start_up_s: f64,
    /// Until every execution has gone on.
    recovered_s: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let origin = Origin::load(&args.common);
    origin.print("sleep");
    let quick = args.common.quick;
    let store = store_word(&args.store)?;
    let counts = if quick { vec![20] } else { args.executions.clone() };
    let open = if quick { 20 } else { args.open };
    let bar = progress(counts.len() + 1);
    let mut sleeping = Vec::new();
    for executions in counts {
        bar.set_message(format!("{executions} sleep"));
        sleeping.push(Night { args, executions, bar: &bar }.pass()?);
        bar.inc(1);
    }
    bar.set_message(format!("{open} are under way"));
    let starts_per_second = sleeping.last().map_or(1.0, |night| night.starts_per_second);
    let recovery = recover(args, open, starts_per_second)?;
    bar.finish_and_clear();
    let wakes_per_second = args.wakes_per_second;
    let figures = Figures { origin, store, wakes_per_second, sleeping, recovery };
    show(&figures);
    save(&args.common, &figures)
}

struct Night<'a> {
    args: &'a Args,
    executions: u64,
    bar: &'a ProgressBar,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
    more: bool,
}

#[derive(Deserialize)]
struct Item {
    id: String,
    name: Option<String>,
    status: String,
    updated_ms: u64,
    finished_ms: Option<u64>,
}

#[derive(Deserialize)]
struct History {
    items: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    at_us: u64,
}

impl Night<'_> {
    fn pass(&self) -> anyhow::Result<Sleeping> {
        let folder = temporary_folder()?;
        let data = data_dir(folder.path(), "platform");
        let platform = platform(self.args, &data)?;
        let nap = include_bytes!("../../../../examples/guests/nap.wasm");
        let durable = "runtime = \"wasm\"\ndurable = true";
        deploy_file(&platform, folder.path(), "nap", ("nap.wasm", nap), durable)?;
        // What the first ones make the server keep for itself is none of the sleepers'.
        let (warm_up, rate) = (self.executions.clamp(10, 2_000), Instant::now());
        start_all(&platform, "warm", &|_| unix_ms(), warm_up)?;
        let per_start = rate.elapsed().div_f64(warm_up as f64);
        wait_until_none_is_open(&platform)?;
        let (before, disk_before) = (resident(&platform)?, disk(&data));
        let spread = self.executions * 1_000 / self.args.wakes_per_second.max(1);
        let begun = Instant::now();
        let reserve = Duration::from_secs(self.args.reserve);
        let expected = per_start.mul_f64(STARTS_SLOWER * self.executions as f64) + reserve;
        let first = unix_ms() + u64::try_from(expected.as_millis())?;
        let at = |number| first + number * spread / self.executions.max(1);
        self.bar.set_message(format!("{} fall asleep", self.executions));
        start_all(&platform, "sleeper", &at, self.executions)?;
        let took = begun.elapsed();
        let grown = resident(&platform)?.saturating_sub(before);
        let disk_grown = disk(&data).saturating_sub(disk_before);
        kill_hard(&platform)?;
        drop(platform);
        let started = Instant::now();
        let platform = self::platform(self.args, &data)?;
        let start_up_s = started.elapsed().as_secs_f64();
        // Until what it reads at the start has been read.
        std::thread::sleep(Duration::from_secs(1));
        let grown_started = resident(&platform)?.saturating_sub(before);
        ensure!(
            unix_ms() < first,
            "starting took so long that the first are due already: make --reserve larger"
        );
        self.bar.set_message(format!("{} wake", self.executions));
        let last = Duration::from_millis(at(self.executions).saturating_sub(unix_ms()));
        std::thread::sleep(last);
        wait_until_none_is_open(&platform)?;
        let late = lateness(&platform, &at, self.executions)?;
        let quantile = |share| late.quantile(share).map_or(0.0, |quantile| quantile.ms);
        Ok(Sleeping {
            executions: self.executions,
            starts_per_second: rounded(self.executions as f64 / took.as_secs_f64()),
            bytes_each: grown / self.executions.max(1),
            bytes_each_started: grown_started / self.executions.max(1),
            disk_bytes_each: (disk_grown > 0).then(|| disk_grown / self.executions.max(1)),
            start_up_s,
            late_p50_ms: quantile(0.5),
            late_p99_ms: quantile(0.99),
            late_max_ms: quantile(1.0),
        })
    }
}

/// All of them wait for one time, so that all are under way when the server is killed.
fn recover(args: &Args, open: u64, starts_per_second: f64) -> anyhow::Result<Recovery> {
    let folder = temporary_folder()?;
    let data = data_dir(folder.path(), "platform");
    let platform = platform(args, &data)?;
    let empty = include_bytes!("../../../../examples/guests/empty.wasm");
    deploy_file(&platform, folder.path(), "empty", ("empty.wasm", empty), "runtime = \"wasm\"")?;
    let machine = chain().to_string();
    let code = ("chain.asl.json", machine.as_bytes());
    deploy_file(&platform, folder.path(), "chain", code, "runtime = \"state-machine\"")?;
    let starts = Duration::from_secs_f64(STARTS_SLOWER * open as f64 / starts_per_second.max(1.0));
    let begin = unix_ms() + u64::try_from(starts.as_millis())? + args.reserve * 1_000;
    let seconds = |_| begin.saturating_sub(unix_ms()).div_ceil(1_000);
    start_all(&platform, "chain", &seconds, open)?;
    ensure!(unix_ms() < begin, "starting took too long: make --reserve larger");
    std::thread::sleep(Duration::from_millis(begin.saturating_sub(unix_ms()) + 1_000));
    let until = Instant::now() + END_TIMEOUT;
    while block_on(pages(&platform, CHAINS))?.iter().any(|item| item.updated_ms < begin) {
        ensure!(Instant::now() < until, "some do not begin");
    }
    kill_hard(&platform)?;
    let killed_ms = unix_ms();
    drop(platform);
    let begun = Instant::now();
    let platform = self::platform(args, &data)?;
    let start_up_s = begun.elapsed().as_secs_f64();
    let begun_us = (unix_ms() * 1_000).saturating_sub(u64::try_from(begun.elapsed().as_micros())?);
    std::thread::sleep(UNWATCHED);
    let items = block_on(pages(&platform, CHAINS))?;
    let open = items.iter().filter(|item| item.finished_ms.is_none_or(|at| at > killed_ms));
    let ids: Vec<String> = open.map(|item| item.id.clone()).collect();
    let last_us = block_on(last_to_go_on(platform.address(), &ids, begun_us))?;
    let recovered = Duration::from_micros(last_us.saturating_sub(begun_us));
    let open = u64::try_from(ids.len())?;
    Ok(Recovery { open, start_up_s, recovered_s: recovered.as_secs_f64() })
}

/// A state machine that waits for as many seconds as its input says and then calls a function again and
/// again.
fn chain() -> serde_json::Value {
    let mut states = serde_json::Map::new();
    states
        .insert("Wait".to_owned(), json!({ "Type": "Wait", "SecondsPath": "$", "Next": "Call1" }));
    for number in 1..=CALLS {
        let mut call = json!({ "Type": "Task", "Resource": FUNCTION });
        if number < CALLS {
            call["Next"] = format!("Call{}", number + 1).into();
        } else {
            call["End"] = true.into();
        }
        states.insert(format!("Call{number}"), call);
    }
    json!({ "StartAt": "Wait", "States": states })
}

/// Of the first records after that time, the last one's. Waits for them.
async fn last_to_go_on(address: SocketAddr, ids: &[String], begun_us: u64) -> anyhow::Result<u64> {
    let mut last = 0;
    let mut connection = Connection::open(address).await?;
    for id in ids {
        let path = format!("/v1/executions/{id}/history?limit={PAGE}");
        let until = Instant::now() + END_TIMEOUT;
        let first = loop {
            let answer = connection.send(get(address, &path)).await?;
            let history: History =
                serde_json::from_slice(&answer.body).context("read a history")?;
            let mut at = history.items.iter().map(|entry| entry.at_us);
            if let Some(first) = at.find(|at| *at >= begun_us) {
                break first;
            }
            ensure!(Instant::now() < until, "{id} does not go on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        last = last.max(first);
    }
    Ok(last)
}

fn platform(args: &Args, data: &Path) -> anyhow::Result<Platform> {
    let start = Start { policy: "xx", data_dir: data, listen: ANY_PORT };
    // One that starts again under its name goes on at once, whatever port it is given.
    Platform::start_with(start, &["--store", &args.store, "--node", "sleeper"], None)
}

/// Starts executions of the function `nap` (or `chain`) under numbered names.
fn start_all(
    platform: &Platform,
    word: &'static str,
    input: &(dyn Fn(u64) -> u64 + Sync),
    count: u64,
) -> anyhow::Result<()> {
    let address = platform.address();
    let function = if word == "chain" { "chain" } else { "nap" };
    block_on(async {
        let mut under_way = JoinSet::new();
        let mut idle = Vec::new();
        for number in 0..count {
            if under_way.len() == AT_ONCE {
                let ended = under_way.join_next().await.context("wait for a start")?;
                idle.push(ended.context("start an execution")??);
            }
            let uri = format!("/v1/functions/{function}/executions?name={word}-{number}");
            let request = Request::builder()
                .method(Method::POST)
                .uri(uri)
                .header(HOST, address.to_string())
                .body(Full::new(Bytes::from(input(number).to_string())))
                .expect("the request is well formed");
            let connection: Option<Connection> = idle.pop();
            under_way.spawn(async move {
                let mut connection = match connection {
                    Some(connection) => connection,
                    None => Connection::open(address).await?,
                };
                let answer = connection.send(request).await?;
                ensure!(answer.status.is_success(), "a start: {}", answer.status);
                anyhow::Ok(connection)
            });
        }
        while let Some(ended) = under_way.join_next().await {
            ended.context("start an execution")??;
        }
        Ok(())
    })
}

fn wait_until_none_is_open(platform: &Platform) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let open = block_on(page(platform, "/v1/executions?open=true&limit=1"))?;
        if open.items.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > END_TIMEOUT {
            bail!("some have not ended after {END_TIMEOUT:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How late each ended, by its name and the store.
fn lateness(
    platform: &Platform,
    at: &dyn Fn(u64) -> u64,
    executions: u64,
) -> anyhow::Result<Latencies> {
    let mut late = Latencies::default();
    let mut count = 0;
    for item in block_on(pages(platform, "/v1/executions?name_prefix=sleeper-"))? {
        let name = item.name.context("it has a name")?;
        let number = name.strip_prefix("sleeper-").and_then(|number| number.parse().ok());
        let due = at(number.with_context(|| format!("{name} is no sleeper"))?);
        ensure!(item.status == "succeeded", "{name}: {}", item.status);
        let ended = item.finished_ms.context("it has ended")?;
        ensure!(ended >= due, "{name} woke {} ms early", due - ended);
        late.record(Duration::from_millis(ended - due));
        count += 1;
    }
    ensure!(count == executions, "{count} of {executions} slept");
    Ok(late)
}

async fn page(platform: &Platform, path: &str) -> anyhow::Result<Page> {
    let address = platform.address();
    let answer = Connection::open(address).await?.send(get(address, path)).await?;
    serde_json::from_slice(&answer.body).with_context(|| format!("read {path}"))
}

async fn pages(platform: &Platform, path: &str) -> anyhow::Result<Vec<Item>> {
    let mut all: Vec<Item> = Vec::new();
    loop {
        let before = all.last().map(|last| format!("&before={}", last.id)).unwrap_or_default();
        let page = page(platform, &format!("{path}&limit={PAGE}{before}")).await?;
        all.extend(page.items);
        if !page.more {
            return Ok(all);
        }
    }
}

fn kill_hard(platform: &Platform) -> anyhow::Result<()> {
    let id = i32::try_from(platform.process_id()).context("read the process's number")?;
    kill(Pid::from_raw(id), Signal::SIGKILL).context("kill the server")
}

/// The memory that the server's process has.
fn resident(platform: &Platform) -> anyhow::Result<u64> {
    let path = format!("/proc/{}/status", platform.process_id());
    let text = fs::read_to_string(path).context("read the server's memory")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    Ok(kib << 10)
}

/// The database's files.
fn disk(data: &Path) -> u64 {
    let files = ["fermata.db", "fermata.db-wal"].map(|file| data.join(file));
    files.iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum()
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the client")?.block_on(work)
}

fn show(figures: &Figures) {
    println!("store: {}, {} wake a second", figures.store, figures.wakes_per_second);
    for night in &figures.sleeping {
        println!(
            "{:>8} sleep: {} bytes of memory each ({} after a new start), started {:.0}/s; \
             start-up {:.2} s; late by p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
            night.executions,
            night.bytes_each,
            night.bytes_each_started,
            night.starts_per_second,
            night.start_up_s,
            night.late_p50_ms,
            night.late_p99_ms,
            night.late_max_ms,
        );
    }
    let Recovery { open, start_up_s, recovered_s } = &figures.recovery;
    println!(
        "{open} under way at a kill: start-up {start_up_s:.2} s, all go on after {recovered_s:.2} s"
    );
}
