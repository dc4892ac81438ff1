//! Client suites: unmodified clients in an environment of their own, against the built server.

use std::path::PathBuf;

use anyhow::bail;

use crate::command::{self, root, run};

const BOTO3: &str = "boto3==1.44.8";

/// Where the recorded cases lie.
fn corpus() -> PathBuf {
    let shared = std::env::var_os("FERMATA_SHARED");
    let shared = shared.map_or_else(|| root().join("../shared"), PathBuf::from);
    shared.join("conformance/asl")
}

/// The same where they are there; says so where they are not.
#[expect(clippy::print_stdout, reason = "a command-line tool talks")]
pub(crate) fn stepfunctions_if_there() -> anyhow::Result<()> {
    if corpus().is_dir() {
        return stepfunctions(&[]);
    }
    println!(
        "skipped: the recorded cases are not beside the checkout, in ../shared/conformance/asl"
    );
    Ok(())
}

/// Runs the recorded Step Functions cases against the built server and prints a table.
pub(crate) fn stepfunctions(args: &[String]) -> anyhow::Result<()> {
    let corpus = corpus();
    if !corpus.is_dir() {
        bail!("the recorded cases are not beside the checkout, in ../shared/conformance/asl");
    }
    let environment = root().join("target/clients");
    let python = environment.join("bin/python");
    let (environment, python) = (environment.to_string_lossy(), python.to_string_lossy());
    if !command::exists(&python, "--version") {
        run("python3", ["-m", "venv", &environment])?;
    }
    run(&python, ["-m", "pip", "install", "--quiet", BOTO3])?;
    run("cargo", ["build", "--release", "--quiet", "--workspace"])?;
    let binary = root().join("target/release/fermata");
    let (binary, corpus) = (binary.to_string_lossy(), corpus.to_string_lossy());
    let fixed = ["tests/clients/stepfunctions/corpus.py", &binary, &corpus];
    run(&python, fixed.into_iter().chain(args.iter().map(String::as_str)))
}
