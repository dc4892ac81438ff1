//! How memory grows. Who gives way to whom is decided by [`policy::memory`], as in the live node.

/// How a function's memory grows over its run, from its start to its peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Growth {
    /// Fast at first: after a part p of its run it has grown by 1 − (1 − p)² of the way. The
    /// prototype's growth is front-loaded too; its formula is not published.
    #[default]
    FrontLoaded,
    /// Evenly.
    Linear,
    /// Evenly over the first part of its run, then no more.
    First {
        /// The part.
        percent: u8,
    },
}

/// Steps in which memory grows: how finely the curve is followed.
pub const GROWTH_STEPS: u32 = 8;

impl Growth {
    /// The progress, of `cpu_ns`, at which step `level` (1 to [`GROWTH_STEPS`]) is taken. A step is
    /// taken where the curve is half-way up it.
    #[must_use]
    pub fn step_ns(self, level: u32, cpu_ns: u64) -> u64 {
        let grown = (f64::from(level) - 0.5) / f64::from(GROWTH_STEPS);
        let part = match self {
            Self::FrontLoaded => 1.0 - (1.0 - grown).sqrt(),
            Self::Linear => grown,
            Self::First { percent } => grown * f64::from(percent) / 100.0,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of 2³² between 0 and 1"
        )]
        let part = (part * f64::from(u32::MAX)) as u64;
        let at = u128::from(part) * u128::from(cpu_ns) / u128::from(u32::MAX);
        u64::try_from(at).expect("a part of a u64")
    }

    /// Memory after that many steps.
    #[must_use]
    pub fn bytes(level: u32, start: u64, peak: u64) -> u64 {
        start + peak.saturating_sub(start) * u64::from(level) / u64::from(GROWTH_STEPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_from_start_to_peak_faster_at_first_where_front_loaded() {
        for growth in [Growth::FrontLoaded, Growth::Linear, Growth::First { percent: 20 }] {
            let steps: Vec<u64> =
                (1..=GROWTH_STEPS).map(|level| growth.step_ns(level, 1_000)).collect();
            assert!(steps.is_sorted() && steps[0] > 0 && steps[7] < 1_000, "{steps:?}");
        }
        assert!(Growth::FrontLoaded.step_ns(4, 1_000) < Growth::Linear.step_ns(4, 1_000));
        assert!(Growth::First { percent: 20 }.step_ns(GROWTH_STEPS, 1_000) < 200);
        assert_eq!(Growth::bytes(0, 100, 900), 100);
        assert_eq!(Growth::bytes(GROWTH_STEPS, 100, 900), 900);
    }
}
