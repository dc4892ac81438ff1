//! Instances that an idle thread makes for a function's next call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::{Failure, FailureKind, InvocationId};
use runtime::wasm::WasmOptions;
use runtime::{Code, Executor as _, Finished, Reclaim};

use crate::artifacts::{name, section};
use crate::house::{self, House};

/// Adds one to the letter `a` in its memory and answers with that. With a start function, which says
/// `s` on standard error.
fn counter(has_start: bool) -> Vec<u8> {
    // fd_write(stream, vector, 1, 48), and nothing of what it returns.
    let write =
        |stream: u8, vector: u8| [0x41, stream, 0x41, vector, 0x41, 1, 0x41, 48, 0x10, 0, 0x1a];
    let add = [0x41, 32, 0x41, 32, 0x2d, 0, 0, 0x41, 1, 0x6a, 0x3a, 0, 0];
    let says = [&[0][..], &write(2, 0), &[0x0b]].concat();
    let answers = [&[0][..], &add, &write(1, 8), &[0x0b]].concat();
    let sized = |body: &[u8]| [&[u8::try_from(body.len()).unwrap()], body].concat();
    let import = [&[1][..], &name("wasi_snapshot_preview1"), &name("fd_write"), &[0, 1]].concat();
    let exports = [&[2][..], &name("_start"), &[0, 2], &name("memory"), &[2, 0]].concat();
    // Two vectors, what they lead to, and room for what `fd_write` returns.
    let mut memory = [0; 52];
    memory[..16].copy_from_slice(&[40, 0, 0, 0, 2, 0, 0, 0, 32, 0, 0, 0, 1, 0, 0, 0]);
    memory[32] = b'a';
    memory[40..42].copy_from_slice(b"s\n");
    let sections = [
        section(1, &[2, 0x60, 0, 0, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f]),
        section(2, &import),
        section(3, &[2, 0, 0]),
        section(5, &[1, 0, 1]),
        section(7, &exports),
        if has_start { section(8, &[1]) } else { Vec::new() },
        section(10, &[&[2][..], &sized(&says), &sized(&answers)].concat()),
        section(11, &[&[1, 0, 0x41, 0, 0x0b][..], &sized(&memory)].concat()),
    ];
    [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat()
}

fn deploy(house: &House, package: &[u8]) -> Arc<Code> {
    Arc::new(house.deploy_package("acme", "counter", package).unwrap())
}

/// Answer and log of a call.
fn call(house: &House, code: &Arc<Code>) -> (String, String) {
    let finished = run(house, code, "");
    let log = String::from_utf8(finished.logs.bytes.clone()).unwrap();
    (String::from_utf8(finished.answer().unwrap().to_vec()).unwrap(), log)
}

/// A call of that very code, where the house's own calls clone it.
fn run(house: &House, code: &Arc<Code>, payload: &'static str) -> Finished {
    static NEXT: AtomicU64 = AtomicU64::new(1_001);
    let id = InvocationId(NEXT.fetch_add(1, Ordering::Relaxed).into());
    let start = runtime::Start { code: Arc::clone(code), ..house::start(id, code, payload) };
    house.executor.start(start);
    house.finished(id)
}

/// Calls until something is kept for the next call. It may be the instance that has ended, and nothing
/// where the next call came before the thread was idle.
fn call_until_kept(code: &Arc<Code>, mut call: impl FnMut()) {
    house::eventually(|| {
        call();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(100) {
            if Arc::strong_count(code) == 2 {
                // Time for the thread to become idle.
                std::thread::sleep(Duration::from_millis(2));
                return true;
            }
        }
        false
    });
}

/// An ended job is dropped a little later than it is told of.
fn wait_until_nothing_is_kept(code: &Arc<Code>) {
    house::eventually(|| Arc::strong_count(code) == 1);
}

#[test]
fn each_call_has_an_instance_that_no_other_has_seen_also_when_it_was_made_ahead() {
    let house = House::new();
    let code = deploy(&house, &counter(false));
    for _ in 0..5 {
        call_until_kept(&code, || {
            assert_eq!(call(&house, &code), ("b".into(), String::new()));
        });
    }
    // Of the same package, but another function: it may answer with nothing.
    let mut other = Code::clone(&code);
    other.response_bytes_max = 0;
    run(&house, &Arc::new(other), "").answer().unwrap_err();
    assert_eq!(call(&house, &code).0, "b");
}

#[test]
fn a_start_function_runs_in_its_own_call() {
    let house = House::new();
    let code = deploy(&house, &counter(true));
    for _ in 0..5 {
        assert_eq!(call(&house, &code), ("b".into(), "s\n".into()));
        // Time in which one could be made ahead.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn none_is_made_while_another_function_runs() {
    let house = House::new();
    let code = deploy(&house, &counter(false));
    let busy = house.start(&house.deploy("spin"), "forever");
    house.events.wait_count(busy, "running", 1);
    for _ in 0..3 {
        assert_eq!(call(&house, &code).0, "b");
    }
    // Time in which one could be made.
    std::thread::sleep(Duration::from_millis(50));
    wait_until_nothing_is_kept(&code);
    house.executor.end(busy, Failure::new(FailureKind::Cancelled, "enough"));
    house.finished(busy);
    call_until_kept(&code, || _ = call(&house, &code));
}

#[test]
fn what_is_kept_for_the_next_call_is_told_as_idle_and_goes_at_a_reclaim() {
    let house = House::new();
    let code = Arc::new(house.deploy("spin"));
    let idle = || house.executor.memory().idle_bytes().0;
    let keep = || {
        call_until_kept(&code, || _ = run(&house, &code, "work 10").answer().unwrap());
        assert!(idle() > 0);
    };
    keep();
    house.executor.reclaim(Reclaim::Class("interactive"));
    assert!(Arc::strong_count(&code) > 1, "it is of no class");
    let function = Reclaim::Function(&code.tenant, &code.function);
    for which in [Reclaim::Idle, Reclaim::Class(""), function] {
        keep();
        house.executor.reclaim(which);
        wait_until_nothing_is_kept(&code);
        assert!(idle() < 20 << 10, "only tables are left: {}", idle());
    }
}

#[test]
fn what_is_kept_gives_up_its_place_in_a_pool_that_is_full() {
    let house = House::with(WasmOptions { pool_slots: 1, ..WasmOptions::default() });
    let code = deploy(&house, &counter(false));
    call_until_kept(&code, || _ = call(&house, &code));
    let other = house.start(&house.deploy("sleep"), "60000");
    house.events.wait_count(other, "blocked", 1);
    wait_until_nothing_is_kept(&code);
}
