//! Executions under faults: every promise of the engine holds, and planted bugs are found.
//!
//! One seed again: `FERMATA_SEED=17 cargo nextest run --release -p fermata-sim --test durable one`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sim::durable::{DurableConfig, DurableFaults, DurableReport, Mutant, run_durable};

fn config(seed: u64, faults: DurableFaults) -> DurableConfig {
    DurableConfig { seed, roots: 3, faults, mutant: None }
}

#[expect(clippy::print_stdout, reason = "whoever reads the failure needs the command")]
fn tell(seed: u64) {
    println!(
        "seed {seed} failed; again: FERMATA_SEED={seed} cargo nextest run --release \
         -p fermata-sim --test durable one_seed"
    );
}

/// Runs many seeds; the first that fails is told with the command that runs it again.
fn run_seeds(seeds: std::ops::Range<u64>, faults: DurableFaults) -> Vec<DurableReport> {
    seeds
        .map(|seed| {
            let run = || run_durable(&config(seed, faults));
            catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
                tell(seed);
                std::panic::resume_unwind(panic)
            })
        })
        .collect()
}

#[test]
fn one_seed_again() {
    let seed = std::env::var("FERMATA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    println!("seed {seed}");
    let first = run_durable(&config(seed, DurableFaults::MANY));
    println!("{first:?}");
    assert_eq!(first, run_durable(&config(seed, DurableFaults::MANY)), "the same seed again");
}

#[test]
fn without_faults_everything_ends() {
    let reports = run_seeds(0..200, DurableFaults::NONE);
    assert!(reports.iter().all(|report| report.crashes == 0));
}

#[test]
fn with_faults_every_promise_holds() {
    let reports = run_seeds(0..3_000, DurableFaults::MANY);
    let sum = |of: fn(&DurableReport) -> u64| reports.iter().map(of).sum::<u64>();
    println!(
        "3000 seeds: {} executions, {} steps in {} commits, {} crashes, {} repeats, {} events",
        sum(|r| r.executions),
        sum(|r| r.steps),
        sum(|r| r.commits),
        sum(|r| r.crashes),
        sum(|r| r.repeats),
        sum(|r| r.events),
    );
    assert!(sum(|r| r.crashes) > 1_000 && sum(|r| r.executions) > 5_000, "much happened");
}

#[test]
fn planted_bugs_are_found() {
    std::panic::set_hook(Box::new(|_| {}));
    for mutant in Mutant::ALL {
        let found = (0..400).find(|seed| {
            let config =
                DurableConfig { mutant: Some(mutant), ..config(*seed, DurableFaults::MANY) };
            catch_unwind(AssertUnwindSafe(|| run_durable(&config))).is_err()
        });
        println!("{mutant:?}: found by seed {found:?}");
        assert!(found.is_some(), "{mutant:?} was not found");
    }
}
