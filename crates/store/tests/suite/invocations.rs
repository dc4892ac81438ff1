//! Records of finished attempts.

use model::limits;
use store::{
    BillQuery, Cursor, Day, Detail, Grouping, InvocationQuery, InvocationRecord, Mode, Options,
    RecordOutcome, Status, Store,
};

use crate::Opener;
use crate::given::{at, commit_records, failure, function_name, id, record, tenant_name};

fn failed(number: u64) -> InvocationRecord {
    InvocationRecord {
        outcome: RecordOutcome::Failed(failure()),
        caller: None,
        mode: Mode::Sync,
        started: None,
        cold: false,
        ..record(number, "acme")
    }
}

fn query() -> InvocationQuery {
    InvocationQuery { limit: 100, detail: Detail::Whole, ..InvocationQuery::default() }
}

fn list(store: &dyn Store, query: &InvocationQuery) -> Vec<InvocationRecord> {
    store.invocations(&tenant_name("acme"), query).unwrap()
}

#[track_caller]
fn check(store: &dyn Store, query: &InvocationQuery, expected: &[u64]) {
    let found: Vec<_> = list(store, query).iter().map(|record| record.id).collect();
    assert_eq!(found, expected.iter().map(|number| id(*number)).collect::<Vec<_>>());
}

pub(crate) fn a_record_is_read_back_as_it_was_committed(open: Opener<'_>) {
    let store = open(Options::default());
    commit_records(&*store, vec![record(1, "acme"), failed(2)]);
    let acme = tenant_name("acme");
    assert_eq!(store.invocation(&acme, id(1)).unwrap(), [record(1, "acme")]);
    assert_eq!(store.invocation(&acme, id(2)).unwrap(), [failed(2)]);
    assert_eq!(store.invocation(&acme, id(3)).unwrap(), []);
    assert_eq!(list(&*store, &query()), [failed(2), record(1, "acme")]);
}

pub(crate) fn every_attempt_has_its_record(open: Opener<'_>) {
    let store = open(Options::default());
    let attempt = |attempt| InvocationRecord { attempt, ..record(1, "acme") };
    commit_records(&*store, vec![attempt(2), record(2, "acme"), attempt(1)]);
    let found = store.invocation(&tenant_name("acme"), id(1)).unwrap();
    assert_eq!(found, [attempt(1), attempt(2)]);
    assert_eq!(list(&*store, &query()), [record(2, "acme"), attempt(2), attempt(1)]);
}

pub(crate) fn a_list_shows_what_the_filter_lets_through(open: Opener<'_>) {
    let store = open(Options::default());
    let other_function =
        InvocationRecord { function: function_name("profile"), ..record(3, "acme") };
    let other_class = InvocationRecord { class: "background".into(), ..failed(4) };
    commit_records(&*store, vec![record(1, "acme"), failed(2), other_function, other_class]);
    check(&*store, &query(), &[4, 3, 2, 1]);
    check(
        &*store,
        &InvocationQuery { function: Some(function_name("home")), ..query() },
        &[4, 2, 1],
    );
    check(&*store, &InvocationQuery { class: Some("critical".into()), ..query() }, &[3, 2, 1]);
    check(&*store, &InvocationQuery { status: Some(Status::Ok), ..query() }, &[3, 1]);
    check(&*store, &InvocationQuery { status: Some(Status::Failed), ..query() }, &[4, 2]);
    check(&*store, &InvocationQuery { since: Some(at(3)), ..query() }, &[4, 3]);
    let all = InvocationQuery {
        function: Some(function_name("home")),
        class: Some("critical".into()),
        status: Some(Status::Failed),
        since: Some(at(1)),
        before: Some(Cursor { id: id(4), attempt: 1 }),
        ..query()
    };
    check(&*store, &all, &[2]);
    check(&*store, &InvocationQuery { class: Some("none".into()), ..all }, &[]);
}

pub(crate) fn a_list_comes_in_pages_without_gaps(open: Opener<'_>) {
    let store = open(Options::default());
    let attempts = (1..=4).flat_map(|number| {
        (1..=2).map(move |attempt| InvocationRecord { attempt, ..record(number, "acme") })
    });
    let all: Vec<_> = attempts.collect();
    commit_records(&*store, all.clone());
    let mut paged = Vec::new();
    let mut page = InvocationQuery { limit: 3, ..query() };
    loop {
        let found = list(&*store, &page);
        assert!(found.len() <= 3);
        let Some(last) = found.last() else { break };
        page.before = Some(last.cursor());
        paged.extend(found);
    }
    paged.reverse();
    assert_eq!(paged, all);
}

pub(crate) fn a_summary_leaves_out_trace_and_logs(open: Opener<'_>) {
    let store = open(Options::default());
    commit_records(&*store, vec![record(1, "acme")]);
    let summary = InvocationRecord { trace: String::new(), logs: Vec::new(), ..record(1, "acme") };
    assert_eq!(list(&*store, &InvocationQuery { detail: Detail::Summary, ..query() }), [summary]);
}

pub(crate) fn records_of_another_tenant_are_not_there(open: Opener<'_>) {
    let store = open(Options::default());
    commit_records(&*store, vec![record(1, "acme"), record(1, "globex"), record(2, "acme")]);
    let globex = tenant_name("globex");
    assert_eq!(store.invocations(&globex, &query()).unwrap(), [record(1, "globex")]);
    assert_eq!(store.invocation(&globex, id(1)).unwrap(), [record(1, "globex")]);
    assert_eq!(store.invocation(&globex, id(2)).unwrap(), []);
    check(&*store, &query(), &[2, 1]);
}

pub(crate) fn only_the_newest_records_are_kept_and_every_sum(open: Opener<'_>) {
    let store = open(Options { keep_invocations: 5 });
    for first in (0..300).step_by(3) {
        commit_records(&*store, (first..first + 3).map(|number| record(number, "acme")).collect());
    }
    let kept = list(&*store, &query());
    // What a commit adds is removed by later ones at the earliest.
    assert_eq!(kept.len(), 5 + 3);
    assert!(kept.iter().map(|record| record.id).eq((292..300).rev().map(id)));
    let days = Day::of(at(0));
    let bill = BillQuery { tenant: None, first: days, last: days, by: Grouping::default() };
    assert_eq!(store.bill(&bill).unwrap()[0].usage.invocations, 300);
}

pub(crate) fn a_page_has_a_largest_size(open: Opener<'_>) {
    let store = open(Options::default());
    let records = 0..limits::PAGE_MAX as u64 + 1;
    commit_records(&*store, records.map(|number| record(number, "acme")).collect());
    let found = list(&*store, &InvocationQuery { limit: usize::MAX, ..query() });
    assert_eq!(found.len(), limits::PAGE_MAX);
}
