//! How the kernel shall treat a function's threads.
//!
//! The machine scheduler of `policy` decides who holds a core; the kernel's own classes make that
//! decision take hold at once and keep the control plane above all functions.

#![expect(unsafe_code, reason = "sched_setattr has no safe wrapper")]

use std::io;

use model::{ClassId, PriceList};

/// How the kernel treats one function's threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Band {
    /// Runs only where nothing else wants the core (`SCHED_IDLE`): the lowest class.
    Idle,
    /// An ordinary thread with this nice value: the classes between, and every function of a
    /// policy that ignores classes (nice 0).
    Normal {
        /// -20 (most) to 19.
        nice: i8,
    },
}

/// The control plane's own band: above every function.
pub const CONTROL: Band = Band::Normal { nice: -20 };

/// The band of work that is done for functions beside them, such as moving memory.
pub const SERVICE: Band = Band::Normal { nice: 1 };

/// Time slice of threads that shall not wait for others' (some 3 ms), and of those for whom others
/// shall not wait. From Linux 6.12 on, a thread with a shorter slice than the running one takes its
/// core at once, and one in whose turn it is no longer gives it up so much sooner. Older kernels take
/// no notice of it.
const SHORT_SLICE_NANOS: u64 = 100_000;

impl Band {
    /// The band of a class: the lowest is [`Band::Idle`], the others are spread over nice 10 … -15.
    #[must_use]
    pub fn of_class(class: ClassId, prices: &PriceList) -> Self {
        const NICE_LOWEST: i16 = 10;
        const NICE_HIGHEST: i16 = -15;
        if class == prices.lowest() && prices.len() > 1 {
            return Self::Idle;
        }
        let steps = i16::from(prices.highest().0).max(2) - 1;
        let step = i16::from(class.0) - 1;
        let nice = NICE_LOWEST + (NICE_HIGHEST - NICE_LOWEST) * step.max(0) / steps;
        Self::Normal { nice: i8::try_from(nice).expect("between the two constants") }
    }
}

/// Applies a band to one thread by its kernel id, or to the calling thread (`0`).
///
/// # Errors
/// What the kernel says: `EPERM` without the right to raise a priority, `ESRCH` for a thread that
/// is gone.
pub fn apply(thread: i32, band: Band) -> io::Result<()> {
    let (policy, nice) = match band {
        Band::Idle => (libc::SCHED_IDLE, 0),
        Band::Normal { nice } => (libc::SCHED_OTHER, nice),
    };
    let is_short = band == SERVICE || matches!(band, Band::Normal { nice } if nice < 0);
    let slice_nanos = if is_short { SHORT_SLICE_NANOS } else { 0 };
    set(
        thread,
        policy,
        libc::sched_attr {
            sched_nice: i32::from(nice),
            sched_runtime: slice_nanos,
            ..NO_ATTRIBUTES
        },
    )
}

/// Puts a thread before every thread of any [`Band`], in whatever group (`SCHED_FIFO` at the lowest
/// real-time priority; threads that such a thread starts are ordinary ones again). For a client that
/// measures: nice values count only inside a group, and the kernel's automatic groups give a flood
/// of sandboxes many shares and the client one. It must sleep most of the time.
///
/// # Errors
/// As [`apply`].
pub fn apply_before_all_bands(thread: i32) -> io::Result<()> {
    set(
        thread,
        libc::SCHED_FIFO,
        libc::sched_attr {
            sched_priority: 1,
            sched_flags: u64::from(libc::SCHED_FLAG_RESET_ON_FORK.cast_unsigned()),
            ..NO_ATTRIBUTES
        },
    )
}

const NO_ATTRIBUTES: libc::sched_attr = libc::sched_attr {
    size: 0,
    sched_policy: 0,
    sched_flags: 0,
    sched_nice: 0,
    sched_priority: 0,
    sched_runtime: 0,
    sched_deadline: 0,
    sched_period: 0,
};

fn set(thread: i32, policy: libc::c_int, attributes: libc::sched_attr) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).expect("a small structure"),
        sched_policy: policy.cast_unsigned(),
        ..attributes
    };
    // SAFETY: `attributes` lives for the whole call and states its own size; the kernel only reads
    // it.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setattr, thread, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's id of the calling thread, for [`apply`] from another one.
#[must_use]
pub fn thread_id() -> i32 {
    // SAFETY: takes nothing, touches no memory of ours, and always succeeds.
    unsafe { libc::gettid() }
}

/// CPU time used so far by the calling thread, in nanoseconds.
#[must_use]
pub fn thread_cpu_nanos() -> u64 {
    clock_nanos(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The kernel's monotonic clock in nanoseconds: what every process on this machine reads, functions
/// included, so that times taken on both sides can be compared.
#[must_use]
pub fn monotonic_nanos() -> u64 {
    clock_nanos(libc::CLOCK_MONOTONIC)
}

fn clock_nanos(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "Linux always has these clocks");
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds * 1_000_000_000 + nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dearer_classes_get_a_stronger_band() {
        let prices = PriceList::default();
        let bands: Vec<Band> = prices.iter().map(|(id, _)| Band::of_class(id, &prices)).collect();
        let nice = |nice| Band::Normal { nice };
        assert_eq!(bands, [Band::Idle, nice(10), nice(2), nice(-6), nice(-15)]);
    }

    #[test]
    fn the_lowest_band_needs_no_right_and_can_be_read_back() {
        std::thread::spawn(|| {
            apply(0, Band::Idle).unwrap();
            // SAFETY: takes an integer and touches no memory of ours.
            assert_eq!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_IDLE);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_before_all_bands_is_a_real_time_one_and_its_threads_are_not() {
        std::thread::spawn(|| {
            if apply_before_all_bands(0).is_err() {
                return; // Not permitted here.
            }
            // SAFETY: takes an integer and touches no memory of ours.
            let own = unsafe { libc::sched_getscheduler(0) };
            assert_eq!(own & !libc::SCHED_RESET_ON_FORK, libc::SCHED_FIFO);
            // SAFETY: as above.
            let child = std::thread::spawn(|| unsafe { libc::sched_getscheduler(0) });
            assert_eq!(child.join().unwrap(), libc::SCHED_OTHER);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn thread_cpu_time_rises_with_work() {
        let before = thread_cpu_nanos();
        let sum: u64 = std::hint::black_box((0..1_000_000_u64).sum());
        assert!(sum > 0 && thread_cpu_nanos() > before);
    }
}
