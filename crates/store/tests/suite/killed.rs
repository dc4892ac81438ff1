//! `kill -9` loses nothing that was acknowledged and applies nothing by half.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use store::{Batch, InvocationQuery, Options, QueueChange, SqliteStore, Store};

use crate::given::{at, call, record, tenant_name};

/// Set in the child process: the directory to write to.
const DIRECTORY: &str = "FERMATA_STORE_TEST_DIRECTORY";
const TEST: &str = "killed::what_was_acknowledged_survives_a_kill_at_any_moment";
const ACKNOWLEDGED: &str = "acknowledged ";

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    if let Some(directory) = env::var_os(DIRECTORY) {
        return write_until_killed(&PathBuf::from(directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for further in [1, 2, 9, 40, 3, 75, 20] {
        acknowledged = kill_after(directory.path(), acknowledged + further);
        check(directory.path(), acknowledged);
    }
}

/// Commits one call and one record after the other, going on where an earlier run was killed, and
/// says so after each.
fn write_until_killed(directory: &Path) {
    let store = SqliteStore::open(directory, Options::default()).unwrap();
    let written = store.backlog().unwrap().first().map_or(0, |backlog| backlog.queued);
    let mut out = std::io::stdout().lock();
    for number in written.. {
        let batch = Batch {
            records: vec![record(number, "acme")],
            queue: vec![QueueChange::Enqueue(call(number, "acme"))],
        };
        store.commit(&batch).unwrap();
        writeln!(out, "\n{ACKNOWLEDGED}{}", number + 1).unwrap();
        out.flush().unwrap();
    }
}

/// Lets a child write until it acknowledged `count` batches or more, kills it wherever it is then,
/// and returns how many it acknowledged.
fn kill_after(directory: &Path, count: u64) -> u64 {
    let mut child = KilledAtLast(
        Command::new(env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut acknowledgments =
        lines.filter_map(|line| line.unwrap().strip_prefix(ACKNOWLEDGED)?.parse::<u64>().ok());
    let reached = acknowledgments.find(|number| *number >= count);
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    let reached = reached.expect("the child writes until it is killed");
    // What it said between our reading and its end was acknowledged too.
    acknowledgments.last().unwrap_or(reached)
}

fn check(directory: &Path, acknowledged: u64) {
    let store = SqliteStore::open(directory, Options::default()).unwrap();
    store.check().unwrap();
    let backlog = store.backlog().unwrap();
    let queued = backlog[0].queued;
    // One batch may have been written whose acknowledgment was not.
    assert!((acknowledged..=acknowledged + 1).contains(&queued), "{queued} of {acknowledged}");
    let due = store.due(at(u64::from(u32::MAX)), &BTreeSet::new(), 1_000).unwrap();
    let ids: Vec<_> = due.calls.iter().map(|call| call.id).collect();
    let query = InvocationQuery { limit: 1_000, ..InvocationQuery::default() };
    let records = store.invocations(&tenant_name("acme"), &query).unwrap();
    let recorded: Vec<_> = records.iter().rev().map(|record| record.id).collect();
    assert_eq!(ids, recorded, "a batch was applied by half");
    assert_eq!(ids.len() as u64, queued.min(1_000));
}

/// A child that does not outlive a failed test.
struct KilledAtLast(Child);

impl Drop for KilledAtLast {
    fn drop(&mut self) {
        // It fails where the child has ended, which is what is wanted.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
