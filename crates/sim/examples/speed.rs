//! How fast the laboratory is: events and completions a second, five seeds of Figure 3, and growth
//! up to 10,000 machines × 64 cores.
//!
//! `cargo run --release -p fermata-sim --example speed [seconds]`: growth goes on as long as a run
//! is expected to end within that many seconds (default 20). An event is what something takes in: an
//! arrival, a milestone, a wake in the world, or a message in a shard or machine.
#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use std::time::{Duration, Instant};

use sim::experiment::{CompareConfig, Figure3Config, figure3, seeds};
use sim::runner::Runner;
use sim::workload::synthetic::Synthetic;
use sim::world::{Counts, Keep};
use sim::{Entry, WorldConfig, find, policies, simulate};

fn main() {
    let limit_s = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20.0);
    figure();
    each_policy();
    all_cores();
    growth(limit_s);
}

fn events(counts: &Counts) -> f64 {
    (counts.events + counts.messages) as f64
}

fn show(name: &str, counts: &Counts, passed: Duration) {
    let s = passed.as_secs_f64();
    println!(
        "  {name:24} {:>9} completions {:>7.0} k/s {:>11} events {:>6.2} M/s {s:>8.3} s",
        counts.completed,
        counts.completed as f64 / s / 1e3,
        counts.events + counts.messages,
        events(counts) / s / 1e6,
    );
}

fn figure() {
    println!("figure 3, five seeds, all cores:");
    let all = Figure3Config::default();
    let names: [&[&str]; 2] =
        [&["xx-polling", "hermod"], &["xx-polling", "xx-same-or-higher", "hermod"]];
    for names in names {
        let policies: Vec<Entry> = names.iter().filter_map(|name| find(name, 3)).collect();
        let compare = CompareConfig { policies, ..all.compare.clone() };
        let config = Figure3Config { compare, ..all.clone() };
        let begin = Instant::now();
        let figure = figure3(&config, &Runner::default());
        let completed: u64 = figure.policies.iter().map(|policy| policy.counts.completed).sum();
        println!("  {names:?}: {completed} completions in {:.3} s", begin.elapsed().as_secs_f64());
    }
}

fn each_policy() {
    println!(
        "one thread, 100 machines × 8 cores, 200 invocations a tick (load 0.84), 2,000 ticks:"
    );
    let workload = Synthetic::steady(200.0, 2_000);
    for policy in policies(3) {
        let begin = Instant::now();
        let outcome = simulate(&WorldConfig::default(), &policy, &workload, 1);
        show(&policy.name, &outcome.counts, begin.elapsed());
    }
}

fn all_cores() {
    println!("all cores, the same, eight seeds:");
    let workload = Synthetic::steady(200.0, 2_000);
    for name in ["xx-polling", "hermod", "oracle"] {
        let Some(policy) = find(name, 3) else { continue };
        let begin = Instant::now();
        let runs = Runner::default().run(&seeds(8), |&seed| {
            simulate(&WorldConfig::default(), &policy, &workload, seed).counts
        });
        let mut counts = Counts::default();
        runs.iter().for_each(|run| counts.add(run));
        show(name, &counts, begin.elapsed());
    }
}

/// The resident memory of this process at its highest, in MB.
fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    let kb: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kb / 1e3)
}

fn growth(limit_s: f64) {
    println!("growth, xx-polling, load 0.84, one thread, counts only:");
    let Some(policy) = find("xx-polling", 3) else { return };
    let mut per_event_s = 1e-6;
    for (machines, cores, ticks) in [
        (100, 8, 1_000),
        (100, 8, 10_000),
        (1_000, 8, 100),
        (1_000, 8, 1_000),
        (10_000, 8, 100),
        (1_000, 64, 100),
        (10_000, 64, 20),
        (10_000, 64, 100),
        (10_000, 64, 620),
    ] {
        let rate = 0.25 * f64::from(machines) * f64::from(cores);
        let expected_s = rate * f64::from(ticks) * 11.0 * per_event_s;
        if expected_s > limit_s {
            println!("  {machines} × {cores}, {ticks} ticks: about {expected_s:.0} s, left out");
            continue;
        }
        let world = WorldConfig {
            machines,
            cores: usize::try_from(cores).unwrap_or(1),
            keep: Keep::Counts,
            ..WorldConfig::default()
        };
        let workload = Synthetic::steady(rate, u64::try_from(ticks).unwrap_or(1));
        let begin = Instant::now();
        let outcome = simulate(&world, &policy, &workload, 1);
        let passed = begin.elapsed();
        per_event_s = passed.as_secs_f64() / events(&outcome.counts);
        let name = format!("{machines} × {cores}, {ticks} ticks");
        show(&name, &outcome.counts, passed);
        if let Some(mb) = peak_mb() {
            println!("  {:24} {mb:.0} MB at most so far", "");
        }
    }
}
