//! Functions, versions and code.

use model::{Durable, Kind, Version};
use store::{
    BlobHash, Change, Error, FunctionQuery, FunctionSpec, FunctionVersion, Options, Store, Swept,
};

use crate::Opener;
use crate::given::{CODE, function_name, spec, tenant_name, two_tenants};

fn publish(store: &dyn Store, tenant: &str, name: &str) -> u32 {
    store.publish(&spec(tenant, name)).unwrap().version.0
}

fn delete(store: &dyn Store, tenant: &str, name: &str, version: Option<u32>) -> Result<(), Error> {
    store.apply(&Change::DeleteFunction {
        tenant: tenant_name(tenant),
        name: function_name(name),
        version: version.map(Version),
    })
}

/// The number of a version, or of the latest one.
fn find(store: &dyn Store, tenant: &str, name: &str, version: Option<u32>) -> Option<u32> {
    let (tenant, name) = (tenant_name(tenant), function_name(name));
    match store.function(&tenant, &name, version.map(Version)) {
        Ok(found) => {
            assert_eq!((&found.spec.tenant, &found.spec.name), (&tenant, &name));
            Some(found.version.0)
        }
        Err(Error::NotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn list(store: &dyn Store, tenant: &str, query: &FunctionQuery) -> Vec<(String, u32)> {
    let found = store.functions(&tenant_name(tenant), query).unwrap();
    found.into_iter().map(|found| (found.spec.name.to_string(), found.version.0)).collect()
}

fn latest(limit: usize, after: Option<&str>) -> FunctionQuery {
    FunctionQuery::Latest { after: after.map(function_name), limit }
}

fn versions(name: &str, limit: usize, before: Option<u32>) -> FunctionQuery {
    FunctionQuery::Versions { name: function_name(name), before: before.map(Version), limit }
}

pub(crate) fn a_version_is_read_back_as_it_was_published(open: Opener<'_>) {
    let store = open(Options::default());
    two_tenants(&*store);
    let bare = FunctionSpec {
        kind: Kind::Wasm,
        default_class: None,
        environment: Vec::new(),
        network: false,
        durable: Durable::No,
        code_size_bytes: u64::MAX,
        handler: String::new(),
        ..spec("acme", "bare")
    };
    for spec in [spec("acme", "full"), bare] {
        let published = store.publish(&spec).unwrap();
        assert_eq!(published, FunctionVersion { version: Version(1), spec: spec.clone() });
        assert_eq!(store.function(&spec.tenant, &spec.name, None).unwrap(), published);
        let found = store.functions(&spec.tenant, &versions(spec.name.as_str(), 9, None)).unwrap();
        assert_eq!(found, [published]);
    }
}

pub(crate) fn the_latest_version_is_the_highest_that_is_not_deleted(open: Opener<'_>) {
    let store = open(Options::default());
    two_tenants(&*store);
    for expected in 1..=3 {
        assert_eq!(publish(&*store, "acme", "f"), expected);
    }
    assert_eq!(find(&*store, "acme", "f", None), Some(3));
    delete(&*store, "acme", "f", Some(3)).unwrap();
    assert_eq!(find(&*store, "acme", "f", None), Some(2));
    assert_eq!(find(&*store, "acme", "f", Some(3)), None);
    assert_eq!(find(&*store, "acme", "f", Some(1)), Some(1));
    let error = delete(&*store, "acme", "f", Some(3)).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    delete(&*store, "acme", "f", None).unwrap();
    assert_eq!(find(&*store, "acme", "f", None), None);
    assert_eq!(find(&*store, "acme", "f", Some(1)), None);
    let error = delete(&*store, "acme", "f", None).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

pub(crate) fn a_version_number_is_never_given_twice(open: Opener<'_>) {
    let store = open(Options::default());
    two_tenants(&*store);
    publish(&*store, "acme", "f");
    publish(&*store, "acme", "f");
    delete(&*store, "acme", "f", Some(2)).unwrap();
    assert_eq!(publish(&*store, "acme", "f"), 3);
    delete(&*store, "acme", "f", None).unwrap();
    assert_eq!(publish(&*store, "acme", "f"), 4);
    assert_eq!(list(&*store, "acme", &versions("f", 9, None)), [("f".into(), 4)]);
}

pub(crate) fn functions_and_versions_come_in_pages(open: Opener<'_>) {
    let store = open(Options::default());
    two_tenants(&*store);
    for name in ["b", "A", "c", "b", "b"] {
        publish(&*store, "acme", name);
    }
    let row = |name: &str, version| (name.to_owned(), version);
    assert_eq!(list(&*store, "acme", &latest(2, None)), [row("A", 1), row("b", 3)]);
    assert_eq!(list(&*store, "acme", &latest(2, Some("b"))), [row("c", 1)]);
    assert_eq!(list(&*store, "acme", &latest(2, Some("c"))), []);
    assert_eq!(list(&*store, "acme", &latest(0, None)), []);
    assert_eq!(list(&*store, "acme", &versions("b", 2, None)), [row("b", 3), row("b", 2)]);
    assert_eq!(list(&*store, "acme", &versions("b", 2, Some(2))), [row("b", 1)]);
    assert_eq!(list(&*store, "acme", &versions("d", 2, None)), []);
}

pub(crate) fn functions_of_another_tenant_are_not_there(open: Opener<'_>) {
    let store = open(Options::default());
    two_tenants(&*store);
    publish(&*store, "acme", "f");
    publish(&*store, "acme", "f");
    assert_eq!(find(&*store, "globex", "f", None), None);
    assert_eq!(find(&*store, "globex", "f", Some(1)), None);
    assert_eq!(list(&*store, "globex", &latest(9, None)), []);
    assert_eq!(list(&*store, "globex", &versions("f", 9, None)), []);
    delete(&*store, "globex", "f", None).unwrap_err();
    assert_eq!(publish(&*store, "globex", "f"), 1);
    delete(&*store, "globex", "f", None).unwrap();
    assert_eq!(find(&*store, "acme", "f", None), Some(2));
}

pub(crate) fn code_must_be_there_before_it_is_published(open: Opener<'_>) {
    let store = open(Options::default());
    two_tenants(&*store);
    let without_code = FunctionSpec { code_hash: BlobHash::of(b"other"), ..spec("acme", "f") };
    let error = store.publish(&without_code).unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "blob", .. }), "{error}");
    let of_nobody = FunctionSpec { tenant: tenant_name("nobody"), ..without_code };
    let error = store.publish(&of_nobody).unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "tenant", .. }), "{error}");
    assert_eq!(publish(&*store, "acme", "f"), 1, "a refused version takes no number");
}

pub(crate) fn a_sweep_removes_only_what_no_version_uses(open: Opener<'_>) {
    let store = open(Options::default());
    two_tenants(&*store);
    publish(&*store, "acme", "f");
    publish(&*store, "globex", "f");
    let (unused, used) = (BlobHash::of(b"unused"), BlobHash::of(CODE));
    store.put_blob(unused, b"unused").unwrap();
    store.put_blob(unused, b"unused").unwrap();
    assert_eq!(store.get_blob(unused).unwrap(), b"unused");

    assert_eq!(store.sweep_blobs().unwrap(), Swept { blobs: 1, bytes: 6 });
    assert!(matches!(store.get_blob(unused).unwrap_err(), Error::NotFound { .. }));
    delete(&*store, "acme", "f", None).unwrap();
    assert_eq!(store.sweep_blobs().unwrap(), Swept::default());
    assert_eq!(store.get_blob(used).unwrap(), CODE);
    delete(&*store, "globex", "f", None).unwrap();
    assert_eq!(store.sweep_blobs().unwrap(), Swept { blobs: 1, bytes: CODE.len() as u64 });

    store.put_blob(used, CODE).unwrap();
    assert_eq!(store.get_blob(used).unwrap(), CODE, "what was swept can come again");
}

pub(crate) fn content_with_another_hash_is_refused(open: Opener<'_>) {
    let store = open(Options::default());
    let error = store.put_blob(BlobHash::of(b"a"), b"b").unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(matches!(store.get_blob(BlobHash::of(b"a")).unwrap_err(), Error::NotFound { .. }));
}
