//! What the deploy of a durable function refuses, and what it makes.

use std::process::Command;

use model::suspend::OpId;
use runtime::wasm::WasmOptions;
use runtime::{Durable, Executor as _, Prepare, PrepareError};

use super::durable::{Execution, ok, text};
use super::house::{House, guest_package};

/// A module from its text.
fn assemble(text: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("m.wat"), directory.path().join("m.wasm"));
    std::fs::write(&from, text).unwrap();
    let mut tool = Command::new("wasm-as");
    let output = tool.arg("--all-features").arg(&from).arg("-o").arg(&to).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(to).unwrap()
}

#[track_caller]
fn refused(module: &str, reason: &str) {
    let house = House::new();
    let text = format!("(module (memory (export \"memory\") 1) {module})");
    match house.deploy_durable_package("refused", &assemble(&text)) {
        Err(PrepareError::Package { reason: found }) => {
            assert!(found.contains(reason), "{found}");
        }
        other => panic!("{other:?}"),
    }
}

const START: &str = "(func (export \"_start\"))";
const WAIT: &str = "(import \"fermata\" \"wait\" (func $w (param i32 i32 i32) (result i64)))";

#[test]
fn what_cannot_be_saved_is_refused_by_name() {
    refused(
        &format!(
            "{START} (table $t 1 funcref) (func (table.set $t (i32.const 0) (ref.null func)))"
        ),
        "it changes a table of functions while it runs",
    );
    refused(
        &format!(
            "{START} (table $t 1 funcref) (func (drop (table.grow $t (ref.null func) (i32.const 1))))"
        ),
        "it changes a table of functions while it runs",
    );
    refused(&format!("(import \"env\" \"g\" (global $g i32)) {START}"), "it imports globals");
    refused(
        &format!("(import \"env\" \"g\" (global $g i32)) {START} (data (global.get $g) \"x\")"),
        "a part of its memory begins where only its host knows",
    );
    refused(
        &format!("{START} (global $g (mut externref) (ref.null extern))"),
        "its global 0 holds a reference and can change",
    );
    refused(
        &format!("{START} (tag $t) (func (throw $t))"),
        "it uses exceptions (build with -fno-exceptions, without setjmp)",
    );
    refused(
        &format!("{START} (func (drop (i32.atomic.load (i32.const 0))))"),
        "it uses atomic instructions",
    );
    refused(&format!("{WAIT} {START}"), "it imports fermata.wait and exports no fermata_frames");
    refused(
        &format!(
            "(import \"fermata\" \"await\" (func $w (param i32 i32 i32) (result i32))) {START}"
        ),
        "it imports fermata.await and exports no fermata_resume",
    );
    refused(&format!("{START} (func (export \"__fermata_x\"))"), "has a name that is ours");
    refused("", "it exports no function \"_start\"");
}

#[test]
fn memories_that_cannot_be_saved_are_refused() {
    let house = House::new();
    let check = |package: &[u8], reason: &str| {
        let refused = house.deploy_durable_package("refused", package);
        let Err(PrepareError::Package { reason: found }) = refused else { panic!("{reason}") };
        assert!(found.contains(reason), "{found}");
    };
    for (text, reason) in [
        ("(module (memory (shared 1 2)) (func (export \"_start\")))", "shared between threads"),
        ("(module (memory i64 1) (func (export \"_start\")))", "64-bit addresses"),
    ] {
        check(&assemble(text), reason);
    }
    check(b"\0asm\x01\0\0\0\x05\x05\x02\0\x01\0\x01", "more than one memory");
}

#[test]
fn without_the_tool_the_cure_is_told_and_who_does_not_need_it_is_deployed() {
    let options = WasmOptions { wasm_opt: Some("/nowhere/wasm-opt".into()), ..Default::default() };
    let house = House::with(WasmOptions { pool_slots: 4, ..options });
    house.deploy_durable("fanout");
    match house.deploy_durable_package("nested", &guest_package("nested")) {
        Err(PrepareError::Runtime { runtime, reason }) => {
            assert_eq!(runtime, "wasm");
            for part in ["/nowhere/wasm-opt", "apt-get install binaryen", "FERMATA_WASM_OPT"] {
                assert!(reason.contains(part), "{reason}");
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_made_ready_stays_as_it_is_and_runs_as_a_plain_function_too() {
    let house = House::new();
    let package = guest_package("nested");
    let durable = Durable::Yes;
    let code = Prepare { runtime: "wasm", handler: "", package: &package, durable };
    let made = house.executor.instrument(&code).unwrap().unwrap();
    assert_eq!(house.executor.instrument(&Prepare { package: &made, ..code }).unwrap(), None);
    let plain = house.deploy_package("acme", "nested", &made).unwrap();
    assert_eq!(house.answer(&plain, "9 dry"), house.answer(&house.deploy("nested"), "9 dry"));
    let not_durable = Prepare { durable: Durable::No, ..code };
    assert_eq!(house.executor.instrument(&not_durable).unwrap(), None);
}

#[test]
fn what_only_claims_to_be_ready_is_refused() {
    let house = House::new();
    let refused = |package: &[u8], reason: &str| match house.deploy_instrumented("x", package) {
        Err(PrepareError::Package { reason: found }) => assert!(found.contains(reason), "{found}"),
        other => panic!("{other:?}"),
    };
    refused(&guest_package("nested"), "it was not made ready for suspension at its deploy");
    let mut forged = guest_package("nested");
    forged.extend_from_slice(b"\0\x11\x0ffermata.durable\x01");
    refused(&forged, "it is marked as ready for suspension and hides global 0");
}

/// The room for frames is the guest's own: if the host took it by growing the memory, an allocator
/// that was not set up yet would take it too.
#[test]
fn a_wait_does_not_grow_the_memory() {
    let module = format!(
        "(module {WAIT}
            (import \"fermata\" \"timer\" (func $timer (param i64) (result i64)))
            (import \"wasi_snapshot_preview1\" \"fd_write\"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export \"memory\") 1)
            (func (export \"fermata_frames\") (result i64) (i64.const 17592186048512))
            (func (export \"_start\")
                (i64.store (i32.const 64) (call $timer (i64.const 1)))
                (drop (call $w (i32.const 64) (i32.const 1) (i32.const 0)))
                (i32.store (i32.const 8) (i32.add (memory.size) (i32.const 48)))
                (i32.store (i32.const 0) (i32.const 8))
                (i32.store (i32.const 4) (i32.const 1))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"
    );
    let house = House::new();
    let code = house.deploy_durable_package("sizes", &assemble(&module)).unwrap();
    let mut execution = Execution::new("unused", "");
    let waits = execution.next_in(&house, &code, Vec::new());
    assert!(waits.is_none(), "{waits:?}");
    let finished = execution.next_in(&house, &code, vec![(OpId(1), ok(""))]).unwrap();
    assert_eq!(text(&finished), "1");
}

#[test]
fn room_for_frames_that_is_none_is_a_failure() {
    for (length, address) in [(4096_u64, 4098_u64), (252, 4096), (4096, 61_444)] {
        let place = length << 32 | address;
        let module = format!(
            "(module {WAIT} (memory (export \"memory\") 1)
                (func (export \"fermata_frames\") (result i64) (i64.const {place}))
                (func (export \"_start\") (drop (call $w (i32.const 0) (i32.const 0) (i32.const 2)))))"
        );
        let house = House::new();
        let code = house.deploy_durable_package("frames", &assemble(&module)).unwrap();
        let failure = Execution::new("unused", "").next_in(&house, &code, Vec::new());
        let failure = failure.unwrap().answer().unwrap_err();
        let said = format!("fermata_frames names {length} bytes at {address}; they have to lie");
        assert!(failure.message.contains(&said), "{failure:?}");
    }
}
