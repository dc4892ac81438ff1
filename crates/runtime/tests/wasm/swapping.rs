//! Memory out of RAM and back, in every state and order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Bytes64, Failure, FailureKind, InvocationId};
use runtime::swap::{Coding, Faults, SwapOptions};
use runtime::wasm::WasmOptions;
use runtime::{Executor as _, Held};

use crate::house::{Draw, House};

const MIB: u64 = 1 << 20;

/// An executor with a swap file of so many MiB, and the hand on its disk.
fn house(mib: u64) -> (House, Arc<Faults>, tempfile::TempDir) {
    house_with(mib, Coding::Plain)
}

fn house_with(mib: u64, coding: Coding) -> (House, Arc<Faults>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let options =
        SwapOptions { coding, ..SwapOptions::new(folder.path().to_owned(), Bytes64(mib * MIB)) };
    let faults = Arc::clone(&options.faults);
    let house = House::with(WasmOptions {
        threads_max: 3,
        pool_slots: 8,
        swap: Some(options),
        ..WasmOptions::default()
    });
    (house, faults, folder)
}

fn held(house: &House, id: InvocationId) -> Held {
    house.held(id).unwrap()
}

/// Waits until the memory of a function is as wanted: looks at it come some milliseconds apart.
#[track_caller]
fn wait_held(house: &House, id: InvocationId, enough: impl Fn(&Held) -> bool) -> Held {
    let begun = Instant::now();
    loop {
        let held = held(house, id);
        if enough(&held) {
            return held;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{held:?}");
        std::thread::yield_now();
    }
}

/// Starts one that has this many MiB and computes on for a while, and preempts it.
fn parked(house: &House, mib: u64, seed: u64) -> InvocationId {
    let id = house.start(&house.deploy("hold"), format!("{mib} 100000 0 {seed}"));
    house.events.wait_count(id, "running", 1);
    wait_held(house, id, |held| held.resident.0 >= mib * MIB * 3 / 4);
    house.executor.preempt(id);
    house.events.wait_count(id, "stopped", 1);
    id
}

#[test]
fn a_parked_function_leaves_ram_and_goes_on_where_it_was() {
    for coding in [Coding::Plain, Coding::Packed, Coding::Sealed, Coding::PackedSealed] {
        let (house, _, _folder) = house_with(256, coding);
        let code = house.deploy("hold");
        let expected = house.answer(&code, "32 300 0 5");
        let id = house.start(&code, "32 300 0 5");
        house.events.wait_count(id, "running", 1);
        wait_held(&house, id, |held| held.resident.0 > 8 * MIB);
        house.executor.preempt(id);
        house.events.wait_count(id, "stopped", 1);
        house.executor.swap_out(id);
        house.events.wait_count(id, "swapped-out", 1);
        let out = held(&house, id);
        assert!(out.resident.0 < MIB && out.swapped.0 > 8 * MIB, "{out:?}");
        assert!(house.executor.memory().swap.unwrap().used.0 > 0);
        house.executor.swap_in(id);
        house.events.wait_count(id, "swapped-in", 1);
        let swap = house.executor.memory().swap.unwrap();
        assert!(held(&house, id).resident.0 + swap.zeros.0 >= out.swapped.0);
        assert_eq!(swap.used, Bytes64(0));
        house.executor.resume(id);
        assert_eq!(house.finished(id).answer().unwrap(), expected, "{coding:?}");
    }
}

#[test]
fn a_resume_brings_the_memory_back_by_itself() {
    let (house, _, _folder) = house(256);
    let code = house.deploy("hold");
    let expected = house.answer(&code, "16 400 0 1");
    let id = house.start(&code, "16 400 0 1");
    house.events.wait_count(id, "running", 1);
    house.executor.preempt(id);
    house.events.wait_count(id, "stopped", 1);
    house.executor.swap_out(id);
    house.executor.resume(id);
    assert_eq!(house.finished(id).answer().unwrap(), expected);
}

#[test]
fn one_that_waits_may_leave_and_the_one_that_runs_may_not() {
    let (house, _, _folder) = house(256);
    let code = house.deploy("hold");
    let expected = house.answer(&code, "8 2 0 3");
    let id = house.start(&code, "8 2 300 3");
    house.events.wait_count(id, "blocked", 1);
    house.executor.swap_out(id);
    house.events.wait_count(id, "swapped-out", 1);
    assert!(held(&house, id).swapped.0 >= 6 * MIB);
    assert_eq!(house.finished(id).answer().unwrap(), expected);

    let id = house.start(&house.deploy("spin"), "forever");
    house.events.wait_count(id, "running", 1);
    house.executor.swap_out(id);
    house.events.wait_count(id, "swap-failed", 1);
    house.executor.end(id, Failure::new(FailureKind::Cancelled, "over"));
    house.finished(id);
}

#[test]
fn a_function_may_end_while_its_memory_is_out_and_its_room_is_free_again() {
    let (house, _, _folder) = house(64);
    for seed in 0..4 {
        let id = parked(&house, 32, seed);
        house.executor.swap_out(id);
        if seed % 2 == 0 {
            house.events.wait_count(id, "swapped-out", 1);
        }
        house.executor.end(id, Failure::new(FailureKind::OutOfMemory, "killed"));
        let failure = house.finished(id).answer().unwrap_err();
        assert_eq!(failure.kind, FailureKind::OutOfMemory);
        assert_eq!(house.executor.memory().swap.unwrap().used, Bytes64(0));
    }
}

#[test]
fn where_the_disk_fails_only_that_function_ends_and_says_why() {
    let (house, faults, _folder) = house(256);
    let code = house.deploy("hold");
    let expected = house.answer(&code, "16 300 0 2");
    let (id, other) = (house.start(&code, "16 300 0 2"), parked(&house, 16, 7));
    house.events.wait_count(id, "running", 1);
    house.executor.preempt(id);
    house.events.wait_count(id, "stopped", 1);

    faults.fail_writes(1);
    house.executor.swap_out(id);
    house.events.wait_count(id, "swap-failed", 1);
    // It stays in RAM, and nothing is lost.
    house.executor.resume(id);
    assert_eq!(house.finished(id).answer().unwrap(), expected);

    house.executor.swap_out(other);
    house.events.wait_count(other, "swapped-out", 1);
    faults.fail_reads(1);
    house.executor.resume(other);
    let failure = house.finished(other).answer().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Platform);
    assert!(failure.message.contains("read memory back from the swap file"), "{failure:?}");
    assert_eq!(house.answer(&code, "16 300 0 2"), expected);
}

#[test]
fn where_swap_is_full_the_function_stays_whole() {
    let (house, _, _folder) = house(8);
    let code = house.deploy("hold");
    let expected = house.answer(&code, "32 400 0 2");
    let id = house.start(&code, "32 400 0 2");
    house.events.wait_count(id, "running", 1);
    wait_held(&house, id, |held| held.resident.0 > 16 * MIB);
    house.executor.preempt(id);
    house.events.wait_count(id, "stopped", 1);
    house.executor.swap_out(id);
    house.events.wait_count(id, "swap-failed", 1);
    assert_eq!(house.executor.memory().swap.unwrap().used, Bytes64(0));
    house.executor.resume(id);
    assert_eq!(house.finished(id).answer().unwrap(), expected);
}

#[test]
fn many_preempted_at_once_leave_and_come_back_and_answer_right() {
    const COUNT: u32 = 200;
    let folder = tempfile::tempdir().unwrap();
    let house = House::with(WasmOptions {
        threads_max: 2,
        pool_slots: COUNT,
        swap: Some(SwapOptions::new(folder.path().to_owned(), Bytes64(u64::from(COUNT) * MIB))),
        ..WasmOptions::default()
    });
    let code = house.deploy("hold");
    let payload = |n: u32| format!("1 1000 0 {}", n % 4);
    let expected: Vec<String> = (0..4).map(|n| house.answer(&code, payload(n))).collect();
    let all: Vec<InvocationId> = (0..COUNT)
        .map(|n| {
            let id = house.start(&code, payload(n));
            house.events.wait_count(id, "running", 1);
            house.executor.preempt(id);
            id
        })
        .collect();
    // One that had answered before this thread was heard is none of the many.
    let has = |id: InvocationId, name: &str| house.events.count(id, name) > 0;
    let rest = |id: InvocationId| {
        while !has(id, "stopped") && !has(id, "finished") {
            std::thread::yield_now();
        }
        !has(id, "finished")
    };
    let preempted: Vec<InvocationId> = all.iter().copied().filter(|id| rest(*id)).collect();
    assert!(preempted.len() > all.len() / 2, "{} were preempted", preempted.len());
    preempted.iter().for_each(|id| house.executor.swap_out(*id));
    preempted.iter().for_each(|id| house.events.wait_count(*id, "swapped-out", 1));
    let held = house.executor.memory().held;
    assert_eq!(held.len(), preempted.len());
    // Some had hardly begun.
    assert!(held.iter().all(|held| held.resident.0 < MIB / 4), "{held:?}");
    assert!(held.iter().map(|held| held.swapped.0).sum::<u64>() > MIB, "{held:?}");
    preempted.iter().for_each(|id| house.executor.swap_in(*id));
    preempted.iter().for_each(|id| house.events.wait_count(*id, "swapped-in", 1));
    assert_eq!(house.executor.memory().swap.unwrap().used, Bytes64(0));
    preempted.iter().for_each(|id| house.executor.resume(*id));
    for (id, expected) in all.iter().zip(expected.iter().cycle()) {
        assert_eq!(house.finished(*id).answer().unwrap(), expected.as_bytes());
    }
}

/// Several at a time, at random moments out and back, preempted, resumed: each result is right.
#[test]
fn a_thousand_random_swaps_change_no_result() {
    const SWAPS: usize = 1000;
    const AT_ONCE: usize = 4;
    let (house, _, _folder) = house(256);
    let code = house.deploy("hold");
    // Long enough that most steps of a batch meet it.
    let payload = |seed: u64| format!("{} {} 0 {seed}", 1 + seed % 3, 400 + seed * 7 % 50);
    let expected: Vec<String> = (0..8).map(|seed| house.answer(&code, payload(seed))).collect();
    let mut draw = Draw(0x5eed_0006);
    let mut swaps = 0;
    while swaps < SWAPS {
        let batch: Vec<(u64, InvocationId)> = (0..AT_ONCE)
            .map(|_| {
                let seed = draw.below(8);
                (seed, house.start(&code, payload(seed)))
            })
            .collect();
        for _ in 0..64 {
            let (_, id) = batch[usize::try_from(draw.below(AT_ONCE as u64)).unwrap()];
            match draw.below(7) {
                0 | 1 => house.executor.preempt(id),
                2..=4 => {
                    house.executor.preempt(id);
                    std::thread::sleep(Duration::from_micros(draw.below(400)));
                    house.executor.swap_out(id);
                }
                5 => house.executor.swap_in(id),
                _ => house.executor.resume(id),
            }
            std::thread::sleep(Duration::from_micros(draw.below(500)));
        }
        for (seed, id) in batch {
            house.executor.resume(id);
            let answer = house.finished(id).answer().unwrap();
            assert_eq!(answer, expected[usize::try_from(seed).unwrap()].as_bytes());
            swaps += house.events.count(id, "swapped-out");
        }
    }
    let swap = house.executor.memory().swap.unwrap();
    assert_eq!((swap.used, swap.held), (Bytes64(0), Bytes64(0)));
    assert!(swap.zeros.0 > 0 && swap.written.0 > 0);
}
