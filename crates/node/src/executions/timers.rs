//! Timers that are due soon. Those of the far future are in the store only and are read in time.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{ExecutionId, Timestamp};

/// How far ahead timers are held here.
const HORIZON: Duration = Duration::from_secs(60);
/// How long before the end of what is held the next ones are read.
const READ_AHEAD: Duration = Duration::from_secs(30);

/// The timers up to a horizon.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Timestamp, ExecutionId)>,
    /// All timers before this time are here.
    known_until: Timestamp,
    /// Up to when they are being read.
    reading: Option<Timestamp>,
}

impl Timers {
    /// Notes a timer, where it is near enough to be held here.
    pub(crate) fn arm(&mut self, at: Timestamp, id: ExecutionId) {
        // The store may have been asked before this one was in it.
        if at <= self.known_until.max(self.reading.unwrap_or_default()) {
            self.due.insert((at, id));
        }
    }

    pub(crate) fn disarm(&mut self, at: Timestamp, id: ExecutionId) {
        self.due.remove(&(at, id));
    }

    /// The next execution whose time has come.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<ExecutionId> {
        let (_, id) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        self.due.pop_first();
        Some(id)
    }

    /// When something is to be done.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let read = self.reading.is_none().then(|| self.read_at());
        self.due.first().map(|(at, _)| *at).into_iter().chain(read).min()
    }

    /// Up to when timers are to be read from the store, if it is time for that.
    pub(crate) fn wants(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.reading.is_some() || now < self.read_at() {
            return None;
        }
        self.reading = Some(now + HORIZON);
        self.reading
    }

    /// Takes what was read: with `until`, all timers before that were.
    pub(crate) fn refill(&mut self, due: Vec<(Timestamp, ExecutionId)>, until: Option<Timestamp>) {
        self.due.extend(due);
        if let Some(until) = until {
            self.known_until = self.known_until.max(until);
            self.reading = None;
        }
    }

    fn read_at(&self) -> Timestamp {
        let ahead = u64::try_from(READ_AHEAD.as_nanos()).expect("half a minute fits");
        Timestamp(self.known_until.0.saturating_sub(ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn near_timers_fire_in_order_and_far_ones_are_read_in_time() {
        let mut timers = Timers::default();
        assert_eq!(timers.wants(at(100)), Some(at(160)));
        assert_eq!(timers.wants(at(100)), None, "one read at a time");
        timers.refill(vec![(at(120), ExecutionId(2))], None);
        assert_eq!(timers.wants(at(100)), None, "the read goes on");
        timers.arm(at(110), ExecutionId(1));
        timers.refill(Vec::new(), Some(at(160)));
        timers.arm(at(200), ExecutionId(3));
        assert_eq!(timers.next(), Some(at(110)));
        assert_eq!(timers.pop(at(109)), None);
        assert_eq!(timers.pop(at(121)), Some(ExecutionId(1)));
        timers.disarm(at(120), ExecutionId(2));
        assert_eq!(timers.pop(at(121)), None);
        assert_eq!(timers.next(), Some(at(130)), "time to read on");
        assert_eq!(timers.wants(at(130)), Some(at(190)));
    }
}
