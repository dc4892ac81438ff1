//! Each way in which a guest can fail, and what is said of it.

use model::FailureKind::{Exited, OutOfMemory, Platform, ResponseTooLarge, TimedOut, Trapped};
use model::{Failure, FailureKind};
use runtime::Executor as _;
use runtime::wasm::WasmOptions;

use crate::house::{House, PANICS};

/// Runs the guest and compares the kind of its failure and a part of the message.
#[track_caller]
fn check(house: &House, guest: &str, input: &str, kind: FailureKind, message: &str) {
    let failure = house.failure(&house.deploy(guest), input.to_owned());
    assert_eq!(failure.kind, kind, "{failure:?}");
    assert!(failure.message.contains(message), "{failure:?}");
}

#[test]
fn an_exit_code_other_than_zero_is_a_failure_that_names_it() {
    let house = House::new();
    check(&house, "exit", "3", Exited, "exit code 3");
    check(&house, "exit", "255", Exited, "exit code 255");
    let finished = house.run(&house.deploy("exit"), "0");
    assert_eq!(finished.answer().unwrap().len(), 56);
    assert_eq!(finished.logs.bytes, b"leaving\n");
}

#[test]
fn a_trap_is_named() {
    let house = House::new();
    check(&house, "trap", "", Trapped, "wasm `unreachable` instruction executed in function ");
    check(&house, "trap", "divide", Trapped, "integer divide by zero");
    check(&house, "trap", "memory", Trapped, "out of bounds memory access");
    check(&house, "trap", "stack", Trapped, "out of bounds memory access");
    check(&house, "trap", "null-call", Trapped, "uninitialized element");
}

#[test]
fn a_pointer_outside_the_memory_is_a_trap_that_names_the_import() {
    let house = House::new();
    let imports = [
        "fd_write",
        "fd_read",
        "random_get",
        "clock_time_get",
        "environ_get",
        "poll_oneoff",
        "fermata.invoke",
        "fermata.result_read",
        "fermata.class",
        "fermata.log",
    ];
    for import in imports {
        let message = format!("{import}: ");
        let input = import.trim_start_matches("fermata.");
        check(&house, "bad-pointer", input, Trapped, &message);
    }
    check(&house, "bad-pointer", "fd_write_parts", Trapped, "lie outside the memory");
    check(&house, "bad-pointer", "invoke_payload", Trapped, "4294967295 bytes at address");
}

#[test]
fn an_answer_over_the_limit_is_a_failure() {
    let house = House::new();
    check(&house, "flood-log", "stdout", ResponseTooLarge, "larger than 1048576 bytes");
}

#[test]
fn memory_over_the_cap_is_refused_and_a_guest_that_gives_up_is_out_of_memory() {
    let options = WasmOptions { memory_bytes_max: 16 << 20, pool_slots: 4, ..Default::default() };
    let house = House::with(options);
    let hog = house.deploy("hog");
    assert_eq!(house.answer(&hog, "8"), "8");
    assert_eq!(house.answer(&hog, "1000"), "15", "with what the module begins with, the cap");
    let failure = house.failure(&hog, "1000 trap");
    assert_eq!(failure.kind, OutOfMemory);
    assert!(failure.message.ends_with("were refused (limit 16777216)"), "{}", failure.message);
}

#[test]
fn a_module_that_begins_with_more_memory_than_the_cap_is_out_of_memory() {
    let options = WasmOptions { memory_bytes_max: 1 << 16, pool_slots: 4, ..Default::default() };
    let house = House::with(options);
    check(&house, "spin", "1", OutOfMemory, "limit 65536");
}

#[test]
fn a_function_that_never_ends_is_ended_with_the_failure_it_is_given() {
    let house = House::new();
    let id = house.start(&house.deploy("spin"), "forever");
    house.events.wait_count(id, "running", 1);
    house.executor.end(id, Failure::new(TimedOut, "60 s are over"));
    let finished = house.finished(id);
    assert_eq!(finished.outcome, Err(Failure::new(TimedOut, "60 s are over")));
    assert!(finished.used.cpu.0 > 0);
}

#[test]
fn code_that_is_gone_is_a_failure_of_the_platform() {
    let house = House::new();
    let echo = house.deploy("echo");
    std::fs::remove_dir_all(&echo.artifact_dir).unwrap();
    let failure = house.failure(&echo, "hi");
    assert_eq!(failure.kind, Platform);
    assert!(failure.message.contains("of echo:1"), "{failure:?}");
}

#[test]
fn a_panic_of_the_platform_ends_the_one_invocation_and_nothing_else() {
    let house = House::new();
    let sleeper = house.start(&house.deploy("sleep"), "100");
    check(&house, "call", PANICS, Platform, "the platform failed while it ran the function");
    assert!(house.finished(sleeper).outcome.is_ok());
    assert_eq!(house.answer(&house.deploy("echo"), "still there"), "still there");
}
