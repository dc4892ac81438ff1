//! Money, CPU time and memory as integers with their unit in the type.

use core::fmt;
use core::iter::Sum;
use core::ops::{Add, AddAssign};
use core::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// Pico-cents in one micro-cent (µ¢), the unit in which prices are stated.
pub const PICO_PER_MICRO: u64 = 1_000_000;

/// A price per CPU second, in pico-cents (10⁻¹² ¢). 2.0 µ¢ per CPU second is 2,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(pub u64);

impl Price {
    /// What `cpu` costs at this price, rounded half up to a pico-cent.
    #[must_use]
    pub fn of(self, cpu: CpuTime) -> Amount {
        let exact = u128::from(self.0) * u128::from(cpu.0);
        Amount::rounded(exact, NANOS_PER_SECOND)
    }
}

/// Prints µ¢ per CPU second: `2.0`, `0.35`.
impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_micro(self.0, f)
    }
}

/// The one price of memory: pico-cents for each GiB-second really used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPrice(pub u64);

impl MemoryPrice {
    /// What `used` costs, rounded half up to a pico-cent.
    #[must_use]
    pub fn of(self, used: ByteSeconds) -> Amount {
        Amount::rounded(u128::from(self.0) * u128::from(used.0), 1 << 30)
    }
}

/// An amount of money in pico-cents (10⁻¹² ¢). Adding saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub u64);

impl Amount {
    fn rounded(exact: u128, unit: u128) -> Self {
        Self(u64::try_from((exact + unit / 2) / unit).unwrap_or(u64::MAX))
    }

    /// The amount left after taking `other` away; zero where `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

/// Prints µ¢: `0.000123`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_micro(self.0, f)
    }
}

/// CPU time used, in nanoseconds on a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuTime(pub u64);

impl CpuTime {
    /// The same length as a [`Duration`].
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl Add for CpuTime {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Memory used over time: one byte held for one second. Adding saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSeconds(pub u64);

impl ByteSeconds {
    /// `bytes` held for `length`, rounded half up to a byte-second.
    #[must_use]
    pub fn of(bytes: Bytes64, length: Duration) -> Self {
        let exact = u128::from(bytes.0) * length.as_nanos();
        let rounded = (exact + NANOS_PER_SECOND / 2) / NANOS_PER_SECOND;
        Self(u64::try_from(rounded).unwrap_or(u64::MAX))
    }
}

impl Add for ByteSeconds {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes64(pub u64);

fn fmt_micro(pico: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (whole, mut rest) = (pico / PICO_PER_MICRO, pico % PICO_PER_MICRO);
    let mut digits = 6;
    while digits > 1 && rest.is_multiple_of(10) {
        rest /= 10;
        digits -= 1;
    }
    write!(f, "{whole}.{rest:0digits$}")
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn price_times_cpu_rounds_half_up_to_a_pico_cent() {
        let background = Price(300_000);
        assert_eq!(background.of(CpuTime(1_000_000_000)), Amount(300_000));
        assert_eq!(background.of(CpuTime(1_000_000)), Amount(300));
        assert_eq!(Price(1).of(CpuTime(499_999_999)), Amount(0));
        assert_eq!(Price(1).of(CpuTime(500_000_000)), Amount(1));
        assert_eq!(Price(u64::MAX).of(CpuTime(u64::MAX)), Amount(u64::MAX));
    }

    #[test]
    fn amounts_print_as_micro_cents() {
        assert_eq!(Price(2_000_000).to_string(), "2.0");
        assert_eq!(Price(350_000).to_string(), "0.35");
        assert_eq!(Amount(300).to_string(), "0.0003");
        assert_eq!(Amount(1).to_string(), "0.000001");
    }

    #[test]
    fn memory_is_billed_by_byte_seconds() {
        let gib = Bytes64(1 << 30);
        let used = ByteSeconds::of(gib, Duration::from_millis(1500));
        assert_eq!(used, ByteSeconds(3 << 29));
        assert_eq!(MemoryPrice(50_000).of(used), Amount(75_000));
    }
}
