//! Functions in sandboxes, from the outside. These tests need root, as sandboxes do.

#![cfg(feature = "process")]
#![expect(clippy::unwrap_used, reason = "what surrounds a test may panic as the test may")]

mod bills;
mod calls;
mod failures;
mod happy;
mod house;
mod swapping;
mod system_swap;
mod walls;
