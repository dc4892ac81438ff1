//! The Wasm executor with the committed guests of `examples/guests`.

#![cfg(feature = "wasm")]
#![expect(clippy::unwrap_used, reason = "what surrounds a test may panic as the test may")]

mod ahead;
mod artifacts;
mod bills;
mod calls;
mod durable;
mod durable_deploy;
mod durable_image;
mod durable_languages;
mod durable_python;
mod failures;
mod house;
mod imports;
mod limits;
mod preemption;
mod short;
mod swapping;
mod workers;
