//! The Amazon States Language: parse and validate definitions, and interpret them as a pure machine.
//!
//! This crate must never read a clock, do I/O, start a thread or call a service: time and chance come
//! in with each step, and what a state machine wants done goes out as data. Start reading at
//! [`definition`], what a state machine is; then [`machine`], which runs one; [`mod@env`] holds what an
//! expression may see.
//!
//! Invariants:
//! - a definition, an input or an expression of a user never panics and never hangs;
//! - an error of a user's state machine is data with the name that AWS gives it ([`env::EvalError`]).

#![warn(missing_docs)]

pub mod answer;
pub mod ask;
pub mod definition;
pub mod document;
pub mod env;
pub mod history;
pub mod intrinsic;
pub mod items;
pub mod jsonata;
pub mod machine;
pub mod path;
pub mod template;
pub mod time;
mod written;

pub use document::Document;
pub use env::{Context, Env, ErrorName, EvalError, Random, Variables};
