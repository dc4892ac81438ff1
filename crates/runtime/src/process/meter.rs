//! What one invocation used and printed.

use std::time::Instant;

use model::{ByteSeconds, Bytes64, limits};

use crate::executor::Logs;

/// Memory over time, from samples.
#[derive(Default)]
pub(super) struct MemoryMeter {
    last: Option<(Instant, u64)>,
    byte_nanos: u128,
    peak: u64,
}

impl MemoryMeter {
    /// Takes a sample, which counts from the last one on.
    pub(super) fn sample(&mut self, now: Instant, bytes: u64) {
        if let Some((since, held)) = self.last {
            let nanos = now.saturating_duration_since(since).as_nanos();
            self.byte_nanos = self.byte_nanos.saturating_add(u128::from(held.max(bytes)) * nanos);
        }
        self.peak = self.peak.max(bytes);
        self.last = Some((now, bytes));
    }

    pub(super) fn used(&self) -> ByteSeconds {
        let seconds = (self.byte_nanos + 500_000_000) / 1_000_000_000;
        ByteSeconds(u64::try_from(seconds).unwrap_or(u64::MAX))
    }

    pub(super) fn peak(&self) -> Bytes64 {
        Bytes64(self.peak)
    }

    /// The last sample.
    pub(super) fn held(&self) -> Bytes64 {
        Bytes64(self.last.map_or(0, |(_, bytes)| bytes))
    }
}

/// Adds what was printed, up to the limit.
pub(super) fn append(logs: &mut Logs, printed: &[u8]) {
    let room = limits::LOG_BYTES_MAX.saturating_sub(logs.bytes.len()).min(printed.len());
    logs.bytes.extend_from_slice(&printed[..room]);
    logs.dropped += u64::try_from(printed.len() - room).unwrap_or(u64::MAX);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn memory_counts_for_as_long_as_it_was_held() {
        let (start, mut meter) = (Instant::now(), MemoryMeter::default());
        meter.sample(start, 1000);
        meter.sample(start + Duration::from_secs(2), 1000);
        meter.sample(start + Duration::from_secs(3), 3000);
        meter.sample(start + Duration::from_secs(4), 500);
        assert_eq!(meter.used(), ByteSeconds(2000 + 3000 + 3000));
        assert_eq!((meter.peak(), meter.held()), (Bytes64(3000), Bytes64(500)));
    }

    #[test]
    fn logs_stop_at_the_limit_and_count_the_rest() {
        let mut logs = Logs::default();
        append(&mut logs, &vec![b'x'; limits::LOG_BYTES_MAX - 1]);
        append(&mut logs, b"yz");
        append(&mut logs, b"more");
        assert_eq!((logs.bytes.len(), logs.dropped), (limits::LOG_BYTES_MAX, 5));
        assert_eq!(logs.bytes.last(), Some(&b'y'));
    }
}
