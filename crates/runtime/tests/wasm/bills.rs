//! What a function is billed for its memory, against what it had.

#![expect(clippy::print_stdout, reason = "the figures are for who reads the test's output")]

use std::time::{Duration, SystemTime};

use runtime::swap::SwapOptions;
use runtime::wasm::WasmOptions;
use runtime::{Code, Executor as _};

use crate::house::House;

const MIB: u64 = 1 << 20;

/// Points of a line: seconds since 1970, and MiB.
type Points = Vec<(f64, f64)>;

/// What the guest `steps` told.
fn told(answer: &str) -> Points {
    let point = |line: &str| {
        let (micros, mib) = line.split_once(' ').unwrap();
        (micros.parse::<f64>().unwrap() / 1e6, mib.parse().unwrap())
    };
    answer.lines().map(point).collect()
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// MiB × seconds below the line.
fn area(points: &Points) -> f64 {
    points.windows(2).map(|two| (two[1].0 - two[0].0) * (two[0].1 + two[1].1) / 2.0).sum()
}

#[track_caller]
fn check(billed: u64, least: f64, most: f64) {
    #[expect(clippy::cast_precision_loss, reason = "far below 2⁵³")]
    let billed = billed as f64 / MIB as f64;
    println!("billed {billed:.2} MiB·s, in truth {least:.2} to {most:.2}");
    let within = 0.95 * least..1.05 * most;
    assert!(within.contains(&billed), "billed {billed} MiB·s, in truth {least} to {most}");
}

#[test]
fn a_function_that_grows_is_billed_what_it_had_within_five_percent() {
    let house = House::with(WasmOptions { pool_slots: 4, ..WasmOptions::default() });
    let code = house.deploy("steps");
    for payload in ["24 8 15 0", "6 1 40 0", "3 64 50 0"] {
        let finished = house.run(&code, payload);
        let answer = String::from_utf8(finished.answer().unwrap().to_vec()).unwrap();
        let truth = area(&told(&answer));
        check(finished.used.memory.0, truth, truth);
    }
}

#[test]
fn one_whose_memory_leaves_and_comes_back_is_billed_for_the_time_it_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::with(WasmOptions {
        pool_slots: 4,
        swap: Some(SwapOptions::new(folder.path().to_owned(), model::Bytes64(256 * MIB))),
        ..WasmOptions::default()
    });
    let code = house.deploy("steps");
    let bill = |waits_ms| swapped_while_it_waits(&house, &code, waits_ms);
    // A wait that was too short for this machine to take its memory away tells nothing.
    assert!([600, 3_000, 15_000].into_iter().any(bill));
}

/// Whether its memory was away for a good while; the bill was right in any case.
fn swapped_while_it_waits(house: &House, code: &Code, waits_ms: u32) -> bool {
    let id = house.start(code, format!("8 8 60 {waits_ms}"));
    house.events.wait_count(id, "blocked", 1);
    let leaves = SystemTime::now();
    house.executor.swap_out(id);
    house.events.wait_count(id, "swapped-out", 1);
    let is_out = SystemTime::now();
    house.events.wait_count(id, "unblocked", 1);
    let comes = SystemTime::now();
    house.executor.swap_in(id);
    house.events.wait_count(id, "swapped-in", 1);
    let is_back = SystemTime::now();
    let finished = house.finished(id);
    let answer = String::from_utf8(finished.answer().unwrap().to_vec()).unwrap();
    let told = told(&answer);
    let (end, before) = told.split_last().unwrap();
    // It leaves and comes back piece by piece, each at some moment between the two that are known.
    let truth = |left: SystemTime, came: SystemTime| {
        let (left, came) = (seconds(left), seconds(came));
        let away = [(left, 64.0), (left, 0.0), (came, 0.0), (came, 64.0)];
        area(&before.iter().copied().chain(away).chain([*end]).collect())
    };
    check(finished.used.memory.0, truth(leaves, is_back), truth(is_out, comes));
    comes.duration_since(is_out).unwrap() > Duration::from_millis(200)
}
