//! The nouns that two or more rooms of Fermata share: ids, price classes, amounts, time, limits,
//! functions, outcomes and receipts.
//!
//! This crate only names, parses and prints. It must never decide, do I/O, read a clock, or know a
//! wire format: clocks, files, sockets and random sources cannot be named here (`no_std`).
//! Start reading at [`class`], which holds the one thing a developer states.
//!
//! Invariants:
//! - money, time and memory are integers whose type carries the unit;
//! - every id is a newtype that prints with its prefix and parses back to itself;
//! - every limit of the platform is in [`limits`].

#![no_std]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;

pub mod amount;
pub mod class;
pub mod function;
pub mod id;
pub mod limits;
pub mod outcome;
pub mod receipt;
pub mod suspend;
pub mod swap;
pub mod time;

pub use amount::{Amount, ByteSeconds, Bytes64, CpuTime, MemoryPrice, Price};
pub use class::{ClassId, PriceClass, PriceList, PriceListError};
pub use function::{Durable, FunctionName, Kind, NameError, Version};
pub use id::{ExecutionId, IdError, InvocationId, KeyId, MachineId, ShardId, TenantName};
pub use outcome::{Failure, FailureKind, Outcome};
pub use receipt::Receipt;
pub use swap::{SwapPlace, SwapRoom};
pub use time::Timestamp;
