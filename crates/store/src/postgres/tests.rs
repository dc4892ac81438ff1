//! What can only be tested from inside: addresses, and the words of the schema.

use super::*;

#[test]
fn an_address_names_server_and_schema() {
    let target =
        parse("postgres://me:secret@db.example/things?schema=mine_1&connect_timeout=3").unwrap();
    assert_eq!(target.schema, "mine_1");
    assert_eq!(target.config.get_dbname(), Some("things"));
    assert_eq!(parse("postgresql:///?host=/run").unwrap().schema, "fermata");
    for bad in ["postgres://a/b?schema=A", "postgres://a/b?schema=", "postgres://a/b?what=1", "pg"]
    {
        let error = parse(bad).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }) && !error.is_transient(), "{bad}: {error}");
    }
}

#[test]
fn the_schema_is_told_in_other_words() {
    let step = "CREATE TABLE t (\n    a TEXT NOT NULL,\n    b BLOB,\n    c INTEGER\n) STRICT, WITHOUT ROWID;";
    let told =
        "CREATE TABLE t (\n    a TEXT COLLATE \"C\" NOT NULL,\n    b BYTEA,\n    c BIGINT\n);";
    assert_eq!(dialect::schema(step), told);
    for step in schema::MIGRATIONS {
        let told = dialect::schema(step);
        assert!(!told.contains("STRICT") && !told.contains("BLOB"), "{told}");
    }
}

#[path = "../../tests/suite/cluster.rs"]
mod cluster;

fn connect(url: &str) -> PostgresStore {
    PostgresStore::connect(url, Options::default()).unwrap()
}

fn setting(store: &PostgresStore, name: &str) {
    store.apply(&Change::PutSetting { name: name.into(), value: vec![1] }).unwrap();
}

#[test]
fn every_statement_is_understood() {
    let store = connect(&cluster::fresh_url());
    let mut connection = Connection::open(&store.target).unwrap();
    statements::ALL.iter().for_each(|text| drop(connection.prepare(text).unwrap()));
}

#[test]
fn what_comes_packed_is_not_packed_again() {
    let store = connect(&cluster::fresh_url());
    let text = "SELECT attstorage::text FROM pg_attribute
        WHERE attrelid = 'blobs'::regclass AND attname = 'content'";
    let storage = store
        .write(|session| first(session, text, &[], |columns| columns.text().map(str::to_owned)));
    assert_eq!(storage.unwrap().as_deref(), Some("e"), "external");
}

#[test]
fn a_store_of_a_newer_program_is_refused_and_left_alone() {
    let url = cluster::fresh_url();
    let store = connect(&url);
    let version = u32::try_from(schema::MIGRATIONS.len()).unwrap();
    store.write(|session| schema::set_version(session, version + 1)).unwrap();
    let error = PostgresStore::connect(&url, Options::default()).unwrap_err();
    let expected = Error::NewerVersion { found: version + 1, supported: version };
    assert_eq!(error.to_string(), expected.to_string());
}

#[test]
fn a_step_that_fails_half_way_leaves_the_store_as_it_was() {
    let store = connect(&cluster::fresh_url());
    setting(&store, "a");
    let broken =
        ["CREATE TABLE more (a INTEGER NOT NULL) STRICT;", "DROP TABLE settings; SELECT nonsense;"];
    let steps = [schema::MIGRATIONS, &broken].concat();
    store.migrate(&steps).unwrap_err();
    assert_eq!(store.setting("a").unwrap(), Some(vec![1]));
    let version = store.write(schema::version).unwrap();
    assert_eq!(version as usize, schema::MIGRATIONS.len(), "both steps are one transaction");
}

#[test]
fn a_lost_connection_is_replaced() {
    let store = connect(&cluster::fresh_url());
    setting(&store, "a");
    let mut other = Connection::open(&store.target).unwrap();
    let pids = backends(&store);
    other
        .batch(&format!("SELECT pg_terminate_backend(pid) FROM (VALUES {pids}) AS t (pid)"))
        .unwrap();
    assert_eq!(store.setting("a").unwrap(), Some(vec![1]));
    setting(&store, "b");
    assert_eq!(store.setting("b").unwrap(), Some(vec![1]));
}

/// The server's processes behind the store's connections, as rows.
fn backends(store: &PostgresStore) -> String {
    let pid = |session: &dyn Session| {
        first(session, "SELECT CAST(pg_backend_pid() AS BIGINT)", &[], |columns| columns.int())
    };
    let (writer, reader) = (store.write(pid).unwrap(), store.read(pid).unwrap());
    format!("({}), ({})", writer.unwrap(), reader.unwrap())
}

#[test]
fn a_node_that_was_cut_off_writes_nothing_after_another_took_its_partition() {
    let url = cluster::fresh_url();
    let (old, new) = (connect(&url), connect(&url));
    let claim = |node: &str, now| Claim {
        node: node.parse().unwrap(),
        address: String::new(),
        now: Timestamp::from_millis(now),
        ttl: std::time::Duration::from_secs(1),
    };
    let held = old.acquire_leases(&claim("old", 0), &[3]).unwrap();
    // The old one is in the middle of a commit: it holds the partition and goes on no further.
    let mut slot = old.writer.lock().unwrap();
    let connection = slot.as_mut().unwrap();
    connection.begin(Access::Write).unwrap();
    let transaction = connection.transaction();
    transaction.lock(Lock::Partition(3), Hold::Shared).unwrap();
    assert_eq!(leases::leases(&transaction).unwrap(), held);
    std::thread::scope(|scope| {
        let take = || loop {
            match new.acquire_leases(&claim("new", 5_000), &[3]) {
                Ok(taken) => return taken,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        };
        // Until the server gives its transaction up, the other one tries in vain; what it has
        // itself can be renewed meanwhile.
        let taken = scope.spawn(take).join().unwrap();
        assert!(taken[0].epoch > held[0].epoch);
    });
    transaction.commit().unwrap_err();
    drop(slot);
    let item = ExecutionCommit::new(ExecutionId(3), crate::Revision(0));
    let done = old.commit_executions(&held, &[item]).unwrap();
    assert_eq!(done, [Committed::Fenced]);
}

#[test]
fn what_one_writes_the_others_hear() {
    let url = cluster::fresh_url();
    let (writer, reader) = (connect(&url), connect(&url));
    let (heard, hears) = std::sync::mpsc::channel();
    let heard = Mutex::new(heard);
    let listener = Box::new(move |wake| {
        let _ = heard.lock().unwrap().send(wake);
    });
    let subscription = reader.subscribe(listener).unwrap().unwrap();
    let hear = || hears.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
    setting(&writer, "a");
    assert_eq!(hear(), Wake::Catalog);
    writer.wake(7).unwrap();
    assert_eq!(hear(), Wake::Partition(7));
    let claim = Claim {
        node: "a".parse().unwrap(),
        address: String::new(),
        now: Timestamp(0),
        ttl: std::time::Duration::from_secs(1),
    };
    writer.acquire_leases(&claim, &[1]).unwrap();
    assert_eq!(hear(), Wake::Leases);
    // A lost connection is replaced, and what may have been missed is told.
    let mut other = Connection::open(&writer.target).unwrap();
    let listeners = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN {}'",
        writer.target.channel()
    );
    other.batch(&listeners).unwrap();
    assert_eq!(hear(), Wake::Anything);
    writer.wake(8).unwrap();
    assert_eq!(hear(), Wake::Partition(8));
    drop(subscription);
    writer.wake(9).unwrap();
    hears.recv_timeout(std::time::Duration::from_millis(300)).unwrap_err();
}

#[test]
fn a_server_that_is_away_is_told_as_passing() {
    let error =
        PostgresStore::connect("postgres://me@127.0.0.1:1/x", Options::default()).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("connect to PostgreSQL"), "{error}");
}

#[test]
fn a_text_with_a_nul_is_kept_without_it() {
    let store = connect(&cluster::fresh_url());
    setting(&store, "a\0b");
    assert_eq!(store.setting("a\0b").unwrap(), Some(vec![1]));
}

#[test]
fn room_is_given_back() {
    let store = connect(&cluster::fresh_url());
    store.put_blob(BlobHash::of(b"unused"), b"unused").unwrap();
    let done = store.compact().unwrap();
    assert_eq!(done.swept, Swept { blobs: 1, bytes: 6 });
    assert!(done.bytes_after > 0 && done.bytes_after <= done.bytes_before, "{done:?}");
    store.backup(Path::new("/nowhere")).unwrap_err();
}
