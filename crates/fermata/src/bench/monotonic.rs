//! The clock that this process and a function share: the kernel's monotonic clock.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since some point in the past, the same for all processes of a machine.
pub(crate) fn now_nanos() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has this clock");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}
