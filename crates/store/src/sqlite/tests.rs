//! What can only be tested from inside: the schema's machinery and a database without room.

use super::*;
use crate::execution::{ExecutionRow, ExecutionStatus, Revision, RowChange};
use crate::sql::statements;
use crate::tenant::Tenant;

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, Options::default()).unwrap()
}

fn tenant(name: &str) -> Tenant {
    Tenant {
        name: name.parse().unwrap(),
        created: Timestamp(1),
        monthly_budget: Some(model::Amount(u64::MAX)),
        allow_network: true,
    }
}

fn version(store: &SqliteStore) -> u32 {
    store.write(schema::version).unwrap()
}

#[test]
fn every_statement_is_understood_and_numbers_its_parameters_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let connection = store.writer.lock().unwrap();
    for text in statements::ALL {
        let statement = connection.prepare(text).unwrap();
        for number in 1..=statement.parameter_count() {
            assert_eq!(statement.parameter_name(number), Some(&*format!("${number}")), "{text}");
        }
    }
}

#[test]
fn a_commit_is_on_the_disk_before_it_is_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let connection = store.writer.lock().unwrap();
    let setting = |name| connection.pragma_query_value(None, name, |row| row.get(0)).unwrap();
    // A killed process cannot show this: only a power failure loses what was not synchronized.
    let (synchronous_full, found): (i64, i64) = (2, setting("synchronous"));
    assert_eq!(found, synchronous_full);
    let mode = connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
    assert_eq!(mode.unwrap(), "wal");
}

#[test]
fn a_logs_room_is_taken_at_the_start_and_is_no_part_of_what_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let log = directory.path().join("fermata.db-wal");
    let length = || fs::metadata(&log).unwrap().len();
    assert_eq!(length(), log::LOG_BYTES);
    store.apply(&Change::CreateTenant(tenant("kept"))).unwrap();
    assert_eq!(length(), log::LOG_BYTES, "it was written over");
    // As after a crash: the log is all that has it.
    let copy = tempfile::tempdir().unwrap();
    for file in ["fermata.db", "fermata.db-wal"] {
        fs::copy(directory.path().join(file), copy.path().join(file)).unwrap();
    }
    let again = open(copy.path());
    assert_eq!(again.tenants().unwrap(), store.tenants().unwrap());
    assert!(again.tenants().unwrap().contains(&tenant("kept")));
    connection::check_integrity(&again.writer.lock().unwrap()).unwrap();
}

#[test]
fn no_statement_reads_a_whole_table_that_grows() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let connection = store.writer.lock().unwrap();
    // These are for start-up and for operators.
    let may_read_all = [
        statements::CALL_COUNTS,
        statements::SUMS_OF_ALL,
        statements::CODE_USED,
        statements::BLOBS_OF_EXECUTIONS,
        statements::BLOBS_OF_HISTORY,
    ];
    for text in statements::ALL.iter().filter(|text| !may_read_all.contains(text)) {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
        let mut rows = plan.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step: String = row.get(3).unwrap();
            let grows = [
                "async_calls",
                "invocations",
                "sums",
                "function_versions",
                "executions",
                "history",
                "outbox",
            ];
            let reads_all = step.strip_prefix("SCAN ").is_some_and(|what| {
                grows.iter().any(|table| what.starts_with(table)) && !what.contains("INDEX")
            });
            assert!(!reads_all && !step.contains("TEMP B-TREE"), "{step}: {text}");
        }
    }
}

#[test]
fn a_new_step_keeps_the_rows_and_is_made_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.apply(&Change::CreateTenant(tenant("acme"))).unwrap();
    let steps = [
        schema::MIGRATIONS,
        &["ALTER TABLE tenants ADD COLUMN note TEXT; UPDATE tenants SET note = name;"],
    ]
    .concat();
    let released = version(&store);
    for _ in 0..2 {
        migrate(&mut store.writer.lock().unwrap(), &steps).unwrap();
        assert_eq!(version(&store), released + 1);
        let noted = "SELECT COUNT(*) FROM tenants WHERE note = name";
        let noted = store.writer.lock().unwrap().query_row(noted, [], |row| row.get::<_, i64>(0));
        assert_eq!(noted, Ok(1));
    }
}

#[test]
fn a_step_that_fails_half_way_leaves_the_store_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.apply(&Change::CreateTenant(tenant("acme"))).unwrap();
    let steps = [schema::MIGRATIONS, &["DELETE FROM tenants; SELECT no_such_function();"]].concat();
    let released = version(&store);
    migrate(&mut store.writer.lock().unwrap(), &steps).unwrap_err();
    assert_eq!(version(&store), released);
    assert_eq!(store.tenants().unwrap(), [tenant("acme")]);
}

#[test]
fn a_store_of_a_newer_program_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let newer = version(&store) + 1;
    store.write(|session| schema::set_version(session, newer)).unwrap();
    drop(store);
    let error = SqliteStore::open(directory.path(), Options::default()).unwrap_err();
    let supported = newer - 1;
    assert!(
        matches!(error, Error::NewerVersion { found, supported: s } if found == newer && s == supported),
        "{error}"
    );
}

#[test]
fn a_commit_without_room_fails_whole_and_can_be_repeated_once_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let set_pages_max = |pages: u32| {
        let connection = store.writer.lock().unwrap();
        connection.pragma_update(None, "max_page_count", pages).unwrap();
    };
    let put = |name: &str, bytes: usize| {
        store.apply(&Change::PutSetting { name: name.into(), value: vec![7; bytes] })
    };
    put("before", 1).unwrap();
    set_pages_max(1);
    let error = put("large", 100_000).unwrap_err();
    assert!(matches!(error, Error::Full), "{error}");
    assert!(error.is_transient());
    assert_eq!(store.setting("large").unwrap(), None);
    assert_eq!(store.setting("before").unwrap(), Some(vec![7]));
    store.check().unwrap();
    set_pages_max(u32::MAX - 1);
    put("large", 100_000).unwrap();
    assert_eq!(store.setting("large").unwrap().unwrap().len(), 100_000);
}

#[test]
fn steps_without_room_fail_together_and_can_be_repeated_once_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let claim = Claim {
        node: "here".parse().unwrap(),
        address: String::new(),
        now: Timestamp(0),
        ttl: std::time::Duration::from_secs(10),
    };
    let leases = store.acquire_leases(&claim, &[0]).unwrap();
    let step = |number: u128, state: usize| ExecutionCommit {
        row: RowChange::Put(Box::new(execution_row(state))),
        outbox_put: vec![(OpId(1), vec![1; 9])],
        ..ExecutionCommit::new(ExecutionId(16 * number), Revision(0))
    };
    let set_pages_max = |pages: u32| {
        let connection = store.writer.lock().unwrap();
        connection.pragma_update(None, "max_page_count", pages).unwrap();
    };
    let applied = [Committed::Applied(Revision(1)); 2];
    set_pages_max(1);
    let items = [step(1, 10), step(2, 200_000)];
    let error = store.commit_executions(&leases, &items).unwrap_err();
    assert!(matches!(error, Error::Full) && error.is_transient(), "{error}");
    let ids = [ExecutionId(16), ExecutionId(32)];
    assert_eq!(store.load_executions(&ids).unwrap(), []);
    assert_eq!(store.outbox(0, None, 9).unwrap(), []);
    store.check().unwrap();
    set_pages_max(u32::MAX - 1);
    assert_eq!(store.commit_executions(&leases, &items).unwrap(), applied);
    assert_eq!(store.load_executions(&ids).unwrap().len(), 2);
    assert_eq!(store.outbox(0, None, 9).unwrap().len(), 2);
}

fn execution_row(state: usize) -> ExecutionRow {
    ExecutionRow {
        tenant: "acme".parse().unwrap(),
        name: None,
        function: "order".parse().unwrap(),
        kind: model::Kind::StateMachine,
        class: "standard".into(),
        max_class: "standard".into(),
        parent: None,
        created: Timestamp(1),
        version: Version(1),
        status: ExecutionStatus::Running,
        updated: Timestamp(1),
        finished: None,
        wake: None,
        waits: String::new(),
        custom_status: None,
        cost: model::Amount(0),
        state_bytes: 0,
        blobs: Vec::new(),
        state: vec![7; state],
    }
}

#[test]
fn what_was_staged_survives_a_crash_that_undoes_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = vec![7; 300_000];
    let store = open(directory.path());
    let hash = store.stage_blob(&bytes).unwrap().unwrap();
    drop(store);
    let name = hash.to_string();
    let blobs = directory.path().join("blobs");
    let named = blobs.join(&name[..2]).join(&name[2..]);
    let staged = blobs.join("staged");
    fs::rename(&named, staged.join("99")).unwrap();
    // And one that was only begun.
    fs::write(staged.join("98"), "beg").unwrap();
    fs::write(staged.join("97"), "").unwrap();
    let store = open(directory.path());
    assert_eq!(store.get_blob(hash).unwrap(), bytes);
    assert_eq!(fs::read_dir(&staged).unwrap().count(), 0);
    // Each has two names.
    assert_eq!(store.sweep_blobs().unwrap(), Swept { blobs: 4, bytes: 600_006 });
    assert_eq!(store.stage_blob(&bytes).unwrap(), Some(hash), "its number is free again");
}

#[test]
fn a_copy_is_a_store_and_a_place_that_is_taken_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (data, to) = (directory.path().join("data"), directory.path().join("copy"));
    let store = open(&data);
    store.apply(&Change::CreateTenant(tenant("acme"))).unwrap();
    let code = vec![9; 5_000];
    store.put_blob(BlobHash::of(&code), &code).unwrap();
    let spec = FunctionSpec {
        tenant: "acme".parse().unwrap(),
        name: "f".parse().unwrap(),
        kind: model::Kind::Wasm,
        runtime: "wasm".into(),
        handler: String::new(),
        timeout: std::time::Duration::from_secs(1),
        default_class: None,
        environment: Vec::new(),
        network: false,
        durable: model::Durable::No,
        code_hash: BlobHash::of(&code),
        code_size_bytes: 5_000,
        created: Timestamp(1),
        description: String::new(),
    };
    store.publish(&spec).unwrap();
    // The store is open and goes on meanwhile.
    store.backup(&to).unwrap();
    store.apply(&Change::CreateTenant(tenant("later"))).unwrap();
    let copy = open(&to);
    assert_eq!(copy.tenants().unwrap(), [tenant("acme")]);
    assert_eq!(copy.get_blob(BlobHash::of(&code)).unwrap(), code);
    copy.check().unwrap();
    let error = store.backup(&to).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    let error = backup(&directory.path().join("nothing"), &to).unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "store", .. }), "{error}");
}

#[test]
fn room_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let large = Change::PutSetting { name: "a".into(), value: vec![7; 1_000_000] };
    store.apply(&large).unwrap();
    store.apply(&Change::PutSetting { name: "a".into(), value: Vec::new() }).unwrap();
    let done = store.compact().unwrap();
    assert!(done.bytes_before > 1_000_000 && done.bytes_after < 200_000, "{done:?}");
    store.check().unwrap();
}

#[test]
fn a_row_that_cannot_be_right_is_reported_as_damage() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.apply(&Change::CreateTenant(tenant("acme"))).unwrap();
    let damage = "UPDATE tenants SET name = 'not a name'";
    store.writer.lock().unwrap().execute(damage, []).unwrap();
    assert!(matches!(store.tenants().unwrap_err(), Error::Corrupt { .. }));
}
