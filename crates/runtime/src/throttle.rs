//! So many bytes a second and no more.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::Bytes64;

/// Longest burst: what was not used counts for so long.
const BURST: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Throttle {
    bytes_per_s: Option<u64>,
    free_from: Mutex<Instant>,
}

impl Throttle {
    pub(crate) fn new(bandwidth: Option<Bytes64>) -> Self {
        let bytes_per_s = bandwidth.map(|bandwidth| bandwidth.0.max(1));
        Self { bytes_per_s, free_from: Mutex::new(Instant::now()) }
    }

    /// Waits until so many bytes may have been moved.
    pub(crate) fn pay(&self, bytes: u64) {
        let Some(bytes_per_s) = self.bytes_per_s else { return };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_s);
        let length = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let now = Instant::now();
        let wait = {
            let mut free_from = self.free_from.lock().unwrap_or_else(PoisonError::into_inner);
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            *free_from = (*free_from).max(earliest) + length;
            free_from.saturating_duration_since(now)
        };
        std::thread::sleep(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_bandwidth_waits() {
        let throttle = Throttle::new(Some(Bytes64(100 << 20)));
        let start = Instant::now();
        for _ in 0..10 {
            throttle.pay(1 << 20);
        }
        assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());
        Throttle::new(None).pay(u64::MAX);
    }
}
