//! A function that takes memory as fast as a core can, and more than there is, in a control group that
//! leaves no more than the stated margin beside it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use model::limits;
use serde::Serialize;
use serde_json::Value;

use super::super::data_dir;
use super::super::functions::{Function, LOWEST, Runtime, TOP, Task};
use super::device::{self, MIB};
use super::pressure::{Group, process_peak};
use crate::load::connection::{Connection, invoke};
use crate::load::platform::{ANY_PORT, Platform, Start};

/// What the platform may take beside functions: its own memory.
const OWN_BYTES: u64 = 96 * MIB;

/// One run.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// Page by page, or all in one instruction.
    manner: &'static str,
    outcome: String,
    grew_mb_s: f64,
    memory_limit_bytes: u64,
    /// As the platform saw it.
    memory_peak_bytes: u64,
    process_peak_bytes: Option<u64>,
    group_limit_bytes: Option<u64>,
    /// As the kernel saw it: functions, and what the platform took since it was ready.
    group_peak_bytes: Option<u64>,
    group_kills: Option<u64>,
    top_answers: u64,
}

/// Both manners, so many times.
pub(super) fn repeat(folder: &Path, quick: bool, runs: u32) -> anyhow::Result<Vec<Figures>> {
    let mut all = Vec::new();
    for _ in 0..runs {
        for (task, manner) in [(Task::Hold, "page by page"), (Task::Fill, "in one instruction")] {
            let figures = run(folder, quick, task, manner).context(manner)?;
            figures.show();
            all.push(figures);
        }
    }
    Ok(all)
}

impl Figures {
    fn show(&self) {
        let mib = |bytes: Option<u64>| {
            bytes.map_or_else(|| "?".to_owned(), |bytes| (bytes / MIB).to_string())
        };
        println!(
            "growing {} at {:.0} MB/s: {}; seen at most {} MiB of {} MiB; the group {} MiB of {}, {} \
             kernel kills; {} top-class answers meanwhile",
            self.manner,
            self.grew_mb_s,
            self.outcome,
            self.memory_peak_bytes / MIB,
            self.memory_limit_bytes / MIB,
            mib(self.group_peak_bytes),
            mib(self.group_limit_bytes),
            self.group_kills.map_or_else(|| "?".to_owned(), |kills| kills.to_string()),
            self.top_answers
        );
    }
}

fn status(platform: &Platform) -> anyhow::Result<Value> {
    let text = platform.print_of(&["top", "--once", "--json"])?;
    serde_json::from_str(&text).context("read the status")
}

fn run(folder: &Path, quick: bool, task: Task, manner: &'static str) -> anyhow::Result<Figures> {
    let memory_mib: u64 = if quick { 256 } else { 1024 };
    let limit = memory_mib * MIB;
    let group = Group::make(limit + limits::MEMORY_OVER_BYTES_MAX + OWN_BYTES);
    let (memory, swap) = (limit.to_string(), (4 * limit).to_string());
    let data = data_dir(folder, "growing");
    let start = Start { policy: "xx", data_dir: &data, listen: ANY_PORT };
    let path = group.as_ref().map(|group| group.path.as_path());
    let arguments = ["--memory", &memory, "--swap", &swap];
    let mut platform = Platform::start_with(start, &arguments, path)?;
    for (name, task, class) in [("grow", task, LOWEST), ("top", Task::Empty, TOP)] {
        let function = Function { name: name.into(), runtime: Runtime::Wasm, task, class };
        function.deploy(&platform, folder)?;
    }
    let payload = |mib: u64| {
        Bytes::from(match task {
            Task::Fill => mib.to_string(),
            _ => format!("{mib} 0 0 1"),
        })
    };
    let address = platform.address();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (outcome, grew_mb_s, top_answers) = runtime.block_on(async {
        // How fast it grows where it fits: half of memory.
        let mut connection = Connection::open(address).await?;
        let begun = Instant::now();
        let answer =
            connection.send(invoke(address, "grow", LOWEST, payload(memory_mib / 2))).await?;
        ensure!(answer.status.is_success(), "it fits, and failed: {:?}", answer.error_code());
        let grew = device::rate(limit / 2, begun.elapsed());
        let too_much = payload(3 * memory_mib);
        let growing = tokio::spawn(async move {
            connection.send(invoke(address, "grow", LOWEST, too_much)).await
        });
        let mut top = Connection::open(address).await?;
        let mut answers = 0;
        while !growing.is_finished() {
            let answer = top.send(invoke(address, "top", TOP, Bytes::new())).await?;
            ensure!(answer.status.is_success(), "a top-class call failed: {:?}", answer.status);
            answers += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let answer = growing.await.context("wait for the growing function")??;
        let outcome = answer.error_code().unwrap_or_else(|| "answered".into());
        anyhow::Ok((outcome, grew, answers))
    })?;
    platform.check()?;
    let memory_peak_bytes = status(&platform)?["memory"]["peak"].as_u64().unwrap_or(0);
    let process_peak_bytes = process_peak(platform.process_id());
    drop(platform);
    Ok(Figures {
        manner,
        outcome,
        grew_mb_s,
        memory_limit_bytes: limit,
        memory_peak_bytes,
        process_peak_bytes,
        group_limit_bytes: group.as_ref().map(|group| group.limit),
        group_peak_bytes: group.as_ref().and_then(Group::peak),
        group_kills: group.as_ref().and_then(Group::kills),
        top_answers,
    })
}
