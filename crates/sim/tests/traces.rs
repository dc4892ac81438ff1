//! The published traces, where they lie beside the checkout: their numbers are those of their
//! descriptions.

use std::path::PathBuf;

use sim::workload::Workload;
use sim::workload::azure::{Azure2019, Azure2021, Recipe};

#[expect(clippy::print_stdout, reason = "a test that tests nothing has to say so")]
fn skip(reason: &str) {
    println!("skipped: {reason}");
}

/// The traces' folder: `FERMATA_TRACES`, or the shared one. None, with a note, where it is absent.
fn traces() -> Option<PathBuf> {
    let beside = || {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        root.join("../../../shared/data/traces")
    };
    let folder = std::env::var_os("FERMATA_TRACES").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    skip(&format!("there are no traces at {}", folder.display()));
    None
}

#[test]
fn the_2019_trace_has_the_published_numbers() {
    let Some(folder) = traces() else { return };
    for (name, functions, invocations, cores) in [
        ("azure2019-invitro-500", 500, 3_037_902, 53.2),
        ("azure2019-invitro-100", 100, 339_657, 10.7),
    ] {
        let trace = Azure2019::load(&folder.join(name), Recipe::default()).unwrap();
        assert_eq!(trace.functions(), functions);
        assert_eq!(trace.minutes(), 480);
        assert_eq!(trace.invocations(), invocations);
        assert!((trace.mean_cores() - cores).abs() < 0.1, "{}", trace.mean_cores());
    }
}

#[test]
fn the_2019_trace_is_drawn_as_counted_and_keeps_its_work() {
    let Some(folder) = traces() else { return };
    let recipe = Recipe { from_minute: 30, minutes: 60, ..Recipe::default() };
    let mut trace = Azure2019::load(&folder.join("azure2019-invitro-100"), recipe).unwrap();
    let all: Vec<_> = trace.arrivals(1).collect();
    assert_eq!(all.len() as u64, trace.invocations());
    assert!(all.is_sorted_by_key(|arrival| arrival.at_ns));
    assert!(all.last().unwrap().at_ns < 60 * 60_000_000_000);
    let cores = all.iter().map(|arrival| arrival.cpu_ns as f64).sum::<f64>() / (3_600.0 * 1e9);
    // Draws of an hour scatter around the mean of their functions.
    assert!((cores / trace.mean_cores() - 1.0).abs() < 0.1, "{cores} {}", trace.mean_cores());
    // Rotated copies add up, and none of them is the first again.
    trace.recipe.copies = 3;
    let three: Vec<_> = trace.arrivals(1).collect();
    let ratio = three.len() as f64 / all.len() as f64;
    assert!((2.0..4.0).contains(&ratio) && (ratio - 3.0).abs() > 1e-6, "{ratio}");
    assert!(three.iter().any(|arrival| arrival.function >= 200));
}

#[test]
fn the_2021_trace_has_the_published_numbers() {
    let Some(folder) = traces() else { return };
    let file = folder.join("azure2021-200/Azure2021_200.csv");
    let trace = Azure2021::load(&file, Recipe { copies: 2, ..Recipe::default() }).unwrap();
    assert_eq!((trace.invocations(), trace.functions()), (199, 31));
    let all: Vec<_> = trace.arrivals(1).collect();
    assert_eq!(all.len(), 398);
    assert!(all.is_sorted_by_key(|arrival| arrival.at_ns));
    let mean_s = all.iter().map(|arrival| arrival.cpu_ns as f64 / 1e9).sum::<f64>() / 398.0;
    assert!((mean_s - 53.3).abs() < 0.1, "{mean_s}");
}
