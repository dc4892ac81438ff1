//! Open-loop load on a running platform, and what is made of its measurements: statistics, tables,
//! JSON, plots. Shared by `fermata demo` and `fermata bench`.
//!
//! A call's latency counts from the instant at which the plan wanted it sent. A client or server
//! that falls behind therefore shows as latency and cannot hide calls it never sent (coordinated
//! omission).
//!
//! Start reading at [`plan`], then [`generator`].

pub(crate) mod closed;
pub(crate) mod connection;
pub(crate) mod folder;
pub(crate) mod generator;
pub(crate) mod machine;
pub(crate) mod plan;
pub(crate) mod platform;
pub(crate) mod plot;
pub(crate) mod receipt;
pub(crate) mod report;
pub(crate) mod server;
pub(crate) mod statistics;
pub(crate) mod table;
