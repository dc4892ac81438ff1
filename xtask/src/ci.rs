//! Everything that must hold before a change lands, cheapest first.

#![expect(clippy::print_stdout, reason = "a command-line tool talks")]

use std::time::Instant;

use crate::command::{self, run_with};
use crate::{corpus, deps, guests, setup, tidy};

/// Broken links are errors. One to a private item is none: whoever reads it has the source.
const RUSTDOC: &str = "-D warnings -A rustdoc::private_intra_doc_links";

/// All checks, then all tests. The release profile throughout: what is tested is what is measured
/// and shipped, and the dear dependencies are built once.
pub(crate) fn run() -> anyhow::Result<()> {
    step("fmt", || command::run("cargo", ["fmt", "--all", "--check"]))?;
    step("deps", deps::check)?;
    step("tidy", tidy::check)?;
    step("setup", setup::run)?;
    step("guests", || guests::run(true))?;
    step("clippy", || {
        let lint = ["clippy", "--release", "--workspace", "--all-targets", "--quiet"];
        command::run("cargo", lint.into_iter().chain(["--", "-D", "warnings"]))
    })?;
    step("docs", || {
        let doc = ["doc", "--release", "--workspace", "--no-deps", "--quiet"];
        run_with("cargo", doc, &[("RUSTDOCFLAGS", RUSTDOC)])
    })?;
    step("tests", || run_tests(&[]))?;
    step("clients", corpus::clients)
}

/// Installs what the tests need and runs them.
pub(crate) fn test(args: &[String]) -> anyhow::Result<()> {
    setup::run()?;
    run_tests(args)
}

/// Documentation examples first, so that the runner's closing line, which counts all other tests,
/// is the last word.
fn run_tests(args: &[String]) -> anyhow::Result<()> {
    command::run("cargo", ["build", "--release", "--workspace"])?;
    if args.is_empty() {
        command::run("cargo", ["test", "--release", "--workspace", "--doc", "--quiet"])?;
    }
    let nextest = ["nextest", "run", "--release", "--workspace", "--no-fail-fast"];
    command::run("cargo", nextest.into_iter().chain(args.iter().map(String::as_str)))
}

fn step(name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("== {name}");
    let start = Instant::now();
    work()?;
    println!("== {name}: ok in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
