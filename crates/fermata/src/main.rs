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
mod files;
mod load;
mod serve;
mod sim;
mod text;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The warden of sandboxes is this same program under another name: it must not become a
    // command line, let alone start threads.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == runtime::process::WARDEN_ARG) {
        return runtime::process::warden_main();
    }
    cli::run()
}
