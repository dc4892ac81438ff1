//! What defines each baseline, on arrivals made by hand.

use model::ClassId;
use sim::workload::{Arrival, Listed};
use sim::world::{Checks, Completion};
use sim::{WorldConfig, find, policies, simulate};

const MS: u64 = 1_000_000;
const LOW: u8 = 0;
const HIGH: u8 = 4;

/// Arrival in ms, class, CPU time in ms.
fn script(arrivals: &[(u64, u8, u64)]) -> Listed {
    let arrival = |&(at, class, cpu): &(u64, u8, u64)| Arrival {
        at_ns: at * MS,
        function: 0,
        class: ClassId(class),
        cpu_ns: cpu * MS,
        memory_peak: 0,
    };
    Listed::new(arrivals.iter().map(arrival).collect())
}

fn world(machines: u32, cores: usize) -> WorldConfig {
    WorldConfig { machines, cores, shards: 1, checks: Checks::Any, ..WorldConfig::default() }
}

/// End of each invocation in ms, in order of arrival.
fn ends(policy: &str, world: &WorldConfig, arrivals: &[(u64, u8, u64)]) -> Vec<u64> {
    let policy = find(policy, 2).expect("a known policy");
    let mut all: Vec<Completion> = simulate(world, &policy, &script(arrivals), 1).completions;
    all.sort_by_key(|completion| (completion.arrived_ns, completion.alone_ns));
    all.iter().map(|completion| completion.finished_ns / MS).collect()
}

#[track_caller]
fn check(policy: &str, arrivals: &[(u64, u8, u64)], expected: &[u64]) {
    assert_eq!(ends(policy, &world(1, 1), arrivals), expected, "{policy}");
}

/// A long low function, then a short high one, then a shorter low one, on one core.
const THREE: [(u64, u8, u64); 3] = [(0, LOW, 300), (10, HIGH, 50), (20, LOW, 20)];

#[test]
fn first_come_first_served_lets_the_long_one_end() {
    check("fifo", &THREE, &[300, 350, 370]);
    check("openwhisk", &THREE, &[300, 350, 370]);
    check("sparrow", &THREE, &[300, 350, 370]);
}

#[test]
fn classes_preempt_only_where_the_machine_is_strict() {
    check("xx-polling", &THREE, &[350, 60, 370]);
    check("oracle", &THREE, &[350, 60, 370]);
    check("dispatch-priority", &THREE, &[300, 350, 370]);
    // In the queue the high class does go first.
    check("dispatch-priority", &[(0, LOW, 100), (10, LOW, 40), (20, HIGH, 50)], &[100, 190, 150]);
}

#[test]
fn the_shortest_remaining_goes_first_whatever_its_class() {
    check("srtf", &THREE, &[370, 80, 40]);
}

#[test]
fn sharing_is_equal_or_by_price() {
    check("hermod", &[(0, LOW, 100), (0, HIGH, 101)], &[200, 201]);
    check("hermod-full", &[(0, LOW, 100), (0, HIGH, 101)], &[200, 201]);
    check("random", &[(0, LOW, 100), (0, HIGH, 101)], &[200, 201]);
    // 2.0 against 0.3 µ¢: of the first 115 ms the dear one has 100.
    check("wfq", &[(0, LOW, 100), (0, HIGH, 101)], &[201, 116]);
}

#[test]
fn who_had_least_goes_first_and_takes_turns_by_quanta() {
    // The newcomer has had nothing and takes the core; equal ones then take turns of 30 ms.
    check("kairos", &[(0, LOW, 300), (100, HIGH, 50)], &[350, 150]);
    let ends = ends("kairos", &world(1, 1), &[(0, LOW, 90), (1, LOW, 91)]);
    assert!(ends == [150, 181], "{ends:?}");
}

#[test]
fn strict_classes_may_take_turns_inside_a_class() {
    check("class-las", &THREE, &[370, 60, 80]);
    check("class-las", &[(0, LOW, 90), (1, LOW, 91)], &[150, 181]);
    check("class-las", &[(0, HIGH, 90), (1, LOW, 91)], &[90, 181]);
    // The live policy's turns of 30 ms; who had as many goes by first arrival.
    check("xx-turns", &THREE, &[370, 60, 100]);
    check("xx-turns", &[(0, LOW, 90), (1, LOW, 91)], &[150, 181]);
    check("xx-turns", &[(0, HIGH, 90), (1, LOW, 91)], &[90, 181]);
}

#[test]
fn past_its_slice_a_function_gives_way_to_fresh_ones() {
    // 200 ms slice: at 250 ms the long one is past it and gives way at once.
    check("sfs", &[(0, LOW, 500), (250, HIGH, 100)], &[600, 350]);
    // Within its slice it keeps the core.
    check("sfs", &[(0, LOW, 180), (50, HIGH, 100)], &[180, 280]);
}

#[test]
fn the_earliest_deadline_goes_first() {
    // Deadlines: 0.3 µ¢ 667 ms after arrival, 2.0 µ¢ 100 ms after it.
    check("edf", &[(0, LOW, 300), (100, HIGH, 50)], &[350, 150]);
    check("edf", &[(0, LOW, 700), (600, HIGH, 50)], &[700, 750]);
}

#[test]
fn packing_fills_a_machine_before_it_opens_the_next() {
    let world = world(4, 2);
    let four: Vec<(u64, u8, u64)> = (0..4).map(|n| (n, LOW, 100)).collect();
    let used = |policy: &str| {
        let outcome = simulate(&world, &find(policy, 4).unwrap(), &script(&four), 3);
        assert!(outcome.completions.iter().all(|c| c.latency_ns() == 100 * MS), "{policy}");
        outcome.machines.iter().filter(|machine| machine.busy_ns > 0).count()
    };
    assert_eq!(used("hermod-full"), 2);
    // All of one function: its home, then one step on.
    assert_eq!(used("openwhisk"), 2);
}

#[test]
fn a_reservation_keeps_others_out_and_its_own_class_in() {
    // 20 cores: the reserved parts of the paper's weights are 7 for the lowest class, 5 for the
    // highest; eight of the lowest at once, so one waits while cores stand idle.
    let eight: Vec<(u64, u8, u64)> = (0..8).map(|n| (0, LOW, 100 + n)).collect();
    let late = |policy: &str| {
        let ends = ends(policy, &world(5, 4), &eight);
        ends.iter().filter(|end| **end > 150).count()
    };
    assert_eq!(late("reserved"), 1);
    assert_eq!(late("provisioned"), 0);
}

#[test]
fn provisioned_cores_stay_free_for_their_class() {
    // 30 low functions on 20 cores cannot take what is kept for the highest class.
    let mut flood: Vec<(u64, u8, u64)> = vec![(0, LOW, 500); 30];
    flood.push((10, HIGH, 50));
    assert_eq!(*ends("provisioned", &world(5, 4), &flood).last().unwrap(), 60);
    assert_eq!(*ends("reserved", &world(5, 4), &flood).last().unwrap(), 60);
    assert!(*ends("dispatch-priority", &world(5, 4), &flood).last().unwrap() > 500);
}

#[test]
fn pods_come_late() {
    // Half of the 20 cores have pods; the eleventh function waits for the autoscaler.
    let burst: Vec<(u64, u8, u64)> = (0..11).map(|n| (0, LOW, 3_000 + n)).collect();
    let ends = ends("knative", &world(5, 4), &burst);
    let late: Vec<&u64> = ends.iter().filter(|end| **end > 3_100).collect();
    assert_eq!(late.len(), 1);
    assert!(*late[0] >= 3_000 + 500 + 1_000, "{late:?}: a look and a start of a pod");
}

#[test]
fn late_binding_pays_for_its_messages_and_early_binding_for_one() {
    let delayed = WorldConfig { delay_ns: MS, ..world(4, 1) };
    let one = [(0, LOW, 100)];
    assert_eq!(ends("random", &delayed, &one), [101]);
    assert_eq!(ends("dispatch-priority", &delayed, &one), [102]);
    assert_eq!(ends("sparrow", &delayed, &one), [103]);
    // Poll, answer, place.
    assert_eq!(ends("hermod", &delayed, &one), [103]);
}

#[test]
fn every_policy_has_a_name_of_its_own_and_a_line() {
    let all = policies(3);
    let mut names: Vec<&str> = all.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len());
    assert!(all.iter().all(|entry| entry.about.len() > 20 && !entry.about.contains('\n')));
    for name in ["xx", "hermod", "hermod-full", "openwhisk", "knative", "sparrow", "kairos", "sfs"]
    {
        assert!(names.contains(&name), "{name}");
    }
}
