//! Durable executions as a pure state machine (DESIGN section 5).
//!
//! An execution is a durable instance of an orchestrating function. It lives in the store; this
//! crate says what follows from each thing that happens to it. It must never read a clock, draw
//! randomness, do I/O, log, or know how a function runs or a store keeps.
//!
//! # How a shell uses it
//! 1. [`Execution::start`] or [`Execution::decode`] of what the store has.
//! 2. [`Execution::step`] with one [`Input`]. For an interpreted kind [`run_turns`] next.
//! 3. Where `out` is not empty: commit [`Execution::encode`] and all of `out` at once, expecting the
//!    revision that was loaded. History is appended, [`Effect`]s go into the outbox under their
//!    [`Effect::key`] (one that is there is replaced), `Settled` takes them out, `Arm` and `Disarm`
//!    move the one timer.
//! 4. After the commit: do the effects, tell the sender the [`Verdict`]. Before it: nothing.
//! 5. After a crash: do all effects that are in the outbox again, arm the timers. Each effect says
//!    which input answers it. Repeats of effects and of their answers do no harm.
//!
//! Where a commit fails, throw the execution away and load it again. Many inputs may be stepped
//! before one commit; the outputs are then one list.
//!
//! # Who runs turns
//! Interpreters implement [`Orchestrator`] and run inside the step ([`run_turns`]; [`sequence`] is
//! one). Other functions run a turn as an invocation: [`Effect::RunTurn`] asks for it,
//! [`Execution::turn`] says with what, [`Input::TurnEnded`] brings the end. A turn that ran at a
//! crash runs again: same turn, same attempt, same invocation id.
//!
//! # Invariants
//! - The same state and input give the same state and outputs; a refused or repeated input changes
//!   nothing and has no outputs.
//! - An event is seen by one turn, or it is told as late, or it is still kept.
//! - An execution has exactly one outcome, and what it cancelled is settled before it is `Closed`.
//! - Ids of calls and children follow from execution, generation, ask and attempt.
//! - Storage and transitions are counted in integers, inside the state that is committed.
//! - Everything has a limit, named in [`model::limits`].
//!
//! Start reading at [`input`] and [`output`], then `execution/`.

#![no_std]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;

pub mod history;
pub mod input;
pub mod output;

mod execution;
mod orchestrator;
mod payload;

pub mod money;
pub mod sequence;
pub mod token;

mod codec;
mod formats;
mod passed;

pub use codec::DecodeError;
pub use execution::{Birth, DueTurn, Execution, FORMAT, Open, Status};
pub use history::{Event, Record};
pub use input::{Input, Parts, Refusal, SignalId, TokenAnswer, TurnEnd, Turned, Verdict};
pub use money::{Account, Totals};
pub use orchestrator::{Kept, Orchestrator, Payloads, Turn, run_turns};
pub use output::{Call, Effect, Outcome, Output, Parent, child_id};
pub use payload::Payload;
pub use token::{Mint, Token};
