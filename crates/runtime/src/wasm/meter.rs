//! What an invocation holds and prints, measured as it goes.

use model::{ByteSeconds, Bytes64, Timestamp, limits};

use crate::executor::Logs;

/// Linear memory over time. Exact for the size of the memory: it is told of every change.
#[derive(Debug)]
pub(super) struct MemoryMeter {
    bytes: u64,
    peak: u64,
    since: Timestamp,
    /// Bytes times nanoseconds until `since`.
    byte_nanos: u128,
}

impl MemoryMeter {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { bytes: 0, peak: 0, since: now, byte_nanos: 0 }
    }

    /// The memory has another size from now on.
    pub(super) fn change(&mut self, bytes: u64, now: Timestamp) {
        self.byte_nanos += u128::from(self.bytes) * now.since(self.since).as_nanos();
        self.since = now;
        self.bytes = bytes;
        self.peak = self.peak.max(bytes);
    }

    pub(super) const fn bytes(&self) -> Bytes64 {
        Bytes64(self.bytes)
    }

    /// The memory is gone; what it came to, rounded half up, and the most there was at once.
    pub(super) fn finish(&mut self, now: Timestamp) -> (ByteSeconds, Bytes64) {
        const NANOS_PER_SECOND: u128 = 1_000_000_000;
        self.change(0, now);
        let rounded = (self.byte_nanos + NANOS_PER_SECOND / 2) / NANOS_PER_SECOND;
        (ByteSeconds(u64::try_from(rounded).unwrap_or(u64::MAX)), Bytes64(self.peak))
    }
}

/// What a function printed, up to [`limits::LOG_BYTES_MAX`]; the rest is counted.
#[derive(Debug, Default)]
pub(super) struct LogBuffer {
    bytes: Vec<u8>,
    dropped: u64,
}

impl LogBuffer {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = limits::LOG_BYTES_MAX - self.bytes.len();
        let (kept, dropped) = bytes.split_at(room.min(bytes.len()));
        self.bytes.extend_from_slice(kept);
        self.dropped = self.dropped.saturating_add(dropped.len() as u64);
    }

    pub(super) fn into_logs(self) -> Logs {
        Logs { bytes: self.bytes, dropped: self.dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_integrated_over_time_and_the_peak_kept() {
        let mut meter = MemoryMeter::new(Timestamp::from_millis(0));
        meter.change(1000, Timestamp::from_millis(1000));
        meter.change(3000, Timestamp::from_millis(3000));
        meter.change(500, Timestamp::from_millis(4000));
        assert_eq!(meter.bytes(), Bytes64(500));
        let sum = meter.finish(Timestamp::from_millis(6000));
        assert_eq!(sum, (ByteSeconds(1000 * 2 + 3000 + 500 * 2), Bytes64(3000)));
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
