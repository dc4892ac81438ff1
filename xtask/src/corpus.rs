//! Client suites: unmodified clients in an environment of their own, against the built server.

use std::path::PathBuf;

use anyhow::bail;

use crate::command::{self, root, run};

const BOTO3: &str = "boto3==1.44.8";
/// Stands for the other services of AWS.
const MOTO: &str = "moto[server]==5.2.5";

/// Where the recorded cases lie.
fn corpus() -> PathBuf {
    let shared = std::env::var_os("FERMATA_SHARED");
    let shared = shared.map_or_else(|| root().join("../shared"), PathBuf::from);
    shared.join("conformance/asl")
}

/// What state machines reach outside, against moto and an HTTP server; their requests to every service,
/// against those of AWS's SDK for Python; signed requests; a Map of 2,000 items; then the recorded cases,
/// where they are there, and says so where they are not.
#[expect(clippy::print_stdout, reason = "a command-line tool talks")]
pub(crate) fn clients() -> anyhow::Result<()> {
    let python = environment()?;
    let binary = build()?;
    run(&python, ["tests/clients/stepfunctions/outside.py", &binary])?;
    run(&python, ["tests/clients/stepfunctions/serialized.py", &binary])?;
    run(&python, ["tests/clients/stepfunctions/signed.py", &binary])?;
    let large_map = "tests/clients/stepfunctions/large_map.py";
    run(&python, [large_map, &binary, "2000", "EXPRESS", "10"])?;
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
    let python = environment()?;
    let (binary, corpus) = (build()?, corpus.to_string_lossy());
    let fixed = ["tests/clients/stepfunctions/corpus.py", &binary, &corpus];
    run(&python, fixed.into_iter().chain(args.iter().map(String::as_str)))
}

/// The Python that has the clients.
fn environment() -> anyhow::Result<String> {
    let environment = root().join("target/clients");
    let python = environment.join("bin/python");
    let (environment, python) = (environment.to_string_lossy(), python.to_string_lossy());
    if !command::exists(&python, "--version") {
        run("python3", ["-m", "venv", &environment])?;
    }
    run(&python, ["-m", "pip", "install", "--quiet", BOTO3, MOTO])?;
    Ok(python.into_owned())
}

/// The server under test.
fn build() -> anyhow::Result<String> {
    run("cargo", ["build", "--release", "--quiet", "--workspace"])?;
    Ok(root().join("target/release/fermata").to_string_lossy().into_owned())
}
