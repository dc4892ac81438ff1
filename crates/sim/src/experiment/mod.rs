//! The experiments of the laboratory: each takes a plain configuration and gives plain data.
//!
//! | experiment | question |
//! |---|---|
//! | [`figure3`] | what a wave of load does to each class, with and without classes |
//! | [`figure4`] | how memory, swap and load spread over machines |
//! | [`compare`] | the same arrivals under several policies |
//! | [`sweep`] | the same while one parameter changes |
//! | [`replay`] | a recording under other machines, classes or policies |
//! | [`plan`] | the fewest machines that keep the targets of the classes |

mod compare;
mod figure3;
mod figure4;
mod plan;
mod sweep;

pub use compare::{CompareConfig, Comparison, PolicyReport, Tick, compare, replay};
pub use figure3::{Figure3Config, figure3};
pub use figure4::{ClassSwap, Figure4, Figure4Config, Figure4Point, Five, figure4, swapping_xx};
pub use plan::{Plan, PlanConfig, PlanTry, Target, plan};
pub use sweep::{Parameter, SweepConfig, SweepPoint, sweep};

/// Seeds of an experiment: as many as asked, counted from 1.
#[must_use]
pub fn seeds(count: u64) -> Vec<u64> {
    (1..=count).collect()
}
