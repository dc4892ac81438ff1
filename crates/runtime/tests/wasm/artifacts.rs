//! Packages at deploy, and machine code on the disk.

use std::fs;

use model::FailureKind;
use runtime::{Durable, Executor as _, Prepare, PrepareError, Reclaim};

use crate::house::{House, guest_package};

#[track_caller]
fn check_refused(package: &[u8], reason: &str) {
    let house = House::new();
    let error = house.deploy_package("acme", "bad", package).unwrap_err();
    assert!(error.to_string().contains(reason), "{error}");
}

/// A section of a module.
pub(crate) fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id, u8::try_from(body.len()).unwrap()], body].concat()
}

/// A name as a module has it.
pub(crate) fn name(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// A module with the one function type `() -> ()` and these further sections.
fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    let types = section(1, &[1, 0x60, 0, 0]);
    [b"\0asm\x01\0\0\0".to_vec(), types, sections.concat()].concat()
}

#[test]
fn a_package_that_cannot_run_is_refused_with_its_reason() {
    check_refused(b"", "does not begin with");
    check_refused(b"PK\x03\x04 a zip", "does not begin with");
    check_refused(b"\0asm\x0d\0\x01\0", "is a WebAssembly component");
    check_refused(b"\0asm\x07\0\0\0", "version is not 1");
    check_refused(b"\0asm\x01\0\0\0\x01\xff", "the module is not valid");
    check_refused(&module(&[]), "exports no function \"_start\"");
    let import = section(2, b"\x01\x03env\x05magic\0\0");
    check_refused(&module(&[import]), "imports \"magic\" from \"env\"");
    let mistyped = section(2, b"\x01\x07fermata\x05class\0\0");
    check_refused(&module(&[mistyped]), "an import has another type here");
    let start = section(7, b"\x01\x06_start\0\0");
    let no_memory = section(2, b"\x01\x16wasi_snapshot_preview1\x0bsched_yield\0\0");
    check_refused(&module(&[no_memory, start]), "an import has another type here");
}

#[test]
fn a_handler_that_is_not_exported_and_another_runtime_are_refused() {
    let house = House::new();
    let package = guest_package("echo");
    let prepare = |runtime, handler| {
        let prepare = Prepare { runtime, handler, package: &package, durable: Durable::No };
        house.executor.prepare(&prepare, &house.new_dir())
    };
    assert!(prepare("wasm", "_start").is_ok());
    let error = prepare("wasm", "other").unwrap_err();
    assert!(matches!(&error, PrepareError::Package { reason } if reason.contains("\"other\"")));
    assert!(matches!(prepare("python3.12", ""), Err(PrepareError::Runtime { .. })));
}

#[test]
fn machine_code_of_another_compiler_is_made_anew() {
    let house = House::new();
    let echo = house.deploy("echo");
    let version = echo.artifact_dir.join("module.version");
    let current = fs::read(&version).unwrap();
    fs::write(&version, "fermata wasm artifact 0\n").unwrap();
    assert_eq!(house.answer(&echo, "hi"), "hi");
    assert_eq!(fs::read(&version).unwrap(), current);
}

#[test]
fn damaged_machine_code_is_made_anew_and_a_damaged_package_is_a_failure() {
    let house = House::new();
    let echo = house.deploy("echo");
    let damage = |name: &str| {
        let path = echo.artifact_dir.join(name);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        // As a file of its own: what is mapped must not change.
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        house.executor.reclaim(Reclaim::Function(&echo.tenant, &echo.function));
    };
    damage("module.cwasm");
    assert_eq!(house.answer(&echo, "hi"), "hi");
    damage("module.wasm");
    assert_eq!(house.answer(&echo, "the machine code is sound"), "the machine code is sound");
    damage("module.cwasm");
    let failure = house.failure(&echo, "hi");
    assert_eq!(failure.kind, FailureKind::Platform);
    assert!(failure.message.contains("its stored package is damaged"), "{failure:?}");
}

/// A module whose function 0, exported as `_start`, has this body, with these sections between.
fn command(between: &[Vec<u8>], body: &[u8]) -> Vec<u8> {
    let function = section(3, &[1, 0]);
    let start = section(7, b"\x01\x06_start\0\0");
    let length = u8::try_from(body.len()).unwrap();
    let code = section(10, &[&[1, length + 2, 0], body, &[END]].concat());
    module(&[vec![function], between.to_vec(), vec![start, code]].concat())
}

const END: u8 = 0x0b;
const CALL_ITSELF: [u8; 2] = [0x10, 0];

#[test]
fn endless_recursion_is_a_trap() {
    let house = House::new();
    let code = house.deploy_package("acme", "deep", &command(&[], &CALL_ITSELF)).unwrap();
    let failure = house.failure(&code, "");
    assert_eq!(failure.kind, FailureKind::Trapped);
    assert!(failure.message.starts_with("wasm trap: call stack exhausted"), "{failure:?}");
}

#[test]
fn a_module_too_large_for_a_slot_of_the_pool_runs_on_demand() {
    let house = House::new();
    // One table of functions with at least 30,000 elements.
    let table = section(4, &[1, 0x70, 0, 0xb0, 0xea, 1]);
    let code = house.deploy_package("acme", "wide", &command(&[table], &[])).unwrap();
    for _ in 0..3 {
        assert_eq!(house.answer(&code, ""), "");
    }
    assert_eq!(house.executor.memory().idle_bytes().0, 0, "nothing of it is kept in the pool");
}
