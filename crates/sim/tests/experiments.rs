//! What the laboratory has to show of the paper, with at least five seeds.

use std::path::Path;

use model::{ClassId, PriceList};
use sim::experiment::{
    CompareConfig, Comparison, Figure3Config, Figure4Config, Parameter, PlanConfig, SweepConfig,
    Target, compare, figure3, figure4, plan, replay, seeds, sweep,
};
use sim::memory::Growth;
use sim::runner::{Progress, Runner};
use sim::statistics::ClassReport;
use sim::workload::recording::{Record, Recorder, Recording};
use sim::workload::synthetic::{Step, Synthetic};
use sim::{WorldConfig, find};

fn class<'a>(classes: &'a [ClassReport], policy: &str, class: &str) -> &'a ClassReport {
    let found = classes.iter().find(|report| report.policy == policy && report.class == class);
    found.unwrap_or_else(|| panic!("there is {class} under {policy}"))
}

#[test]
fn figure_3_shows_what_the_paper_claims_and_that_polling_can_be_better() {
    let config = Figure3Config::default();
    assert!(config.compare.seeds.len() >= 5);
    let figure = figure3(&config, &Runner::default());
    for name in ["critical", "interactive"] {
        let top = class(&figure.classes, "xx-polling", name);
        assert!(top.overload.p99_slowdown.high <= 1.05, "{top:?}");
        assert!(top.after.p99_slowdown.high <= 1.05, "{top:?}");
    }
    for name in ["critical", "interactive", "standard", "economy", "background"] {
        let equal = class(&figure.classes, "hermod", name);
        let p99 = equal.overload.p99_slowdown;
        assert!(p99.low > 2.3 && p99.high < 3.3, "{equal:?}");
        assert!(equal.before.p99_slowdown.mean < 1.3, "{equal:?}");
    }
    // Somebody pays: slowdowns of the lowest class are far above those of equal sharing.
    let lowest = class(&figure.classes, "xx-polling", "background");
    assert!(lowest.overload.p99_slowdown.low > 30.0, "{lowest:?}");
    // Polling for the same class or higher spares the second lowest.
    let all = class(&figure.classes, "xx-polling", "economy").overload.p99_slowdown;
    let same = class(&figure.classes, "xx-same-or-higher", "economy").overload.p99_slowdown;
    assert!(same.high < all.low, "{same:?} against {all:?}");
    assert!(same.mean < 3.0 && all.mean > 6.0, "{same:?} against {all:?}");
    // The same work is done by all: no policy here leaves a core idle that another uses.
    let busy: Vec<f64> = figure.policies.iter().map(|policy| policy.utilization.mean).collect();
    assert!(busy.iter().all(|part| (part / busy[0] - 1.0).abs() < 0.01), "{busy:?}");
    assert_eq!(figure.policies[0].ticks.len(), 200);
}

#[test]
fn a_run_is_the_same_on_any_number_of_threads() {
    let mut config = Figure3Config::default();
    config.workload.end_tick = 30;
    config.compare.seeds = seeds(3);
    let hashes = |threads| {
        let runner = Runner { threads, ..Runner::default() };
        let figure = figure3(&config, &runner);
        figure.policies.iter().flat_map(|policy| policy.hashes.clone()).collect::<Vec<_>>()
    };
    let one = hashes(1);
    assert_eq!(one, hashes(4));
    assert_ne!(one[0].1, one[1].1, "seeds differ");
}

#[test]
fn figure_4_swaps_the_low_classes_and_kills_nobody() {
    let mut config = Figure4Config {
        rates: vec![80.0, 200.0],
        growths: vec![Growth::FrontLoaded, Growth::Linear],
        ..Figure4Config::default()
    };
    // A quarter of the machines: loads stay, and so do the classes.
    config.world.machines = 25;
    config.rates.iter_mut().for_each(|rate| *rate /= 4.0);
    let figure = figure4(&config, &Runner::default());
    let [calm, busy, _, linear] = &figure.points[..] else { panic!("four points") };
    assert!(calm.swap_total_gb.median.mean < 1.0, "{:?}", calm.swap_total_gb);
    assert!(busy.swap_total_gb.median.mean > 50.0, "{:?}", busy.swap_total_gb);
    assert!(busy.swap_peak_gb.max.mean < 100.0, "{:?}", busy.swap_peak_gb);
    assert_eq!(busy.kills.mean, 0.0);
    let part = |name: &str| {
        busy.swapped.iter().find(|swap| swap.class == name).map_or(0.0, |swap| swap.part.mean)
    };
    assert!(part("background") + part("economy") > 0.95, "{:?}", busy.swapped);
    assert!(linear.swap_total_gb.median.mean < busy.swap_total_gb.median.mean);
    let top = class(&busy.classes, "xx", "critical");
    assert!(top.before.p99_slowdown.high <= 1.05, "{top:?}");
}

/// A small cluster with a wave that is too much for it.
fn small() -> (WorldConfig, Synthetic) {
    let world = WorldConfig { machines: 10, cores: 4, shards: 2, ..WorldConfig::default() };
    let mut workload = Synthetic { end_tick: 60, overload_ticks: (20, 40), ..Synthetic::default() };
    for (step, (from_tick, rate)) in
        workload.steps.iter_mut().zip([(0, 8.0), (20, 15.0), (40, 8.0)])
    {
        *step = Step { from_tick, rate };
    }
    (world, workload)
}

#[test]
fn nobody_serves_the_highest_class_better_than_the_oracle() {
    let (world, workload) = small();
    let policies = sim::policies(3);
    let config = CompareConfig { world, policies, seeds: seeds(5), tick_ns: None };
    let comparison = compare(&config, &workload, &Runner::default());
    let of = |policy: &str| class(&comparison.classes, policy, "critical").overload;
    let bound = of("oracle").p99_slowdown.mean;
    for report in &comparison.policies {
        let p99 = of(&report.policy).p99_slowdown.mean;
        assert!(p99 >= bound - 1e-9, "{}: {p99} against {bound}", report.policy);
    }
    // Priority in the queue alone does not protect a class from those who are already running.
    let dispatch = of("dispatch-priority").p99_slowdown.mean;
    let preempting = of("xx-same-or-higher").p99_slowdown.mean;
    assert!(dispatch > 2.0 * preempting, "{dispatch} against {preempting}");
}

#[test]
fn a_sweep_changes_what_it_says_and_counts_to_its_end() {
    let (world, workload) = small();
    for (name, parameter) in Parameter::ALL {
        assert_eq!(name.parse(), Ok(parameter));
        let values = match parameter {
            Parameter::Load | Parameter::Correlation => vec![0.5, 0.9],
            Parameter::Alpha => vec![1.5, 25.0],
            _ => vec![2.0, 6.0],
        };
        let config = SweepConfig {
            world: world.clone(),
            workload: workload.clone(),
            policies: vec!["xx".into(), "hermod".into()],
            parameter,
            values,
            seeds: seeds(1),
            ..SweepConfig::default()
        };
        let last = std::sync::Mutex::new(0);
        let progress = |progress: Progress| {
            assert_eq!(progress.total, 4);
            let mut last = last.lock().expect("no test thread panics with it");
            *last = progress.done.max(*last);
        };
        let runner = Runner { threads: 0, progress: &progress };
        let points = sweep(&config, &runner).unwrap();
        assert_eq!(*last.lock().unwrap(), 4);
        let hash = |comparison: &Comparison| comparison.policies[0].hashes[0].1;
        assert_ne!(hash(&points[0].comparison), hash(&points[1].comparison), "{name}");
    }
    let none = SweepConfig { policies: vec!["none".into()], ..SweepConfig::default() };
    assert!(sweep(&none, &Runner::default()).is_err());
}

#[test]
fn a_plan_finds_the_fewest_machines() {
    let (world, workload) = small();
    let target =
        |limit| Target { class: "economy".into(), p99_slowdown: Some(limit), p99_ms: None };
    let planned = |limit| {
        let config = PlanConfig {
            world: world.clone(),
            machines: 2..=64,
            seeds: seeds(3),
            ..PlanConfig::new(find("xx", 3).unwrap(), vec![target(limit)])
        };
        plan(&config, &workload, &Runner::default())
    };
    let loose = planned(3.0);
    let tight = planned(1.01);
    let (fewer, more) = (loose.machines.unwrap(), tight.machines.unwrap());
    assert!(fewer < more && more < 30, "{fewer} {more}");
    let one_less = tight.tried.iter().find(|tried| tried.machines == more - 1);
    assert!(one_less.is_some_and(|tried| !tried.kept));
    assert_eq!(planned(0.5).machines, None);
}

#[test]
fn a_recording_is_played_again_under_more_machines_and_other_classes() {
    let mut recorder = Recorder::new(Vec::new(), &PriceList::default()).unwrap();
    for nth in 0..200_u64 {
        let function = if nth % 2 == 0 { "acme/page" } else { "acme/mail" };
        let record = Record {
            at_ns: nth * 10_000_000,
            function: function.into(),
            class: "background".into(),
            cpu_ns: 30_000_000,
            memory_bytes: 1,
            latency_ns: None,
        };
        recorder.record(&record).unwrap();
    }
    let text = recorder.finish().unwrap();
    let mut recording = Recording::parse(&text[..], Path::new("calls.jsonl")).unwrap();
    let p99 = |recording: &Recording, machines: u32, name: &str| {
        let world = WorldConfig { machines, cores: 1, shards: 1, ..WorldConfig::default() };
        let policies = vec![find("xx-same-or-higher", 3).unwrap()];
        let config = CompareConfig { world, policies, seeds: seeds(1), tick_ns: None };
        let comparison = replay(&config, recording, &Runner::default());
        class(&comparison.classes, "xx-same-or-higher", name).before.p99_slowdown.mean
    };
    let crowded = p99(&recording, 2, "background");
    let roomy = p99(&recording, 6, "background");
    assert!(crowded > 20.0 && roomy < 1.5, "{crowded} {roomy}");
    assert!(recording.set_class("acme/page", ClassId(4)));
    let dear = p99(&recording, 2, "critical");
    assert!(dear < 3.0, "{dear} against {crowded}");
}
