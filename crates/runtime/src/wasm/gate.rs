//! How much Wasm functions may hold in all, and what they do hold, to the last few milliseconds.
//!
//! The planner frees memory before it is gone. But it hears of it from threads that look, and those
//! may be late: once a core was away for a fifth of a second, in which a function on the other one
//! took 200 MB. So the last word is that of the function's own thread ([`super::tick`]): it counts
//! what it touches, and where all together hold more than they may, it stops by itself.
//!
//! Until the next look, what was touched is an upper bound: a page that was only read, or that the
//! host touched, counts too.

use std::ops::Range;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::swap::Region;

/// See the module.
pub(super) struct Gate {
    /// What was seen at the last looks, and what has been touched since.
    held: AtomicI64,
    limit: AtomicI64,
    /// Whether the kernel would give functions pages of 2 MiB unasked.
    has_huge_pages: bool,
}

impl Gate {
    /// Without a limit.
    pub(super) fn new() -> Self {
        let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        Self {
            held: AtomicI64::new(0),
            limit: AtomicI64::new(i64::MAX),
            has_huge_pages: setting.is_ok_and(|setting| setting.contains("[always]")),
        }
    }

    /// See to it that a page fault in this part of a function's memory is one page.
    pub(super) fn count_pages_of(&self, region: &Region, part: Range<usize>) {
        if self.has_huge_pages && !part.is_empty() {
            region.refuse_huge_pages(&part);
        }
    }

    /// From now on functions may hold so much.
    pub(super) fn set_limit(&self, bytes: u64) {
        self.limit.store(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// So much more is held, or less.
    pub(super) fn add(&self, bytes: i64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// By how much it is too much.
    pub(super) fn excess(&self) -> i64 {
        let (held, limit) = (self.held.load(Ordering::Relaxed), self.limit.load(Ordering::Relaxed));
        held.saturating_sub(limit).max(0)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> i64 {
        self.held.load(Ordering::Relaxed)
    }
}

/// A number of bytes as a difference.
pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_too_much_without_a_limit_and_what_is_beyond_it_with_one() {
        let gate = Gate::new();
        gate.add(1 << 40);
        assert_eq!(gate.excess(), 0);
        gate.set_limit(1 << 39);
        assert_eq!(gate.excess(), 1 << 39);
        gate.add(-(1 << 40));
        assert_eq!((gate.excess(), gate.held()), (0, 0));
        gate.set_limit(u64::MAX);
        gate.add(1 << 40);
        assert_eq!(gate.excess(), 0);
    }
}
