//! Memory of sandboxes out to the system's swap and back. Where the system has none, a small one is
//! made for the test; where that cannot be, the test says so and is skipped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Failure, FailureKind, InvocationId};
use runtime::{Code, Event, Executor as _, Held, Reclaim};

use crate::house::{House, answer};
use crate::system_swap::{SystemSwap, free_bytes, lock};

const MIB: u64 = 1 << 20;

/// Holds `mib` MiB of random bytes and reads them again and again for `seconds` of its own time.
const HOLD: &str = "\
import hashlib, os, random, time
def handler(event, context):
    held = bytearray(random.Random(event['seed']).randbytes(event['mib'] << 20))
    end = time.process_time() + event['seconds']
    while time.process_time() < end:
        for at in range(0, len(held), 4096 * 16):
            held[at] ^= 0
    return hashlib.sha256(held).hexdigest()
";

fn payload(mib: u64, seconds: f64) -> String {
    format!(r#"{{"mib": {mib}, "seconds": {seconds}, "seed": 7}}"#)
}

fn held(house: &House, id: InvocationId) -> Held {
    let held = house.executor.memory().held;
    *held.iter().find(|held| held.id == id).unwrap()
}

#[track_caller]
fn wait_held(house: &House, id: InvocationId, enough: impl Fn(&Held) -> bool) -> Held {
    let begun = Instant::now();
    loop {
        let held = held(house, id);
        if enough(&held) {
            return held;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{held:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn has(house: &House, id: InvocationId, bytes: u64) -> bool {
    let held = house.executor.memory().held;
    held.iter().any(|held| held.id == id && held.resident.0 >= bytes)
}

/// Starts one that holds 64 MiB and computes on for a while, and preempts it. Where it ended before
/// that was seen, another.
fn stopped(house: &House, code: &Arc<Code>) -> InvocationId {
    for _ in 0..20 {
        let id = house.start(code, &payload(64, 0.5));
        let ended = || house.events(id).iter().any(|e| matches!(e, Event::Finished { .. }));
        while !ended() && !has(house, id, 64 * MIB) {
            std::thread::sleep(Duration::from_millis(2));
        }
        house.executor.preempt(id);
        let ends = |e: &Event| matches!(e, Event::Stopped { .. } | Event::Finished { .. });
        if matches!(house.wait_for(id, ends), Event::Stopped { .. }) {
            return id;
        }
    }
    panic!("each ended before it was seen to hold its memory");
}

#[test]
fn a_stopped_sandbox_leaves_ram_and_goes_on_where_it_was() {
    let Some(_swap) = SystemSwap::get() else { return };
    let house = House::new();
    let code = house.python(HOLD);
    let expected = answer(&house.run(&code, &payload(64, 0.0)));
    let before = house.executor.memory().system_swap.unwrap();

    // Brought back before it goes on, as a node does.
    let id = stopped(&house, &code);
    assert!(!held(&house, id).fixed);
    house.executor.swap_out(id);
    let out = house.wait_for(id, |event| matches!(event, Event::SwappedOut { .. }));
    let Event::SwappedOut { bytes, took, .. } = out else { unreachable!() };
    println!("{} bytes out in {took:?}", bytes.0);
    let now = held(&house, id);
    assert!(now.swapped.0 >= 56 * MIB && now.resident.0 < 24 * MIB, "{now:?}");
    let usage = house.executor.memory().system_swap.unwrap();
    assert!(usage.held.0 >= 56 * MIB && usage.written.0 >= before.written.0 + 56 * MIB);
    house.executor.swap_in(id);
    let back = house.wait_for(id, |event| matches!(event, Event::SwappedIn { .. }));
    let Event::SwappedIn { took, .. } = back else { unreachable!() };
    println!("back in {took:?}");
    wait_held(&house, id, |held| held.resident.0 >= 56 * MIB && held.swapped.0 == 0);
    house.executor.resume(id);
    assert_eq!(answer(&house.finish(id)), expected);
    assert_eq!(house.executor.memory().system_swap.unwrap().held.0, before.held.0);

    // Let go on without that, it touches its memory back by itself.
    let id = stopped(&house, &code);
    house.executor.swap_out(id);
    house.wait_for(id, |event| matches!(event, Event::SwappedOut { .. }));
    house.executor.resume(id);
    house.wait_for(id, |event| matches!(event, Event::SwappedIn { .. }));
    assert_eq!(answer(&house.finish(id)), expected);

    // Ended while it is out.
    let id = stopped(&house, &code);
    house.executor.swap_out(id);
    house.wait_for(id, |event| matches!(event, Event::SwappedOut { .. }));
    house.executor.end(id, Failure::new(FailureKind::Cancelled, "over"));
    house.finish(id);
    assert_eq!(house.executor.memory().system_swap.unwrap().held.0, before.held.0);
}

#[test]
fn one_wanted_back_on_its_way_out_and_one_that_runs_stay() {
    let Some(_swap) = SystemSwap::get() else { return };
    let house = House::new();
    let code = house.python(HOLD);
    let expected = answer(&house.run(&code, &payload(64, 0.0)));
    let id = stopped(&house, &code);
    house.executor.swap_out(id);
    house.executor.resume(id);
    let end = house.wait_for(id, |event| {
        matches!(
            event,
            Event::SwapFailed { .. } | Event::SwappedIn { .. } | Event::SwappedOut { .. }
        )
    });
    println!("{end:?}");
    // Where it was on its way out, it goes on when it is told that it can.
    if house.events(id).iter().any(|event| matches!(event, Event::Blocked { .. })) {
        house.wait_for(id, |event| matches!(event, Event::Unblocked { .. }));
        house.executor.resume(id);
    }
    house.executor.swap_out(id);
    house.wait_for(
        id,
        |event| matches!(event, Event::SwapFailed { why, .. } if why == "it is in use"),
    );
    assert_eq!(answer(&house.finish(id)), expected);
}

fn idle(house: &House, class: &str) -> u64 {
    let idle = house.executor.memory().idle;
    idle.iter().filter(|idle| idle.class == class).map(|idle| idle.bytes.0).sum()
}

/// Keeps 48 MiB when it is done.
const KEEPS: &str = "\
import os
kept = os.urandom(48 << 20)
def handler(event, context):
    return len(kept)
";

#[test]
fn warm_sandboxes_leave_by_class_first_their_memory_then_they() {
    let Some(_swap) = SystemSwap::get() else { return };
    let house = House::new();
    let (low, high) = (house.python(KEEPS), house.python(KEEPS));
    for (code, class) in [(&low, "economy"), (&high, "critical")] {
        let id = house.start_in(code, "null", class);
        house.finish(id);
    }
    let full = 48 * MIB;
    assert!(idle(&house, "economy") >= full && idle(&house, "critical") >= full);
    // A moment after its answer a sandbox is stopped; before that it is forgotten at once.
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        let asked = house.executor.reclaim(Reclaim::Class("economy"));
        assert!(asked.sandboxes == 1 && asked.bytes.0 >= full, "{asked:?}");
        if idle(&house, "economy") > 0 {
            break;
        }
        let id = house.start_in(&low, "null", "economy");
        house.finish(id);
    }
    let begun = Instant::now();
    while idle(&house, "economy") > 16 * MIB {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", idle(&house, "economy"));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(idle(&house, "critical") >= full);
    // It is still warm, if slower than one in RAM.
    let id = house.start_in(&low, "null", "economy");
    assert_eq!(answer(&house.finish(id)), (48 << 20).to_string());
    assert!(!house.was_cold(id));
    // Asked again when it has been out for a while, it is forgotten.
    std::thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    while idle(&house, "economy") > 0 {
        house.executor.reclaim(Reclaim::Class("economy"));
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(begun.elapsed() > Duration::from_millis(900), "it stayed out for a second");
    let id = house.start_in(&low, "null", "economy");
    house.finish(id);
    assert!(house.was_cold(id));
}

#[test]
fn without_a_swap_of_the_system_that_is_said_and_the_idle_are_forgotten_at_once() {
    let _lock = lock();
    if free_bytes() > 0 {
        eprintln!("skipped: this system has swap");
        return;
    }
    let house = House::new();
    let says = |line: &String| line.contains("no swap of processes: the system has none");
    assert!(house.executor.in_force().iter().any(says));
    assert!(house.executor.memory().system_swap.is_none());
    let code = house.python(KEEPS);
    let id = house.start_in(&code, "null", "economy");
    house.finish(id);
    assert!(idle(&house, "economy") >= 48 * MIB);
    assert_eq!(house.executor.reclaim(Reclaim::Class("standard")).sandboxes, 0);
    assert_eq!(house.executor.reclaim(Reclaim::Class("economy")).sandboxes, 1);
    assert_eq!(idle(&house, "economy"), 0);
    let id = house.start(&house.python(HOLD), &payload(8, 1.0));
    house.wait_for(id, |event| matches!(event, Event::Running { .. }));
    assert!(held(&house, id).fixed);
    house.executor.preempt(id);
    house.wait_for(id, |event| matches!(event, Event::Stopped { .. }));
    house.executor.swap_out(id);
    let refused = |event: &Event| matches!(event, Event::SwapFailed { why, .. } if why == "the system has no swap");
    house.wait_for(id, refused);
    house.executor.resume(id);
    house.finish(id);
}
