//! What a store in a directory adds: it is there again, it is alone, and it notices damage.

use std::fs;
use std::path::{Path, PathBuf};

use store::{BlobHash, Change, Error, Options, QueueChange, SqliteStore, Store};

use crate::given::{
    CODE, at, call, commit_queue, commit_records, function_name, id, key, record, spec, tenant,
    tenant_name, two_tenants,
};

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, Options::default()).unwrap()
}

fn blob_path(directory: &Path) -> PathBuf {
    let name = BlobHash::of(CODE).to_string();
    directory.join("blobs").join(&name[..2]).join(&name[2..])
}

#[test]
fn everything_is_there_again_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("deep").join("data");
    let acme = tenant_name("acme");
    {
        let store = open(&data);
        two_tenants(&store);
        store.apply(&Change::CreateKey(key(1, "acme"))).unwrap();
        store.apply(&Change::PutSetting { name: "salt".into(), value: vec![1, 2] }).unwrap();
        store.publish(&spec("acme", "f")).unwrap();
        commit_records(&store, vec![record(1, "acme")]);
        commit_queue(&store, vec![QueueChange::Enqueue(call(2, "acme"))]);
    }
    let store = open(&data);
    assert_eq!(store.tenants().unwrap(), [tenant("acme"), tenant("globex")]);
    assert_eq!(store.keys().unwrap(), [key(1, "acme")]);
    assert_eq!(store.setting("salt").unwrap(), Some(vec![1, 2]));
    let found = store.function(&acme, &function_name("f"), None).unwrap();
    assert_eq!(found.spec, spec("acme", "f"));
    assert_eq!(store.get_blob(BlobHash::of(CODE)).unwrap(), CODE);
    assert_eq!(store.invocation(&acme, id(1)).unwrap(), [record(1, "acme")]);
    assert_eq!(store.due(at(9), &[].into(), 9).unwrap().calls, [call(2, "acme")]);
    store.check().unwrap();
}

#[test]
fn a_second_opener_is_told_that_the_directory_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    let error = SqliteStore::open(directory.path(), Options::default()).unwrap_err();
    assert!(matches!(&error, Error::Locked { path } if path == directory.path()), "{error}");
    first.apply(&Change::CreateTenant(tenant("acme"))).unwrap();
    drop(first);
    assert_eq!(open(directory.path()).tenants().unwrap(), [tenant("acme")]);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("fermata.db"), "not a database, but long enough".repeat(99))
        .unwrap();
    let error = SqliteStore::open(directory.path(), Options::default()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[test]
fn damaged_and_missing_code_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    two_tenants(&store);
    store.publish(&spec("acme", "f")).unwrap();
    store.check().unwrap();

    fs::write(blob_path(directory.path()), b"the c0de").unwrap();
    let error = store.get_blob(BlobHash::of(CODE)).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(matches!(store.check().unwrap_err(), Error::Corrupt { .. }));

    fs::remove_file(blob_path(directory.path())).unwrap();
    assert!(matches!(store.check().unwrap_err(), Error::Corrupt { .. }));
    store.put_blob(BlobHash::of(CODE), CODE).unwrap();
    store.check().unwrap();
}

#[test]
fn a_damaged_database_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path());
        commit_records(&store, (0..500).map(|number| record(number, "acme")).collect());
        store.check().unwrap();
    }
    let path = directory.path().join("fermata.db");
    assert!(!directory.path().join("fermata.db-wal").exists(), "closing folds the log in");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let error = open(directory.path()).check().unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[test]
fn what_a_crash_left_of_an_upload_is_cleared_away() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let left = directory.path().join("blobs/unfinished/0");
    fs::write(&left, b"half of a blo").unwrap();
    let store = open(directory.path());
    assert!(!left.exists());
    store.put_blob(BlobHash::of(CODE), CODE).unwrap();
    assert_eq!(store.get_blob(BlobHash::of(CODE)).unwrap(), CODE);
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_look_into_a_new_directory() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let _store = open(&data);
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn readers_see_whole_commits_while_a_writer_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let acme = tenant_name("acme");
    let (commits, batch) = (40, 7);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = 0;
                    while seen < commits * batch {
                        let query = store::DeadLetterQuery { limit: 1, ..Default::default() };
                        store.dead_letters(&acme, &query).unwrap();
                        let due = store.due(at(1_000), &[].into(), 1_000).unwrap().calls.len();
                        assert_eq!(due % batch, 0, "half a commit was seen");
                        assert!(due >= seen, "a commit was seen and then was not");
                        seen = due;
                    }
                })
            })
            .collect();
        for commit in 0..commits {
            let numbers = commit * batch..(commit + 1) * batch;
            let queued = |number| QueueChange::Enqueue(call(number as u64, "acme"));
            commit_queue(&store, numbers.map(queued).collect());
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}
