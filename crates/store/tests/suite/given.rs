//! The things the tests put into stores.

use std::time::Duration;

use model::{
    Amount, ByteSeconds, CpuTime, Durable, FailureKind, FunctionName, InvocationId, KeyId, Kind,
    TenantName, Timestamp, Version,
};
use store::{
    AsyncCall, Batch, BlobHash, Change, Charge, FailureNote, FunctionSpec, InvocationRecord, Key,
    Mode, QueueChange, RecordOutcome, Role, Store, Tenant,
};

pub(crate) const CODE: &[u8] = b"the code";

pub(crate) fn tenant_name(name: &str) -> TenantName {
    name.parse().unwrap()
}

pub(crate) fn function_name(name: &str) -> FunctionName {
    name.parse().unwrap()
}

pub(crate) fn id(number: u64) -> InvocationId {
    InvocationId::from_parts(1_790_000_000_000 + number, u128::MAX)
}

pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + ms)
}

pub(crate) fn tenant(name: &str) -> Tenant {
    Tenant {
        name: tenant_name(name),
        created: at(0),
        monthly_budget: Some(Amount(u64::MAX - 1)),
        allow_network: false,
    }
}

pub(crate) fn key(number: u128, tenant: &str) -> Key {
    Key {
        id: KeyId(number),
        tenant: tenant_name(tenant),
        label: "the build server".into(),
        role: Role::Admin,
        max_class: Some("interactive".into()),
        secret_hash: [9; 32],
        created: at(1),
        revoked: None,
    }
}

pub(crate) fn spec(tenant: &str, name: &str) -> FunctionSpec {
    FunctionSpec {
        tenant: tenant_name(tenant),
        name: function_name(name),
        kind: Kind::Process,
        runtime: "python3.12".into(),
        handler: "app.handler".into(),
        timeout: Duration::from_millis(1_500),
        default_class: Some("economy".into()),
        environment: vec![("MODE".into(), "a=b\nc".into()), ("A".into(), String::new())],
        network: true,
        durable: Durable::Explicit,
        code_hash: BlobHash::of(CODE),
        code_size_bytes: CODE.len() as u64,
        created: at(2),
        description: "resizes “images”".into(),
    }
}

pub(crate) fn failure() -> FailureNote {
    FailureNote { kind: FailureKind::TimedOut, message: "no answer in 60 s".into() }
}

pub(crate) fn call(number: u64, tenant: &str) -> AsyncCall {
    AsyncCall {
        id: id(number),
        tenant: tenant_name(tenant),
        function: function_name("mail"),
        version: Some(Version(4)),
        class: "standard".into(),
        max_class: "critical".into(),
        payload: vec![0, 255, 10],
        caller: Some(id(1_000_000)),
        depth: 3,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        arrived: at(number),
        attempt: 1,
        first_attempt: 1,
        not_before: at(number),
        last_failure: None,
    }
}

pub(crate) fn record(number: u64, tenant: &str) -> InvocationRecord {
    InvocationRecord {
        id: id(number),
        attempt: 1,
        tenant: tenant_name(tenant),
        function: function_name("home"),
        version: Version(2),
        class: "critical".into(),
        caller: Some(id(1_000_000)),
        mode: Mode::Async,
        arrived: at(number),
        started: Some(at(number + 1)),
        finished: at(number + 2),
        outcome: RecordOutcome::Ok { bytes: 77 },
        charge: Charge {
            cpu: CpuTime(10),
            memory: ByteSeconds(20),
            cpu_cost: Amount(30),
            memory_cost: Amount(4),
        },
        trace: r#"{"queued_ns":1}"#.into(),
        logs: vec![27, b'[', 0, 255],
        logs_dropped_bytes: u64::MAX,
        cold: true,
    }
}

/// Two tenants and the code both use.
pub(crate) fn two_tenants(store: &dyn Store) {
    for name in ["acme", "globex"] {
        store.apply(&Change::CreateTenant(tenant(name))).unwrap();
    }
    store.put_blob(BlobHash::of(CODE), CODE).unwrap();
}

pub(crate) fn commit_records(store: &dyn Store, records: Vec<InvocationRecord>) {
    store.commit(&Batch { records, queue: Vec::new() }).unwrap();
}

pub(crate) fn commit_queue(store: &dyn Store, queue: Vec<QueueChange>) {
    store.commit(&Batch { records: Vec::new(), queue }).unwrap();
}
