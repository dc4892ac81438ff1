//! What it costs to look at the memory of functions that run, by the thread that looks.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use serde::Serialize;

use super::super::data_dir;
use super::super::functions::{Function, LOWEST, Runtime, Task};
use super::device::MIB;
use crate::load::connection::{Connection, get, invoke};
use crate::load::platform::{ANY_PORT, Deployed, Platform, Start};

/// The threads that look: at Wasm functions, at sandboxes, and at all of them for the planner.
const LOOKERS: [&str; 3] = ["wasm-memory", "process-looks", "fermata-sampler"];

/// What looking at some functions took.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    runtime: &'static str,
    functions: u64,
    each_mib: u64,
    seconds: f64,
    /// Part of one core, by thread.
    core_share: Vec<(String, f64)>,
}

pub(super) fn measure(folder: &Path, quick: bool) -> anyhow::Result<Vec<Figures>> {
    let length = Duration::from_millis(if quick { 200 } else { 4_000 });
    let (small, large) = (if quick { 2 } else { 4 }, if quick { 8 } else { 512 });
    let cases = [(Runtime::Wasm, small), (Runtime::Wasm, large), (Runtime::Process, small)];
    let mut all = Vec::new();
    for (runtime, each_mib) in cases {
        let Some(figures) = one(folder, runtime, each_mib, length)? else {
            println!("looks: skipped, sandboxes cannot run here");
            continue;
        };
        for (thread, share) in &figures.core_share {
            println!(
                "looks: {} {} functions of {each_mib} MiB: {thread} {:.3} % of a core",
                figures.functions,
                figures.runtime,
                share * 100.0
            );
        }
        all.push(figures);
    }
    Ok(all)
}

fn one(
    folder: &Path,
    runtime: Runtime,
    each_mib: u64,
    length: Duration,
) -> anyhow::Result<Option<Figures>> {
    let functions = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let data = data_dir(folder, &format!("looks-{runtime:?}-{each_mib}"));
    let start = Start { policy: "xx", data_dir: &data, listen: ANY_PORT };
    let mut platform = Platform::start_with(start, &["--memory", "4G"], None)?;
    let hold = Function { name: "hold".into(), runtime, task: Task::Hold, class: LOWEST };
    if let Deployed::Refused(_) = hold.deploy(&platform, folder)? {
        return Ok(None);
    }
    let address = platform.address();
    let tokio =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for seed in 0..functions {
        let text = format!("{each_mib} 1000000000 0 {seed}");
        let payload = match runtime {
            Runtime::Wasm => text,
            Runtime::Process => format!("\"{text}\""),
        };
        tokio.spawn(async move {
            let mut connection = Connection::open(address).await?;
            // It is cut off at the end.
            drop(connection.send(invoke(address, "hold", LOWEST, Bytes::from(payload))).await);
            anyhow::Ok(())
        });
    }
    tokio.block_on(filled(address, functions, functions * each_mib * MIB))?;
    let (begun, before) = (Instant::now(), times(platform.process_id())?);
    std::thread::sleep(length);
    let (seconds, after) = (begun.elapsed().as_secs_f64(), times(platform.process_id())?);
    platform.check()?;
    let share = |index: usize| {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let nanos = after[index].saturating_sub(before[index]) as f64;
        (LOOKERS[index].to_owned(), nanos / 1e9 / seconds)
    };
    let (runtime, looker) = match runtime {
        Runtime::Wasm => ("wasm", 0),
        Runtime::Process => ("process", 1),
    };
    let core_share = vec![share(looker), share(2)];
    Ok(Some(Figures { runtime, functions, each_mib, seconds, core_share }))
}

/// Waits until so many functions run and hold so much.
async fn filled(address: std::net::SocketAddr, count: u64, bytes: u64) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    let mut connection = Connection::open(address).await?;
    loop {
        let answer = connection.send(get(address, "/v1/status")).await?;
        let status: serde_json::Value =
            serde_json::from_slice(&answer.body).context("read the status")?;
        let running = status["classes"][0]["running"].as_u64().unwrap_or(0);
        let used = status["machines"][0]["memory_used"].as_u64().unwrap_or(0);
        if running >= count && used >= bytes {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "the functions never had their memory");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// CPU time of each looker in nanoseconds.
fn times(process: u32) -> anyhow::Result<[u64; LOOKERS.len()]> {
    let mut times = [0; LOOKERS.len()];
    let tasks = format!("/proc/{process}/task");
    for task in std::fs::read_dir(&tasks).context("list the platform's threads")?.flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let name = read("comm");
        if let Some(index) = LOOKERS.iter().position(|looker| *looker == name.trim()) {
            let first = read("schedstat").split_whitespace().next().and_then(|n| n.parse().ok());
            times[index] += first.unwrap_or(0_u64);
        }
    }
    Ok(times)
}
