//! Random histories: a store in a directory answers as the store in memory does.

use std::collections::BTreeSet;
use std::fmt::Debug;

use model::{Amount, FailureKind, InvocationId, KeyId, TenantName, Timestamp, Version};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};
use store::{
    AsyncCall, Batch, BillQuery, BlobHash, Change, Cursor, Day, DeadLetterQuery, Detail, Error,
    FailureNote, FunctionQuery, FunctionSpec, Grouping, InvocationQuery, InvocationRecord, Key,
    MemoryStore, Options, QueueChange, RecordOutcome, SqliteStore, Status, Store, Tenant,
};

use crate::given::{at, call, function_name, id, key, record, spec, tenant, tenant_name};

#[derive(Clone, Debug)]
enum Step {
    Commit(Batch),
    Apply(Change),
    Publish(FunctionSpec),
    PutBlob(&'static [u8]),
    Sweep,
    Reopen,
}

const TENANTS: [&str; 2] = ["acme", "globex"];
const FUNCTIONS: [&str; 2] = ["home", "mail"];
const CODES: [&[u8]; 2] = [b"one", b"two"];
const DAY_MS: u64 = 86_400_000;

proptest! {
    #![proptest_config(Config {
        cases: 48,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..Config::default()
    })]

    #[test]
    fn a_directory_answers_as_memory_does(history in vec(vec(step(), 1..9), 1..9), keep in 0_u64..6) {
        let directory = tempfile::tempdir().unwrap();
        let options = || Options { keep_invocations: keep };
        let open = || SqliteStore::open(directory.path(), options()).unwrap();
        let memory = MemoryStore::new(options());
        let mut sqlite = Some(open());
        for steps in &history {
            for step in steps {
                if let Step::Reopen = step {
                    drop(sqlite.take());
                    sqlite = Some(open());
                    continue;
                }
                let sqlite = sqlite.as_ref().expect("open between steps");
                prop_assert_eq!(act(&memory, step), act(sqlite, step), "{:?}", step);
            }
            let sqlite = sqlite.as_ref().expect("open between steps");
            prop_assert_eq!(look(&memory), look(sqlite));
        }
        sqlite.expect("open between steps").check().unwrap();
    }
}

/// What one step answers, in words that do not depend on the store.
fn act(store: &dyn Store, step: &Step) -> String {
    match step {
        Step::Commit(batch) => answer(store.commit(batch)),
        Step::Apply(change) => answer(store.apply(change)),
        Step::Publish(spec) => answer(store.publish(spec)),
        Step::PutBlob(bytes) => answer(store.put_blob(BlobHash::of(bytes), bytes)),
        Step::Sweep => answer(store.sweep_blobs()),
        Step::Reopen => String::new(),
    }
}

fn answer<T: Debug>(result: Result<T, Error>) -> String {
    result.map_or_else(|error| error.to_string(), |value| format!("{value:?}"))
}

/// Everything that can be read.
fn look(store: &dyn Store) -> Vec<String> {
    let mut seen = vec![
        answer(store.tenants()),
        answer(store.keys()),
        answer(store.setting("a")),
        answer(store.backlog()),
        answer(store.due(at(25), &BTreeSet::from([id(2)]), 3)),
    ];
    seen.extend(CODES.map(|code| answer(store.get_blob(BlobHash::of(code)))));
    let every = Grouping { tenant: true, day: true, function: true, class: true };
    for by in [every, Grouping::default(), Grouping { day: true, ..Grouping::default() }] {
        let first = Day::of(at(0));
        let bill = BillQuery { tenant: None, first, last: Day(first.0 + 1), by };
        seen.push(answer(store.bill(&bill)));
    }
    for tenant in TENANTS.map(tenant_name) {
        look_at_tenant(store, &tenant, &mut seen);
    }
    seen
}

fn look_at_tenant(store: &dyn Store, tenant: &TenantName, seen: &mut Vec<String>) {
    seen.push(answer(store.functions(tenant, &FunctionQuery::Latest { after: None, limit: 9 })));
    for name in FUNCTIONS.map(function_name) {
        seen.push(answer(store.function(tenant, &name, None)));
        seen.push(answer(store.function(tenant, &name, Some(Version(1)))));
        let versions = FunctionQuery::Versions { name: name.clone(), before: None, limit: 2 };
        seen.push(answer(store.functions(tenant, &versions)));
        let letters = DeadLetterQuery { function: Some(name), before: Some(id(4)), limit: 2 };
        seen.push(answer(store.dead_letters(tenant, &letters)));
    }
    for status in [None, Some(Status::Ok), Some(Status::Failed)] {
        let before = status.map(|_| Cursor { id: id(4), attempt: 2 });
        let since = status.map(|_| at(5));
        let detail = if before.is_some() { Detail::Summary } else { Detail::Whole };
        let query =
            InvocationQuery { status, before, since, detail, limit: 4, ..Default::default() };
        seen.push(answer(store.invocations(tenant, &query)));
    }
    seen.push(answer(store.invocation(tenant, id(1))));
    seen.push(answer(store.dead_letter(tenant, id(1))));
    seen.push(answer(store.month_spent(tenant, Day::of(at(0)).month())));
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (vec(a_record(), 0..5), vec(queue_change(), 0..5))
            .prop_map(|(records, queue)| Step::Commit(Batch { records, queue })),
        6 => change().prop_map(Step::Apply),
        2 => (a_tenant(), a_function(), a_code()).prop_map(|(tenant, name, code)| {
            Step::Publish(FunctionSpec { code_hash: BlobHash::of(code), ..spec(tenant, name) })
        }),
        1 => a_code().prop_map(Step::PutBlob),
        1 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
    ]
}

fn a_tenant() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&TENANTS[..])
}

fn a_function() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&FUNCTIONS[..])
}

fn a_code() -> impl Strategy<Value = &'static [u8]> {
    prop::sample::select(&CODES[..])
}

fn an_id() -> impl Strategy<Value = InvocationId> {
    (0_u64..6).prop_map(id)
}

fn a_time() -> impl Strategy<Value = Timestamp> {
    (0_u64..50).prop_map(at)
}

fn a_failure() -> impl Strategy<Value = FailureNote> {
    let kinds = prop::sample::select(&FailureKind::ALL[..]);
    (kinds, "[a-z ]{0,9}").prop_map(|(kind, message)| FailureNote { kind, message })
}

fn a_record() -> impl Strategy<Value = InvocationRecord> {
    let outcome = prop_oneof![
        any::<u64>().prop_map(|bytes| RecordOutcome::Ok { bytes }),
        a_failure().prop_map(RecordOutcome::Failed),
    ];
    let class = prop::sample::select(&["critical", "background"][..]);
    let cost = prop_oneof![4 => 0_u64..1_000, 1 => any::<u64>()];
    let place = (a_tenant(), a_function(), class, 0_u64..6, 1_u32..4);
    (place, 0_u64..3, outcome, cost).prop_map(|(place, day, outcome, cost)| {
        let (tenant, function, class, number, attempt) = place;
        let mut record = record(number, tenant);
        record.function = function_name(function);
        record.class = class.into();
        record.attempt = attempt;
        record.finished = at(day * DAY_MS);
        record.outcome = outcome;
        record.charge.cpu_cost = Amount(cost);
        record
    })
}

fn queue_change() -> impl Strategy<Value = QueueChange> {
    prop_oneof![
        3 => (0_u64..6, a_tenant(), a_function(), a_time()).prop_map(
            |(number, tenant, function, not_before)| {
                let function = function_name(function);
                QueueChange::Enqueue(AsyncCall { function, not_before, ..call(number, tenant) })
            }
        ),
        1 => (an_id(), 1_u32..9, a_time(), a_failure()).prop_map(
            |(id, attempt, not_before, failure)| {
                QueueChange::Retry { id, attempt, not_before, failure }
            }
        ),
        1 => an_id().prop_map(QueueChange::Complete),
        2 => (an_id(), a_time(), a_failure())
            .prop_map(|(id, at, failure)| QueueChange::Bury { id, at, failure }),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let budget = prop::option::of(any::<u64>().prop_map(Amount));
    let name = || a_tenant().prop_map(tenant_name);
    prop_oneof![
        (a_tenant(), a_time()).prop_map(|(name, created)| {
            Change::CreateTenant(Tenant { created, ..tenant(name) })
        }),
        (name(), budget, any::<bool>()).prop_map(|(name, monthly_budget, allow_network)| {
            Change::UpdateTenant { name, monthly_budget, allow_network }
        }),
        (a_tenant(), 0_u128..4, a_time()).prop_map(|(tenant, number, created)| {
            Change::CreateKey(Key { created, ..key(number, tenant) })
        }),
        (name(), 0_u128..4, a_time()).prop_map(|(tenant, id, at)| Change::RevokeKey {
            tenant,
            id: KeyId(id),
            at
        }),
        (name(), a_function(), prop::option::of((1_u32..4).prop_map(Version))).prop_map(
            |(tenant, name, version)| {
                Change::DeleteFunction { tenant, name: function_name(name), version }
            }
        ),
        (name(), an_id(), a_time()).prop_map(|(tenant, id, at)| Change::Redrive { tenant, id, at }),
        (name(), an_id()).prop_map(|(tenant, id)| Change::DeleteDeadLetter { tenant, id }),
        ("[ab]", vec(any::<u8>(), 0..4))
            .prop_map(|(name, value)| Change::PutSetting { name, value }),
    ]
}
