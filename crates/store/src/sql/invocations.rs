//! Finished attempts as rows.

use model::{Amount, ByteSeconds, CpuTime, InvocationId, TenantName, Version};

use crate::api::{Retention, page};
use crate::error::Result;
use crate::invocation::{
    Charge, Cursor, Detail, InvocationQuery, InvocationRecord, Mode, RecordOutcome, Status,
};
use crate::sql::queue::{failure_values, read_failure};
use crate::sql::{Columns, Session, Value, first, list, statements};

/// Removes the oldest records and returns the number the next record gets.
pub(crate) fn forget_old(session: &dyn Session, retention: Retention) -> Result<i64> {
    let range = first(session, statements::INVOCATION_RANGE, &[], |columns| {
        Ok((columns.optional(Columns::int)?, columns.optional(Columns::int)?))
    })?;
    let Some((Some(oldest), Some(newest))) = range else { return Ok(0) };
    // Only the lowest numbers are ever removed, so there are no gaps to count.
    let keep = i64::try_from(retention.keep).unwrap_or(i64::MAX);
    let removals_max = i64::try_from(retention.removals_max).unwrap_or(i64::MAX);
    let last = newest.saturating_sub(keep).min(oldest.saturating_add(removals_max) - 1);
    if last >= oldest {
        session.execute(statements::INVOCATION_FORGET, &[Value::Int(last)])?;
    }
    Ok(newest + 1)
}

/// Adds a record where its id and attempt are new, and tells whether they were.
pub(crate) fn add(session: &dyn Session, sequence: i64, record: &InvocationRecord) -> Result<bool> {
    let (answer_bytes, failure) = match &record.outcome {
        RecordOutcome::Ok { bytes } => (*bytes, None),
        RecordOutcome::Failed(failure) => (0, Some(failure)),
    };
    let [kind, message] = failure_values(failure);
    let values = [
        Value::Int(sequence),
        Value::Text(record.tenant.as_str()),
        record.id.into(),
        record.attempt.into(),
        Value::Text(record.function.as_str()),
        record.version.0.into(),
        Value::Text(&record.class),
        Value::optional(record.caller, Value::from),
        Value::Text(mode_word(record.mode)),
        record.arrived.into(),
        Value::optional(record.started, Value::from),
        record.finished.into(),
        Value::bits(answer_bytes),
        kind,
        message,
        Value::bits(record.charge.cpu.0),
        Value::bits(record.charge.memory.0),
        Value::bits(record.charge.cpu_cost.0),
        Value::bits(record.charge.memory_cost.0),
        Value::bits(record.logs_dropped_bytes),
        record.cold.into(),
        Value::Text(&record.trace),
        Value::Bytes(&record.logs),
    ];
    Ok(session.execute(statements::INVOCATION_ADD, &values)? == 1)
}

pub(crate) fn invocation(
    session: &dyn Session,
    tenant: &TenantName,
    id: InvocationId,
) -> Result<Vec<InvocationRecord>> {
    let values = [Value::Text(tenant.as_str()), id.into()];
    list(session, statements::INVOCATION, &values, |row| read_record(row, Detail::Whole))
}

pub(crate) fn invocations(
    session: &dyn Session,
    tenant: &TenantName,
    query: &InvocationQuery,
) -> Result<Vec<InvocationRecord>> {
    // No record stands at the end: its attempt does not fit in 32 bits.
    let end = (Value::from(InvocationId(u128::MAX)), Value::Int(i64::MAX));
    let place = |Cursor { id, attempt }: Cursor| (Value::from(id), Value::from(attempt));
    let (before_id, before_attempt) = query.before.map_or(end, place);
    let values = [
        Value::Text(tenant.as_str()),
        before_id,
        before_attempt,
        Value::text_or_null(query.function.as_ref().map(|name| name.as_str())),
        Value::text_or_null(query.class.as_deref()),
        Value::optional(query.status, |status| Value::from(status == Status::Failed)),
        query.since.map_or(Value::Int(0), Value::from),
        Value::limit(page(query.limit)),
    ];
    let statement = match query.detail {
        Detail::Summary => statements::INVOCATIONS_SUMMARY,
        Detail::Whole => statements::INVOCATIONS_WHOLE,
    };
    list(session, statement, &values, |row| read_record(row, query.detail))
}

fn read_record(columns: &mut Columns<'_>, detail: Detail) -> Result<InvocationRecord> {
    let mut record = InvocationRecord {
        tenant: columns.parsed()?,
        id: InvocationId(columns.id()?),
        attempt: columns.u32()?,
        function: columns.parsed()?,
        version: Version(columns.u32()?),
        class: columns.string()?,
        caller: columns.optional(|columns| columns.id().map(InvocationId))?,
        mode: columns.word(|word| MODES.into_iter().find(|mode| mode_word(*mode) == word))?,
        arrived: columns.time()?,
        started: columns.optional(Columns::time)?,
        finished: columns.time()?,
        outcome: {
            let bytes = columns.bits()?;
            read_failure(columns)?.map_or(RecordOutcome::Ok { bytes }, RecordOutcome::Failed)
        },
        charge: Charge {
            cpu: CpuTime(columns.bits()?),
            memory: ByteSeconds(columns.bits()?),
            cpu_cost: Amount(columns.bits()?),
            memory_cost: Amount(columns.bits()?),
        },
        logs_dropped_bytes: columns.bits()?,
        cold: columns.flag()?,
        trace: String::new(),
        logs: Vec::new(),
    };
    if detail == Detail::Whole {
        record.trace = columns.string()?;
        record.logs = columns.bytes()?.to_vec();
    }
    Ok(record)
}

const MODES: [Mode; 2] = [Mode::Sync, Mode::Async];

const fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Sync => "sync",
        Mode::Async => "async",
    }
}
