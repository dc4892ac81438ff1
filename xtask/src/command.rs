//! Running other programs from the root of the workspace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The root of the workspace: the folder above this crate's.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in the workspace").to_owned()
}

/// Runs a program with our own output; fails where it fails.
pub(crate) fn run<'a>(
    program: &str,
    args: impl IntoIterator<Item = &'a str>,
) -> anyhow::Result<()> {
    run_with(program, args, &[])
}

/// The same with variables in its environment.
pub(crate) fn run_with<'a>(
    program: &str,
    args: impl IntoIterator<Item = &'a str>,
    environment: &[(&str, &str)],
) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).envs(environment.iter().copied());
    let status = command.status().with_context(|| format!("start {program}"))?;
    if !status.success() {
        bail!("{program} failed: {status}");
    }
    Ok(())
}

/// What a program prints on its standard output.
pub(crate) fn output<'a>(
    program: &str,
    args: impl IntoIterator<Item = &'a str>,
) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    let output = command.args(args).current_dir(root()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("read what {program} printed"))
}

/// Whether a program is there and runs.
pub(crate) fn exists(program: &str, probe: &str) -> bool {
    let mut command = Command::new(program);
    let status = command.arg(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
