//! The swap file by itself: how quick it is against the disk, and whether memory comes back whole.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use model::{Bytes64, InvocationId, Timestamp, Version};
use runtime::kernel::Band;
use runtime::swap::{Coding, Faults, SwapOptions};
use runtime::wasm::{WasmExecutor, WasmOptions};
use runtime::{
    Call, CallResult, Clock, Code, Durable, Event, Executor as _, Finished, Network, Platform,
    Prepare, Start,
};
use serde::Serialize;

use super::super::functions;

pub(super) const MIB: u64 = 1 << 20;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);
const RANDOM_SWAPS: usize = 1_000;

/// What the swap file does.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// Of the disk itself, 1 MiB at a time past the page cache, over the same file twice.
    pub(super) disk_write_mb_s: f64,
    pub(super) disk_read_mb_s: f64,
    /// One function of 256 MiB, a quarter of it zeros, by how it is written.
    pub(super) codings: Vec<Coded>,
    /// Random swaps at random moments, and how many results were right.
    pub(super) random_swaps: usize,
    pub(super) random_results: usize,
}

/// One way to write.
#[derive(Debug, Serialize)]
pub(super) struct Coded {
    pub(super) coding: String,
    /// Memory freed a second, zeros included, and what was written of it.
    pub(super) out_mb_s: f64,
    pub(super) written_mb_s: f64,
    pub(super) in_mb_s: f64,
    /// From the order to "memory is free", and from the order to "it may run".
    pub(super) free_ms: f64,
    pub(super) back_ms: f64,
}

/// An executor with a swap file and one function.
pub(super) struct Lab {
    pub(super) executor: WasmExecutor,
    pub(super) faults: Arc<Faults>,
    events: Receiver<Event>,
    seen: Mutex<Vec<Event>>,
    hold: Code,
    next: Mutex<u128>,
    _folder: tempfile::TempDir,
}

struct Alone;

impl Platform for Alone {
    fn call(&self, _: InvocationId, _: Call, reply: Box<dyn FnOnce(CallResult) + Send>) {
        reply(CallResult::caller_gone());
    }
}

impl Lab {
    pub(super) fn open(
        folder: &Path,
        swap_mib: u64,
        coding: Coding,
        pool_slots: u32,
    ) -> anyhow::Result<Self> {
        let swap =
            SwapOptions { coding, ..SwapOptions::new(folder.to_owned(), Bytes64(swap_mib * MIB)) };
        let faults = Arc::clone(&swap.faults);
        let (sender, events) = mpsc::channel();
        let options = WasmOptions { pool_slots, swap: Some(swap), ..WasmOptions::default() };
        let sink = Arc::new(move |event| drop(sender.send(event)));
        let executor = WasmExecutor::open(options, Clock::new(), Arc::new(Alone), sink)
            .context("open the executor")?;
        let code_folder = tempfile::tempdir().context("make a folder for the code")?;
        let package = functions::HOLD;
        let prepare = Prepare { runtime: "wasm", handler: "", package, durable: Durable::No };
        executor.prepare(&prepare, code_folder.path()).context("prepare the function")?;
        let hold = Code {
            tenant: "bench".parse().context("name the tenant")?,
            function: "hold".parse().context("name the function")?,
            version: Version(1),
            runtime: "wasm".into(),
            handler: String::new(),
            environment: Vec::new(),
            network: Network::None,
            timeout: Duration::from_secs(3600),
            response_bytes_max: 1 << 20,
            durable: Durable::No,
            // One package, so any hash will do.
            hash: [1; 32],
            artifact_dir: code_folder.path().to_owned(),
        };
        let (seen, next) = (Mutex::default(), Mutex::new(1));
        Ok(Self { executor, faults, events, seen, hold, next, _folder: code_folder })
    }

    pub(super) fn start(&self, payload: String) -> InvocationId {
        let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let id = InvocationId(*next);
        *next += 1;
        self.executor.start(Start {
            id,
            code: Arc::new(self.hold.clone()),
            payload: Bytes::from(payload),
            band: Band::Normal { nice: 0 },
            class: "background".into(),
            deadline: Timestamp(u64::MAX),
            token: String::new(),
            traceparent: None,
            durable: None,
        });
        id
    }

    /// Waits for an event and takes it.
    pub(super) fn wait(&self, wanted: impl Fn(&Event) -> bool) -> anyhow::Result<Event> {
        let end = Instant::now() + PATIENCE;
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(place) = seen.iter().position(&wanted) {
            return Ok(seen.remove(place));
        }
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).context("wait for the executor")?;
            if wanted(&event) {
                return Ok(event);
            }
            seen.push(event);
        }
    }

    pub(super) fn finished(&self, id: InvocationId) -> anyhow::Result<Finished> {
        loop {
            let event = self.wait(|event| match event {
                Event::Finished(finished) => finished.id == id,
                Event::Unblocked { id: other } => *other == id,
                _ => false,
            })?;
            match event {
                Event::Finished(finished) => return Ok(*finished),
                _ => self.executor.resume(id),
            }
        }
    }

    pub(super) fn answer(&self, id: InvocationId) -> anyhow::Result<Vec<u8>> {
        match self.finished(id)?.answer() {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(failure) => bail!("the function failed: {}", failure.message),
        }
    }

    /// What it holds in RAM.
    pub(super) fn resident(&self, id: InvocationId) -> u64 {
        let held = self.executor.memory().held;
        held.iter().find(|held| held.id == id).map_or(0, |held| held.resident.0)
    }

    /// Starts one, and stops it when it has its memory.
    pub(super) fn parked(&self, mib: u64, seed: u64) -> anyhow::Result<InvocationId> {
        let id = self.start(format!("{mib} 1000000 0 {seed}"));
        // A quarter of what it fills is zeros, which are there all the same.
        self.filled(id, mib)?;
        self.stop(id)?;
        Ok(id)
    }

    /// Waits until it has so much.
    pub(super) fn filled(&self, id: InvocationId, mib: u64) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.resident(id) < mib * MIB {
            ensure!(Instant::now() < end, "it never had its memory");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    pub(super) fn stop(&self, id: InvocationId) -> anyhow::Result<()> {
        self.executor.preempt(id);
        self.wait(|event| matches!(event, Event::Stopped { id: other, .. } if *other == id))?;
        Ok(())
    }

    pub(super) fn end(&self, id: InvocationId) -> anyhow::Result<()> {
        let failure = model::Failure::new(model::FailureKind::Cancelled, "over");
        self.executor.end(id, failure);
        self.finished(id).map(drop)
    }
}

const PLAIN: (Coding, &str) = (Coding::Plain, "plain");

const fn moved_mib(quick: bool) -> u64 {
    if quick { 16 } else { 256 }
}

/// Only how fast the swap file is as it is used most.
pub(super) fn plain(folder: &Path, quick: bool) -> anyhow::Result<Coded> {
    one_coding(folder, PLAIN.0, PLAIN.1, moved_mib(quick))
}

/// How long one function takes to fill one MiB.
pub(super) fn fill(folder: &Path, quick: bool) -> anyhow::Result<Duration> {
    let mib = moved_mib(quick);
    let lab = Lab::open(folder, mib, Coding::Plain, 8)?;
    let begun = Instant::now();
    let id = lab.start(format!("{mib} 1000000 0 1"));
    lab.filled(id, mib)?;
    let took = begun.elapsed();
    lab.end(id)?;
    Ok(took / u32::try_from(mib).unwrap_or(u32::MAX))
}

pub(super) fn measure(folder: &Path, quick: bool) -> anyhow::Result<Figures> {
    let mib = moved_mib(quick);
    let (disk_write_mb_s, disk_read_mb_s) = disk(folder, mib)?;
    println!("disk: {disk_write_mb_s:.0} MB/s written, {disk_read_mb_s:.0} MB/s read");
    let mut codings = Vec::new();
    let ways = [
        PLAIN,
        (Coding::Packed, "packed"),
        (Coding::Sealed, "sealed"),
        (Coding::PackedSealed, "packed-sealed"),
    ];
    for (coding, name) in ways {
        let coded = one_coding(folder, coding, name, mib)?;
        println!(
            "swap {name}: {:.0} MB/s out ({:.0} written), {:.0} MB/s in; {mib} MiB free after {:.0} \
             ms, back after {:.0} ms",
            coded.out_mb_s, coded.written_mb_s, coded.in_mb_s, coded.free_ms, coded.back_ms
        );
        codings.push(coded);
    }
    let random_swaps = if quick { 20 } else { RANDOM_SWAPS };
    let random_results = random(folder, random_swaps)?;
    println!("{random_swaps} swaps at random moments: {random_results} results, all right");
    Ok(Figures { disk_write_mb_s, disk_read_mb_s, codings, random_swaps, random_results })
}

/// What the disk does by itself: the second time, when the file has its place.
fn disk(folder: &Path, mib: u64) -> anyhow::Result<(f64, f64)> {
    const PIECE: usize = 1 << 20;
    const PAGE: usize = 4096;
    let path = folder.join("disk-floor");
    let open = |flags| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).custom_flags(flags);
        options.open(&path)
    };
    let file = open(libc::O_DIRECT).or_else(|_| open(0)).context("make a file")?;
    let mut store = vec![0_u8; PIECE + PAGE];
    let from = store.as_ptr().align_offset(PAGE);
    let piece = &mut store[from..from + PIECE];
    let mut number = 1_u64;
    for word in piece.as_chunks_mut::<8>().0 {
        number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        *word = (number >> 8).to_le_bytes();
    }
    let pass = |work: &mut dyn FnMut(u64) -> io::Result<()>| -> io::Result<f64> {
        let begun = Instant::now();
        for index in 0..mib {
            work(index * PIECE as u64)?;
        }
        Ok(rate(mib * MIB, begun.elapsed()))
    };
    pass(&mut |at| file.write_all_at(piece, at)).context("write to the disk")?;
    let write = pass(&mut |at| file.write_all_at(piece, at)).context("write to the disk")?;
    let read = pass(&mut |at| file.read_exact_at(piece, at)).context("read from the disk")?;
    std::fs::remove_file(&path).context("remove the file")?;
    Ok((write, read))
}

fn one_coding(folder: &Path, coding: Coding, name: &str, mib: u64) -> anyhow::Result<Coded> {
    let lab = Lab::open(folder, 4 * mib, coding, 8)?;
    // The first time the file's blocks are new to the disk.
    let mut best: Option<Coded> = None;
    let id = lab.parked(mib, 1)?;
    for _ in 0..3 {
        let written_before = lab.executor.memory().swap.unwrap_or_default().written.0;
        let begun = Instant::now();
        lab.executor.swap_out(id);
        let out = lab.wait(|event| matches!(event, Event::SwappedOut { .. }))?;
        let free_ms = millis(begun.elapsed());
        let written = lab.executor.memory().swap.unwrap_or_default().written.0 - written_before;
        let begun = Instant::now();
        lab.executor.swap_in(id);
        let back = lab.wait(|event| matches!(event, Event::SwappedIn { .. }))?;
        let back_ms = millis(begun.elapsed());
        let (
            Event::SwappedOut { bytes, took: out_took, .. },
            Event::SwappedIn { took: in_took, .. },
        ) = (out, back)
        else {
            bail!("another event than was waited for");
        };
        let coded = Coded {
            coding: name.to_owned(),
            out_mb_s: rate(bytes.0, out_took),
            written_mb_s: rate(written, out_took),
            in_mb_s: rate(bytes.0, in_took),
            free_ms,
            back_ms,
        };
        if best
            .as_ref()
            .is_none_or(|best| coded.free_ms + coded.back_ms < best.free_ms + best.back_ms)
        {
            best = Some(coded);
        }
    }
    lab.end(id)?;
    best.context("three rounds")
}

/// Swaps at random moments until there were so many; how many results were compared.
fn random(folder: &Path, wanted: usize) -> anyhow::Result<usize> {
    const AT_ONCE: usize = 4;
    let lab = Lab::open(folder, 512, Coding::Plain, 8)?;
    let payload = |seed: u64| format!("{} {} 0 {seed}", 1 + seed % 3, 2_000 + seed * 7 % 50);
    let expected: Vec<Vec<u8>> =
        (0..8).map(|seed| lab.answer(lab.start(payload(seed)))).collect::<anyhow::Result<_>>()?;
    let mut state = 0x5eed_0006_u64;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut swaps, mut results) = (0, 0);
    while swaps < wanted {
        let batch: Vec<(u64, InvocationId)> = (0..AT_ONCE)
            .map(|_| {
                let seed = draw(8);
                (seed, lab.start(payload(seed)))
            })
            .collect();
        for _ in 0..200 {
            let (_, id) = batch[usize::try_from(draw(AT_ONCE as u64)).unwrap_or(0)];
            match draw(6) {
                0..=2 => {
                    lab.executor.preempt(id);
                    std::thread::sleep(Duration::from_micros(draw(400)));
                    lab.executor.swap_out(id);
                }
                3 => lab.executor.swap_in(id),
                _ => lab.executor.resume(id),
            }
            std::thread::sleep(Duration::from_micros(draw(500)));
        }
        for (seed, id) in batch {
            lab.executor.resume(id);
            let answer = lab.answer(id)?;
            ensure!(
                answer == expected[usize::try_from(seed).unwrap_or(0)],
                "a function that was swapped gave another result"
            );
            results += 1;
        }
        let mut seen = lab.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        swaps += seen.iter().filter(|event| matches!(event, Event::SwappedOut { .. })).count();
        seen.clear();
    }
    Ok(results)
}

pub(super) fn rate(bytes: u64, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let megabytes = bytes as f64 / 1e6;
    megabytes / took.as_secs_f64().max(1e-9)
}

pub(super) fn millis(length: Duration) -> f64 {
    length.as_secs_f64() * 1_000.0
}
