//! Compares the simulator with `SimFaaS` (Mahmoudi and Khazaei, 2021) on a workload that both can
//! express: Poisson arrivals, exponential run times, never full. What is right is known without
//! either (Little's law). `SimFaaS` comes from the Python package index into a folder of its own; the
//! product never needs it.

use std::path::Path;

use anyhow::Context;

use crate::command::{self, root};

/// Invocations a second, their mean run time in seconds, seconds of virtual time.
const WORKLOAD: [&str; 3] = ["10", "2", "5000"];
const RUNNING: f64 = 20.0;

/// Runs both and prints what they say and how long they take.
pub(crate) fn run() -> anyhow::Result<()> {
    let folder = root().join("target/simfaas");
    let python = folder.join("bin/python3");
    let folder = text(&folder)?;
    if !python.exists() {
        println!("installing SimFaaS into {folder} (once) …");
        command::run("python3", ["-m", "venv", folder])?;
        command::run(
            text(&python)?,
            ["-m", "pip", "install", "-q", "simfaas==0.2.2", "setuptools<81"],
        )?;
    }
    let [rate, mean, length] = WORKLOAD;
    println!("{rate} invocations a second of {mean} s (exponential), {length} s of virtual time;");
    println!("running at a time by Little's law: {RUNNING}\n");
    let script = root().join("bench/in_simfaas.py");
    let script = [text(&script)?].into_iter().chain(WORKLOAD);
    let theirs = measured(&command::output(text(&python)?, script)?)?;
    let ours = ["run", "-q", "--release", "-p", "fermata-sim", "--example", "open", "--"];
    let ours = measured(&command::output("cargo", ours.into_iter().chain(WORKLOAD))?)?;
    println!(
        "{:9} {:>12} {:>22} {:>9} {:>15}",
        "", "invocations", "running at a time", "seconds", "invocations/s"
    );
    for (name, [invocations, running, seconds]) in [("SimFaaS", theirs), ("Fermata", ours)] {
        let error = 100.0 * (running / RUNNING - 1.0);
        println!(
            "{name:9} {invocations:>12.0} {running:>13.3} ({error:+.2} %) {seconds:>9.3} {:>15.0}",
            invocations / seconds
        );
    }
    let speed = |[invocations, _, seconds]: [f64; 3]| invocations / seconds;
    println!(
        "\nFermata simulates {:.0} times as many invocations a second",
        speed(ours) / speed(theirs)
    );
    Ok(())
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// `{"invocations":…,"running":…,"seconds":…}`, which both print.
fn measured(line: &str) -> anyhow::Result<[f64; 3]> {
    let value: serde_json::Value =
        serde_json::from_str(line).with_context(|| format!("read the figures {line:?}"))?;
    let field = |name: &str| value[name].as_f64();
    let all = ["invocations", "running", "seconds"].map(field);
    let [Some(invocations), Some(running), Some(seconds)] = all else {
        anyhow::bail!("not the figures expected: {line}");
    };
    Ok([invocations, running, seconds])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_with_and_without_spaces() {
        let figures = measured("{\"invocations\": 5, \"running\": 19.5, \"seconds\":0.25}\n");
        assert_eq!(figures.unwrap(), [5.0, 19.5, 0.25]);
        assert!(measured("{}").is_err());
    }
}
