//! The bill.

use model::{Amount, ByteSeconds, CpuTime, Timestamp};
use store::{
    BillQuery, BillRow, Charge, Day, Grouping, InvocationRecord, Month, Options, RecordOutcome,
    Store, Usage,
};

use crate::Opener;
use crate::given::{commit_records, failure, function_name, id, record, tenant_name};

/// A record that finished at noon of a day.
fn on(number: u64, day: &str) -> InvocationRecord {
    let day: Day = day.parse().unwrap();
    let noon = (u64::from(day.0) * 24 + 12) * 3_600_000;
    InvocationRecord { finished: Timestamp::from_millis(noon), ..record(number, "acme") }
}

fn query(first: &str, last: &str, by: Grouping) -> BillQuery {
    BillQuery { tenant: None, first: first.parse().unwrap(), last: last.parse().unwrap(), by }
}

/// What `invocations` records of [`record`] sum up to.
fn usage(invocations: u64, failures: u64) -> Usage {
    Usage {
        invocations,
        failures,
        cpu: CpuTime(10 * invocations),
        memory: ByteSeconds(20 * invocations),
        cpu_cost: Amount(30 * invocations),
        memory_cost: Amount(4 * invocations),
    }
}

fn sum(store: &dyn Store) -> Usage {
    let rows = store.bill(&query("2026-01-01", "2026-12-31", Grouping::default())).unwrap();
    assert_eq!(rows.len(), 1);
    rows[0].usage
}

pub(crate) fn a_record_is_counted_once_however_often_it_is_committed(open: Opener<'_>) {
    let store = open(Options::default());
    let again = InvocationRecord { attempt: 2, ..on(1, "2026-11-23") };
    let batch = vec![on(1, "2026-11-23"), on(2, "2026-11-23"), on(1, "2026-11-23"), again];
    commit_records(&*store, batch.clone());
    assert_eq!(sum(&*store), usage(3, 0));
    commit_records(&*store, vec![on(2, "2026-11-23")]);
    let other = InvocationRecord { outcome: RecordOutcome::Failed(failure()), ..batch[1].clone() };
    commit_records(&*store, vec![other]);
    assert_eq!(sum(&*store), usage(3, 0));
    let found = store.invocation(&tenant_name("acme"), id(2)).unwrap();
    assert_eq!(found, [on(2, "2026-11-23")], "the first one stays");
}

pub(crate) fn a_batch_larger_than_what_is_kept_can_be_repeated(open: Opener<'_>) {
    let store = open(Options { keep_invocations: 1 });
    let batch: Vec<_> = (1..=50).map(|number| on(number, "2026-11-23")).collect();
    for _ in 0..3 {
        commit_records(&*store, batch.clone());
        assert_eq!(sum(&*store), usage(50, 0));
    }
}

pub(crate) fn rows_are_grouped_as_asked(open: Opener<'_>) {
    let store = open(Options::default());
    let failed = |record| InvocationRecord { outcome: RecordOutcome::Failed(failure()), ..record };
    let records = vec![
        on(1, "2026-11-22"),
        failed(on(2, "2026-11-23")),
        InvocationRecord { function: function_name("profile"), ..on(3, "2026-11-23") },
        InvocationRecord { class: "background".into(), ..on(4, "2026-11-23") },
        InvocationRecord { tenant: tenant_name("globex"), ..failed(on(5, "2026-11-24")) },
        on(6, "2026-11-25"),
    ];
    commit_records(&*store, records);
    let all = Grouping { tenant: true, day: true, function: true, class: true };
    let row = |tenant: &str, day: &str, function: &str, class: &str, usage| BillRow {
        tenant: Some(tenant_name(tenant)),
        day: Some(day.parse().unwrap()),
        function: Some(function_name(function)),
        class: Some(class.into()),
        usage,
    };
    assert_eq!(
        store.bill(&query("2026-11-23", "2026-11-24", all)).unwrap(),
        [
            row("acme", "2026-11-23", "home", "background", usage(1, 0)),
            row("acme", "2026-11-23", "home", "critical", usage(1, 1)),
            row("acme", "2026-11-23", "profile", "critical", usage(1, 0)),
            row("globex", "2026-11-24", "home", "critical", usage(1, 1)),
        ]
    );
    let none = BillRow { tenant: None, day: None, function: None, class: None, usage: usage(4, 2) };
    let days = || query("2026-11-23", "2026-11-24", Grouping::default());
    assert_eq!(store.bill(&days()).unwrap(), std::slice::from_ref(&none));
    let acme = BillQuery { tenant: Some(tenant_name("acme")), ..days() };
    assert_eq!(store.bill(&acme).unwrap(), [BillRow { usage: usage(3, 1), ..none.clone() }]);
    let by_class = Grouping { class: true, ..Grouping::default() };
    let of_class =
        |class: &str, usage| BillRow { class: Some(class.into()), usage, ..none.clone() };
    assert_eq!(
        store.bill(&BillQuery { by: by_class, ..days() }).unwrap(),
        [of_class("background", usage(1, 0)), of_class("critical", usage(3, 2))]
    );
}

pub(crate) fn a_month_is_what_its_days_cost(open: Opener<'_>) {
    let store = open(Options::default());
    let days = ["2028-01-31", "2028-02-01", "2028-02-29", "2028-03-01", "2028-12-31"];
    let records = (1..).zip(days).map(|(number, day)| on(number, day)).collect();
    commit_records(&*store, records);
    commit_records(
        &*store,
        vec![InvocationRecord { tenant: tenant_name("globex"), ..on(9, "2028-02-02") }],
    );
    let spent = |tenant, month: &str| {
        store.month_spent(&tenant_name(tenant), month.parse::<Month>().unwrap()).unwrap()
    };
    for (month, records) in [("2028-01", 1), ("2028-02", 2), ("2028-03", 1), ("2028-12", 1)] {
        assert_eq!(spent("acme", month), Amount(34 * records), "{month}");
    }
    assert_eq!(spent("acme", "2028-04"), Amount(0));
    assert_eq!(spent("globex", "2028-02"), Amount(34));
}

pub(crate) fn sums_saturate(open: Opener<'_>) {
    let store = open(Options::default());
    let most = Charge {
        cpu: CpuTime(u64::MAX),
        memory: ByteSeconds(u64::MAX - 1),
        cpu_cost: Amount(1 << 63),
        memory_cost: Amount(u64::MAX),
    };
    let expensive = |number| InvocationRecord { charge: most, ..on(number, "2026-11-23") };
    commit_records(&*store, vec![expensive(1)]);
    assert_eq!(sum(&*store).cpu_cost, Amount(1 << 63));
    assert_eq!(sum(&*store).memory, ByteSeconds(u64::MAX - 1));
    commit_records(&*store, vec![expensive(2)]);
    commit_records(&*store, vec![InvocationRecord { class: "other".into(), ..expensive(3) }]);
    let expected = Usage {
        invocations: 3,
        failures: 0,
        cpu: CpuTime(u64::MAX),
        memory: ByteSeconds(u64::MAX),
        cpu_cost: Amount(u64::MAX),
        memory_cost: Amount(u64::MAX),
    };
    assert_eq!(sum(&*store), expected);
}

pub(crate) fn nothing_used_is_no_row(open: Opener<'_>) {
    let store = open(Options::default());
    commit_records(&*store, vec![on(1, "2026-11-23")]);
    let bill = |first, last| store.bill(&query(first, last, Grouping::default())).unwrap();
    assert_eq!(bill("2026-11-24", "2026-11-30"), []);
    assert_eq!(bill("2026-11-24", "2026-11-22"), [], "a range that ends before it begins");
}
