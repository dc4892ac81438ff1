//! Memory and swap, on arrivals made by hand: one machine, one core, 1,000 MB.

use model::ClassId;
use sim::memory::Growth;
use sim::workload::{Arrival, Listed, MB};
use sim::world::{Checks, MemoryConfig, Outcome, Taking};
use sim::{WorldConfig, find, simulate};

const MS: u64 = 1_000_000;
const LOW: u8 = 0;
const HIGH: u8 = 4;

/// Arrival in ms, class, CPU time in ms, memory in MB, which they have from the beginning.
fn run(memory: MemoryConfig, cores: usize, arrivals: &[(u64, u8, u64, u64)]) -> Outcome {
    let arrival = |&(at, class, cpu, mb): &(u64, u8, u64, u64)| Arrival {
        at_ns: at * MS,
        function: 0,
        class: ClassId(class),
        cpu_ns: cpu * MS,
        memory_peak: mb * MB,
    };
    let listed = Listed::new(arrivals.iter().map(arrival).collect());
    let world = WorldConfig {
        machines: 1,
        cores,
        shards: 1,
        memory: Some(memory),
        checks: Checks::Strict,
        ..WorldConfig::default()
    };
    let policy = find("xx", 1).expect("a known policy");
    let mut outcome = simulate(&world, &policy, &listed, 1);
    outcome.completions.sort_by_key(|completion| completion.arrived_ns);
    outcome
}

fn ends(outcome: &Outcome) -> Vec<u64> {
    outcome.completions.iter().map(|completion| completion.finished_ns / MS).collect()
}

fn memory(swap_mb: u64, mb_per_s: u64) -> MemoryConfig {
    MemoryConfig {
        ram: 1_000 * MB,
        swap: swap_mb * MB,
        swap_out_per_s: mb_per_s * MB,
        swap_in_per_s: mb_per_s * MB,
        // All of it at once: growth has its own tests.
        start: 100_000 * MB,
        growth: Growth::Linear,
        taking: Taking::Asked,
        marks: policy::memory::Watermarks::NONE,
    }
}

/// A low function is at work when a high one comes; they do not fit together.
const TWO: [(u64, u8, u64, u64); 2] = [(0, LOW, 1_000, 800), (400, HIGH, 200, 600)];

#[test]
fn the_preempted_function_makes_room_and_comes_back() {
    let outcome = run(memory(10_000, 0), 1, &TWO);
    assert_eq!(ends(&outcome), [1_200, 600]);
    let machine = outcome.machines[0];
    assert_eq!((machine.swap_total, machine.swap_peak), (800 * MB, 800 * MB));
    assert_eq!(machine.ram_peak, 800 * MB);
    assert_eq!(outcome.pressure[usize::from(LOW)].swap_outs, 1);
    assert_eq!(outcome.pressure[usize::from(HIGH)].swap_outs, 0);
}

#[test]
fn swapping_takes_the_time_that_it_takes() {
    // 800 MB at 400 MB/s: 2 s out, during which the high one waits, and 2 s in.
    let outcome = run(memory(10_000, 400), 1, &TWO);
    assert_eq!(ends(&outcome), [400 + 2_000 + 200 + 2_000 + 600, 400 + 2_000 + 200]);
}

#[test]
fn what_fits_is_left_where_it_is() {
    let outcome = run(memory(10_000, 400), 1, &[(0, LOW, 1_000, 300), (400, HIGH, 200, 600)]);
    assert_eq!(ends(&outcome), [1_200, 600]);
    assert_eq!(outcome.machines[0].swap_total, 0);
}

#[test]
fn a_lower_rank_waits_for_memory_even_where_a_core_is_free() {
    // Two cores; 800 and 600 MB do not fit; the younger of one class waits until the other ends.
    let outcome = run(memory(10_000, 0), 2, &[(0, LOW, 1_000, 800), (100, LOW, 500, 600)]);
    assert_eq!(ends(&outcome), [1_000, 1_500]);
    // A higher class does not wait: it takes room from the lower one, which gives up its core too.
    let outcome = run(memory(10_000, 0), 2, &[(0, LOW, 1_000, 800), (100, HIGH, 500, 600)]);
    assert_eq!(ends(&outcome), [1_500, 600]);
}

#[test]
fn where_swap_is_full_the_lowest_class_is_killed_and_begins_anew() {
    let outcome = run(memory(500, 0), 1, &TWO);
    // It had 400 ms; they are lost. Its first arrival counts.
    assert_eq!(ends(&outcome), [1_600, 600]);
    assert_eq!(outcome.counts.kills, 1);
    assert_eq!(outcome.completions[0].restarts, 1);
    assert_eq!(outcome.completions[0].latency_ns(), 1_600 * MS);
}

#[test]
fn what_never_fits_fails_after_its_restarts() {
    let outcome = run(memory(10_000, 0), 1, &[(0, LOW, 1_000, 1_200), (100, HIGH, 200, 600)]);
    assert_eq!((outcome.counts.failed, outcome.counts.completed), (1, 1));
    assert_eq!(outcome.counts.kills, u64::from(model::limits::KILL_RESTARTS_MAX) + 1);
}

#[test]
fn memory_that_grows_is_counted_as_it_grows() {
    let growing = |growth| MemoryConfig { start: 100 * MB, growth, ..memory(10_000, 0) };
    let mb_s = |growth| {
        // The second one arrives when the first has ended, so that all of its run is counted.
        let arrivals = [(0, LOW, 1_000, 900), (1_000, LOW, 1, 1)];
        run(growing(growth), 1, &arrivals).machines[0].ram_mb_s
    };
    // 100 MB to 900 MB: a mean of 500 linearly, of 100 + 800 · 2/3 = 633 front-loaded.
    let (linear, front) = (mb_s(Growth::Linear), mb_s(Growth::FrontLoaded));
    assert!((495..=505).contains(&linear), "{linear}");
    assert!((625..=642).contains(&front), "{front}");
}

/// Functions of 400 MB that fill them at 1 GB/s, on four cores; two fit with room.
fn unasked(count: u64) -> Outcome {
    let memory = MemoryConfig {
        start: MB,
        growth: Growth::First { percent: 80 },
        taking: Taking::Unasked { look_ns: 10 * MS },
        marks: policy::memory::Watermarks::default(),
        ..memory(10_000, 400)
    };
    let arrivals: Vec<(u64, u8, u64, u64)> =
        (0..count).map(|index| (index, u8::from(index % 2 == 1), 500, 400)).collect();
    run(memory, 4, &arrivals)
}

#[test]
fn what_is_taken_unasked_is_seen_at_the_next_look_and_somebody_leaves_for_it() {
    let outcome = unasked(4);
    assert_eq!((outcome.counts.completed, outcome.counts.kills), (4, 0));
    assert!(outcome.counts.swap_outs > 0);
    let machine = outcome.machines[0];
    // Between two looks a core takes some more; nobody waits for it to be given.
    let over = machine.ram_peak.saturating_sub(1_000 * MB);
    assert!(over <= model::limits::MEMORY_OVER_BYTES_MAX, "{over}");
    assert_eq!(outcome.trace_hash, unasked(4).trace_hash);
}
