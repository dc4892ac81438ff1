//! Executions as rows: reading them. [`commit`] writes them.

mod commit;

use model::suspend::OpId;
use model::{Amount, ExecutionId, Kind, TenantName, Timestamp, Version};

use crate::api::page;
use crate::error::{Error, Result};
use crate::execution::{
    Execution, ExecutionQuery, ExecutionRow, ExecutionStatus, HistoryOrder, HistoryQuery,
    HistoryRow, OpenExecution, OutboxItem, Revision, TimersDue,
};
use crate::sql::{Columns, Session, Value, blobs, first, list, statements};

pub(crate) use commit::{Around, commit};

pub(crate) fn execution(
    session: &dyn Session,
    tenant: &TenantName,
    id: ExecutionId,
) -> Result<Execution> {
    let found = first(session, statements::EXECUTION, &[id.into()], read_whole)?;
    let found = found.filter(|found| found.row.tenant == *tenant);
    found.ok_or_else(|| Error::not_found("execution", &id))
}

pub(crate) fn execution_named(
    session: &dyn Session,
    tenant: &TenantName,
    name: &str,
) -> Result<Execution> {
    let values = [Value::Text(tenant.as_str()), Value::Text(name)];
    let found = first(session, statements::EXECUTION_NAMED, &values, read_whole)?;
    found.ok_or_else(|| Error::not_found("execution", &name))
}

pub(crate) fn load(session: &dyn Session, ids: &[ExecutionId]) -> Result<Vec<Execution>> {
    let rows: Vec<_> = ids.iter().map(|id| vec![Value::from(*id)]).collect();
    let mut found = Vec::with_capacity(ids.len());
    session.query_each(statements::EXECUTION, &rows, &mut |columns| {
        found.push(read_whole(columns)?);
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    Ok(found)
}

pub(crate) fn executions(
    session: &dyn Session,
    tenant: &TenantName,
    query: &ExecutionQuery,
) -> Result<Vec<Execution>> {
    let values = [
        Value::Text(tenant.as_str()),
        query.before.unwrap_or(ExecutionId(u128::MAX)).into(),
        Value::text_or_null(query.status.map(ExecutionStatus::as_str)),
        Value::text_or_null(query.function.as_ref().map(|name| name.as_str())),
        Value::optional(query.version, |version| version.0.into()),
        Value::text_or_null(query.name_prefix.as_deref()),
        query.since.unwrap_or_default().into(),
        query.until.map_or(Value::Int(i64::MAX), Value::from),
        Value::optional(query.parent, Value::from),
        Value::limit(page(query.limit)),
    ];
    let statement = match (query.parent.is_some(), query.open) {
        (false, false) => statements::EXECUTIONS,
        (false, true) => statements::EXECUTIONS_OPEN,
        (true, false) => statements::EXECUTIONS_OF_PARENT,
        (true, true) => statements::EXECUTIONS_OF_PARENT_OPEN,
    };
    list(session, statement, &values, read_summary)
}

pub(crate) fn history(
    session: &dyn Session,
    id: ExecutionId,
    query: &HistoryQuery,
) -> Result<Vec<HistoryRow>> {
    let (statement, place) = match query.order {
        HistoryOrder::From(first) => (statements::HISTORY_FROM, Value::count(first)),
        HistoryOrder::Before(end) => {
            (statements::HISTORY_BEFORE, end.map_or(Value::Int(i64::MAX), Value::count))
        }
    };
    let values = [id.into(), place, Value::limit(page(query.limit))];
    list(session, statement, &values, |columns| {
        Ok(HistoryRow {
            seq: columns.bits()?,
            at: columns.time()?,
            bytes: columns.bytes()?.to_vec(),
            blobs: columns.optional(blobs::decode)?.unwrap_or_default(),
        })
    })
}

pub(crate) fn open_executions(
    session: &dyn Session,
    partition: u32,
    after: Option<ExecutionId>,
    limit: usize,
) -> Result<Vec<OpenExecution>> {
    let after = after.map_or(Value::Bytes(&[]), Value::from);
    let values = [partition.into(), after, Value::limit(page(limit))];
    list(session, statements::OPEN, &values, |columns| {
        Ok(OpenExecution {
            id: ExecutionId(columns.id()?),
            wake: columns.optional(Columns::time)?,
            status: columns.word(ExecutionStatus::from_word)?,
        })
    })
}

pub(crate) fn timers_due(
    session: &dyn Session,
    partitions: &[u32],
    until: Timestamp,
    after: Option<(Timestamp, ExecutionId)>,
    limit: usize,
) -> Result<TimersDue> {
    let limit = page(limit);
    let mut found = TimersDue::default();
    for partition in partitions {
        let (time, id) =
            after.map_or((Value::Int(0), Value::Bytes(&[])), |(at, id)| (at.into(), id.into()));
        let values = [(*partition).into(), until.into(), time, id, Value::limit(limit)];
        let due = list(session, statements::TIMERS_DUE, &values, |columns| {
            Ok((columns.time()?, ExecutionId(columns.id()?)))
        })?;
        found.due.extend(due);
        let values = [(*partition).into(), until.into()];
        let next = first(session, statements::TIMER_NEXT, &values, |columns| columns.time())?;
        found.next = found.next.into_iter().chain(next).min();
    }
    found.due.sort_unstable();
    found.due.truncate(limit);
    Ok(found)
}

pub(crate) fn outbox(
    session: &dyn Session,
    partition: u32,
    after: Option<(ExecutionId, OpId)>,
    limit: usize,
) -> Result<Vec<OutboxItem>> {
    let (id, op) =
        after.map_or((Value::Bytes(&[]), Value::Int(0)), |(id, op)| (id.into(), Value::bits(op.0)));
    let values = [partition.into(), id, op, Value::limit(page(limit))];
    list(session, statements::OUTBOX, &values, |columns| {
        Ok(OutboxItem {
            id: ExecutionId(columns.id()?),
            op: OpId(columns.bits()?),
            bytes: columns.bytes()?.to_vec(),
        })
    })
}

fn read_whole(columns: &mut Columns<'_>) -> Result<Execution> {
    let mut execution = read_summary(columns)?;
    execution.row.blobs = columns.optional(blobs::decode)?.unwrap_or_default();
    execution.row.state = columns.bytes()?.to_vec();
    Ok(execution)
}

fn read_summary(columns: &mut Columns<'_>) -> Result<Execution> {
    let (id, revision) = (ExecutionId(columns.id()?), Revision(columns.bits()?));
    let row = ExecutionRow {
        tenant: columns.parsed()?,
        name: columns.optional(Columns::string)?,
        function: columns.parsed()?,
        kind: columns.word(Kind::from_word)?,
        class: columns.string()?,
        max_class: columns.string()?,
        parent: {
            let id = columns.optional(|columns| columns.id().map(ExecutionId))?;
            id.zip(columns.optional(|columns| columns.bits().map(OpId))?)
        },
        created: columns.time()?,
        finished: columns.optional(Columns::time)?,
        version: Version(columns.u32()?),
        status: columns.word(ExecutionStatus::from_word)?,
        updated: columns.time()?,
        wake: columns.optional(Columns::time)?,
        waits: columns.string()?,
        custom_status: columns.optional(|columns| columns.bytes().map(<[u8]>::to_vec))?,
        cost: Amount(columns.bits()?),
        state_bytes: columns.bits()?,
        blobs: Vec::new(),
        state: Vec::new(),
    };
    Ok(Execution { id, revision, row })
}
