//! The bill's sums as rows.

use std::ops::ControlFlow;

use model::{Amount, ByteSeconds, CpuTime, TenantName};

use crate::bill::{BillQuery, BillRow, BillRows, SumKey, Usage};
use crate::calendar::Day;
use crate::error::Result;
use crate::sql::{Columns, Session, Value, first, statements};

/// Adds `usage` to a stored sum. Added here and not in SQL, where it would not saturate.
pub(crate) fn add(session: &dyn Session, key: &SumKey, usage: &Usage) -> Result<()> {
    let [tenant, day, function, class] = key_values(key);
    let known = first(session, statements::SUM, &[tenant, day, function, class], read_usage)?;
    let mut sum = known.unwrap_or_default();
    sum.add(usage);
    let values = [
        tenant,
        day,
        function,
        class,
        Value::bits(sum.invocations),
        Value::bits(sum.failures),
        Value::bits(sum.cpu.0),
        Value::bits(sum.memory.0),
        Value::bits(sum.cpu_cost.0),
        Value::bits(sum.memory_cost.0),
    ];
    session.execute(statements::SUM_PUT, &values).map(drop)
}

pub(crate) fn bill(session: &dyn Session, query: &BillQuery) -> Result<Vec<BillRow>> {
    let mut rows = BillRows::new(query.by);
    let mut add = |columns: &mut Columns<'_>| {
        let key = SumKey {
            tenant: columns.parsed()?,
            day: Day(columns.u32()?),
            function: columns.parsed()?,
            class: columns.string()?,
        };
        rows.add(key, &read_usage(columns)?);
        Ok(ControlFlow::Continue(()))
    };
    let days = [query.first.0.into(), query.last.0.into()];
    match query.tenant.as_ref().map(TenantName::as_str) {
        Some(tenant) => {
            let values = [Value::Text(tenant), days[0], days[1]];
            session.query(statements::SUMS_OF_TENANT, &values, &mut add)?;
        }
        None => session.query(statements::SUMS_OF_ALL, &days, &mut add)?,
    }
    Ok(rows.finish())
}

fn key_values(key: &SumKey) -> [Value<'_>; 4] {
    [
        Value::Text(key.tenant.as_str()),
        key.day.0.into(),
        Value::Text(key.function.as_str()),
        Value::Text(&key.class),
    ]
}

fn read_usage(columns: &mut Columns<'_>) -> Result<Usage> {
    Ok(Usage {
        invocations: columns.bits()?,
        failures: columns.bits()?,
        cpu: CpuTime(columns.bits()?),
        memory: ByteSeconds(columns.bits()?),
        cpu_cost: Amount(columns.bits()?),
        memory_cost: Amount(columns.bits()?),
    })
}
