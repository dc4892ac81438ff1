//! What arrives: invocations with their class, run time and memory, in order of arrival.
//!
//! A [`Workload`] makes, for a seed, a stream of [`Arrival`]s. It is lazy, so that a hundred million
//! invocations need no memory, and the same for every policy that is compared.

pub mod azure;
mod listed;
pub mod recording;
pub mod synthetic;
mod table;

pub use listed::Listed;
pub use table::LoadError;

use std::fmt::Debug;

use model::{ClassId, PriceList};

/// One tick of the paper's simulator, in nanoseconds. The paper gives it no length; 100 ms is our
/// choice, and everything stated in milliseconds scales with it.
pub const TICK_NS: u64 = 100_000_000;
/// One megabyte, in bytes.
pub const MB: u64 = 1_000_000;

/// One invocation as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When, in nanoseconds since the start.
    pub at_ns: u64,
    /// Which function: what is hashed where a policy places by function.
    pub function: u32,
    /// Its effective class.
    pub class: ClassId,
    /// CPU time that it needs. Not zero.
    pub cpu_ns: u64,
    /// Memory that it comes to use, in bytes.
    pub memory_peak: u64,
}

/// Arrivals in order of time.
pub type Arrivals<'a> = Box<dyn Iterator<Item = Arrival> + Send + 'a>;

/// Something that arrives the same way each time it is asked with the same seed.
pub trait Workload: Debug + Send + Sync {
    /// What arrives, in order of time.
    fn arrivals(&self, seed: u64) -> Arrivals<'_>;
    /// The classes that its arrivals name.
    fn prices(&self) -> &PriceList;
    /// When the phases "overload" and "after" begin, in nanoseconds.
    fn phases(&self) -> Phases;
    /// How it was made, in one line for a report.
    fn recipe(&self) -> String;
}

/// When the phases of a run begin. An invocation belongs to the phase in which it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    /// Where "before" ends, in nanoseconds.
    pub overload_ns: u64,
    /// Where "overload" ends, in nanoseconds.
    pub after_ns: u64,
}

impl Phases {
    /// Everything is "before".
    pub const NONE: Self = Self { overload_ns: u64::MAX, after_ns: u64::MAX };

    /// In which phase an invocation arrives: 0, 1 or 2.
    #[must_use]
    pub const fn of(&self, at_ns: u64) -> usize {
        (at_ns >= self.overload_ns) as usize + (at_ns >= self.after_ns) as usize
    }
}
