//! The bill: sums of receipts by tenant, day, function and class.

use std::collections::BTreeMap;

use model::{Amount, ByteSeconds, CpuTime, FunctionName, TenantName};

use crate::calendar::Day;
use crate::invocation::{InvocationRecord, Status};

/// Sums over invocations. Every sum saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Attempts that finished.
    pub invocations: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// CPU time used.
    pub cpu: CpuTime,
    /// Memory used over time.
    pub memory: ByteSeconds,
    /// Price of the CPU time.
    pub cpu_cost: Amount,
    /// Price of the memory.
    pub memory_cost: Amount,
}

/// Which part of the bill is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillQuery {
    /// Only of this tenant; without one, of all.
    pub tenant: Option<TenantName>,
    /// The first day.
    pub first: Day,
    /// The last day, included.
    pub last: Day,
    /// What gets a row of its own.
    pub by: Grouping,
}

/// What gets a row of its own; what is not set is summed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// Each tenant.
    pub tenant: bool,
    /// Each day.
    pub day: bool,
    /// Each function.
    pub function: bool,
    /// Each class.
    pub class: bool,
}

/// One row of the bill. What the grouping sums over is `None`. Rows come by tenant, day, function,
/// class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillRow {
    /// Whose.
    pub tenant: Option<TenantName>,
    /// Of which day (UTC).
    pub day: Option<Day>,
    /// Of which function.
    pub function: Option<FunctionName>,
    /// At which class.
    pub class: Option<String>,
    /// The sums.
    pub usage: Usage,
}

/// What one stored sum is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SumKey {
    pub(crate) tenant: TenantName,
    pub(crate) day: Day,
    pub(crate) function: FunctionName,
    pub(crate) class: String,
}

type GroupKey = (Option<TenantName>, Option<Day>, Option<FunctionName>, Option<String>);

/// Collects stored sums into the rows of a bill.
#[derive(Default)]
pub(crate) struct BillRows {
    by: Grouping,
    rows: BTreeMap<GroupKey, Usage>,
}

impl Usage {
    /// CPU and memory together.
    #[must_use]
    pub fn total(&self) -> Amount {
        self.cpu_cost + self.memory_cost
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.invocations = self.invocations.saturating_add(other.invocations);
        self.failures = self.failures.saturating_add(other.failures);
        self.cpu = self.cpu + other.cpu;
        self.memory = self.memory + other.memory;
        self.cpu_cost += other.cpu_cost;
        self.memory_cost += other.memory_cost;
    }
}

/// What one finished attempt adds to its sum.
impl From<&InvocationRecord> for Usage {
    fn from(record: &InvocationRecord) -> Self {
        Self {
            invocations: 1,
            failures: u64::from(record.status() == Status::Failed),
            cpu: record.charge.cpu,
            memory: record.charge.memory,
            cpu_cost: record.charge.cpu_cost,
            memory_cost: record.charge.memory_cost,
        }
    }
}

impl From<&InvocationRecord> for SumKey {
    fn from(record: &InvocationRecord) -> Self {
        Self {
            tenant: record.tenant.clone(),
            day: Day::of(record.finished),
            function: record.function.clone(),
            class: record.class.clone(),
        }
    }
}

impl BillRows {
    pub(crate) fn new(by: Grouping) -> Self {
        Self { by, rows: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, key: SumKey, usage: &Usage) {
        let group = (
            self.by.tenant.then_some(key.tenant),
            self.by.day.then_some(key.day),
            self.by.function.then_some(key.function),
            self.by.class.then_some(key.class),
        );
        self.rows.entry(group).or_default().add(usage);
    }

    pub(crate) fn finish(self) -> Vec<BillRow> {
        let row = |((tenant, day, function, class), usage)| BillRow {
            tenant,
            day,
            function,
            class,
            usage,
        };
        self.rows.into_iter().map(row).collect()
    }
}
