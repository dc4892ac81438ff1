//! Open-loop load on a running platform, and what is made of its measurements: statistics, tables,
//! JSON, plots. Shared by `fermata demo` and `fermata bench`.
//!
//! A call's latency counts from the instant at which the plan wanted it sent. A client or server
//! that falls behind therefore shows as latency and cannot hide calls it never sent (coordinated
//! omission).
//!
//! Start reading at [`plan`], then [`generator`].

pub mod connection;
pub mod generator;
pub mod machine;
pub mod plan;
pub mod platform;
pub mod plot;
pub mod report;
pub mod statistics;
pub mod table;
