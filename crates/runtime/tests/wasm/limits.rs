//! Time, memory, logs, threads and slots: what is measured and what is bounded.

use std::time::{Duration, Instant};

use model::{Failure, FailureKind, limits};
use runtime::wasm::WasmOptions;
use runtime::{Executor as _, Reclaim};

use crate::house::{self, House};

#[test]
fn a_sleep_costs_its_time_in_no_core_and_its_memory_is_counted() {
    let house = House::new();
    let id = house.start(&house.deploy("hog"), "4 sleep 300");
    house.events.wait_count(id, "blocked", 1);
    let held = house.wait_memory(id, 4 << 20);
    let finished = house.finished(id);
    let cpu = finished.used.cpu.as_duration();
    assert!(cpu > Duration::ZERO && cpu < Duration::from_millis(200), "{cpu:?}");
    assert_eq!(finished.memory_peak.0, held);
    let at_least = held * 3 / 10;
    assert!(finished.used.memory.0 >= at_least, "{} < {at_least}", finished.used.memory.0);
    assert_eq!(house.memory_of(id), None);
}

#[test]
fn many_sleepers_share_one_thread() {
    let house = House::with(WasmOptions { threads_max: 1, pool_slots: 8, ..Default::default() });
    let code = house.deploy("sleep");
    let begun = Instant::now();
    let sleepers: Vec<_> = (0..20).map(|_| house.start(&code, "500")).collect();
    for id in sleepers {
        let nanos: u64 =
            String::from_utf8_lossy(&house.finished(id).answer().unwrap()).parse().unwrap();
        assert!(nanos >= 500_000_000, "{nanos}");
    }
    assert!(begun.elapsed() < Duration::from_millis(20 * 500), "they slept at the same time");
    assert_eq!(house.executor.thread_count(), 1);
}

#[test]
fn threads_are_bounded_and_jobs_above_wait() {
    let house = House::with(WasmOptions { threads_max: 2, pool_slots: 8, ..Default::default() });
    let code = house.deploy("spin");
    let ids: Vec<_> = (0..6).map(|_| house.start(&code, "work 300")).collect();
    let answers: Vec<_> = ids.iter().map(|id| house.finished(*id).answer().unwrap()).collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(house.executor.thread_count(), 2);
}

#[test]
fn an_endless_log_is_cut_at_its_limit_and_the_rest_counted() {
    let house = House::new();
    let code = house.deploy("flood-log");
    let bytes = limits::LOG_BYTES_MAX + 1000;
    let finished = house.run(&code, bytes.to_string());
    assert_eq!((finished.logs.bytes.len(), finished.logs.dropped), (limits::LOG_BYTES_MAX, 1000));
    // Ended from outside it keeps what it has printed, once it has.
    let printed = (0..1000).find_map(|_| {
        let id = house.start(&code, "forever");
        house.events.wait_count(id, "running", 1);
        house.executor.end(id, Failure::new(FailureKind::TimedOut, "too long"));
        let logs = house.finished(id).logs;
        (!logs.bytes.is_empty()).then_some(logs.bytes)
    });
    assert!(printed.unwrap().starts_with(b"0123456789abcdef"));
}

#[test]
fn instances_above_the_pool_are_made_on_demand() {
    let house = House::with(WasmOptions { pool_slots: 2, ..Default::default() });
    let code = house.deploy("sleep");
    let ids: Vec<_> = (0..8).map(|_| house.start(&code, "100")).collect();
    for id in ids {
        house.finished(id).answer().unwrap();
    }
    let house = House::with(WasmOptions { pool_slots: 0, ..Default::default() });
    assert_eq!(house.answer(&house.deploy("echo"), "no pool"), "no pool");
    house::eventually(|| house.executor.memory().idle_bytes().0 == 0);
}

/// What a tenant's pool keeps warm is its own: another tenant begins with nothing, and the same
/// package is loaded for it anew.
#[test]
fn tenants_share_no_pool() {
    let house = House::new();
    let [acme, other] = ["acme", "other"].map(|tenant| house.deploy_for(tenant, "spin"));
    // While it sleeps, nothing but the pools is kept for later calls.
    house.start(&house.deploy("sleep"), "60000");
    let idle = || house.executor.memory().idle_bytes().0;
    // What the pool keeps differs by a page or two from run to run.
    let is_about = |found: u64, expected: u64| found.abs_diff(expected) <= expected / 4;
    assert_eq!(idle(), 0);
    house.answer(&acme, "work 10");
    let one_slot = idle();
    assert!(one_slot > 0);
    house.answer(&acme, "work 10");
    assert!(is_about(idle(), one_slot), "the slot is used again: {} {one_slot}", idle());
    house.answer(&other, "work 10");
    assert!(is_about(idle(), 2 * one_slot), "a slot of another pool: {} {one_slot}", idle());
    house.executor.reclaim(Reclaim::Function(&acme.tenant, &acme.function));
    assert!(is_about(idle(), one_slot), "the other's is left: {} {one_slot}", idle());
    house.executor.reclaim(Reclaim::Idle);
    assert!(idle() < one_slot / 2, "only tables are left: {} {one_slot}", idle());
}

#[test]
fn a_fresh_instance_has_none_of_the_last_ones_memory() {
    let house = House::new();
    let code = house.deploy("spin");
    let first = house.answer(&code, "work 50");
    for _ in 0..5 {
        assert_eq!(house.answer(&code, "work 50"), first, "it computes in zeroed memory");
    }
}

#[test]
fn shutdown_ends_everything_and_what_starts_after_it_ends_at_once() {
    let house = House::new();
    let [spin, sleep] = ["spin", "sleep"].map(|guest| house.deploy(guest));
    let ids = [
        house.start(&spin, "forever"),
        house.start(&spin, "forever"),
        house.start(&sleep, "60000"),
    ];
    house.events.wait_count(ids[0], "running", 1);
    house.events.wait_count(ids[2], "blocked", 1);
    house.executor.preempt(ids[0]);
    house.executor.shutdown();
    let late = house.start(&spin, "1");
    for id in ids.into_iter().chain([late]) {
        let failure = house.finished(id).answer().unwrap_err();
        assert_eq!(failure, Failure::new(FailureKind::Cancelled, "the server stopped"));
        assert_eq!(house.events.count(id, "finished"), 1);
    }
}
