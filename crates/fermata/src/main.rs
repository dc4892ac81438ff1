//! `fermata`: a serverless platform in one binary.
//!
//! The crate wires what other crates do: [`cli`] names the commands, `serve` builds a node with its
//! protocols, `commands` speak to one over HTTP, `demo` and `bench` measure one. Start reading at
//! [`cli`].

mod bench;
mod cli;
mod client;
mod commands;
mod demo;
mod load;
mod serve;
mod text;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
