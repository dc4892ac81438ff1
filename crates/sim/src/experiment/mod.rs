//! The experiments of the laboratory: each takes a plain configuration and gives plain data.

mod figure3;

pub use figure3::{Figure3, Figure3Config, Tick, figure3};

/// Seeds of an experiment: as many as asked, counted from 1.
#[must_use]
pub fn seeds(count: u64) -> Vec<u64> {
    (1..=count).collect()
}
