//! The scheduling laboratory: the live policies in virtual time.
//!
//! What runs here is the code of the crate `policy`, shards, machines and messages, in a simulated
//! cluster whose time is a number. Beside it stand baselines that see more than a live system can.
//! This crate must never read a clock for a decision, and print nothing: results are plain data.
//!
//! Start reading at [`experiment`], then [`world`].
//!
//! Invariants:
//! - the same seed gives the same trace hash, on any number of threads;
//! - every policy in a comparison sees the same arrivals;
//! - what arrived is carried to its end and counted by its time of arrival.
//!
//! ```
//! use sim::experiment::{CompareConfig, compare, seeds};
//! use sim::{Runner, WorldConfig, find};
//! use sim::workload::synthetic::Synthetic;
//!
//! let config = CompareConfig {
//!     world: WorldConfig { machines: 4, ..WorldConfig::default() },
//!     policies: ["xx", "hermod"].iter().filter_map(|name| find(name, 3)).collect(),
//!     seeds: seeds(5),
//!     tick_ns: None,
//! };
//! let comparison = compare(&config, &Synthetic::steady(7.0, 20), &Runner::default());
//! let critical = &comparison.classes[0];
//! assert_eq!((critical.policy.as_str(), critical.class.as_str()), ("xx", "critical"));
//! assert!(critical.before.p99_slowdown.mean >= 1.0);
//! ```

#![warn(missing_docs)]

pub mod experiment;
pub mod policies;
pub mod runner;
pub mod statistics;
pub mod workload;
pub mod world;

pub mod baseline;
pub mod check;
pub mod durable;
pub mod live;
pub mod memory;
pub mod random;
pub mod scheduler;

pub use policies::{Entry, find, policies};
pub use runner::{Progress, Runner};
pub use world::{Outcome, WorldConfig, simulate};
