//! A store of each version that was ever released is brought up to date with its rows.

use std::path::Path;

use model::suspend::OpId;
use model::{Durable, Timestamp};
use rusqlite::Connection;
use store::{
    BillQuery, BlobHash, Day, ExecutionCommit, ExecutionRow, FunctionSpec, Grouping, HistoryOrder,
    HistoryQuery, HistoryRow, Options, QueueChange, SqliteStore, Store,
};

use crate::executions::{self, named};
use crate::given::{
    CODE, at, call, commit_queue, commit_records, function_name, id, key, record, spec, tenant,
    tenant_name, two_tenants,
};

/// One filled store for each version, the first one first: what [`fill`] puts into a store,
/// written down with the schema of that version.
const FILLED: &[&str] = &[include_str!("../schema/1.sql"), include_str!("../schema/2.sql")];

/// Everything a store can hold, at the least one row a table.
fn fill(store: &SqliteStore) {
    two_tenants(store);
    store.apply(&store::Change::CreateKey(key(1, "acme"))).unwrap();
    store.apply(&store::Change::PutSetting { name: "salt".into(), value: vec![0, 255] }).unwrap();
    store.publish(&spec("acme", "f")).unwrap();
    store.publish(&spec("acme", "f")).unwrap();
    commit_records(store, vec![record(1, "acme"), record(2, "globex")]);
    let bury = QueueChange::Bury { id: id(4), at: at(50), failure: crate::given::failure() };
    let calls = [3, 4].map(|number| QueueChange::Enqueue(call(number, "acme")));
    commit_queue(store, [calls.to_vec(), vec![bury]].concat());
    let blob = BlobHash::of(b"blob");
    let row = ExecutionRow { blobs: vec![blob], ..named("acme", "one") };
    let history = HistoryRow { seq: 1, at: at(1), bytes: vec![1], blobs: vec![blob] };
    let item = ExecutionCommit {
        history: vec![history],
        outbox_put: vec![(OpId(4), vec![2])],
        blobs: vec![(blob, b"blob".to_vec())],
        ..executions::put(executions::id(1), 0, row)
    };
    store.commit_executions(&executions::take_all(store), &[item]).unwrap();
}

/// Looks for all that [`fill`] put in.
fn check(store: &SqliteStore, version: usize) {
    let acme = tenant_name("acme");
    assert_eq!(store.tenants().unwrap(), [tenant("acme"), tenant("globex")]);
    assert_eq!(store.keys().unwrap(), [key(1, "acme")]);
    assert_eq!(store.setting("salt").unwrap(), Some(vec![0, 255]));
    let latest = store.function(&acme, &function_name("f"), None).unwrap();
    // Functions of the first version do not suspend.
    let durable = if version == 1 { Durable::No } else { Durable::Explicit };
    let expected = FunctionSpec { durable, ..spec("acme", "f") };
    assert_eq!((latest.version.0, latest.spec), (2, expected));
    assert_eq!(store.invocation(&acme, id(1)).unwrap(), [record(1, "acme")]);
    assert_eq!(store.due(at(99), &[].into(), 9).unwrap().calls, [call(3, "acme")]);
    assert_eq!(store.dead_letter(&acme, id(4)).unwrap().died, at(50));
    let day = Day::of(at(0));
    let bill = BillQuery { tenant: None, first: day, last: day, by: Grouping::default() };
    assert_eq!(store.bill(&bill).unwrap()[0].usage.invocations, 2);
    assert_eq!(store.publish(&spec("acme", "f")).unwrap().version.0, 3);
    if version >= 2 {
        check_executions(store);
    }
}

/// What came with version 2.
fn check_executions(store: &SqliteStore) {
    let acme = tenant_name("acme");
    let found = store.execution_named(&acme, "one").unwrap();
    assert_eq!((found.id, found.revision.0), (executions::id(1), 1));
    assert_eq!(
        found.row,
        ExecutionRow { blobs: vec![BlobHash::of(b"blob")], ..named("acme", "one") }
    );
    assert_eq!(store.get_blob(BlobHash::of(b"blob")).unwrap(), b"blob");
    let query = HistoryQuery { order: HistoryOrder::From(0), limit: 9 };
    assert_eq!(store.history(found.id, &query).unwrap()[0].bytes, [1]);
    assert_eq!(store.outbox(3, None, 9).unwrap()[0].bytes, [2]);
    let lease = store.leases().unwrap().remove(3);
    assert_eq!((lease.node.as_str(), lease.until), ("here", Timestamp(0)), "nobody has it open");
}

fn database(directory: &Path) -> Connection {
    Connection::open(directory.join("fermata.db")).unwrap()
}

/// Every table and index as it was created, and the version.
fn schema(directory: &Path) -> (Vec<String>, u32) {
    let connection = database(directory);
    let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
    let mut statement = connection.prepare(sql).unwrap();
    let tables = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let version = "SELECT version FROM schema_version";
    (tables, connection.query_row(version, [], |row| row.get(0)).unwrap())
}

#[test]
fn a_store_of_every_version_is_brought_up_to_date_with_its_rows() {
    let fresh = tempfile::tempdir().unwrap();
    drop(SqliteStore::open(fresh.path(), Options::default()).unwrap());
    let newest = schema(fresh.path());
    assert_eq!(newest.1 as usize, FILLED.len(), "a filled store of each version");
    for (version, filled) in (1..).zip(FILLED) {
        let directory = tempfile::tempdir().unwrap();
        database(directory.path()).execute_batch(filled).unwrap();
        let store = SqliteStore::open(directory.path(), Options::default()).unwrap();
        store.put_blob(BlobHash::of(CODE), CODE).unwrap();
        check(&store, version);
        store.check().unwrap();
        drop(store);
        assert_eq!(schema(directory.path()), newest);
    }
}

#[test]
fn the_filled_store_of_this_version_is_what_this_program_writes() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path(), Options::default()).unwrap();
    fill(&store);
    drop(store);
    let written = dump(&database(directory.path()));
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/schema/{}.sql", FILLED.len()));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), written);
}

/// The statements that make a database like this one.
fn dump(connection: &Connection) -> String {
    let tables = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid";
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid";
    let mut dump: String =
        strings(connection, tables).iter().map(|sql| format!("{sql};\n")).collect();
    for name in strings(connection, names) {
        let columns = format!("SELECT name FROM pragma_table_info('{name}') ORDER BY cid");
        let quoted: Vec<_> =
            strings(connection, &columns).iter().map(|column| format!("quote({column})")).collect();
        let values = format!("SELECT {} FROM {name}", quoted.join(" || ', ' || "));
        for row in strings(connection, &values) {
            dump.push_str(&format!("INSERT INTO {name} VALUES ({row});\n"));
        }
    }
    dump
}

fn strings(connection: &Connection, query: &str) -> Vec<String> {
    let mut statement = connection.prepare(query).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}
