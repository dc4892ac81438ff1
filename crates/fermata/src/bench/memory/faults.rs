//! What happens when things go wrong: each fault, and that nothing but what it names suffers.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use model::InvocationId;
use runtime::swap::{Coding, Swap, SwapOptions};
use runtime::{Event, Executor as _};
use serde::Serialize;
use serde_json::Value;

use super::super::data_dir;
use super::super::functions::{Function, LOWEST, Runtime, Task};
use super::device::{Lab, MIB, millis};
use crate::load::connection::{Connection, get, invoke};
use crate::load::platform::{ANY_PORT, Platform, Start};

/// What each fault did.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// A swap file larger than its disk: what the start says.
    disk_full: String,
    /// A write error: what is said; the function's result was right afterwards.
    write_error: String,
    /// A read error: what the function fails with; the others' results were right.
    read_error: String,
    /// The file is full: what is said; the function's result was right afterwards.
    limit_reached: String,
    /// So many preempted at once: out and back, and every result right.
    preempted: usize,
    preempted_out_s: f64,
    preempted_back_s: f64,
    /// `kill -9` in mid-swap.
    killed: Killed,
}

#[derive(Debug, Serialize)]
struct Killed {
    /// Memory that was in swap when it was killed.
    swapped_bytes: u64,
    /// Files left in the swap folder, and bytes of disk that did not come back.
    files_left: usize,
    disk_missing_bytes: i64,
    starts_again: bool,
}

pub(super) fn provoke(folder: &Path, quick: bool) -> anyhow::Result<Figures> {
    let disk_full = disk_full(folder)?;
    println!("disk too small: {disk_full}");
    let (write_error, read_error) = errors(folder)?;
    println!("write error: {write_error}\nread error: {read_error}");
    let limit_reached = limit(folder)?;
    println!("swap full: {limit_reached}");
    let preempted = if quick { 200 } else { 10_000 };
    let (out_s, back_s) = many(folder, preempted)?;
    println!("{preempted} preempted at once: out in {out_s:.1} s, back in {back_s:.1} s");
    let killed = killed(folder, quick).context("kill the platform")?;
    println!(
        "kill -9 with {} MiB in swap: {} files left, {} bytes of disk missing",
        killed.swapped_bytes / MIB,
        killed.files_left,
        killed.disk_missing_bytes
    );
    Ok(Figures {
        disk_full,
        write_error,
        read_error,
        limit_reached,
        preempted,
        preempted_out_s: out_s,
        preempted_back_s: back_s,
        killed,
    })
}

fn disk_full(folder: &Path) -> anyhow::Result<String> {
    let options = SwapOptions::new(folder.to_owned(), model::Bytes64(1 << 43));
    match Swap::open(&options) {
        Ok(_) => bail!("a disk of more than 8 TiB"),
        Err(error) => Ok(error.to_string()),
    }
}

const WORK: &str = "16 3000 0 1";

fn errors(folder: &Path) -> anyhow::Result<(String, String)> {
    let lab = Lab::open(folder, 256, Coding::Plain, 8)?;
    let right = lab.answer(lab.start(WORK.into()))?;
    let (first, second) = (lab.start(WORK.into()), lab.start(WORK.into()));
    for id in [first, second] {
        lab.filled(id, 8)?;
        lab.stop(id)?;
    }
    lab.faults.fail_writes(1);
    let write = refused(&lab, first)?;
    lab.executor.swap_out(second);
    lab.wait(|event| matches!(event, Event::SwappedOut { id, .. } if *id == second))?;
    lab.faults.fail_reads(1);
    lab.executor.resume(second);
    let read = match lab.finished(second)?.answer() {
        Ok(_) => bail!("it answered though its memory could not be read"),
        Err(failure) => failure.message,
    };
    lab.executor.resume(first);
    ensure!(lab.answer(first)? == right, "a write error changed a result");
    ensure!(lab.answer(lab.start(WORK.into()))? == right, "a read error changed another's result");
    Ok((write, read))
}

/// Swaps out what cannot be; what is said.
fn refused(lab: &Lab, id: InvocationId) -> anyhow::Result<String> {
    lab.executor.swap_out(id);
    let event =
        lab.wait(|event| matches!(event, Event::SwapFailed { id: other, .. } if *other == id))?;
    match event {
        Event::SwapFailed { why, .. } => Ok(why),
        _ => bail!("another event than was waited for"),
    }
}

fn limit(folder: &Path) -> anyhow::Result<String> {
    let lab = Lab::open(folder, 4, Coding::Plain, 8)?;
    let right = lab.answer(lab.start(WORK.into()))?;
    let id = lab.start(WORK.into());
    lab.filled(id, 15)?;
    lab.stop(id)?;
    let why = refused(&lab, id)?;
    lab.executor.resume(id);
    ensure!(lab.answer(id)? == right, "a full swap changed a result");
    Ok(why)
}

/// Seconds until all are out, and until all are back.
fn many(folder: &Path, count: usize) -> anyhow::Result<(f64, f64)> {
    const SMALL: &str = "0 1000000000 1 3";
    let slots = u32::try_from(count).context("count the slots")?.min(10_000);
    let lab = Lab::open(folder, 64 + u64::from(slots) / 5, Coding::Plain, slots)?;
    let ids: Vec<InvocationId> = (0..count).map(|_| lab.start(SMALL.into())).collect();
    for id in &ids {
        // It sleeps between its rounds, so it may rest already.
        let id = *id;
        lab.wait(|event| matches!(event, Event::Blocked { id: other } if *other == id))?;
    }
    let begun = Instant::now();
    ids.iter().for_each(|id| lab.executor.swap_out(*id));
    for id in &ids {
        let id = *id;
        lab.wait(|event| matches!(event, Event::SwappedOut { id: other, .. } if *other == id))?;
    }
    let out = millis(begun.elapsed()) / 1_000.0;
    let begun = Instant::now();
    ids.iter().for_each(|id| lab.executor.swap_in(*id));
    for id in &ids {
        let id = *id;
        lab.wait(|event| matches!(event, Event::SwappedIn { id: other, .. } if *other == id))?;
    }
    let back = millis(begun.elapsed()) / 1_000.0;
    for id in ids {
        lab.end(id)?;
    }
    Ok((out, back))
}

fn killed(folder: &Path, quick: bool) -> anyhow::Result<Killed> {
    let memory_mib: u64 = if quick { 128 } else { 512 };
    // The functions below hold twice the memory.
    let swap_bytes = 3 * memory_mib * MIB;
    let (memory, swap) = ((memory_mib * MIB).to_string(), swap_bytes.to_string());
    let swap_folder = folder.join("swap-killed");
    std::fs::create_dir_all(&swap_folder).context("make the swap folder")?;
    let swap_dir = swap_folder.to_str().context("the folder's name is UTF-8")?.to_owned();
    let arguments = ["--memory", &memory, "--swap", &swap, "--swap-dir", &swap_dir];
    let data = data_dir(folder, "killed");
    let start = Start { policy: "xx", data_dir: &data, listen: ANY_PORT };
    let free_before = disk_free(folder)?;
    let platform = Platform::start_with(start, &arguments, None)?;
    let hold =
        Function { name: "hold".into(), runtime: Runtime::Wasm, task: Task::Hold, class: LOWEST };
    hold.deploy(&platform, folder)?;
    let address = platform.address();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for index in 0..8 {
        let payload = Bytes::from(format!("{} 1000 50 {index}", memory_mib / 4));
        runtime.spawn(async move {
            let mut connection = Connection::open(address).await?;
            // It is cut off.
            drop(connection.send(invoke(address, "hold", LOWEST, payload)).await);
            anyhow::Ok(())
        });
    }
    let swapped_bytes = runtime.block_on(async {
        let mut connection = Connection::open(address).await?;
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = connection.send(get(address, "/v1/status")).await?;
            let status: Value = serde_json::from_slice(&answer.body).context("read the status")?;
            let held = status["memory"]["swap"]["held"].as_u64().unwrap_or(0);
            if held > 4 * MIB {
                return anyhow::Ok(held);
            }
            ensure!(Instant::now() < end, "nothing was swapped");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })?;
    let id = nix::unistd::Pid::from_raw(i32::try_from(platform.process_id())?);
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL).context("kill the platform")?;
    drop(platform);
    drop(runtime);
    let files_left = std::fs::read_dir(&swap_folder).context("look into the folder")?.count();
    // The kernel frees the blocks when the last of the process is gone.
    let end = Instant::now() + Duration::from_secs(20);
    let missing = loop {
        let missing = i64::try_from(free_before)? - i64::try_from(disk_free(folder)?)?;
        if missing < i64::try_from(swap_bytes / 4)? || Instant::now() > end {
            break missing;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut again = Platform::start_with(start, &arguments, None)?;
    again.check()?;
    Ok(Killed { swapped_bytes, files_left, disk_missing_bytes: missing, starts_again: true })
}

/// Bytes free on the folder's disk.
fn disk_free(folder: &Path) -> anyhow::Result<u64> {
    let found = nix::sys::statvfs::statvfs(folder).context("look at the disk")?;
    Ok(found.blocks_available() * found.fragment_size())
}
