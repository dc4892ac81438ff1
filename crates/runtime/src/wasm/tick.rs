//! A thread that runs functions counts the memory that they touch, while they touch it.
//!
//! The kernel interrupts it each few milliseconds of its own CPU time, by a timer of its CPU clock
//! and a signal to this one thread. So a function that runs is counted, and one that does not run
//! touches nothing, however late any other thread is. What the handler does is allowed in a signal
//! handler: it takes no lock that it would wait for, and allocates nothing.

#![expect(unsafe_code, reason = "timers of a thread's CPU clock and signals have no safe wrapper")]

use std::cell::Cell;
use std::io;
use std::sync::Once;
use std::time::Duration;

use super::job::Job;
use crate::swap::PAGE;

/// CPU time between two counts. The kernel looks at such timers at its own ticks, so it is no less
/// than one of those (4 ms at 250 Hz).
const EVERY: Duration = Duration::from_millis(2);
/// It is ignored where nobody handles it, and nothing else in this process uses it.
const SIGNAL: libc::c_int = libc::SIGURG;

thread_local! {
    static SEAT: Seat = const { Seat { job: Cell::new(std::ptr::null()), faults: Cell::new(0) } };
}

/// What a thread polls, and the page faults that it had when it last counted.
struct Seat {
    job: Cell<*const Job>,
    faults: Cell<u64>,
}

/// The timer of one thread.
pub(super) struct Ticks(libc::timer_t);

/// As long as this lives, what the thread touches is the job's.
pub(super) struct Counted<'a> {
    _job: &'a Job,
}

impl Ticks {
    /// Begins to count in the calling thread.
    ///
    /// # Errors
    /// The kernel has no timer left for this user.
    pub(super) fn start() -> io::Result<Self> {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // SAFETY: all zero is a valid `sigaction`; the handler has the signature that it is
            // called with, and does only what is allowed in one.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_tick as extern "C" fn(libc::c_int) as usize;
                action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
                libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut());
            }
        });
        SEAT.with(|seat| seat.faults.set(thread_faults()));
        // SAFETY: all zero is a valid `sigevent`, `timer_t` and `itimerspec`; each lives for the
        // call that it is given to.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = SIGNAL;
            event.sigev_notify_thread_id = crate::kernel::thread_id();
            let mut timer: libc::timer_t = std::mem::zeroed();
            let clock = libc::CLOCK_THREAD_CPUTIME_ID;
            if libc::timer_create(clock, &raw mut event, &raw mut timer) != 0 {
                return Err(io::Error::last_os_error());
            }
            let ticks = Self(timer);
            let mut every: libc::itimerspec = std::mem::zeroed();
            every.it_interval.tv_nsec = i64::from(EVERY.subsec_nanos());
            every.it_value = every.it_interval;
            if libc::timer_settime(timer, 0, &raw const every, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(ticks)
        }
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        // SAFETY: the timer is this one's own.
        unsafe { libc::timer_delete(self.0) };
    }
}

impl<'a> Counted<'a> {
    /// The calling thread is about to poll the job.
    pub(super) fn begin(job: &'a Job) -> Self {
        SEAT.with(|seat| seat.job.set(std::ptr::from_ref(job)));
        Self { _job: job }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        SEAT.with(|seat| seat.job.set(std::ptr::null()));
    }
}

extern "C" fn on_tick(_: libc::c_int) {
    // SAFETY: each thread has its own `errno`, which what was interrupted may be about to read.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let errno = unsafe { *place };
    SEAT.with(Seat::count);
    // SAFETY: as above.
    unsafe { *place = errno };
}

impl Seat {
    fn count(&self) {
        let faults = thread_faults();
        let touched = faults.saturating_sub(self.faults.replace(faults)) * PAGE as u64;
        // SAFETY: the pointer is null, or what is borrowed by the `Counted` of this very thread,
        // which is still there: it takes the pointer away as it goes.
        if let Some(job) = unsafe { self.job.get().as_ref() } {
            job.has_touched(touched);
        }
    }
}

/// Pages that the calling thread has touched for the first time.
fn thread_faults() -> u64 {
    // SAFETY: all zero is a valid `rusage`, which lives for the call; the call cannot fail.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage
    };
    usage.ru_minflt.cast_unsigned()
}

/// Stops the calling thread for a while. May be called in a signal handler.
pub(super) fn nap(length: Duration) {
    let length = libc::timespec {
        tv_sec: i64::try_from(length.as_secs()).unwrap_or(1),
        tv_nsec: i64::from(length.subsec_nanos()),
    };
    // SAFETY: the length lives for the call.
    unsafe { libc::nanosleep(&raw const length, std::ptr::null_mut()) };
}
