//! How busy the machine's cores are, as the kernel counts it.

use std::fs;

use anyhow::Context as _;

/// The kernel's counters at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    idle: u64,
    all: u64,
}

impl Cores {
    /// The counters now.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        Self::parse(&text).context("parse /proc/stat")
    }

    /// The share of core time since `before` that was not idle.
    pub(crate) fn busy_since(self, before: Self) -> f64 {
        let ticks = |now: u64, then: u64| {
            f64::from(u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX))
        };
        1.0 - ticks(self.idle, before.idle) / ticks(self.all, before.all).max(1.0)
    }

    /// The first line sums all cores: user, nice, system, idle, iowait, … (proc(5)).
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> =
            line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let idle = ticks.get(3)? + ticks.get(4)?;
        // Guest time (fields 9 and 10) is already part of user time.
        Some(Self { idle, all: ticks.iter().take(8).sum() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busy_share_is_what_is_neither_idle_nor_waiting_for_the_disk() {
        let at = |text| Cores::parse(text).unwrap();
        let before = at("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3 4\n");
        let after = at("cpu  160 10 60 810 60 0 0 0 30 0\n");
        assert!((after.busy_since(before) - 0.8).abs() < 1e-9);
        assert!(Cores::parse("intr 1 2 3").is_none());
    }
}
