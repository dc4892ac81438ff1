use alloc::vec;
use alloc::vec::Vec;

use super::*;
use Standing::{Later, Next, Running, Waiting};

/// With 100 bytes of RAM, so that bytes are percent.
const TOTAL: u64 = 100;

fn holder(id: u64, class: u8, resident: u64, standing: Standing) -> Holder {
    let invocation = InvocationId(u128::from(id));
    Holder {
        id: invocation,
        rank: Rank::new(ClassId(class), Timestamp(id), invocation),
        cpu: CpuTime(id),
        resident: Bytes64(resident),
        swapped: Bytes64(0),
        wants: Bytes64(0),
        growth: Bytes64(0),
        standing,
        whereabouts: Whereabouts::Ram,
        fixed: false,
        swaps_to: SwapPlace::File,
    }
}

fn waiting(id: u64, class: u8, wants: u64) -> Holder {
    Holder { wants: Bytes64(wants), ..holder(id, class, 0, Waiting) }
}

fn swapped(id: u64, class: u8, bytes: u64, standing: Standing) -> Holder {
    Holder {
        swapped: Bytes64(bytes),
        wants: Bytes64(bytes),
        whereabouts: Whereabouts::Swap,
        ..holder(id, class, 0, standing)
    }
}

fn plan_with(
    planner: &mut Planner,
    now_ms: u64,
    mut holders: Vec<Holder>,
    swap_free: u64,
    idle: &[Idle],
) -> Vec<Action> {
    holders.sort_by_key(|holder| holder.rank);
    let in_ram = |holder: &Holder| holder.resident.0;
    let leaving = |holder: &Holder| match holder.whereabouts {
        Whereabouts::Leaving => holder.resident.0,
        Whereabouts::Ram | Whereabouts::Swap | Whereabouts::Returning => 0,
    };
    let idle_bytes: u64 = idle.iter().map(|idle| idle.bytes.0).sum();
    let view = View {
        total: Bytes64(TOTAL),
        used: Bytes64(holders.iter().map(in_ram).sum::<u64>() + idle_bytes),
        leaving: Bytes64(holders.iter().map(leaving).sum()),
        swap_free: SwapRoom { file: Bytes64(swap_free), ..SwapRoom::default() },
        holders: &holders,
        idle,
    };
    let mut out = vec![];
    planner.plan(Timestamp::from_millis(now_ms), &view, &mut out);
    out
}

/// The plan in short: `o1` swaps 1 out, `b1` brings it back, `h1` holds it, `k1` kills it, `f0`
/// forgets the idle of class 0.
fn brief(actions: &[Action]) -> Vec<(char, u128)> {
    let brief = |action: &Action| match action {
        Action::Forget(class, _) => ('f', u128::from(class.0)),
        Action::SwapOut(id, _) => ('o', id.0),
        Action::Hold(id, _) => ('h', id.0),
        Action::Bring(id, _) => ('b', id.0),
        Action::Kill(id, _) => ('k', id.0),
    };
    actions.iter().map(brief).collect()
}

#[track_caller]
fn check(marks: Watermarks, holders: Vec<Holder>, swap_free: u64, expected: &[(char, u128)]) {
    let actions = plan_with(&mut Planner::new(marks), 1_000, holders, swap_free, &[]);
    assert_eq!(brief(&actions), expected, "{actions:?}");
}

#[test]
fn one_that_is_nearly_as_large_as_memory_comes_back_though_its_reserve_cannot_be_had() {
    let large = swapped(1, 0, 95, Waiting);
    // What stays in RAM of others that are in swap does not matter.
    let residue = Holder { resident: Bytes64(1), ..swapped(2, 0, 40, Waiting) };
    check(marks(), vec![large, residue], 99, &[('b', 1)]);
    // Those below it go first, also such as wait themselves; then it is alone.
    let below = || holder(2, 0, 20, Waiting);
    check(marks(), vec![large, below()], 99, &[('o', 2)]);
    let leaving = Holder { whereabouts: Whereabouts::Leaving, ..below() };
    check(marks(), vec![large, leaving], 99, &[]);
    let out = Holder { resident: Bytes64(0), ..swapped(2, 0, 20, Waiting) };
    check(marks(), vec![large, out], 99, &[('b', 1)]);
    // For the sake of one above it that has memory, it waits, and nobody goes for nothing.
    check(marks(), vec![large, below(), holder(3, 1, 5, Running)], 99, &[]);
}

#[test]
fn one_that_fits_no_more_beside_what_others_leave_behind_is_ended_and_not_waited_for() {
    let residue = Holder { resident: Bytes64(2), ..swapped(2, 0, 40, Waiting) };
    check(marks(), vec![swapped(1, 0, 98, Waiting), residue], 99, &[('b', 1)]);
    let too_large = || vec![swapped(1, 0, 99, Waiting), residue];
    check(marks(), too_large(), 99, &[('k', 1)]);
    // Not while the idle may still go.
    let idle = [Idle { class: ClassId(0), bytes: Bytes64(5) }];
    let mut planner = Planner::new(marks());
    let mut plan = |now_ms| brief(&plan_with(&mut planner, now_ms, too_large(), 99, &idle));
    assert_eq!(plan(1_000), [('f', 0)]);
    assert_eq!(plan(1_010), []);
}

fn marks() -> Watermarks {
    Watermarks { low_percent: 10, high_percent: 20, ..Watermarks::default() }
}

#[test]
fn room_is_made_for_a_waiter_of_the_lowest_class_first_then_the_youngest() {
    let all = |wants| {
        vec![
            holder(1, 0, 30, Later),
            holder(2, 0, 30, Later),
            holder(3, 1, 30, Later),
            waiting(5, 3, wants),
        ]
    };
    let none = Watermarks::NONE;
    check(none, all(10), 99, &[('b', 5)]);
    check(none, all(30), 99, &[('o', 2)]);
    check(none, all(60), 99, &[('o', 2), ('o', 1)]);
    check(none, all(90), 99, &[('o', 2), ('o', 1), ('o', 3)]);
    // Too much to fit into what the lower ones have: nobody moves for nothing.
    check(none, vec![holder(1, 0, 30, Later), holder(9, 4, 50, Later), waiting(5, 3, 60)], 99, &[]);
    // Swap takes one of them; then the lowest class's least progressed is killed.
    check(none, all(60), 40, &[('k', 1)]);
}

#[test]
fn inside_a_class_whoever_runs_or_runs_next_goes_last_and_higher_ranks_never() {
    let all = |wants| {
        vec![
            holder(1, 1, 20, Running),
            holder(2, 1, 20, Next),
            holder(3, 1, 20, Later),
            holder(4, 3, 20, Later),
            waiting(5, 3, wants),
        ]
    };
    let none = Watermarks::NONE;
    check(none, all(40), 99, &[('o', 3)]);
    check(none, all(80), 99, &[('o', 3), ('o', 2), ('o', 1)]);
    check(none, all(81), 99, &[]);
}

#[test]
fn a_waiter_waits_for_what_is_leaving_and_nobody_passes_it() {
    let leaving = Holder { whereabouts: Whereabouts::Leaving, ..holder(1, 0, 50, Later) };
    let all = vec![leaving, holder(2, 0, 45, Later), waiting(3, 2, 50), waiting(4, 1, 1)];
    check(Watermarks::NONE, all, 99, &[]);
    check(Watermarks::NONE, vec![holder(2, 0, 45, Later), waiting(4, 1, 1)], 99, &[('b', 4)]);
}

#[test]
fn what_can_never_fit_is_ended() {
    let actions =
        plan_with(&mut Planner::new(marks()), 0, vec![waiting(1, 4, TOTAL + 1)], 999, &[]);
    let reason = EndReason::TooLarge { needs: Bytes64(101), total: Bytes64(100) };
    assert_eq!(actions, [Action::Kill(InvocationId(1), reason)]);
    // All of memory, for one alone, it may have.
    check(marks(), vec![swapped(1, 4, TOTAL, Waiting)], 0, &[('b', 1)]);
}

#[test]
fn below_the_low_mark_memory_is_freed_up_to_the_high_one() {
    let mut planner = Planner::new(marks());
    let all =
        |size| vec![holder(1, 0, 5, Later), holder(2, 0, 5, Later), holder(3, 2, size, Running)];
    let mut plan = |size| brief(&plan_with(&mut planner, 1_000, all(size), 99, &[]));
    assert_eq!(plan(79), []);
    assert_eq!(plan(81), [('o', 2), ('o', 1)]);
    // Pressed now: though the low mark is kept, it goes on to the high one.
    assert_eq!(plan(74), [('o', 2)]);
    assert_eq!(plan(70), []);
    assert_eq!(plan(74), []);
}

#[test]
fn the_idle_go_before_any_function_the_lowest_class_first() {
    let idle = |class, bytes| Idle { class: ClassId(class), bytes: Bytes64(bytes) };
    let all = vec![holder(1, 0, 20, Later), holder(2, 4, 55, Running)];
    let idle = [idle(0, 6), idle(2, 10), idle(3, 4)];
    let actions = plan_with(&mut Planner::new(marks()), 0, all, 99, &idle);
    assert_eq!(brief(&actions), [('f', 0), ('f', 2)]);
}

#[test]
fn the_idle_go_for_a_waiter_too_and_what_does_not_go_is_not_counted_on() {
    let idle = [Idle { class: ClassId(4), bytes: Bytes64(20) }];
    let mut planner = Planner::new(Watermarks::NONE);
    let all = || vec![holder(1, 0, 30, Later), holder(2, 2, 40, Later), waiting(3, 3, 25)];
    let mut at = |now_ms| brief(&plan_with(&mut planner, now_ms, all(), 99, &idle));
    assert_eq!(at(1_000), [('f', 4)]);
    // They are on their way; then they are not.
    assert_eq!(at(1_100), []);
    assert_eq!(at(1_300), [('o', 1)]);
    assert_eq!(at(2_000), [('f', 4)]);
}

#[test]
fn the_highest_never_gives_way_and_is_killed_only_where_it_alone_has_too_much() {
    check(marks(), vec![holder(1, 2, 97, Running)], 99, &[]);
    check(marks(), vec![holder(1, 2, 101, Running)], 99, &[('k', 1)]);
    // Not the largest of two, where the other can still go.
    check(marks(), vec![holder(1, 2, 95, Running), holder(2, 1, 7, Running)], 99, &[('o', 2)]);
}

#[test]
fn where_swap_is_full_too_the_least_progressed_of_the_lowest_class_is_killed() {
    let all =
        |last| vec![holder(2, 0, 30, Later), holder(3, 0, 30, Later), holder(9, 4, last, Running)];
    check(marks(), all(37), 10, &[('k', 2)]);
    // RAM is not full yet: nobody is killed.
    check(marks(), all(35), 10, &[]);
    // What cannot be swapped is like a full swap.
    let fixed = |id| Holder { fixed: true, ..holder(id, 0, 30, Later) };
    check(marks(), vec![fixed(2), fixed(3), holder(9, 4, 39, Running)], 99, &[('k', 2)]);
    // One that is on its way out is waited for.
    let leaving = Holder { whereabouts: Whereabouts::Leaving, ..holder(1, 0, 1, Later) };
    check(marks(), vec![leaving, fixed(2), fixed(3), holder(9, 4, 39, Running)], 99, &[]);
}

#[test]
fn who_came_back_stays_for_its_own_class_but_not_for_a_higher_one() {
    let mut planner = Planner::new(Watermarks {
        stay: core::time::Duration::from_millis(500),
        ..Watermarks::NONE
    });
    let back = vec![swapped(3, 0, 60, Waiting)];
    assert_eq!(brief(&plan_with(&mut planner, 0, back, 99, &[])), [('b', 3)]);
    let older = || vec![holder(3, 0, 60, Later), waiting(1, 0, 60)];
    assert_eq!(brief(&plan_with(&mut planner, 100, older(), 99, &[])), []);
    let higher = || vec![holder(3, 0, 60, Later), waiting(4, 1, 60)];
    assert_eq!(brief(&plan_with(&mut planner.clone(), 100, higher(), 99, &[])), [('o', 3)]);
    assert_eq!(planner.deadline(), Some(Timestamp::from_millis(500)));
    assert_eq!(brief(&plan_with(&mut planner, 500, older(), 99, &[])), [('o', 3)]);
}

#[test]
fn who_grows_is_held_while_more_is_coming_and_goes_on_when_it_is_there() {
    let growing = |standing, wants| Holder {
        growth: Bytes64(50),
        wants: Bytes64(wants),
        ..holder(9, 4, 57, standing)
    };
    let leaving =
        |bytes| Holder { whereabouts: Whereabouts::Leaving, ..holder(1, 0, bytes, Later) };
    check(marks(), vec![leaving(40), growing(Running, 0)], 99, &[('h', 9)]);
    check(marks(), vec![leaving(40), growing(Waiting, 5)], 99, &[]);
    check(marks(), vec![leaving(34), growing(Waiting, 5)], 99, &[('b', 9)]);
    // Where nothing comes, holding it would help nobody.
    check(
        marks(),
        vec![holder(1, 4, 40, Running), Holder { fixed: true, ..growing(Running, 0) }],
        0,
        &[('k', 1)],
    );
}

#[test]
fn growth_ahead_counts_as_used() {
    let growing = |growth| Holder { growth: Bytes64(growth), ..holder(9, 4, 78, Running) };
    check(marks(), vec![holder(1, 0, 10, Later), growing(0)], 99, &[]);
    // In 50 ms it grows by 3.
    check(marks(), vec![holder(1, 0, 10, Later), growing(60)], 99, &[('o', 1)]);
}

#[test]
fn a_low_one_does_not_begin_under_pressure_and_a_high_one_does() {
    let planner = Planner::new(marks());
    let holders = [holder(1, 1, 93, Later)];
    let admits = |class, used| {
        let view = View {
            total: Bytes64(TOTAL),
            used: Bytes64(used),
            leaving: Bytes64(0),
            swap_free: SwapRoom { file: Bytes64(99), ..SwapRoom::default() },
            holders: &holders,
            idle: &[],
        };
        planner.admits(Rank::new(ClassId(class), Timestamp(7), InvocationId(7)), &view)
    };
    assert_eq!([admits(0, 90), admits(0, 91)], [true, false]);
    assert_eq!([admits(2, 91), admits(2, 97)], [true, false]);
}

#[test]
fn each_goes_to_its_own_swap_and_one_that_is_full_holds_up_nobody_of_the_other() {
    let process = |id| Holder { swaps_to: SwapPlace::System, ..holder(id, 0, 20, Later) };
    let holders = vec![process(2), holder(1, 0, 20, Later), holder(3, 4, 55, Running)];
    let room = SwapRoom { file: Bytes64(30), system: Bytes64(10) };
    let view = View {
        total: Bytes64(TOTAL),
        used: Bytes64(95),
        leaving: Bytes64(0),
        swap_free: room,
        holders: &holders,
        idle: &[],
    };
    let mut actions = Vec::new();
    Planner::new(marks()).plan(Timestamp(1_000), &view, &mut actions);
    assert_eq!(brief(&actions), [('o', 1)]);
}

#[test]
fn one_that_is_on_its_way_back_keeps_nobody_from_beginning() {
    let back = |whereabouts| Holder { whereabouts, ..swapped(1, 2, 20, Waiting) };
    let admits = |whereabouts| {
        let holders = [back(whereabouts)];
        let view = View {
            total: Bytes64(TOTAL),
            used: Bytes64(30),
            leaving: Bytes64(0),
            swap_free: SwapRoom::default(),
            holders: &holders,
            idle: &[],
        };
        let rank = Rank::new(ClassId(0), Timestamp(9), InvocationId(9));
        Planner::new(marks()).admits(rank, &view)
    };
    assert!(admits(Whereabouts::Returning) && !admits(Whereabouts::Swap));
}
