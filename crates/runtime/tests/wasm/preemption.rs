//! Taking the core away and giving it back, in every state and order.

use std::time::{Duration, Instant};

use model::{Failure, FailureKind, InvocationId};
use runtime::Executor as _;
use runtime::kernel::Band;
use runtime::wasm::WasmOptions;

use crate::house::{Draw, House};

fn ended() -> Failure {
    Failure::new(FailureKind::Cancelled, "ended by the test")
}

/// Lets some time go by without giving up the thread.
fn spin_for(length: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < length {
        std::hint::spin_loop();
    }
}

#[test]
fn a_preempted_function_uses_no_core_until_it_is_resumed_and_keeps_its_progress() {
    let house = House::new();
    let code = house.deploy("spin");
    let expected = house.answer(&code, "work 200000");
    let id = house.start(&code, "work 200000");
    house.events.wait_count(id, "running", 1);
    house.executor.preempt(id);
    house.events.wait_count(id, "stopped", 1);
    assert_eq!(house.events.names(id), ["running", "stopped"]);
    house.executor.resume(id);
    assert_eq!(house.finished(id).answer().unwrap(), expected);
}

/// Several at a time: preempted, resumed, moved between bands and in the end run to their end, at
/// random. Each gives the same checksum, is finished once, and stops at most once a preemption.
#[test]
fn a_thousand_random_interleavings_change_no_result() {
    const ROUNDS: usize = 1000;
    const AT_ONCE: usize = 4;
    const WORK: &str = "work 2500";
    let house = House::with(WasmOptions { threads_max: 3, pool_slots: 3, ..Default::default() });
    let code = house.deploy("spin");
    let expected = house.answer(&code, WORK);
    let mut draw = Draw(0x5eed_0001);
    let mut running: Vec<(InvocationId, usize)> = Vec::new();
    let (mut done, mut stopped) = (0, 0);
    while done < ROUNDS {
        while running.len() < AT_ONCE {
            running.push((house.start(&code, WORK), 0));
        }
        let chosen = usize::try_from(draw.below(AT_ONCE as u64)).unwrap();
        let (id, preempted) = &mut running[chosen];
        match draw.below(8) {
            0..=3 => {
                *preempted += 1;
                house.executor.preempt(*id);
            }
            4 | 5 => house.executor.resume(*id),
            6 => {
                let nice = i8::try_from(draw.below(20)).unwrap();
                house.executor.set_band(*id, Band::Normal { nice });
            }
            _ => {
                let (id, preempted) = running.swap_remove(chosen);
                assert_eq!(resume_to_the_end(&house, id), expected);
                let names = house.events.names(id);
                let stops = names.iter().filter(|name| **name == "stopped").count();
                assert!(stops <= preempted, "{preempted} preemptions: {names:?}");
                assert_eq!(house.events.count(id, "finished"), 1);
                assert_eq!(names.last(), Some(&"finished"));
                stopped += stops;
                done += 1;
            }
        }
        spin_for(Duration::from_micros(draw.below(60)));
    }
    // How many depends on how busy the machine is.
    assert!(stopped > ROUNDS / 50, "preemptions took hold: {stopped}");
}

/// Resuming once gives it the core for good: it is not lost in a crossing preemption.
fn resume_to_the_end(house: &House, id: InvocationId) -> bytes::Bytes {
    house.executor.resume(id);
    house.finished(id).answer().unwrap()
}

/// Each told to end at a random moment of a random life; exactly one end each, with this failure
/// or with the answer that was complete before.
#[test]
fn ending_works_in_every_state_and_ends_once() {
    const ROUNDS: u64 = 400;
    let house = House::with(WasmOptions { threads_max: 2, pool_slots: 3, ..Default::default() });
    let (spin, sleep, call) = (house.deploy("spin"), house.deploy("sleep"), house.deploy("call"));
    let expected = house.answer(&spin, "work 60");
    let mut draw = Draw(0x5eed_0002);
    let mut failed = 0;
    for _ in 0..ROUNDS {
        let id = match draw.below(4) {
            0 => house.start(&spin, "forever"),
            1 => house.start(&sleep, "60000"),
            2 => house.start(&call, "echo\n"),
            _ => house.start(&spin, "work 60"),
        };
        for _ in 0..draw.below(4) {
            spin_for(Duration::from_micros(draw.below(80)));
            if draw.below(2) == 0 { house.executor.preempt(id) } else { house.executor.resume(id) }
        }
        spin_for(Duration::from_micros(draw.below(80)));
        house.executor.end(id, ended());
        house.executor.end(id, Failure::new(FailureKind::Platform, "a second end"));
        match house.finished(id).answer() {
            Ok(answer) => assert_eq!(answer, expected),
            Err(failure) => {
                assert_eq!(failure, ended());
                failed += 1;
            }
        }
        house.executor.end(id, ended());
        house.executor.preempt(id);
        house.executor.resume(id);
        let names = house.events.names(id);
        assert_eq!(names.iter().filter(|name| **name == "finished").count(), 1, "{names:?}");
        assert_eq!(names.last(), Some(&"finished"), "{names:?}");
    }
    assert!(failed > ROUNDS / 2, "{failed}");
    assert!(house.executor.memory().held.is_empty());
}

#[test]
fn preempting_before_the_first_instruction_stops_it_there() {
    let house = House::with(WasmOptions { threads_max: 1, pool_slots: 4, ..Default::default() });
    let code = house.deploy("spin");
    let first = house.start(&code, "forever");
    house.events.wait_count(first, "running", 1);
    // The one thread is taken, so this one waits for it.
    let second = house.start(&code, "work 10");
    house.executor.preempt(second);
    house.executor.end(first, ended());
    house.events.wait_count(second, "stopped", 1);
    assert_eq!(house.events.names(second), ["stopped"]);
    house.executor.resume(second);
    assert!(house.finished(second).outcome.is_ok());
    assert_eq!(house.events.names(second), ["stopped", "running", "finished"]);
}

#[test]
fn a_preemption_reaches_only_the_one_that_is_meant() {
    let house = House::new();
    let code = house.deploy("spin");
    let (one, other) = (house.start(&code, "forever"), house.start(&code, "forever"));
    house.events.wait_count(one, "running", 1);
    house.events.wait_count(other, "running", 1);
    for count in 1..=50 {
        house.executor.preempt(one);
        house.events.wait_count(one, "stopped", count);
        house.executor.resume(one);
    }
    assert_eq!(house.events.names(other), ["running"]);
    house.executor.end(one, ended());
    house.executor.end(other, ended());
    assert!(house.finished(one).outcome.is_err() && house.finished(other).outcome.is_err());
}
