//! A job that takes memory which is not there.
//!
//! It stops at its next loop or call, and goes on when the planner says so. One that comes to none, since it is in the middle of an
//! instruction or a call that fills memory, is slowed down, so that the planner can make room; and
//! where that is not enough, its memory is given up under it and it fails.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use model::{ByteSeconds, Bytes64, Failure, FailureKind, Timestamp, limits};

use super::{Job, unpoisoned};
use crate::meter::MemoryMeter;
use crate::swap::Region;
use crate::wasm::gate::{Gate, signed};
use crate::wasm::tick::nap;

/// How long a tick lasts for one that does not stop: it runs one part in five of the time.
const NAP: Duration = Duration::from_millis(20);

/// Who touches less than this in a tick may go on: a call that needs next to nothing is not held up
/// by others that need much. What the host touches to begin a call counts too.
const SMALL_BYTES: u64 = 256 << 10;

pub(super) struct Short {
    gate: Arc<Gate>,
    /// Touched since the last look, in the gate's account. Below zero where pages were given up.
    fresh: AtomicI64,
    /// It shall stop.
    is_short: AtomicBool,
    /// Its memory is not what it was.
    is_spoiled: AtomicBool,
}

impl Short {
    pub(super) const fn new(gate: Arc<Gate>) -> Self {
        Self {
            gate,
            fresh: AtomicI64::new(0),
            is_short: AtomicBool::new(false),
            is_spoiled: AtomicBool::new(false),
        }
    }
}

/// Room that is counted as held before it is. It is given back as what is there is counted itself, and
/// the rest when this is dropped.
pub(super) struct Promised<'a> {
    gate: &'a Gate,
    bytes: u64,
    kept: u64,
}

impl Promised<'_> {
    /// So much of it is there by now.
    pub(super) fn keep(&mut self, bytes: u64) {
        self.gate.add(signed(self.kept) - signed(bytes));
        self.kept = bytes;
    }
}

impl Drop for Promised<'_> {
    fn drop(&mut self) {
        self.gate.add(signed(self.kept) - signed(self.bytes));
    }
}

impl Job {
    /// Has so much counted as held from now on.
    pub(super) fn promise(&self, bytes: u64) -> Promised<'_> {
        let gate = &*self.short.gate;
        gate.add(signed(bytes));
        Promised { gate, bytes, kept: 0 }
    }

    /// Whether the guest shall give its core back because memory is short.
    pub(in crate::wasm) fn is_short(&self) -> bool {
        self.short.is_short.load(Ordering::Relaxed)
    }

    /// The same, once: it has stopped.
    pub(super) fn was_short(&self) -> bool {
        self.short.is_short.swap(false, Ordering::Relaxed)
    }

    /// What it failed with, if its memory was given up.
    pub(in crate::wasm) fn spoiled(&self) -> Option<Failure> {
        let message = "functions held more memory than the machine has, and it could not be \
                       stopped: it was in the middle of one instruction that fills memory";
        let is_spoiled = self.short.is_spoiled.load(Ordering::Relaxed);
        is_spoiled.then(|| Failure::new(FailureKind::OutOfMemory, message))
    }

    /// Looks at its memory or tells of it; the gate hears what changed.
    pub(super) fn metered<T>(&self, change: impl FnOnce(&mut MemoryMeter) -> T) -> T {
        let mut meter = unpoisoned(&self.memory);
        let before = meter.bytes().0;
        // First: what is touched while it is looked at counts twice for a moment, not never.
        let fresh = self.short.fresh.swap(0, Ordering::Relaxed);
        let result = change(&mut meter);
        self.short.gate.add(signed(meter.bytes().0) - signed(before) - fresh);
        result
    }

    /// See [`Gate::count_pages_of`].
    pub(super) fn count_pages_of(&self, region: &Region, part: Range<usize>) {
        self.short.gate.count_pages_of(region, part);
    }

    /// Its memory is gone.
    pub(super) fn close_meter(&self, now: Timestamp) -> (ByteSeconds, Bytes64) {
        self.metered(|meter| meter.finish(now))
    }

    /// So much was touched by the thread that polls it. Called by that thread, in the handler of a
    /// signal ([`crate::wasm::tick`]).
    pub(in crate::wasm) fn has_touched(&self, bytes: u64) {
        let Short { gate, fresh, is_short, .. } = &self.short;
        fresh.fetch_add(signed(bytes), Ordering::Relaxed);
        gate.add(signed(bytes));
        let excess = gate.excess();
        if excess == 0 || bytes < SMALL_BYTES {
            is_short.store(false, Ordering::Relaxed);
            return;
        }
        let has_run_on = is_short.swap(true, Ordering::Relaxed);
        self.tenant.interrupt();
        if has_run_on && excess > signed(limits::MEMORY_SPOIL_BYTES) {
            self.spoil();
        } else if has_run_on {
            nap(NAP);
        }
    }

    /// Gives its memory back to the machine though it is in use. It fails as soon as it stops.
    fn spoil(&self) {
        // Held by others for instants only; whoever is interrupted here in holding one tries again.
        let (Ok(region), Ok(meter)) = (self.region.try_lock(), self.memory.try_lock()) else {
            return;
        };
        let Some(region) = *region else { return };
        self.short.is_spoiled.store(true, Ordering::Relaxed);
        if region.release(&(0..region.length())).is_ok() {
            let rest = -signed(meter.bytes().0);
            let fresh = self.short.fresh.swap(rest, Ordering::Relaxed);
            self.short.gate.add(rest - fresh);
        }
    }
}
