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

#![warn(missing_docs)]

pub mod experiment;
pub mod policies;
pub mod runner;
pub mod statistics;
pub mod workload;
pub mod world;

pub mod baseline;
pub mod check;
pub mod live;
pub mod memory;
pub mod random;
pub mod scheduler;

pub use policies::{Entry, find, policies};
pub use world::{Outcome, WorldConfig, simulate};
