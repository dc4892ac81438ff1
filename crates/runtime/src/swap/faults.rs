//! Errors on demand, so that what happens at them can be tested.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Errors that a swap file makes as if the disk had. None at first.
#[derive(Debug, Default)]
pub struct Faults {
    writes: AtomicU64,
    reads: AtomicU64,
}

impl Faults {
    /// The next so many writes fail.
    pub fn fail_writes(&self, count: u64) {
        self.writes.store(count, Ordering::Relaxed);
    }

    /// The next so many reads fail.
    pub fn fail_reads(&self, count: u64) {
        self.reads.store(count, Ordering::Relaxed);
    }

    pub(super) fn write(&self) -> io::Result<()> {
        fail(&self.writes)
    }

    pub(super) fn read(&self) -> io::Result<()> {
        fail(&self.reads)
    }
}

fn fail(left: &AtomicU64) -> io::Result<()> {
    let less = |left: u64| left.checked_sub(1);
    match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EIO)),
        Err(_) => Ok(()),
    }
}
