//! What an invocation holds and prints, measured as it goes.

use model::{ByteSeconds, Bytes64, Timestamp, limits};

use crate::executor::Logs;

/// Memory in RAM over time, from looks at it. Between two looks it is taken to have changed evenly;
/// before the first, to have been there from the beginning.
#[derive(Debug)]
pub(crate) struct MemoryMeter {
    bytes: u64,
    peak: u64,
    since: Timestamp,
    is_first: bool,
    is_closed: bool,
    /// Bytes times nanoseconds until `since`, doubled.
    byte_nanos: u128,
    /// What the quick way to count counted too much at the last exact look.
    pub(crate) quick_excess: u64,
    /// When the next exact look is due.
    pub(crate) exact_from: Timestamp,
}

impl MemoryMeter {
    pub(crate) const fn new(now: Timestamp) -> Self {
        Self {
            bytes: 0,
            peak: 0,
            since: now,
            is_first: true,
            is_closed: false,
            byte_nanos: 0,
            quick_excess: 0,
            exact_from: Timestamp(0),
        }
    }

    /// It begins to be counted: what was before was the platform's work.
    #[cfg(feature = "wasm")]
    pub(crate) fn begin(&mut self, now: Timestamp) {
        (self.since, self.byte_nanos) = (now, 0);
    }

    /// It was looked at.
    pub(crate) fn sample(&mut self, bytes: u64, now: Timestamp) {
        let before = if std::mem::replace(&mut self.is_first, false) { bytes } else { self.bytes };
        self.count(u128::from(before) + u128::from(bytes), now);
        self.set(bytes);
    }

    /// It changes now, at once: it was moved out of RAM or back.
    pub(crate) fn jump(&mut self, bytes: u64, now: Timestamp) {
        self.count(2 * u128::from(self.bytes), now);
        self.is_first = false;
        self.set(bytes);
    }

    /// What is there from now on is the platform's to free.
    #[cfg(feature = "wasm")]
    pub(crate) fn close(&mut self, now: Timestamp) {
        self.count(2 * u128::from(self.bytes), now);
        self.is_closed = true;
    }

    fn count(&mut self, twice: u128, now: Timestamp) {
        if self.is_closed {
            return;
        }
        self.byte_nanos += twice * now.since(self.since).as_nanos();
        self.since = self.since.max(now);
    }

    fn set(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.peak = self.peak.max(bytes);
    }

    pub(crate) const fn bytes(&self) -> Bytes64 {
        Bytes64(self.bytes)
    }

    /// The memory is gone; what it came to, rounded half up, and the most there was at once.
    pub(crate) fn finish(&mut self, now: Timestamp) -> (ByteSeconds, Bytes64) {
        const TWICE_A_SECOND: u128 = 2_000_000_000;
        self.jump(0, now);
        let rounded = (self.byte_nanos + TWICE_A_SECOND / 2) / TWICE_A_SECOND;
        (ByteSeconds(u64::try_from(rounded).unwrap_or(u64::MAX)), Bytes64(self.peak))
    }
}

/// What a function printed, up to [`limits::LOG_BYTES_MAX`]; the rest is counted.
#[derive(Debug, Default)]
pub(crate) struct LogBuffer {
    bytes: Vec<u8>,
    dropped: u64,
}

impl LogBuffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let room = limits::LOG_BYTES_MAX - self.bytes.len();
        let (kept, dropped) = bytes.split_at(room.min(bytes.len()));
        self.bytes.extend_from_slice(kept);
        self.dropped = self.dropped.saturating_add(dropped.len() as u64);
    }

    pub(crate) fn into_logs(self) -> Logs {
        Logs { bytes: self.bytes, dropped: self.dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_integrated_over_time_and_the_peak_kept() {
        let mut meter = MemoryMeter::new(Timestamp::from_millis(0));
        // There from the beginning; then evenly more; then all at once less.
        meter.sample(1000, Timestamp::from_millis(1000));
        meter.sample(3000, Timestamp::from_millis(3000));
        meter.jump(500, Timestamp::from_millis(4000));
        assert_eq!(meter.bytes(), Bytes64(500));
        let sum = meter.finish(Timestamp::from_millis(6000));
        assert_eq!(sum, (ByteSeconds(1000 + 2000 * 2 + 3000 + 500 * 2), Bytes64(3000)));
    }

    #[test]
    fn logs_stop_at_their_limit_and_count_the_rest() {
        let mut logs = LogBuffer::default();
        logs.push(&vec![b'a'; limits::LOG_BYTES_MAX - 1]);
        logs.push(b"bcd");
        logs.push(b"e");
        let logs = logs.into_logs();
        assert_eq!(
            (logs.bytes.len(), logs.bytes.last(), logs.dropped),
            (limits::LOG_BYTES_MAX, Some(&b'b'), 3)
        );
    }
}
