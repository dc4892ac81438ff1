//! Timers that are due soon. Those of the far future are in the store only and are read in time.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{ExecutionId, Timestamp};

/// How far ahead timers are held here.
const HORIZON: Duration = Duration::from_secs(60);
/// How long before the end of what is held the next ones are read.
const READ_AHEAD: Duration = Duration::from_secs(30);

/// One reading of the store, told from those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading(u64);

/// The timers up to a horizon.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Timestamp, ExecutionId)>,
    /// All timers before this time are here.
    known_until: Timestamp,
    /// Up to when they are being read.
    until: Option<Timestamp>,
    reading: Reading,
}

impl Timers {
    /// Nothing is known any more: this node has other partitions than before.
    pub(crate) fn read_anew(&mut self) {
        self.known_until = Timestamp::default();
        self.until = None;
    }

    /// Forgets those of executions that are not `wanted`.
    pub(crate) fn keep(&mut self, wanted: impl Fn(ExecutionId) -> bool) {
        self.due.retain(|(_, id)| wanted(*id));
    }

    /// Notes a timer, where it is near enough to be held here.
    pub(crate) fn arm(&mut self, at: Timestamp, id: ExecutionId) {
        // The store may have been asked before this one was in it.
        if at <= self.known_until.max(self.until.unwrap_or_default()) {
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
        let read = self.until.is_none().then(|| self.read_at());
        self.due.first().map(|(at, _)| *at).into_iter().chain(read).min()
    }

    /// Up to when timers are to be read from the store, if it is time for that.
    pub(crate) fn wants(&mut self, now: Timestamp) -> Option<(Reading, Timestamp)> {
        if self.until.is_some() || now < self.read_at() {
            return None;
        }
        let until = now + HORIZON;
        self.until = Some(until);
        self.reading.0 += 1;
        Some((self.reading, until))
    }

    /// Takes what was read: with `until`, all timers before that were.
    pub(crate) fn refill(
        &mut self,
        reading: Reading,
        due: Vec<(Timestamp, ExecutionId)>,
        until: Option<Timestamp>,
    ) {
        self.due.extend(due);
        if let Some(until) = until.filter(|_| reading == self.reading && self.until.is_some()) {
            self.known_until = self.known_until.max(until);
            self.until = None;
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
        let (reading, until) = timers.wants(at(100)).unwrap();
        assert_eq!(until, at(160));
        assert_eq!(timers.wants(at(100)), None, "one read at a time");
        timers.refill(reading, vec![(at(120), ExecutionId(2))], None);
        assert_eq!(timers.wants(at(100)), None, "the read goes on");
        timers.arm(at(110), ExecutionId(1));
        timers.refill(reading, Vec::new(), Some(at(160)));
        timers.arm(at(200), ExecutionId(3));
        assert_eq!(timers.next(), Some(at(110)));
        assert_eq!(timers.pop(at(109)), None);
        assert_eq!(timers.pop(at(121)), Some(ExecutionId(1)));
        timers.disarm(at(120), ExecutionId(2));
        assert_eq!(timers.pop(at(121)), None);
        assert_eq!(timers.next(), Some(at(130)), "time to read on");
        assert_eq!(timers.wants(at(130)).map(|(_, until)| until), Some(at(190)));
    }

    #[test]
    fn other_partitions_are_read_at_once_and_what_was_read_before_does_not_count() {
        let mut timers = Timers::default();
        let (before, until) = timers.wants(at(100)).unwrap();
        timers.read_anew();
        let (reading, _) = timers.wants(at(101)).unwrap();
        timers.refill(before, Vec::new(), Some(until));
        assert_eq!(timers.wants(at(101)), None, "the new one goes on");
        timers.refill(reading, vec![(at(105), ExecutionId(1))], Some(at(161)));
        assert_eq!(timers.next(), Some(at(105)));
        timers.read_anew();
        assert!(timers.wants(at(102)).is_some());
    }
}
