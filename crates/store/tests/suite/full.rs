//! A PostgreSQL server whose disk is full in the middle of a commit: the disk is a small one in memory
//! that the test mounts, which takes root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::ExecutionId;
use store::{
    BlobHash, Committed, Error, ExecutionCommit, ExecutionRow, Lease, Options, PostgresStore,
    Revision, Store,
};
use tempfile::TempDir;

use crate::cluster::{self, Owner};
use crate::executions::{put, row, take_all};

/// A disk of its own, unmounted when it is dropped.
struct Disk(TempDir);

impl Disk {
    #[expect(clippy::print_stdout, reason = "a test that was not made says so")]
    /// None, with a word why, where nothing can be mounted.
    fn mount(mib: u32, owner: Option<Owner>) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut options = format!("size={mib}m,mode=700");
        if let Some((user, group)) = owner {
            options += &format!(",uid={user},gid={group}");
        }
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &options, "fermata"]).arg(folder.path());
        match mounted.output() {
            Ok(output) if output.status.success() => Some(Self(folder)),
            other => {
                println!("not tested, since no disk can be mounted here: {other:?}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives it room.
    fn grow(&self, mib: u32) {
        let options = format!("remount,size={mib}m");
        let grown = Command::new("mount").args(["-o", &options]).arg(self.path()).status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(self.path()).status());
    }
}

#[test]
fn steps_for_whose_tables_postgres_has_no_room_fail_together_and_can_be_repeated() {
    let Some(disk) = Disk::mount(32, cluster::owner()) else { return };
    let name = format!("full_{}", std::process::id());
    let url = cluster::url("full");
    let run = |statement: &str| psql(&url, statement);
    run(&format!("CREATE TABLESPACE {name} LOCATION '{}'", disk.path().display()));
    run(&format!("CREATE DATABASE {name} TABLESPACE {name}"));
    {
        let url = url.replace("/postgres?", &format!("/{name}?"));
        let store = PostgresStore::connect(&url, Options::default()).unwrap();
        let leases = take_all(&store);
        let (written, error) = fill(&store, &leases);
        assert!(matches!(error, Error::Full), "{error}");
        // Not before: even to read, PostgreSQL may have to make room in its memory by writing.
        disk.grow(128);
        check(&store, written);
        go_on(&store, &leases, written);
    }
    run(&format!("DROP DATABASE {name} WITH (FORCE)"));
    run(&format!("DROP TABLESPACE {name}"));
}

#[test]
fn steps_for_whose_log_postgres_has_no_room_are_there_whole_or_not_at_all() {
    // PostgreSQL gives up all that it does where its log is full, and cannot even start again.
    let owner = cluster::owner();
    let Some(disk) = Disk::mount(6, owner) else { return };
    let server = Server::start(&disk, owner);
    let store = PostgresStore::connect(&server.url(), Options::default()).unwrap();
    let leases = take_all(&store);
    let (written, error) = fill(&store, &leases);
    assert!(error.is_transient(), "{error}");
    disk.grow(128);
    server.start_again();
    check(&store, written);
    go_on(&store, &leases, written);
}

fn psql(url: &str, statement: &str) {
    let (address, _) = url.split_once('?').unwrap();
    let done = cluster::program("psql").args([address, "-c", statement]).output().unwrap();
    assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Commits steps in pairs until there is no room; the number of executions that were written, and why
/// the next two were not.
fn fill(store: &PostgresStore, leases: &[Lease]) -> (usize, Error) {
    for pair in 0..200 {
        match store.commit_executions(leases, &steps(2 * pair)) {
            Ok(done) => assert_eq!(done, [Committed::Applied(Revision(1)); 2]),
            Err(error) => {
                assert!(error.is_transient(), "it can be repeated: {error}");
                return (2 * pair, error);
            }
        }
    }
    panic!("there is room for everything");
}

/// All that was acknowledged is there, and nothing of what was not.
fn check(store: &PostgresStore, written: usize) {
    let ids: Vec<ExecutionId> = (0..written + 2).map(id).collect();
    let found = store.load_executions(&ids).unwrap();
    assert_eq!(found.len(), written);
    for found in &found {
        let number = ids.iter().position(|id| *id == found.id).unwrap();
        assert!(found.row.state == state(number), "the state of {number}");
    }
    store.check().unwrap();
}

/// The steps that failed can be repeated now.
fn go_on(store: &PostgresStore, leases: &[Lease], written: usize) {
    let done = store.commit_executions(leases, &steps(written)).unwrap();
    assert_eq!(done, [Committed::Applied(Revision(1)); 2]);
    check(store, written + 2);
}

fn steps(first: usize) -> [ExecutionCommit; 2] {
    [first, first + 1].map(|number| {
        let row = ExecutionRow { state: state(number), ..row("acme") };
        put(id(number), 0, row)
    })
}

fn id(number: usize) -> ExecutionId {
    crate::executions::id(u64::try_from(16 * number).unwrap())
}

/// A little, then much that does not compress.
fn state(number: usize) -> Vec<u8> {
    let blocks = if number.is_multiple_of(2) { 1 } else { 128 << 10 };
    let block = |at: u32| BlobHash::of(&[&at.to_le_bytes()[..], &number.to_le_bytes()].concat()).0;
    (0..blocks).flat_map(block).collect()
}

/// A server whose log lies on that disk.
struct Server<'a> {
    folder: TempDir,
    owner: Option<Owner>,
    _disk: &'a Disk,
}

impl<'a> Server<'a> {
    fn start(disk: &'a Disk, owner: Option<Owner>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let server = Self { folder, owner, _disk: disk };
        let log = format!("--waldir={}", disk.path().join("log").display());
        let options = ["--wal-segsize=1", "--no-sync", "-U", "fermata", "-A", "trust", "-D"];
        let mut initialize = cluster::program("initdb");
        initialize.args(["-E", "UTF8", "--locale=C", &log]).args(options).arg(server.data());
        cluster::run(&mut initialize, owner, &server.log());
        server.start_again();
        server
    }

    fn start_again(&self) {
        let socket = self.folder.path().display();
        let settings = format!(
            "-c listen_addresses= -c unix_socket_directories={socket} -c shared_buffers=16MB \
             -c min_wal_size=2MB -c max_wal_size=2MB"
        );
        let mut start = cluster::program("pg_ctl");
        start
            .args(["-w", "-t", "60", "-m", "immediate", "-o", &settings, "-D"])
            .arg(self.data())
            .arg("-l");
        start.arg(self.folder.path().join("server-log")).arg("restart");
        cluster::run(&mut start, self.owner, &self.log());
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn url(&self) -> String {
        let host = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://fermata@{host}/postgres")
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let mut stop = cluster::program("pg_ctl");
        stop.args(["-m", "immediate", "-w", "stop", "-D"]).arg(self.data()).current_dir("/");
        drop(cluster::as_owner(&mut stop, self.owner).output());
        drop(fs::remove_dir_all(self.data()));
    }
}
