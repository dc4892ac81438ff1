//! How functions run: `wasm` (in this process, one fiber an invocation) and `process` (a sandboxed
//! process that speaks the Lambda Runtime API), behind one [`Executor`] trait.
//!
//! An executor does what it is told: start this, take its core away, let it go on, end it. It never
//! decides who runs; that is `policy`, carried by `node`. It never writes to the store. What happens
//! comes back as an [`Event`].
//!
//! Start reading at [`executor`], then `wasm/` and `process/`.
//!
//! Invariants:
//! - exactly one [`Event::Finished`] for each [`Executor::start`], whatever happens;
//! - no event of an invocation comes after its `Finished`;
//! - a function uses a core only between `start` or `resume` and the next `preempt`, its own
//!   `Blocked`, or its `Finished`; a delay of the operating system excepted;
//! - nothing of one tenant is reachable by another: no warm instance, no memory, no file.

#![warn(missing_docs)]

pub mod afterwards;
mod clock;
pub mod executor;
pub mod fake;
pub mod kernel;
#[cfg(any(feature = "process", feature = "wasm"))]
mod meter;
#[cfg(feature = "process")]
pub mod package;
#[cfg(feature = "process")]
pub mod process;
#[cfg(feature = "wasm")]
pub mod swap;
#[cfg(any(feature = "process", feature = "wasm"))]
mod throttle;
#[cfg(feature = "wasm")]
pub mod wasm;

pub use clock::Clock;
pub use executor::{
    Call, CallMode, CallResult, Code, Condition, Durable, DurableTurn, Ended, Event, Events,
    Executor, Finished, Held, IdleUse, Logs, MemoryUse, Network, Platform, Prepare, PrepareError,
    Prepared, Reclaim, Reclaimed, Start, SwapUse, TokenMaker,
};
