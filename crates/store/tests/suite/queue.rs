//! Queued calls and dead letters.

use std::collections::BTreeSet;

use model::InvocationId;
use store::{
    AsyncCall, Backlog, Change, DeadLetter, DeadLetterQuery, Due, Error, FailureNote, Options,
    QueueChange, Store,
};

use crate::Opener;
use crate::given::{at, call, commit_queue, failure, function_name, id, tenant_name};

fn due(store: &dyn Store, ms: u64) -> Due {
    store.due(at(ms), &BTreeSet::new(), 100).unwrap()
}

fn due_ids(store: &dyn Store, ms: u64) -> Vec<InvocationId> {
    due(store, ms).calls.iter().map(|call| call.id).collect()
}

fn bury(number: u64) -> QueueChange {
    QueueChange::Bury { id: id(number), at: at(50), failure: failure() }
}

fn letter_ids(store: &dyn Store, tenant: &str, query: &DeadLetterQuery) -> Vec<InvocationId> {
    let letters = store.dead_letters(&tenant_name(tenant), query).unwrap();
    letters.iter().map(|letter| letter.call.id).collect()
}

pub(crate) fn a_call_is_read_back_as_it_was_queued(open: Opener<'_>) {
    let store = open(Options::default());
    let bare = AsyncCall {
        version: None,
        payload: Vec::new(),
        caller: None,
        traceparent: None,
        last_failure: Some(failure()),
        ..call(2, "acme")
    };
    let calls = [call(1, "acme"), bare];
    commit_queue(&*store, calls.iter().cloned().map(QueueChange::Enqueue).collect());
    assert_eq!(due(&*store, 9).calls, calls);
}

pub(crate) fn calls_come_when_they_are_due_and_by_that_time(open: Opener<'_>) {
    let store = open(Options::default());
    assert_eq!(due(&*store, 100), Due::default());
    let queued = |(number, ms): (u64, u64)| {
        QueueChange::Enqueue(AsyncCall { not_before: at(ms), ..call(number, "acme") })
    };
    commit_queue(&*store, [(1, 30), (2, 10), (3, 20), (5, 20), (4, 20)].map(queued).into());
    assert_eq!(due(&*store, 9), Due { calls: Vec::new(), next: Some(at(10)) });
    assert_eq!(due_ids(&*store, 20), [2, 3, 4, 5].map(id));
    assert_eq!(due(&*store, 20).next, Some(at(30)));
    assert_eq!(due_ids(&*store, 30), [2, 3, 4, 5, 1].map(id));
    assert_eq!(due(&*store, 30).next, None);
    let two = store.due(at(30), &BTreeSet::new(), 2).unwrap();
    assert_eq!(two.calls.iter().map(|call| call.id).collect::<Vec<_>>(), [2, 3].map(id));
}

pub(crate) fn a_call_that_runs_is_passed_over(open: Opener<'_>) {
    let store = open(Options::default());
    let queued = |number| QueueChange::Enqueue(call(number, "acme"));
    commit_queue(&*store, (1..=5).map(queued).collect());
    let running = BTreeSet::from([1, 2, 4].map(id));
    let found = store.due(at(9), &running, 2).unwrap();
    assert_eq!(found.calls.iter().map(|call| call.id).collect::<Vec<_>>(), [3, 5].map(id));
}

pub(crate) fn a_retry_waits_and_a_completed_call_is_gone(open: Opener<'_>) {
    let store = open(Options::default());
    let queued = |number| QueueChange::Enqueue(call(number, "acme"));
    commit_queue(&*store, (1..=2).map(queued).collect());
    let retry =
        QueueChange::Retry { id: id(1), attempt: 2, not_before: at(70), failure: failure() };
    commit_queue(&*store, vec![retry, QueueChange::Complete(id(2))]);
    assert_eq!(due(&*store, 69), Due { calls: Vec::new(), next: Some(at(70)) });
    let retried = AsyncCall {
        attempt: 2,
        not_before: at(70),
        last_failure: Some(failure()),
        ..call(1, "acme")
    };
    assert_eq!(due(&*store, 70).calls, [retried]);
}

pub(crate) fn a_call_that_is_given_up_is_a_dead_letter_until_it_is_redriven(open: Opener<'_>) {
    let store = open(Options::default());
    let acme = tenant_name("acme");
    let tried = AsyncCall { attempt: 3, ..call(1, "acme") };
    commit_queue(&*store, vec![QueueChange::Enqueue(tried.clone()), bury(1)]);
    let letter =
        DeadLetter { call: AsyncCall { last_failure: Some(failure()), ..tried }, died: at(50) };
    assert_eq!(store.dead_letter(&acme, id(1)).unwrap(), letter);
    let query = DeadLetterQuery { limit: 9, ..DeadLetterQuery::default() };
    assert_eq!(store.dead_letters(&acme, &query).unwrap(), [letter]);
    assert_eq!(due(&*store, 1_000), Due::default());

    let redrive = Change::Redrive { tenant: acme.clone(), id: id(1), at: at(60) };
    store.apply(&redrive).unwrap();
    let again = AsyncCall { attempt: 4, first_attempt: 4, not_before: at(60), ..call(1, "acme") };
    assert_eq!(due(&*store, 60).calls, [again]);
    assert_eq!(store.dead_letters(&acme, &query).unwrap(), []);
    assert!(matches!(store.apply(&redrive).unwrap_err(), Error::NotFound { .. }));

    commit_queue(&*store, vec![bury(1)]);
    let delete = Change::DeleteDeadLetter { tenant: acme.clone(), id: id(1) };
    store.apply(&delete).unwrap();
    assert!(matches!(store.dead_letter(&acme, id(1)).unwrap_err(), Error::NotFound { .. }));
    assert!(matches!(store.apply(&delete).unwrap_err(), Error::NotFound { .. }));
}

pub(crate) fn dead_letters_come_in_pages_to_their_tenant_only(open: Opener<'_>) {
    let store = open(Options::default());
    for (number, tenant) in [(1, "acme"), (2, "globex"), (3, "acme"), (4, "acme"), (5, "acme")] {
        let mut call = call(number, tenant);
        if number == 4 {
            call.function = function_name("other");
        }
        commit_queue(&*store, vec![QueueChange::Enqueue(call), bury(number)]);
    }
    let page = DeadLetterQuery { limit: 2, ..DeadLetterQuery::default() };
    assert_eq!(letter_ids(&*store, "acme", &page), [5, 4].map(id));
    let rest = DeadLetterQuery { before: Some(id(4)), ..page.clone() };
    assert_eq!(letter_ids(&*store, "acme", &rest), [3, 1].map(id));
    let mail = DeadLetterQuery { function: Some(function_name("mail")), before: None, limit: 2 };
    assert_eq!(letter_ids(&*store, "acme", &mail), [5, 3].map(id));
    assert_eq!(letter_ids(&*store, "globex", &page), [2].map(id));

    let globex = tenant_name("globex");
    let (tenant, id) = (globex.clone(), id(1));
    assert!(matches!(store.dead_letter(&globex, id).unwrap_err(), Error::NotFound { .. }));
    let error = store.apply(&Change::Redrive { tenant, id, at: at(0) }).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let error = store.apply(&Change::DeleteDeadLetter { tenant: globex, id }).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert!(store.dead_letter(&tenant_name("acme"), id).is_ok());
}

pub(crate) fn changes_to_the_queue_can_be_repeated(open: Opener<'_>) {
    let store = open(Options::default());
    let other = FailureNote { message: "another".into(), ..failure() };
    let batch = vec![
        QueueChange::Enqueue(call(1, "acme")),
        QueueChange::Enqueue(call(2, "acme")),
        QueueChange::Enqueue(call(3, "acme")),
        QueueChange::Retry { id: id(1), attempt: 2, not_before: at(5), failure: failure() },
        bury(2),
        QueueChange::Complete(id(3)),
        QueueChange::Complete(id(9)),
        QueueChange::Retry { id: id(9), attempt: 2, not_before: at(5), failure: failure() },
    ];
    commit_queue(&*store, batch.clone());
    let acme = tenant_name("acme");
    let seen = || (due(&*store, 99), store.dead_letter(&acme, id(2)).unwrap());
    let once = seen();
    commit_queue(&*store, batch);
    assert_eq!(seen(), once);

    // A dead letter is not queued: what happens to queued calls does not happen to it.
    commit_queue(
        &*store,
        vec![
            QueueChange::Enqueue(call(2, "acme")),
            QueueChange::Complete(id(2)),
            QueueChange::Bury { id: id(2), at: at(77), failure: other.clone() },
            QueueChange::Retry { id: id(2), attempt: 7, not_before: at(5), failure: other },
        ],
    );
    assert_eq!(seen(), once);
}

pub(crate) fn a_queued_call_is_found_until_it_is_settled(open: Opener<'_>) {
    let store = open(Options::default());
    let queued = |(number, tenant)| QueueChange::Enqueue(call(number, tenant));
    let all = [(1, "globex"), (2, "acme"), (3, "acme")];
    commit_queue(&*store, all.map(queued).to_vec());
    let find = |number, tenant| store.queued(&tenant_name(tenant), call(number, tenant).id);
    assert_eq!(find(2, "acme").unwrap(), Some(call(2, "acme")));
    assert_eq!(find(1, "acme").unwrap(), None, "another tenant's");
    commit_queue(&*store, vec![bury(2), QueueChange::Complete(call(3, "acme").id)]);
    assert_eq!(find(2, "acme").unwrap(), None, "a dead letter");
    assert_eq!(find(3, "acme").unwrap(), None, "settled");
}

pub(crate) fn the_backlog_counts_by_tenant(open: Opener<'_>) {
    let store = open(Options::default());
    assert_eq!(store.backlog().unwrap(), []);
    let queued = |(number, tenant)| QueueChange::Enqueue(call(number, tenant));
    let mut changes = [(1, "globex"), (2, "acme"), (3, "acme"), (4, "acme")].map(queued).to_vec();
    changes.extend([bury(1), bury(3)]);
    commit_queue(&*store, changes);
    let backlog = |tenant, queued, dead| Backlog { tenant: tenant_name(tenant), queued, dead };
    assert_eq!(store.backlog().unwrap(), [backlog("acme", 2, 1), backlog("globex", 0, 1)]);
}
