//! Looks at the memory of functions: of those that run, again and again; of one that has come to
//! rest, once, since it changes no more.
//!
//! Small memories are counted exactly each time (a scan of the page table). For larger ones most
//! looks count in a quicker way, which is off by pages that are there and not the function's own;
//! by how much, the last exact look tells. The exact looks of one function take no more than one
//! part in [`EXACT_PART`] of a core.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use model::Timestamp;

use super::ahead::Bench;
use super::job::{Job, unpoisoned};
use crate::kernel::{self, Band};
use crate::meter::MemoryMeter;
use crate::swap::{Pagemap, Region};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Below the highest class: to count a large memory takes milliseconds, in which that would wait, and
/// who takes what is not there stops without it ([`super::gate`]).
const BAND: Band = Band::Normal { nice: -10 };
/// Counted exactly at each look.
const SMALL_BYTES: usize = 4 << 20;
/// See the module.
const EXACT_PART: u32 = 200;
/// What an instance takes beside its memory: its stack's first pages and its tables.
const INSTANCE_BYTES: u64 = 12 << 10;

/// See the module.
pub(super) struct Gauge {
    pagemap: Pagemap,
    state: Mutex<State>,
    thread: OnceLock<Thread>,
    sleeps: AtomicBool,
    is_closed: AtomicBool,
}

#[derive(Default)]
struct State {
    running: Vec<Arc<Job>>,
    /// Have come to rest since the last look.
    rested: Vec<Weak<Job>>,
}

impl Gauge {
    pub(super) fn open() -> std::io::Result<Self> {
        Ok(Self {
            pagemap: Pagemap::open()?,
            state: Mutex::default(),
            thread: OnceLock::new(),
            sleeps: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Begins to look, in a thread of its own.
    pub(super) fn start(self: &Arc<Self>) -> std::io::Result<JoinHandle<()>> {
        let this = Arc::clone(self);
        std::thread::Builder::new().name("wasm-memory".into()).spawn(move || {
            // Without the right to it, looks come later and bills are a little less exact.
            let _ = kernel::apply(0, BAND);
            this.thread.get_or_init(std::thread::current);
            while !this.is_closed.load(Ordering::Acquire) {
                this.look();
            }
        })
    }

    pub(super) fn stop(&self) {
        self.is_closed.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// The job is being polled from now on.
    pub(super) fn enter(&self, job: &Arc<Job>) {
        unpoisoned(&self.state).running.push(Arc::clone(job));
        if self.sleeps.load(Ordering::Acquire)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// The job is not being polled any more.
    pub(super) fn leave(&self, job: &Arc<Job>, rests: Rests) {
        let mut state = unpoisoned(&self.state);
        if let Some(place) = state.running.iter().position(|other| Arc::ptr_eq(other, job)) {
            state.running.swap_remove(place);
        }
        if rests == Rests::Yes {
            state.rested.push(Arc::downgrade(job));
        }
    }

    fn look(&self) {
        let (running, rested) = {
            let mut state = unpoisoned(&self.state);
            (state.running.clone(), std::mem::take(&mut state.rested))
        };
        for job in rested.iter().filter_map(Weak::upgrade).chain(running.iter().cloned()) {
            job.measure(&self.pagemap);
        }
        if running.is_empty() && rested.is_empty() {
            self.sleeps.store(true, Ordering::SeqCst);
            let is_idle = {
                let state = unpoisoned(&self.state);
                state.running.is_empty() && state.rested.is_empty()
            };
            if is_idle && !self.is_closed.load(Ordering::Acquire) {
                std::thread::park();
            }
            self.sleeps.store(false, Ordering::SeqCst);
        }
        std::thread::sleep(LOOK_EVERY);
    }

    /// Bytes in RAM that are kept for the next call.
    pub(super) fn bytes_of(&self, bench: &Bench) -> u64 {
        bench.bytes(&self.pagemap)
    }

    /// Looks at a job that is about to end, a last time. Freeing a large memory takes long, and is
    /// not the function's.
    pub(super) fn last_look(&self, job: &Job) {
        job.measure(&self.pagemap);
        job.close_bill();
    }
}

/// Whether a job that is not polled any more goes on later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rests {
    Yes,
    No,
}

/// Looks at a memory and notes what is there.
pub(super) fn measure(
    region: &Region,
    pagemap: &Pagemap,
    meter: &mut MemoryMeter,
    now: impl Fn() -> Timestamp,
) {
    let looked = if region.length() <= SMALL_BYTES {
        region.touched(pagemap)
    } else if now() < meter.exact_from {
        let excess = usize::try_from(meter.quick_excess).unwrap_or(usize::MAX);
        region.present().map(|present| present.saturating_sub(excess))
    } else {
        let begun = Instant::now();
        region.touched(pagemap).and_then(|touched| {
            meter.exact_from = now() + begun.elapsed() * EXACT_PART;
            meter.quick_excess = region.present()?.saturating_sub(touched) as u64;
            Ok(touched)
        })
    };
    // Where the kernel does not tell, what was seen last holds.
    if let Ok(bytes) = looked {
        meter.sample(bytes as u64 + INSTANCE_BYTES, now());
    }
}
