//! `fermata sim replay`: what really arrived, under other machines, classes or policies.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde_json::json;
use sim::experiment::{CompareConfig, Comparison, replay};
use sim::workload::Phases;
use sim::workload::recording::Recording;

use super::options::{Cluster, Runs, entries};
use super::results::{Results, class_rows};
use super::{charts, output, progress};

/// What really arrived, played again under other machines, classes or policies
///
/// FILE is a recording of `fermata serve --record FILE`. Where it tells how long each invocation
/// took, the report has that beside what is simulated.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// The recording
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Numbers of machines to compare, instead of --machines
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    try_machines: Vec<u32>,
    /// Put a function in another class; simulated beside the classes as recorded
    #[arg(long = "class", value_name = "FUNCTION=CLASS")]
    classes: Vec<ClassArg>,
    /// Seconds from which to which there was an overload, reported by itself
    #[arg(long, value_name = "FROM,TO", value_delimiter = ',')]
    overload_s: Vec<f64>,
    /// Policies, see `fermata sim policies`
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "xx")]
    policies: Vec<String>,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    runs: Runs,
    #[command(flatten)]
    output: output::Args,
}

/// A function and its new class.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ClassArg {
    function: String,
    class: String,
}

impl FromStr for ClassArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = text
            .split_once('=')
            .filter(|(function, class)| !function.is_empty() && !class.is_empty());
        let (function, class) = split.ok_or_else(|| format!("{text:?} is not FUNCTION=CLASS"))?;
        Ok(Self { function: function.to_owned(), class: class.to_owned() })
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut recording = Recording::load(&args.file)
        .with_context(|| format!("load the recording {}", args.file.display()))?;
    if recording.is_empty() {
        bail!("nothing arrived in {}", args.file.display());
    }
    recording.phases = phases(&args.overload_s)?;
    let variants = variants(&recording, &args.classes)?;
    let machines = if args.try_machines.is_empty() {
        vec![args.cluster.machines]
    } else {
        args.try_machines.clone()
    };
    let title = "What was recorded, under other machines, classes or policies";
    let mut results = Results::new("replay", title, &args.runs.seeds());
    let about = args.cluster.describe_with(&machines);
    results.notes = vec![about.clone(), sim::workload::Workload::recipe(&recording)];
    let mut merged: Option<Comparison> = None;
    for &machines in &machines {
        for (name, variant) in &variants {
            let mut world = args.cluster.world()?;
            world.machines = machines.max(1);
            let policies = entries(&args.policies, args.cluster.k)?;
            let config = CompareConfig { world, policies, seeds: args.runs.seeds(), tick_ns: None };
            let label =
                if machines == 1 { "1 machine".into() } else { format!("{machines} machines") };
            let comparison = progress::with(args.runs.threads, &label, |runner| {
                replay(&config, variant, runner)
            });
            let at = BTreeMap::from([("machines", json!(machines)), ("classes", json!(name))]);
            results.add(&comparison, &at);
            let suffix = if variants.len() > 1 { format!(", {name}") } else { String::new() };
            add(&mut merged, comparison, &format!(", {label}{suffix}"));
        }
    }
    let mut merged = merged.context("simulate anything")?;
    if let Some(measured) = recording.measured() {
        results.rows.extend(class_rows(&measured, &BTreeMap::new()));
        merged.classes.splice(0..0, measured);
    }
    results.tables = vec![charts::class_table(&merged), charts::policy_table(&merged)];
    let figure =
        charts::dots(&merged, "p99 slowdown of each class, as recorded and as simulated", &about);
    results.figures = vec![("replay".into(), figure)];
    output::write(&args.output, &results, begun)
}

fn phases(overload_s: &[f64]) -> anyhow::Result<Phases> {
    match overload_s {
        [] => Ok(Phases::NONE),
        &[from, to] if 0.0 <= from && from < to => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive; saturates"
            )]
            let ns = |s: f64| (s * 1e9) as u64;
            Ok(Phases { overload_ns: ns(from), after_ns: ns(to) })
        }
        _ => bail!("--overload-s is two numbers in order"),
    }
}

/// The recording as it is, and with its classes changed, where they are.
fn variants(
    recording: &Recording,
    classes: &[ClassArg],
) -> anyhow::Result<Vec<(&'static str, Recording)>> {
    let mut variants = vec![("as recorded", recording.clone())];
    if classes.is_empty() {
        return Ok(variants);
    }
    let mut changed = recording.clone();
    for ClassArg { function, class } in classes {
        let prices = sim::workload::Workload::prices(recording);
        let Some(class) = prices.find(class) else {
            let names: Vec<&str> = prices.iter().map(|(_, class)| class.name.as_str()).collect();
            bail!("no class {class:?} in the recording; there are {}", names.join(", "));
        };
        if !changed.set_class(function, class) {
            bail!(
                "no function {function:?} in the recording; there are {}",
                recording.functions().join(", ")
            );
        }
    }
    variants.push(("classes changed", changed));
    Ok(variants)
}

/// Adds a comparison to another, its policies named apart.
pub(super) fn add(merged: &mut Option<Comparison>, mut other: Comparison, suffix: &str) {
    other.classes.iter_mut().for_each(|report| report.policy.push_str(suffix));
    other.policies.iter_mut().for_each(|report| report.policy.push_str(suffix));
    match merged {
        None => *merged = Some(other),
        Some(merged) => {
            merged.classes.extend(other.classes);
            merged.policies.extend(other.policies);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_given_to_a_function() {
        let parsed: ClassArg = "acme/page=critical".parse().unwrap();
        assert_eq!((parsed.function.as_str(), parsed.class.as_str()), ("acme/page", "critical"));
        for bad in ["acme/page", "=critical", "acme/page="] {
            assert!(bad.parse::<ClassArg>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_overload_has_a_beginning_before_its_end() {
        assert_eq!(phases(&[]).unwrap(), Phases::NONE);
        assert_eq!(phases(&[1.0, 2.5]).unwrap().after_ns, 2_500_000_000);
        assert!(phases(&[2.0, 1.0]).is_err() && phases(&[1.0]).is_err());
    }
}
