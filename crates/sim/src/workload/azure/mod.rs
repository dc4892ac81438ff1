//! Azure Functions traces: counts a minute of 2019 (Shahrad et al., USENIX ATC 2020, in the form in
//! which InVitro samples them) and single invocations of 2021 (Zhang et al., SOSP 2021).
//!
//! What the traces do not say is drawn by a stated recipe:
//! - *when in its minute* an invocation arrives: uniformly (a Poisson process given its count) or
//!   evenly spaced;
//! - *how long* it runs: 2019 by a piecewise linear curve through the function's percentiles,
//!   scaled so that its mean is the published one; never below 1 ms;
//! - *its memory*: 2019 in the same way, times a stated factor; 2021 uniformly between two bounds.
//!   How it grows over a run is the world's matter;
//! - *its class*: by the function's trigger (http critical, orchestration and event standard, queue
//!   economy, the others background), or drawn once for each function by weights;
//! - *more load*: copies of the whole trace, each rotated by a time of its own, so that each
//!   function keeps its bursts and the copies do not burst together. The first is not rotated.

mod counts;
mod invocations;
mod recipe;

pub use super::table::LoadError;
pub use counts::Azure2019;
pub use invocations::Azure2021;
pub use recipe::{ClassRule, Offset, Recipe};

/// A positive amount of a trace in whole units; what is too large to count is the most.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float saturates, and traces have no negative amounts"
)]
const fn whole(amount: f64) -> u64 {
    amount as u64
}
