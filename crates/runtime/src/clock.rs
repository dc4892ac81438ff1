//! The one clock of a node.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Timestamp;

/// A clock that starts at the wall clock's time and then never goes back: it advances with the
/// monotonic clock, so a step of the wall clock cannot reorder events.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: u64,
    start: Instant,
}

impl Clock {
    /// A clock set to the wall clock's present time.
    #[must_use]
    pub fn new() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX), start: Instant::now() }
    }

    /// A clock that is wrong by that much.
    #[must_use]
    pub fn ahead(self, by: Duration) -> Self {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Self { wall: self.wall.saturating_add(by), ..self }
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(self.wall) + self.start.elapsed()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
