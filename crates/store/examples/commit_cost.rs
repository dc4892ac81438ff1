//! Measures what a finished invocation costs in an SQLite store: time of a commit by record.
//!
//! `cargo run --release -p fermata-store --example commit_cost -- [BATCHES] [RECORDS]`

use std::time::{Duration, Instant};

use model::{Amount, ByteSeconds, CpuTime, InvocationId, Timestamp, Version};
use store::{
    Batch, Charge, FailureNote, InvocationQuery, InvocationRecord, Mode, Options, RecordOutcome,
    SqliteStore, Store,
};

/// Times of one run.
pub struct Figures {
    /// Mean time of a commit by record, the synchronization with the disk included.
    pub by_record: Duration,
    /// Time of the slowest commit.
    pub slowest_commit: Duration,
    /// Time of listing the last calls of a function that was called once, long ago.
    pub rare_function: Duration,
}

/// Commits `batches` of `records` each to a new store, of which retention keeps the last half.
///
/// # Panics
/// Where the store fails.
pub fn measure(batches: u64, records: u64) -> Figures {
    let directory = tempfile::tempdir().expect("create a directory");
    let options = Options { keep_invocations: batches * records / 2 };
    let store = SqliteStore::open(directory.path(), options).expect("open a store");
    let (mut total, mut slowest_commit) = (Duration::ZERO, Duration::ZERO);
    for batch in 0..batches {
        let numbers = batch * records..(batch + 1) * records;
        let batch = Batch { records: numbers.map(record).collect(), queue: Vec::new() };
        let begun = Instant::now();
        store.commit(&batch).expect("commit");
        let took = begun.elapsed();
        total += took;
        slowest_commit = slowest_commit.max(took);
    }
    let begun = Instant::now();
    let query = InvocationQuery {
        function: Some("rare".parse().expect("a name")),
        limit: 20,
        ..InvocationQuery::default()
    };
    let found = store.invocations(&"acme".parse().expect("a name"), &query).expect("list");
    assert!(found.is_empty(), "no such function was called");
    let measured = u32::try_from(batches * records).expect("a run fits in 32 bits");
    Figures { by_record: total / measured, slowest_commit, rare_function: begun.elapsed() }
}

/// A record as the shell writes it: twelve functions, two hundred bytes of trace, a line of log.
fn record(number: u64) -> InvocationRecord {
    let arrived = Timestamp::from_millis(1_790_000_000_000 + number);
    let random = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let failure =
        || FailureNote { kind: model::FailureKind::Handler, message: "out of stock".into() };
    InvocationRecord {
        id: InvocationId::from_parts(arrived.as_millis(), random),
        attempt: 1,
        tenant: "acme".parse().expect("a name"),
        function: format!("function-{}", number % 12).parse().expect("a name"),
        version: Version(3),
        class: if number.is_multiple_of(3) { "critical" } else { "background" }.into(),
        caller: None,
        mode: Mode::Sync,
        arrived,
        started: Some(arrived),
        finished: arrived,
        outcome: if number.is_multiple_of(50) {
            RecordOutcome::Failed(failure())
        } else {
            RecordOutcome::Ok { bytes: 512 }
        },
        charge: Charge {
            cpu: CpuTime(1_000_000),
            memory: ByteSeconds(1 << 20),
            cpu_cost: Amount(1_000),
            memory_cost: Amount(50),
        },
        trace: format!("{{\"queued_ns\":{number},\"steps\":\"{}\"}}", "placed ".repeat(24)),
        logs: b"2026-11-23T03:46:09Z one line of log\n".to_vec(),
        logs_dropped_bytes: 0,
        cold: false,
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse().ok());
    let batches = arguments.next().unwrap_or(200);
    let records = arguments.next().unwrap_or(500);
    let figures = measure(batches, records);
    println!("commits          {batches} of {records} records");
    println!("by record        {:?}", figures.by_record);
    println!("slowest commit   {:?}", figures.slowest_commit);
    println!("rare function    {:?}", figures.rare_function);
}
