//! Executions: steps, refusals, names, history, timers and outbox.

use std::time::Duration;

use model::suspend::OpId;
use model::{Amount, ExecutionId, Kind, Timestamp, Version, limits};
use store::{
    BillQuery, BlobHash, Claim, Committed, Day, Error, ExecutionCommit, ExecutionQuery,
    ExecutionRow, ExecutionStatus, Grouping, HistoryOrder, HistoryQuery, HistoryRow, Lease,
    OpenExecution, Options, OutboxItem, Revision, RowChange, Store, Swept, TimersDue,
};

use crate::Opener;
use crate::given::{at, function_name, id as invocation_id, record, tenant_name};

/// An execution of partition 3.
pub(crate) fn id(number: u64) -> ExecutionId {
    ExecutionId::from_parts(1_790_000_000_000 + number, 3)
}

pub(crate) fn row(tenant: &str) -> ExecutionRow {
    ExecutionRow {
        tenant: tenant_name(tenant),
        name: None,
        function: function_name("order"),
        kind: Kind::StateMachine,
        class: "standard".into(),
        max_class: "critical".into(),
        parent: Some((id(1_000), OpId(7))),
        created: at(1),
        version: Version(3),
        status: ExecutionStatus::Suspended,
        updated: at(2),
        finished: None,
        wake: Some(at(100)),
        waits: "signal approved since 12:00".into(),
        custom_status: Some(vec![0, 255]),
        cost: Amount(u64::MAX),
        state_bytes: u64::MAX,
        blobs: Vec::new(),
        state: vec![255, 0, 1],
    }
}

pub(crate) fn named(tenant: &str, name: &str) -> ExecutionRow {
    ExecutionRow { name: Some(name.into()), ..row(tenant) }
}

pub(crate) fn claim(node: &str) -> Claim {
    Claim {
        node: node.parse().unwrap(),
        address: format!("http://{node}:4566"),
        now: at(0),
        ttl: Duration::from_secs(10),
    }
}

/// Takes every partition.
pub(crate) fn take_all(store: &dyn Store) -> Vec<Lease> {
    let all: Vec<u32> = (0..limits::PARTITIONS).collect();
    let leases = store.acquire_leases(&claim("here"), &all).unwrap();
    assert_eq!(leases.len(), all.len());
    leases
}

pub(crate) fn put(id: ExecutionId, expected: u64, row: ExecutionRow) -> ExecutionCommit {
    ExecutionCommit {
        row: RowChange::Put(Box::new(row)),
        ..ExecutionCommit::new(id, Revision(expected))
    }
}

fn change(id: ExecutionId, expected: u64, row: RowChange) -> ExecutionCommit {
    ExecutionCommit { row, ..ExecutionCommit::new(id, Revision(expected)) }
}

fn event(seq: u64) -> HistoryRow {
    HistoryRow { seq, at: at(seq), bytes: vec![0, 255, 3], blobs: Vec::new() }
}

const APPLIED: fn(u64) -> Committed = |revision| Committed::Applied(Revision(revision));

/// Commits one item and tells what became of it.
#[track_caller]
fn commit(store: &dyn Store, leases: &[Lease], item: ExecutionCommit) -> Committed {
    let done = store.commit_executions(leases, &[item]).unwrap();
    assert_eq!(done.len(), 1);
    done[0]
}

fn list(store: &dyn Store, tenant: &str, query: &ExecutionQuery) -> Vec<ExecutionId> {
    let found = store.executions(&tenant_name(tenant), query).unwrap();
    found.into_iter().map(|found| found.id).collect()
}

fn all() -> ExecutionQuery {
    ExecutionQuery { limit: 100, ..ExecutionQuery::default() }
}

fn outbox(store: &dyn Store) -> Vec<(ExecutionId, u64, Vec<u8>)> {
    let items = store.outbox(3, None, 100).unwrap();
    items.into_iter().map(|OutboxItem { id, op, bytes }| (id, op.0, bytes)).collect()
}

fn history(store: &dyn Store, id: ExecutionId, order: HistoryOrder, limit: usize) -> Vec<u64> {
    let rows = store.history(id, &HistoryQuery { order, limit }).unwrap();
    rows.iter().for_each(|row| assert_eq!(*row, event(row.seq)));
    rows.into_iter().map(|row| row.seq).collect()
}

pub(crate) fn an_execution_is_read_back_as_it_was_committed(open: Opener<'_>) {
    let store = open(Options::default());
    let leases = take_all(&*store);
    let bare = ExecutionRow {
        parent: None,
        finished: Some(at(9)),
        wake: None,
        custom_status: None,
        cost: Amount(0),
        state: Vec::new(),
        waits: String::new(),
        status: ExecutionStatus::Failed,
        kind: Kind::Wasm,
        ..row("acme")
    };
    let acme = tenant_name("acme");
    for (number, row) in [(1, named("acme", "näme'\"%")), (2, bare)] {
        assert_eq!(commit(&*store, &leases, put(id(number), 0, row.clone())), APPLIED(1));
        let found = store.execution(&acme, id(number)).unwrap();
        assert_eq!((found.id, found.revision, &found.row), (id(number), Revision(1), &row));
        let listed = store.executions(&acme, &all()).unwrap().remove(0);
        let short = ExecutionRow { state: Vec::new(), ..row.clone() };
        assert_eq!((listed.id, listed.revision, listed.row), (id(number), Revision(1), short));
        if let Some(name) = &row.name {
            assert_eq!(store.execution_named(&acme, name).unwrap(), found);
        }
    }
    let asked = [id(2), id(77), id(1)];
    let loaded = store.load_executions(&asked).unwrap();
    assert_eq!(loaded.iter().map(|found| found.id).collect::<Vec<_>>(), [id(2), id(1)]);
    assert_eq!(loaded[1].row.state, [255, 0, 1]);
}

pub(crate) fn a_step_changes_what_may_change(open: Opener<'_>) {
    let store = open(Options::default());
    let leases = take_all(&*store);
    let first = named("acme", "one");
    assert_eq!(commit(&*store, &leases, put(id(1), 0, first.clone())), APPLIED(1));
    let next = ExecutionRow {
        version: Version(4),
        status: ExecutionStatus::Running,
        updated: at(3),
        wake: None,
        waits: String::new(),
        custom_status: None,
        cost: Amount(5),
        state_bytes: 6,
        state: vec![7],
        ..first
    };
    // What never changes is not looked at.
    let odd = ExecutionRow {
        tenant: tenant_name("globex"),
        name: Some("two".into()),
        function: function_name("other"),
        kind: Kind::Wasm,
        class: "x".into(),
        max_class: "y".into(),
        parent: None,
        created: at(50),
        ..next.clone()
    };
    assert_eq!(commit(&*store, &leases, put(id(1), 1, odd)), APPLIED(2));
    let acme = tenant_name("acme");
    assert_eq!(store.execution(&acme, id(1)).unwrap().row, next);
    let ended =
        ExecutionRow { finished: Some(at(8)), status: ExecutionStatus::Succeeded, ..next.clone() };
    assert_eq!(commit(&*store, &leases, put(id(1), 2, ended.clone())), APPLIED(3));
    assert_eq!(store.execution(&acme, id(1)).unwrap().row, ended);
    assert_eq!(commit(&*store, &leases, put(id(1), 3, next.clone())), APPLIED(4), "a redrive");
    assert_eq!(store.execution(&acme, id(1)).unwrap().row, next);
    assert_eq!(store.open_executions(3, None, 9).unwrap().len(), 1);
}

pub(crate) fn a_step_of_another_revision_is_refused_alone(open: Opener<'_>) {
    let store = open(Options::default());
    let leases = take_all(&*store);
    let with_rest = |item: ExecutionCommit| ExecutionCommit {
        history: vec![event(1)],
        outbox_put: vec![(OpId(1), vec![1])],
        records: vec![record(9, "acme")],
        ..item
    };
    commit(&*store, &leases, put(id(1), 0, row("acme")));
    let stale = Committed::Conflict { found: Revision(1) };
    let absent = Committed::Conflict { found: Revision(0) };
    let items = [
        with_rest(put(id(1), 0, row("acme"))),
        with_rest(put(id(2), 0, row("acme"))),
        with_rest(put(id(3), 1, row("acme"))),
        with_rest(change(id(4), 1, RowChange::Keep)),
        with_rest(change(id(5), 1, RowChange::Purge)),
        with_rest(change(id(6), 0, RowChange::Keep)),
        with_rest(change(id(7), 0, RowChange::Purge)),
    ];
    let done = store.commit_executions(&leases, &items).unwrap();
    assert_eq!(done, [stale, APPLIED(1), absent, absent, absent, absent, absent]);
    for item in [
        put(id(1), 2, row("acme")),
        put(id(1), 2, ExecutionRow { finished: Some(at(3)), ..row("acme") }),
        change(id(1), 2, RowChange::Keep),
        change(id(1), 2, RowChange::Purge),
    ] {
        assert_eq!(commit(&*store, &leases, with_rest(item)), stale);
    }
    assert_eq!(outbox(&*store), [(id(2), 1, vec![1])]);
    assert_eq!(list(&*store, "acme", &all()), [id(2), id(1)]);
    assert_eq!(history(&*store, id(1), HistoryOrder::From(0), 9), []);
    let day = Day::of(at(0));
    let bill = BillQuery { tenant: None, first: day, last: day, by: Grouping::default() };
    assert_eq!(store.bill(&bill).unwrap()[0].usage.invocations, 1, "only of what applied");
}

pub(crate) fn without_the_lease_nothing_is_written(open: Opener<'_>) {
    let store = open(Options::default());
    let (first, second) = (claim("a"), Claim { now: at(10_000), ..claim("b") });
    let lease = store.acquire_leases(&first, &[3]).unwrap();
    let item = || put(id(1), 0, row("acme"));
    assert_eq!(commit(&*store, &[], item()), Committed::Fenced);
    let other = store.acquire_leases(&first, &[4]).unwrap();
    assert_eq!(commit(&*store, &other, item()), Committed::Fenced, "another partition's");
    assert_eq!(commit(&*store, &lease, item()), APPLIED(1));
    let taken = store.acquire_leases(&second, &[3]).unwrap();
    assert_eq!(commit(&*store, &lease, put(id(1), 1, row("acme"))), Committed::Fenced, "stale");
    assert_eq!(commit(&*store, &taken, put(id(1), 1, row("acme"))), APPLIED(2));
    let forged = Lease { epoch: taken[0].epoch, ..lease[0].clone() };
    assert_eq!(commit(&*store, &[forged], put(id(1), 2, row("acme"))), Committed::Fenced);
    assert_eq!(commit(&*store, &[lease, taken].concat(), put(id(1), 2, row("acme"))), APPLIED(3));
}

pub(crate) fn a_lease_is_held_until_it_runs_out_or_is_given_up(open: Opener<'_>) {
    let store = open(Options::default());
    let a = claim("a");
    let b = |now| Claim { now: at(now), ..claim("b") };
    let held = store.acquire_leases(&a, &[1, 2]).unwrap();
    assert_eq!(held.iter().map(|lease| lease.partition).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((held[0].until, &*held[0].address), (at(10_000), "http://a:4566"));
    assert_eq!(store.leases().unwrap(), held);
    assert_eq!(store.acquire_leases(&b(9_999), &[1, 2]).unwrap(), []);
    // It is held longer where it is renewed.
    let later = Claim { now: at(9_000), ..claim("a") };
    let renewed = store.renew_leases(&later, &held[..1]).unwrap();
    assert_eq!((renewed[0].epoch, renewed[0].until), (held[0].epoch, at(19_000)));
    let taken = store.acquire_leases(&b(10_000), &[1, 2]).unwrap();
    assert_eq!(taken.iter().map(|lease| lease.partition).collect::<Vec<_>>(), [2]);
    assert!(taken[0].epoch > held[1].epoch);
    assert_eq!(store.renew_leases(&later, &held).unwrap().len(), 1, "the second one is lost");
    // An earlier run of the same node does not keep a later one out.
    let again = store.acquire_leases(&later, &[1]).unwrap();
    assert!(again[0].epoch > held[0].epoch);
    assert_eq!(store.renew_leases(&later, &held).unwrap(), []);
    // What is given up can be taken at once, and cannot be written under.
    store.release_leases(&held).unwrap();
    assert_eq!(store.acquire_leases(&b(9_500), &[1]).unwrap(), [], "it was lost already");
    store.release_leases(&again).unwrap();
    let item = put(ExecutionId(1 + 16 * 9), 0, row("acme"));
    assert_eq!(commit(&*store, &again, item), Committed::Fenced);
    assert_eq!(store.acquire_leases(&b(9_500), &[1]).unwrap().len(), 1);
}

pub(crate) fn a_name_is_one_executions_until_it_is_freed(open: Opener<'_>) {
    let store = open(Options::default());
    let leases = take_all(&*store);
    let acme = tenant_name("acme");
    let one = || named("acme", "only");
    assert_eq!(commit(&*store, &leases, put(id(1), 0, one())), APPLIED(1));
    assert_eq!(commit(&*store, &leases, put(id(2), 0, one())), Committed::NameTaken(id(1)));
    assert_eq!(commit(&*store, &leases, put(id(3), 0, named("globex", "only"))), APPLIED(1));
    assert_eq!(store.execution_named(&acme, "only").unwrap().id, id(1));
    let error = store.execution_named(&acme, "none").unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "execution", .. }), "{error}");
    // Freed and taken in one commit, the new one standing first.
    let free = ExecutionCommit { free_name: true, ..put(id(1), 1, one()) };
    let done = store.commit_executions(&leases, &[put(id(2), 0, one()), free]).unwrap();
    assert_eq!(done, [APPLIED(1), APPLIED(2)]);
    assert_eq!(store.execution_named(&acme, "only").unwrap().id, id(2));
    assert_eq!(store.execution(&acme, id(1)).unwrap().row.name, None);
    // Not freed where the step that frees it is refused.
    let stale = ExecutionCommit { free_name: true, ..put(id(2), 9, one()) };
    let done = store.commit_executions(&leases, &[stale, put(id(4), 0, one())]).unwrap();
    let conflict = Committed::Conflict { found: Revision(1) };
    assert_eq!(done, [conflict, Committed::NameTaken(id(2))]);
    // Freed by the purge of its holder.
    let items = [change(id(2), 1, RowChange::Purge), put(id(4), 0, one())];
    let done = store.commit_executions(&leases, &items).unwrap();
    assert_eq!(done, [APPLIED(0), APPLIED(1)]);
    assert_eq!(store.execution_named(&acme, "only").unwrap().id, id(4));
    // Of two new ones in one commit, the first one gets it.
    let both = || named("acme", "both");
    let done = store.commit_executions(&leases, &[put(id(5), 0, both()), put(id(6), 0, both())]);
    assert_eq!(done.unwrap(), [APPLIED(1), Committed::NameTaken(id(5))]);
}

pub(crate) fn history_is_read_in_both_orders_and_forgotten(open: Opener<'_>) {
    let store = open(Options::default());
    let leases = take_all(&*store);
    let with = |item, rows: &[u64]| ExecutionCommit {
        history: rows.iter().copied().map(event).collect(),
        ..item
    };
    commit(&*store, &leases, with(put(id(1), 0, row("acme")), &[1, 2, 3]));
    commit(&*store, &leases, with(put(id(2), 0, row("acme")), &[1]));
    assert_eq!(commit(&*store, &leases, with(change(id(1), 1, RowChange::Keep), &[4])), APPLIED(1));
    let changed = HistoryRow { bytes: vec![9], ..event(4) };
    let item = ExecutionCommit { history: vec![changed, event(5)], ..put(id(1), 1, row("acme")) };
    commit(&*store, &leases, item);
    let read = |order, limit| history(&*store, id(1), order, limit);
    assert_eq!(read(HistoryOrder::From(0), 9), [1, 2, 3, 4, 5], "the first one of a number stays");
    assert_eq!(read(HistoryOrder::From(2), 2), [2, 3]);
    assert_eq!(read(HistoryOrder::Before(None), 2), [5, 4]);
    assert_eq!(read(HistoryOrder::Before(Some(4)), 9), [3, 2, 1]);
    assert_eq!(read(HistoryOrder::From(0), 0), []);
    let forget = ExecutionCommit {
        forget_history_before: Some(5),
        ..with(put(id(1), 2, row("acme")), &[6])
    };
    commit(&*store, &leases, forget);
    assert_eq!(read(HistoryOrder::From(0), 9), [5, 6]);
    assert_eq!(history(&*store, id(2), HistoryOrder::From(0), 9), [1]);
}

pub(crate) fn effects_stay_until_they_are_done(open: Opener<'_>) {
    let store = open(Options::default());
    let leases = take_all(&*store);
    let with = |item, put: &[(u64, u8)], done: &[u64]| ExecutionCommit {
        outbox_put: put.iter().map(|(op, byte)| (OpId(*op), vec![*byte])).collect(),
        outbox_done: done.iter().map(|op| OpId(*op)).collect(),
        ..item
    };
    commit(&*store, &leases, with(put(id(1), 0, row("acme")), &[(2, 0), (1, 255)], &[]));
    commit(&*store, &leases, with(put(id(2), 0, row("acme")), &[(1, 7)], &[]));
    let elsewhere = ExecutionId(id(1).0 + 1);
    commit(&*store, &leases, with(put(elsewhere, 0, row("acme")), &[(1, 9)], &[]));
    let (first, last) = ((id(1), 1, vec![255]), (id(2), 1, vec![7]));
    assert_eq!(outbox(&*store), [first, (id(1), 2, vec![0]), last.clone()]);
    let page = store.outbox(3, Some((id(1), OpId(1))), 1).unwrap();
    assert_eq!(page, [OutboxItem { id: id(1), op: OpId(2), bytes: vec![0] }]);
    assert_eq!(store.outbox(3, Some((id(2), OpId(1))), 9).unwrap(), []);
    // Done ones go before new ones come, so that a number may be used again.
    let item = with(change(id(1), 1, RowChange::Keep), &[(1, 6), (3, 3)], &[1, 2, 8]);
    assert_eq!(commit(&*store, &leases, item), APPLIED(1));
    assert_eq!(outbox(&*store), [(id(1), 1, vec![6]), (id(1), 3, vec![3]), last.clone()]);
    let item = with(change(id(1), 1, RowChange::Keep), &[(1, 5)], &[]);
    commit(&*store, &leases, item);
    assert_eq!(outbox(&*store), [(id(1), 1, vec![5]), (id(1), 3, vec![3]), last.clone()]);
    commit(&*store, &leases, change(id(1), 1, RowChange::Purge));
    assert_eq!(outbox(&*store), [last]);
}

pub(crate) fn timers_come_when_they_are_due(open: Opener<'_>) {
    let store = open(Options::default());
    let leases = take_all(&*store);
    let wakes = |wake| ExecutionRow { wake, ..row("acme") };
    let elsewhere = ExecutionId(id(9).0 + 1);
    let items = [
        put(id(1), 0, wakes(Some(at(30)))),
        put(id(2), 0, wakes(Some(at(10)))),
        put(id(3), 0, wakes(None)),
        put(id(4), 0, wakes(Some(at(20)))),
        put(elsewhere, 0, wakes(Some(at(15)))),
        // What ended is woken too, for the end of its retention.
        put(id(5), 0, ExecutionRow { finished: Some(at(5)), ..wakes(Some(at(20))) }),
    ];
    store.commit_executions(&leases, &items).unwrap();
    let due = |partitions: &[u32], until, limit| {
        store.timers_due(partitions, at(until), None, limit).unwrap()
    };
    let both = [(at(10), id(2)), (at(15), elsewhere), (at(20), id(4)), (at(20), id(5))];
    assert_eq!(due(&[3, 4], 20, 9), TimersDue { due: both.to_vec(), next: Some(at(30)) });
    assert_eq!(due(&[3, 4], 20, 2).due, both[..2]);
    assert_eq!(due(&[3], 10, 9), TimersDue { due: vec![both[0]], next: Some(at(20)) });
    assert_eq!(due(&[4], 20, 9), TimersDue { due: vec![both[1]], next: None });
    assert_eq!(due(&[], 20, 9), TimersDue::default());
    let after = |known, limit| store.timers_due(&[3, 4], at(20), Some(known), limit).unwrap().due;
    assert_eq!(after(both[0], 2), both[1..3]);
    assert_eq!(after(both[2], 9), both[3..]);
    assert_eq!(after((at(15), id(0)), 1), both[1..2]);
    commit(&*store, &leases, put(id(2), 1, wakes(Some(at(40)))));
    commit(&*store, &leases, put(id(4), 1, wakes(None)));
    commit(&*store, &leases, change(id(5), 1, RowChange::Purge));
    assert_eq!(due(&[3], 20, 9), TimersDue { due: vec![], next: Some(at(30)) });
    assert_eq!(due(&[3], 99, 9).due, [(at(30), id(1)), (at(40), id(2))]);
    let far = put(id(6), 0, wakes(Some(Timestamp(i64::MAX as u64))));
    commit(&*store, &leases, far);
    assert_eq!(due(&[3], 50, 9).next, Some(Timestamp(i64::MAX as u64)));
}

pub(crate) fn open_executions_come_in_pages(open: Opener<'_>) {
    let store = open(Options::default());
    let leases = take_all(&*store);
    let ended = ExecutionRow { finished: Some(at(5)), ..row("acme") };
    let items = [
        put(id(1), 0, row("acme")),
        put(id(2), 0, ended.clone()),
        put(id(3), 0, ExecutionRow { wake: None, ..row("globex") }),
        put(ExecutionId(id(4).0 + 1), 0, row("acme")),
        put(id(5), 0, row("acme")),
    ];
    store.commit_executions(&leases, &items).unwrap();
    let open = |id, wake| OpenExecution { id, wake, status: ExecutionStatus::Suspended };
    let first = [open(id(1), Some(at(100))), open(id(3), None)];
    assert_eq!(store.open_executions(3, None, 2).unwrap(), first);
    let rest = [open(id(5), Some(at(100)))];
    assert_eq!(store.open_executions(3, Some(id(3)), 2).unwrap(), rest);
    commit(&*store, &leases, put(id(5), 1, ended));
    assert_eq!(store.open_executions(3, Some(id(3)), 2).unwrap(), []);
    assert_eq!(store.open_executions(5, None, 2).unwrap(), []);
}

pub(crate) fn a_list_of_executions_shows_what_the_filter_lets_through(open: Opener<'_>) {
    let store = open(Options::default());
    let leases = take_all(&*store);
    let items = [
        put(id(1), 0, ExecutionRow { parent: None, ..named("acme", "order-1") }),
        put(id(2), 0, ExecutionRow { created: at(20), ..named("acme", "order%2") }),
        put(
            id(3),
            0,
            ExecutionRow {
                finished: Some(at(5)),
                status: ExecutionStatus::Failed,
                function: function_name("ship"),
                ..row("acme")
            },
        ),
        put(id(4), 0, ExecutionRow { version: Version(8), ..row("acme") }),
        put(id(5), 0, row("globex")),
    ];
    store.commit_executions(&leases, &items).unwrap();
    let check = |query: ExecutionQuery, expected: &[u64]| {
        let expected: Vec<_> = expected.iter().copied().map(id).collect();
        assert_eq!(list(&*store, "acme", &query), expected, "{query:?}");
    };
    check(all(), &[4, 3, 2, 1]);
    check(ExecutionQuery { limit: 2, ..all() }, &[4, 3]);
    check(ExecutionQuery { before: Some(id(3)), ..all() }, &[2, 1]);
    check(ExecutionQuery { open: true, ..all() }, &[4, 2, 1]);
    check(ExecutionQuery { status: Some(ExecutionStatus::Failed), ..all() }, &[3]);
    check(ExecutionQuery { function: Some(function_name("ship")), ..all() }, &[3]);
    check(ExecutionQuery { version: Some(Version(8)), ..all() }, &[4]);
    check(ExecutionQuery { name_prefix: Some("order".into()), ..all() }, &[2, 1]);
    check(ExecutionQuery { name_prefix: Some("order%".into()), ..all() }, &[2]);
    check(ExecutionQuery { name_prefix: Some(String::new()), ..all() }, &[2, 1]);
    check(ExecutionQuery { parent: Some(id(1_000)), ..all() }, &[4, 3, 2]);
    let parent = ExecutionQuery { parent: Some(id(1_000)), open: true, ..all() };
    check(parent, &[4, 2]);
    check(ExecutionQuery { parent: Some(id(1)), ..all() }, &[]);
    check(ExecutionQuery { since: Some(at(2)), ..all() }, &[2]);
    check(ExecutionQuery { until: Some(at(20)), ..all() }, &[4, 3, 1]);
    assert_eq!(list(&*store, "globex", &all()), [id(5)]);
    assert!(store.execution(&tenant_name("globex"), id(1)).is_err(), "another tenant's");
    let many = (0..limits::PAGE_MAX as u64 + 1).map(|n| put(id(10 + n), 0, row("many")));
    store.commit_executions(&leases, &many.collect::<Vec<_>>()).unwrap();
    let query = ExecutionQuery { limit: usize::MAX, ..all() };
    assert_eq!(list(&*store, "many", &query).len(), limits::PAGE_MAX);
    assert_eq!(store.open_executions(3, None, usize::MAX).unwrap().len(), limits::PAGE_MAX);
    // More of the same time than a page holds.
    let first = store.timers_due(&[3], at(500), None, usize::MAX).unwrap().due;
    assert_eq!(first.len(), limits::PAGE_MAX);
    let rest = store.timers_due(&[3], at(500), first.last().copied(), usize::MAX).unwrap().due;
    assert!(rest.len() < 10 && rest.iter().all(|timer| Some(timer) > first.last()), "{rest:?}");
    assert_eq!(rest.last(), Some(&(at(100), id(10 + limits::PAGE_MAX as u64))));
    assert_eq!(store.timers_due(&[3], at(500), rest.last().copied(), 1).unwrap().due, []);
}

pub(crate) fn a_purged_execution_leaves_nothing_but_its_receipts(open: Opener<'_>) {
    let store = open(Options::default());
    let leases = take_all(&*store);
    let whole = ExecutionCommit {
        history: vec![event(1)],
        outbox_put: vec![(OpId(1), vec![1])],
        records: vec![record(1, "acme")],
        ..put(id(1), 0, named("acme", "gone"))
    };
    commit(&*store, &leases, whole);
    let purge = ExecutionCommit {
        history: vec![event(2)],
        outbox_put: vec![(OpId(2), vec![1])],
        records: vec![record(2, "acme"), record(1, "acme")],
        ..change(id(1), 1, RowChange::Purge)
    };
    assert_eq!(commit(&*store, &leases, purge), APPLIED(0));
    let acme = tenant_name("acme");
    assert!(matches!(store.execution(&acme, id(1)).unwrap_err(), Error::NotFound { .. }));
    assert!(store.execution_named(&acme, "gone").is_err());
    assert_eq!(history(&*store, id(1), HistoryOrder::From(0), 9), []);
    assert_eq!(outbox(&*store), []);
    assert_eq!(store.timers_due(&[3], at(500), None, 9).unwrap(), TimersDue::default());
    assert_eq!(store.open_executions(3, None, 9).unwrap(), []);
    for number in [1, 2] {
        let kept = store.invocation(&acme, invocation_id(number)).unwrap();
        assert_eq!(kept, [record(number, "acme")]);
    }
    assert_eq!(
        commit(&*store, &leases, put(id(1), 0, row("acme"))),
        APPLIED(1),
        "it may come again"
    );
}

pub(crate) fn blobs_stay_as_long_as_an_execution_refers_to_them(open: Opener<'_>) {
    let store = open(Options::default());
    let leases = take_all(&*store);
    let contents: [Vec<u8>; 5] =
        [b"state".to_vec(), b"event".to_vec(), vec![7; 300_000], b"before".to_vec(), vec![]];
    let hashes = contents.each_ref().map(|bytes| BlobHash::of(bytes));
    let [state, event_blob, large, before, empty] = hashes;
    let brought = |indexes: &[usize]| {
        indexes.iter().map(|index| (hashes[*index], contents[*index].clone())).collect()
    };
    let refers = |blobs: &[BlobHash]| ExecutionRow { blobs: blobs.to_vec(), ..row("acme") };
    let missing = put(id(1), 0, refers(&[state, before]));
    let missing = ExecutionCommit { blobs: brought(&[0]), ..missing };
    assert_eq!(commit(&*store, &leases, missing), Committed::BlobMissing(before));
    assert!(store.get_blob(state).is_err(), "what came with a refused step is not kept");
    store.put_blob(before, &contents[3]).unwrap();
    let row_of_history = HistoryRow { blobs: vec![event_blob], ..event(1) };
    let item = ExecutionCommit {
        blobs: brought(&[0, 1, 2, 4]),
        history: vec![row_of_history.clone()],
        ..put(id(1), 0, refers(&[state, before, large, empty]))
    };
    assert_eq!(commit(&*store, &leases, item), APPLIED(1));
    let found = store.execution(&tenant_name("acme"), id(1)).unwrap();
    assert_eq!(found.row.blobs, [state, before, large, empty]);
    let query = HistoryQuery { order: HistoryOrder::From(0), limit: 9 };
    assert_eq!(store.history(id(1), &query).unwrap(), [row_of_history]);
    assert_eq!(store.sweep_blobs().unwrap(), Swept::default());
    for (hash, bytes) in hashes.iter().zip(&contents) {
        assert_eq!(store.get_blob(*hash).unwrap(), *bytes);
    }
    store.check().unwrap();
    // The same content from another execution is kept once, and stays for it.
    let second = ExecutionCommit { blobs: brought(&[2]), ..put(id(2), 0, refers(&[large])) };
    assert_eq!(commit(&*store, &leases, second), APPLIED(1));
    assert_eq!(commit(&*store, &leases, put(id(1), 1, refers(&[state]))), APPLIED(2));
    assert_eq!(store.sweep_blobs().unwrap(), Swept { blobs: 2, bytes: 6 });
    assert!(matches!(store.get_blob(before).unwrap_err(), Error::NotFound { .. }));
    assert_eq!(store.get_blob(large).unwrap(), contents[2]);
    for (number, revision) in [(1, 2), (2, 1)] {
        commit(&*store, &leases, change(id(number), revision, RowChange::Purge));
    }
    assert_eq!(store.sweep_blobs().unwrap(), Swept { blobs: 3, bytes: 300_010 });
}

pub(crate) fn what_is_staged_stays_until_a_step_refers_to_it(open: Opener<'_>) {
    let store = open(Options::default());
    let leases = take_all(&*store);
    let image: Vec<u8> = (0..300_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let hash = BlobHash::quick(&image);
    let Some(staged) = store.stage_blob(&image).unwrap() else {
        assert!(store.get_blob(hash).is_err(), "it is to come with the commit");
        return;
    };
    assert_eq!(staged, hash);
    assert_eq!(store.stage_blob(&image).unwrap(), Some(hash), "a turn may run again");
    assert_eq!(store.sweep_blobs().unwrap(), Swept::default());
    assert_eq!(store.get_blob(hash).unwrap(), image);
    let row = ExecutionRow { blobs: vec![hash], ..row("acme") };
    let stale = put(id(1), 7, row.clone());
    assert_eq!(commit(&*store, &leases, stale), Committed::Conflict { found: Revision(0) });
    assert_eq!(store.sweep_blobs().unwrap(), Swept::default());
    assert_eq!(commit(&*store, &leases, put(id(1), 0, row)), APPLIED(1));
    assert_eq!(store.sweep_blobs().unwrap(), Swept::default());
    store.check().unwrap();
    commit(&*store, &leases, change(id(1), 1, RowChange::Purge));
    assert_eq!(store.sweep_blobs().unwrap(), Swept { blobs: 1, bytes: 300_000 });
    assert!(matches!(store.get_blob(hash).unwrap_err(), Error::NotFound { .. }));
}

pub(crate) fn many_executions_commit_at_once(open: Opener<'_>) {
    let store = open(Options::default());
    let leases = take_all(&*store);
    let step = |number: u64, revision: u64| ExecutionCommit {
        history: vec![event(revision + 1)],
        outbox_put: vec![(OpId(revision + 1), vec![1])],
        outbox_done: vec![OpId(revision)],
        records: vec![record(number * 100 + revision, "acme")],
        ..put(ExecutionId(id(number).0 + u128::from(number % 16)), revision, row("acme"))
    };
    for revision in 0..4 {
        let items: Vec<_> = (0..64).map(|number| step(number, revision)).collect();
        let done = store.commit_executions(&leases, &items).unwrap();
        assert!(done.iter().all(|done| *done == APPLIED(revision + 1)), "{done:?}");
    }
    assert_eq!(store.commit_executions(&leases, &[]).unwrap(), []);
    let effects: usize =
        (0..limits::PARTITIONS).map(|part| store.outbox(part, None, 100).unwrap().len()).sum();
    assert_eq!(effects, 64);
    let found = store.executions(&tenant_name("acme"), &all()).unwrap();
    assert!(found.len() == 64 && found.iter().all(|found| found.revision == Revision(4)));
}
