//! The faults of the store in memory.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use store::memory::Fault;
use store::{Batch, Change, Error, MemoryStore, Options, QueueChange, Store};

use crate::given::{at, call, record, tenant, two_tenants};

fn batch(number: u64) -> Batch {
    Batch {
        records: vec![record(number, "acme")],
        queue: vec![QueueChange::Enqueue(call(number, "acme"))],
    }
}

fn queued(store: &MemoryStore) -> usize {
    store.due(at(1_000), &[].into(), 100).unwrap().calls.len()
}

#[test]
fn the_nth_write_fails_whole_and_can_be_repeated() {
    let store = MemoryStore::new(Options::default());
    store.faults().fail_nth_write(2, Fault::Transient);
    store.commit(&batch(1)).unwrap();
    let error = store.commit(&batch(2)).unwrap_err();
    assert!(matches!(error, Error::Transient { .. }) && error.is_transient(), "{error}");
    assert_eq!(queued(&store), 1);
    store.commit(&batch(2)).unwrap();
    assert_eq!(queued(&store), 2);
}

#[test]
fn a_write_whose_acknowledgment_is_lost_happened_and_can_be_repeated() {
    let store = MemoryStore::new(Options::default());
    store.faults().fail_nth_write(1, Fault::Unacknowledged);
    store.commit(&batch(1)).unwrap_err();
    assert_eq!(queued(&store), 1);
    store.commit(&batch(1)).unwrap();
    assert_eq!(queued(&store), 1);
}

#[test]
fn every_write_fails_while_the_disk_is_full_and_reads_go_on() {
    let store = MemoryStore::new(Options::default());
    two_tenants(&store);
    store.faults().fill_disk();
    let error = store.commit(&batch(1)).unwrap_err();
    assert!(matches!(error, Error::Full) && error.is_transient(), "{error}");
    store.apply(&Change::CreateTenant(tenant("late"))).unwrap_err();
    assert_eq!(store.tenants().unwrap().len(), 2);
    assert_eq!(queued(&store), 0);
    store.faults().free_disk();
    store.faults().fail_nth_write(1, Fault::Full);
    assert!(matches!(store.commit(&batch(1)).unwrap_err(), Error::Full));
    store.commit(&batch(1)).unwrap();
    assert_eq!(queued(&store), 1);
}

#[test]
fn a_held_write_waits_and_reads_go_on() {
    let store = MemoryStore::new(Options::default());
    let (done, is_done) = mpsc::channel();
    thread::scope(|scope| {
        let hold = store.faults().hold_writes();
        scope.spawn(|| {
            store.commit(&batch(1)).unwrap();
            done.send(()).unwrap();
        });
        let early = is_done.recv_timeout(Duration::from_millis(20));
        assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));
        assert_eq!(queued(&store), 0);
        drop(hold);
        is_done.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(queued(&store), 1);
    });
}

#[test]
fn a_slow_write_takes_that_long() {
    let store = MemoryStore::new(Options::default());
    let delay = Duration::from_millis(5);
    store.faults().slow_writes(delay);
    let begun = std::time::Instant::now();
    store.commit(&batch(1)).unwrap();
    assert!(begun.elapsed() >= delay);
    assert_eq!(queued(&store), 1);
}
