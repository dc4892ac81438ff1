//! What the tests need beyond a Rust toolchain.

use std::path::Path;

use anyhow::Context;

use crate::command::{self, exists, run_with};

/// Programs, how to see that they are there, and the Debian package that brings each.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("python3", "--version", "python3"),
    ("node", "--version", "nodejs"),
    ("wasm-opt", "--version", "binaryen"),
];
/// The PostgreSQL server's package, which keeps its programs out of the path, and where.
const POSTGRES: (&str, &str) = ("postgresql", "/usr/lib/postgresql");

/// Installs what is missing; what is there stays as it is.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, probe, _)| !exists(program, probe))
        .map(|(_, _, package)| *package)
        .collect();
    if !exists("initdb", "--version") && !Path::new(POSTGRES.1).is_dir() {
        missing.push(POSTGRES.0);
    }
    if !missing.is_empty() {
        let cure =
            "install python3, nodejs, binaryen and postgresql by hand where there is no apt-get";
        let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
        run_with("apt-get", ["update", "-q"], &quiet).context(cure)?;
        let install = ["install", "-q", "-y", "--no-install-recommends"];
        run_with("apt-get", install.into_iter().chain(missing), &quiet).context(cure)?;
    }
    if !exists("cargo", "nextest") && !exists("cargo-nextest", "--version") {
        command::run("cargo", ["install", "cargo-nextest", "--locked"])?;
    }
    Ok(())
}
