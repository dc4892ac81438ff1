//! `kill -9` loses nothing that was acknowledged and applies nothing by half.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use model::limits;
use model::suspend::OpId;
use store::{
    Address, Batch, BillQuery, BlobHash, Committed, Day, ExecutionCommit, ExecutionRow, Grouping,
    HistoryOrder, HistoryQuery, HistoryRow, InvocationQuery, Options, QueueChange, Revision,
    SqliteStore, Store,
};

use crate::cluster;
use crate::executions::{self, put, row, take_all};
use crate::given::{at, call, record, tenant_name};

/// Set in the child process: the directory or address to write to.
const DIRECTORY: &str = "FERMATA_STORE_TEST_DIRECTORY";
const TEST: &str = "killed::what_was_acknowledged_survives_a_kill_at_any_moment";
/// Commits that are acknowledged before each kill, at the least.
const KILLS: [u64; 7] = [1, 2, 9, 40, 3, 75, 20];
/// Executions that take steps.
const STEPPING: u64 = 8;
const ACKNOWLEDGED: &str = "acknowledged ";

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    if let Some(directory) = env::var_os(DIRECTORY) {
        return write_until_killed(&PathBuf::from(directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for further in KILLS {
        acknowledged = kill_after(TEST, directory.path().as_ref(), acknowledged + further);
        check(directory.path(), acknowledged);
    }
}

#[test]
fn steps_of_executions_in_sqlite_survive_a_kill_at_any_moment() {
    const TEST: &str = "killed::steps_of_executions_in_sqlite_survive_a_kill_at_any_moment";
    let directory = tempfile::tempdir().unwrap();
    steps_survive(TEST, &|| format!("sqlite:{}", directory.path().display()));
}

#[test]
fn steps_of_executions_in_postgres_survive_a_kill_at_any_moment() {
    const TEST: &str = "killed::steps_of_executions_in_postgres_survive_a_kill_at_any_moment";
    let url = std::sync::LazyLock::new(cluster::fresh_url);
    steps_survive(TEST, &|| url.clone());
}

fn steps_survive(test: &str, address: &dyn Fn() -> String) {
    if let Some(address) = env::var_os(DIRECTORY) {
        return step_until_killed(address.to_str().unwrap());
    }
    let address = address();
    let mut acknowledged = 0;
    for further in KILLS {
        acknowledged = kill_after(test, address.as_ref(), acknowledged + further);
        check_steps(&address, acknowledged);
    }
}

fn open(address: &str) -> std::sync::Arc<dyn Store> {
    let address = Address::parse(Some(address), Path::new("nowhere")).unwrap();
    address.open(Options::default()).unwrap()
}

/// The executions that take steps, all of them in each commit.
fn ids() -> Vec<model::ExecutionId> {
    (0..STEPPING).map(executions::id).collect()
}

/// What step `revision` of an execution brings.
fn content(revision: u64) -> Vec<u8> {
    revision.to_be_bytes().repeat(1_000)
}

fn step_until_killed(address: &str) {
    let store = open(address);
    let leases = take_all(&*store);
    let known = store.load_executions(&ids()).unwrap();
    let written = known.first().map_or(0, |execution| execution.revision.0);
    let mut out = std::io::stdout().lock();
    for revision in written.. {
        let next = revision + 1;
        let blob = content(next);
        let hash = BlobHash::of(&blob);
        let step = |(number, id): (u64, &model::ExecutionId)| ExecutionCommit {
            history: vec![HistoryRow {
                seq: next,
                at: at(next),
                bytes: vec![1; 50],
                blobs: Vec::new(),
            }],
            outbox_put: vec![(OpId(next), vec![2; 30])],
            outbox_done: vec![OpId(revision)],
            records: vec![record(next * STEPPING + number, "acme")],
            blobs: vec![(hash, blob.clone())],
            ..put(*id, revision, ExecutionRow { blobs: vec![hash], ..row("acme") })
        };
        let items: Vec<_> = (0..).zip(&ids()).map(step).collect();
        let done = store.commit_executions(&leases, &items).unwrap();
        let applied = |done: &Committed| *done == Committed::Applied(Revision(next));
        assert!(done.iter().all(applied), "{done:?}");
        writeln!(out, "\n{ACKNOWLEDGED}{next}").unwrap();
        out.flush().unwrap();
    }
}

fn check_steps(address: &str, acknowledged: u64) {
    let store = open(address);
    // Waits for the end of a commit that the server still has in hand.
    take_all(&*store);
    store.check().unwrap();
    let found = store.load_executions(&ids()).unwrap();
    assert_eq!(found.len(), ids().len());
    let revision = found[0].revision.0;
    assert!((acknowledged..=acknowledged + 1).contains(&revision), "{revision}, {acknowledged}");
    let effects = store.outbox(3, None, 100).unwrap();
    let effects: Vec<_> = effects.iter().map(|effect| (effect.id, effect.op.0)).collect();
    assert_eq!(effects, ids().iter().map(|id| (*id, revision)).collect::<Vec<_>>());
    for execution in &found {
        assert_eq!(execution.revision.0, revision, "a commit was applied by half");
        let query = HistoryQuery { order: HistoryOrder::From(0), limit: limits::PAGE_MAX };
        let history = store.history(execution.id, &query).unwrap();
        let numbers: Vec<_> = history.iter().map(|row| row.seq).collect();
        assert_eq!(numbers, (1..=revision).collect::<Vec<_>>());
        assert_eq!(store.get_blob(execution.row.blobs[0]).unwrap(), content(revision));
    }
    let day = Day::of(at(0));
    let bill = BillQuery { tenant: None, first: day, last: day, by: Grouping::default() };
    let counted = store.bill(&bill).unwrap()[0].usage.invocations;
    assert_eq!(counted, revision * STEPPING, "each receipt once");
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
fn kill_after(test: &str, store: &std::ffi::OsStr, count: u64) -> u64 {
    let mut child = KilledAtLast(
        Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(DIRECTORY, store)
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
