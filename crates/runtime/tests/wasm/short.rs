//! Functions that take more memory than there is.

use std::time::{Duration, Instant};

use model::{Bytes64, FailureKind};
use runtime::wasm::WasmOptions;
use runtime::{Code, Executor as _};

use crate::house::House;

const MIB: u64 = 1 << 20;

fn house() -> House {
    House::with(WasmOptions { pool_slots: 4, ..WasmOptions::default() })
}

#[test]
fn a_function_stops_by_itself_where_memory_is_short_and_goes_on_where_it_was() {
    let house = house();
    let code = house.deploy("hold");
    let expected = house.answer(&code, "192 0 0 5");
    house.executor.set_memory_max(Bytes64(48 * MIB));
    let id = house.start(&code, "192 0 0 5");
    house.events.wait_count(id, "short-of-memory", 1);
    // Though nobody looked: it may not even have been there at the last look.
    assert!(house.memory_of(id).unwrap() < 192 * MIB);
    // It tries again, and there is still too little.
    house.executor.resume(id);
    house.events.wait_count(id, "short-of-memory", 2);
    house.executor.set_memory_max(Bytes64(u64::MAX));
    house.executor.resume(id);
    assert_eq!(house.finished(id).answer().unwrap(), expected);
}

/// Runs it to its end; it goes on at once where it stopped for memory.
fn insist(house: &House, code: &Code, payload: &'static str) {
    let (id, begun, mut stops) = (house.start(code, payload), Instant::now(), 0);
    while house.events.count(id, "finished") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", house.events.names(id));
        let now = house.events.count(id, "short-of-memory");
        if now > stops {
            stops = now;
            house.executor.resume(id);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn one_that_takes_nothing_more_runs_on_though_memory_is_short() {
    let house = house();
    let code = house.deploy("hold");
    let spin = house.deploy("spin");
    let holds = house.start(&code, "64 100000 0 5");
    house.wait_memory(holds, 64 * MIB);
    house.executor.set_memory_max(Bytes64(16 * MIB));
    // What it touched just before that still counts, so it may have to stop once, or twice where its
    // thread was away. Then both compute for some time, and need next to nothing.
    let mut resumed = 0;
    let runs_on = (0..20).any(|_| {
        insist(&house, &spin, "100");
        let stopped = house.events.count(holds, "short-of-memory");
        if stopped == resumed {
            return true;
        }
        resumed = stopped;
        house.executor.resume(holds);
        false
    });
    assert!(runs_on, "{:?}", house.events.names(holds));
    house.executor.end(holds, model::Failure::new(FailureKind::Cancelled, "over"));
    house.finished(holds);
}

#[test]
fn one_in_the_middle_of_an_instruction_that_fills_memory_loses_it_and_fails() {
    let house = house();
    let code = house.deploy("fill");
    assert_eq!(house.answer(&code, "64"), "64");
    house.executor.set_memory_max(Bytes64(64 * MIB));
    let finished = house.run(&code, "1024");
    let failure = finished.answer().unwrap_err();
    assert_eq!(failure.kind, FailureKind::OutOfMemory, "{failure:?}");
    // Half of what it would have filled: what was there at any look is far below.
    assert!(finished.memory_peak.0 < 512 * MIB, "{:?}", finished.memory_peak);
    // The next one has its room.
    assert_eq!(house.answer(&code, "16"), "16");
}
