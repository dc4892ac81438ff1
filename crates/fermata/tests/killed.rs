//! The server is killed (`kill -9`) at two hundred random moments while a thousand executions of twenty
//! calls run, on each store that outlives it: `fermata bench kills` counts that nothing was lost and
//! nothing happened twice. What it prints tells the seed to run it again with.

#![expect(clippy::unwrap_used, reason = "a test may panic and tell why")]
#![expect(clippy::print_stdout, reason = "the seed is for whoever reads of a failure")]

#[path = "../../store/tests/suite/cluster.rs"]
#[allow(dead_code, reason = "this test uses a part of it")]
mod cluster;

use std::process::Command;

#[track_caller]
fn check(store: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_fermata"))
        .args(["bench", "kills", "--kills", "200", "--executions", "1000", "--store", store])
        .output()
        .unwrap();
    let (told, failed) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    println!("{told}");
    assert!(output.status.success(), "{told}\n{failed}");
    // The moments are random, and yet most of them find work under way.
    let at_work = told.split(" kills, ").nth(1).and_then(|rest| rest.split_once(' '));
    let at_work: usize = at_work.unwrap().0.parse().unwrap();
    assert!(at_work >= 50, "{told}");
}

#[test]
fn two_hundred_kills_lose_nothing_and_repeat_nothing_on_sqlite() {
    check("sqlite");
}

#[test]
fn two_hundred_kills_lose_nothing_and_repeat_nothing_on_postgres() {
    check(&cluster::fresh_url());
}
