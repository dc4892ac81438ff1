//! Measures commits of steps of executions, beside what the disk takes for one `fdatasync`.
//!
//! `cargo run --release -p fermata-store --example store_bench -- [STEPS] [ADDRESS]`
//!
//! A step here is what an orchestration that calls one function after the other writes: a row with
//! half a kilobyte of state and its next timer, two records of history, one effect that is done and
//! one that is to happen, and the receipt of a call.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::suspend::OpId;
use model::{
    Amount, ByteSeconds, CpuTime, ExecutionId, InvocationId, Kind, Timestamp, Version, limits,
};
use store::{
    Address, BlobHash, Charge, Claim, Committed, ExecutionCommit, ExecutionRow, ExecutionStatus,
    HistoryRow, InvocationRecord, Lease, Mode, Options, RecordOutcome, Revision, RowChange, Store,
};

/// Executions that take steps in turn.
const EXECUTIONS: usize = 1_000;

/// Times of one run, in order.
#[derive(Debug)]
pub struct Times(Vec<Duration>);

/// What was measured.
#[derive(Debug)]
pub struct Figures {
    /// Of one `fdatasync` after four kilobytes.
    pub fdatasync: Times,
    /// Of one commit of one step.
    pub step: Times,
    /// Steps a second where each commit has that many.
    pub rates: Vec<(u64, f64)>,
    /// Bytes this process wrote for one step, alone and with 63 others. Not those of a server.
    pub bytes_by_step: [u64; 2],
    /// Of one commit that carries a memory image of a megabyte, and of reading it again.
    pub image: [Times; 2],
}

impl Times {
    fn of(count: u64, mut run: impl FnMut(u64)) -> Self {
        let time = |number| {
            let begun = Instant::now();
            run(number);
            begun.elapsed()
        };
        let mut times: Vec<_> = (0..count).map(time).collect();
        times.sort_unstable();
        Self(times)
    }

    /// The time that `thousandths` of all are within.
    #[must_use]
    pub fn quantile(&self, thousandths: usize) -> Duration {
        self.0[(self.0.len() - 1) * thousandths / 1_000]
    }
}

/// Measures `steps` steps in a new store: SQLite's in a directory of its own, or the one at
/// `address`, which must be empty.
///
/// # Panics
/// Where the store fails.
#[must_use]
pub fn measure(steps: u64, address: Option<&str>) -> Figures {
    let directory = tempfile::tempdir().expect("a directory");
    let fdatasync = time_fdatasync(directory.path(), steps);
    let address = Address::parse(address, directory.path()).expect("an address");
    let store = address.open(Options::default()).expect("open the store");
    let mut run = Run::new(store);
    let mut alone = 0;
    let step = {
        let before = written_bytes();
        let times = Times::of(steps, |_| run.commit(1));
        alone += (written_bytes() - before) / steps.max(1);
        times
    };
    let mut rates = Vec::new();
    let mut together = 0;
    for concurrency in [8, 64, 256] {
        let (begun, before) = (Instant::now(), written_bytes());
        let commits = (steps * 4 / concurrency).max(1);
        (0..commits).for_each(|_| run.commit(concurrency));
        let committed = u32::try_from(commits * concurrency).expect("a run fits in 32 bits");
        rates.push((concurrency, f64::from(committed) / begun.elapsed().as_secs_f64()));
        if concurrency == 64 {
            together = (written_bytes() - before) / u64::from(committed);
        }
    }
    let images = (steps / 10).clamp(3, 100);
    let mut hashes = Vec::new();
    let suspend = Times::of(images, |number| hashes.push(run.suspend(number)));
    let resume = Times::of(images, |number| {
        let index = usize::try_from(number).expect("a run fits");
        drop(run.store.get_blob(hashes[index]).expect("the image"));
    });
    Figures { fdatasync, step, rates, bytes_by_step: [alone, together], image: [suspend, resume] }
}

fn time_fdatasync(directory: &Path, count: u64) -> Times {
    let mut file = File::create(directory.join("floor")).expect("a file");
    Times::of(count, |_| {
        file.write_all(&[7; 4_096]).expect("write");
        file.sync_data().expect("synchronize");
    })
}

/// Bytes that this process had written to disks.
fn written_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

struct Run {
    store: Arc<dyn Store>,
    leases: Vec<Lease>,
    /// Revisions of the executions, by their number.
    revisions: Vec<u64>,
    /// The execution whose turn is next.
    next: usize,
    records: u64,
}

impl Run {
    fn new(store: Arc<dyn Store>) -> Self {
        let claim = Claim {
            node: "bench".parse().expect("a name"),
            address: String::new(),
            now: Timestamp::from_millis(1_790_000_000_000),
            ttl: Duration::from_secs(3_600),
        };
        let partitions: Vec<u32> = (0..limits::PARTITIONS).collect();
        let leases = store.acquire_leases(&claim, &partitions).expect("leases");
        let mut run = Self { store, leases, revisions: vec![0; EXECUTIONS], next: 0, records: 0 };
        // What is measured are steps of executions that are there.
        run.commit(EXECUTIONS as u64);
        run
    }

    /// Commits the next step of that many executions, one after the other in turn.
    fn commit(&mut self, count: u64) {
        let items: Vec<_> = (0..count).map(|_| self.step()).collect();
        self.write(&items);
    }

    fn write(&self, items: &[ExecutionCommit]) {
        let done = self.store.commit_executions(&self.leases, items).expect("commit");
        assert!(done.iter().all(|done| matches!(done, Committed::Applied(_))), "{done:?}");
    }

    fn step(&mut self) -> ExecutionCommit {
        let number = self.next;
        self.next = (number + 1) % self.revisions.len();
        let revision = self.revisions[number];
        self.revisions[number] += 1;
        self.records += 1;
        let at = Timestamp::from_millis(1_790_000_000_000 + self.records);
        let id = ExecutionId::from_parts(1_790_000_000_000, number as u128 * 7_919);
        let history = |seq| HistoryRow { seq, at, bytes: vec![3; 90], blobs: Vec::new() };
        ExecutionCommit {
            row: RowChange::Put(Box::new(row(at, revision))),
            history: vec![history(2 * revision), history(2 * revision + 1)],
            outbox_put: vec![(OpId(revision + 1), vec![4; 120])],
            outbox_done: vec![OpId(revision)],
            records: vec![record(at, self.records)],
            ..ExecutionCommit::new(id, Revision(revision))
        }
    }

    /// Commits a step that carries a megabyte of a program's memory.
    fn suspend(&mut self, number: u64) -> BlobHash {
        let words = (0..1_u64 << 17).map(|word| (word * 2_654_435_761 + number) % 1_000);
        let image: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        let hash = BlobHash::of(&image);
        let mut item = self.step();
        if let RowChange::Put(row) = &mut item.row {
            row.blobs = vec![hash];
        }
        item.blobs = vec![(hash, image)];
        self.write(&[item]);
        hash
    }
}

fn row(at: Timestamp, revision: u64) -> ExecutionRow {
    ExecutionRow {
        tenant: "acme".parse().expect("a name"),
        name: None,
        function: "order".parse().expect("a name"),
        kind: Kind::StateMachine,
        class: "standard".into(),
        max_class: "critical".into(),
        parent: None,
        created: at,
        version: Version(1),
        status: ExecutionStatus::Suspended,
        updated: at,
        finished: None,
        wake: Some(at + Duration::from_secs(60)),
        waits: "call of charge".into(),
        custom_status: None,
        cost: Amount(revision),
        state_bytes: 512,
        blobs: Vec::new(),
        state: vec![5; 512],
    }
}

fn record(at: Timestamp, number: u64) -> InvocationRecord {
    InvocationRecord {
        id: InvocationId::from_parts(at.as_millis(), number.into()),
        attempt: 1,
        tenant: "acme".parse().expect("a name"),
        function: "charge".parse().expect("a name"),
        version: Version(3),
        class: "standard".into(),
        caller: None,
        mode: Mode::Sync,
        arrived: at,
        started: Some(at),
        finished: at,
        outcome: RecordOutcome::Ok { bytes: 64 },
        charge: Charge {
            cpu: CpuTime(1_000_000),
            memory: ByteSeconds(1 << 20),
            cpu_cost: Amount(1_000),
            memory_cost: Amount(50),
        },
        trace: "placed ".repeat(24),
        logs: Vec::new(),
        logs_dropped_bytes: 0,
        cold: false,
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn main() {
    let mut arguments = std::env::args().skip(1);
    let steps = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let figures = measure(steps, arguments.next().as_deref());
    let show = |name: &str, times: &Times| {
        let (half, most) = (times.quantile(500), times.quantile(990));
        println!("{name:<22} p50 {half:>10.1?}   p99 {most:>10.1?}");
    };
    show("fdatasync of 4 KiB", &figures.fdatasync);
    show("a step", &figures.step);
    for (concurrency, rate) in &figures.rates {
        println!("steps/s, {concurrency:>3} a commit {rate:>10.0}");
    }
    let [alone, together] = figures.bytes_by_step;
    println!("bytes by step          {alone} alone, {together} with 63 others");
    show("suspend 1 MiB", &figures.image[0]);
    show("resume 1 MiB", &figures.image[1]);
}
