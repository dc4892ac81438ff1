//! What can be made to go wrong in a store in memory.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

/// What happens to one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with `Transient` and nothing is applied.
    Transient,
    /// It fails with `Full` and nothing is applied.
    Full,
    /// It is applied, and then reported as failed with `Transient`: what a lost reply looks like.
    Unacknowledged,
}

/// Switches for faults. Every method takes effect for the writes that begin after it.
#[derive(Debug, Default)]
pub struct Faults {
    plan: Mutex<Plan>,
    released: Condvar,
}

/// Writes wait as long as this lives.
#[derive(Debug)]
#[must_use = "writes go on when it is dropped"]
pub struct Hold<'a>(&'a Faults);

#[derive(Debug, Default)]
struct Plan {
    /// The fault, and how many writes come before it.
    next: Option<(u64, Fault)>,
    disk_full: bool,
    delay: Duration,
    holds: usize,
}

impl Faults {
    /// The `nth` write from now (1 is the next) suffers `fault`, once. Replaces an earlier plan.
    pub fn fail_nth_write(&self, nth: u64, fault: Fault) {
        self.plan().next = Some((nth.saturating_sub(1), fault));
    }

    /// Every write fails with `Full` until [`Faults::free_disk`].
    pub fn fill_disk(&self) {
        self.plan().disk_full = true;
    }

    /// There is room again.
    pub fn free_disk(&self) {
        self.plan().disk_full = false;
    }

    /// Every write takes that much longer.
    pub fn slow_writes(&self, delay: Duration) {
        self.plan().delay = delay;
    }

    /// Writes wait until the returned value is dropped; reads go on.
    pub fn hold_writes(&self) -> Hold<'_> {
        self.plan().holds += 1;
        Hold(self)
    }

    /// Waits as planned, then fails the write, or lets it happen. The error inside an `Ok` is to
    /// be reported after the write happened.
    pub(super) fn before_write(&self) -> Result<Option<Error>> {
        let held = |plan: &mut Plan| plan.holds > 0;
        let mut plan =
            self.released.wait_while(self.plan(), held).unwrap_or_else(PoisonError::into_inner);
        let fault = plan.strike();
        let (disk_full, delay) = (plan.disk_full, plan.delay);
        drop(plan);
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        let planned = || Error::Transient { reason: "a planned fault".into() };
        match fault {
            Some(Fault::Full) => Err(Error::Full),
            Some(Fault::Transient) => Err(planned()),
            Some(Fault::Unacknowledged) if !disk_full => Ok(Some(planned())),
            Some(Fault::Unacknowledged) | None if disk_full => Err(Error::Full),
            Some(Fault::Unacknowledged) | None => Ok(None),
        }
    }

    /// No invariant of a plan spans two fields, so a poisoned one is as good as any.
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn strike(&mut self) -> Option<Fault> {
        let (writes_before, fault) = self.next?;
        self.next = writes_before.checked_sub(1).map(|left| (left, fault));
        if writes_before == 0 { Some(fault) } else { None }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.plan().holds -= 1;
        self.0.released.notify_all();
    }
}
