//! How much the machine itself was away while something was measured on it.
//!
//! The host of a virtual machine takes its cores away, or lets one wait for memory that is touched
//! for the first time. No scheduler inside can help that, and the tail of what was measured has it.
//! On each core a thread that goes before all functions sleeps for a millisecond at a time, and
//! notes when it was woken late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::load::generator::Priority;

/// How long a thread sleeps.
const SLEEP: Duration = Duration::from_millis(1);
/// Later than this is late: what else goes before all functions is quicker.
const LATE: Duration = Duration::from_millis(1);

/// Looks until it is asked.
pub(super) struct Watch {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Stall>>>,
}

/// From when a core was away, and for how long.
type Stall = (Instant, Duration);

/// What was seen.
pub(super) struct Stalls {
    cores: usize,
    all: Vec<Stall>,
}

impl Watch {
    /// Where the kernel does not let a thread stay on a core, that one is not looked at.
    pub(super) fn begin() -> anyhow::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let watch = |core: usize| {
            let is_over = Arc::clone(&is_over);
            let thread = std::thread::Builder::new().name("machine-watch".into());
            thread.spawn(move || look(core, &is_over)).context("start a thread that watches")
        };
        let threads = (0..cores).map(watch).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { is_over, threads })
    }

    pub(super) fn end(self) -> Stalls {
        self.is_over.store(true, Ordering::Relaxed);
        let cores = self.threads.len();
        let ended = self.threads.into_iter().filter_map(|thread| thread.join().ok());
        Stalls { cores, all: ended.flatten().collect() }
    }
}

fn look(core: usize, is_over: &AtomicBool) -> Vec<Stall> {
    let mut only = CpuSet::new();
    let is_there = only.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &only)).is_ok();
    if !is_there || Priority::raise() != Priority::RealTime {
        return Vec::new();
    }
    let mut late = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        std::thread::sleep(SLEEP);
        let lateness = begun.elapsed().saturating_sub(SLEEP);
        if lateness > LATE {
            late.push((begun + SLEEP, lateness));
        }
    }
    late
}

impl Stalls {
    /// How long a core was away in the mean, in milliseconds a second, and for how long at most.
    pub(super) fn between(&self, from: Instant, length: Duration) -> (f64, f64) {
        let then = self.all.iter().filter(|(at, _)| (from..from + length).contains(at));
        let lengths: Vec<f64> = then.map(|(_, length)| length.as_secs_f64() * 1e3).collect();
        #[expect(clippy::cast_precision_loss, reason = "a few cores")]
        let core_seconds = length.as_secs_f64() * self.cores.max(1) as f64;
        let sum: f64 = lengths.iter().sum();
        (sum / core_seconds, lengths.iter().copied().fold(0.0, f64::max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_are_told_for_each_core_and_second_of_a_time() {
        let begun = Instant::now();
        let ms = Duration::from_millis;
        let all = vec![(begun, ms(3)), (begun + ms(400), ms(5)), (begun + ms(500), ms(90))];
        let stalls = Stalls { cores: 2, all };
        let (rate, most) = stalls.between(begun, ms(500));
        assert!((rate - 8.0).abs() < 1e-9 && (most - 5.0).abs() < 1e-9, "{rate} {most}");
    }
}
