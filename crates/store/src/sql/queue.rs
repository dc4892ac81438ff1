//! Queued calls and dead letters as rows of one table.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use model::{FailureKind, InvocationId, TenantName, Timestamp, Version};

use crate::api::page;
use crate::error::{Error, Result};
use crate::invocation::FailureNote;
use crate::queue::{AsyncCall, Backlog, DeadLetter, DeadLetterQuery, Due, QueueChange};
use crate::sql::{Columns, Session, Value, first, list, statements};

pub(crate) fn change(session: &dyn Session, change: &QueueChange) -> Result<()> {
    match change {
        QueueChange::Enqueue(call) => enqueue(session, call),
        QueueChange::Retry { id, attempt, not_before, failure } => {
            let [kind, message] = failure_values(Some(failure));
            let values = [(*attempt).into(), (*not_before).into(), kind, message, (*id).into()];
            session.execute(statements::CALL_RETRY, &values).map(drop)
        }
        QueueChange::Complete(id) => {
            session.execute(statements::CALL_COMPLETE, &[(*id).into()]).map(drop)
        }
        QueueChange::Bury { id, at, failure } => {
            let [kind, message] = failure_values(Some(failure));
            let values = [(*at).into(), kind, message, (*id).into()];
            session.execute(statements::CALL_BURY, &values).map(drop)
        }
    }
}

fn enqueue(session: &dyn Session, call: &AsyncCall) -> Result<()> {
    let [kind, message] = failure_values(call.last_failure.as_ref());
    let values = [
        call.id.into(),
        Value::Text(call.tenant.as_str()),
        Value::Text(call.function.as_str()),
        Value::optional(call.version, |version| version.0.into()),
        Value::Text(&call.class),
        Value::Text(&call.max_class),
        Value::optional(call.caller, Value::from),
        call.depth.into(),
        Value::text_or_null(call.traceparent.as_deref()),
        call.arrived.into(),
        call.attempt.into(),
        call.first_attempt.into(),
        call.not_before.into(),
        kind,
        message,
        Value::Null,
        Value::Bytes(&call.payload),
    ];
    session.execute(statements::CALL_ADD, &values).map(drop)
}

/// Looks through the ids first, so that payloads of calls that run are not read.
pub(crate) fn due(
    session: &dyn Session,
    now: Timestamp,
    running: &BTreeSet<InvocationId>,
    limit: usize,
) -> Result<Due> {
    let limit = page(limit);
    let mut ids = Vec::new();
    session.query(statements::CALLS_DUE, &[now.into()], &mut |columns| {
        if ids.len() >= limit {
            return Ok(ControlFlow::Break(()));
        }
        let id = InvocationId(columns.id()?);
        if !running.contains(&id) {
            ids.push(id);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut calls = Vec::with_capacity(ids.len());
    for id in ids {
        calls.extend(first(session, statements::CALL, &[id.into()], |row| Ok(read_call(row)?.0))?);
    }
    let next = first(session, statements::CALL_NEXT, &[now.into()], |columns| columns.time())?;
    Ok(Due { calls, next })
}

pub(crate) fn queued(
    session: &dyn Session,
    tenant: &TenantName,
    id: InvocationId,
) -> Result<Option<AsyncCall>> {
    let found = first(session, statements::CALL, &[id.into()], read_call)?;
    let is_theirs =
        |(call, died): &(AsyncCall, Option<Timestamp>)| call.tenant == *tenant && died.is_none();
    Ok(found.filter(is_theirs).map(|(call, _)| call))
}

pub(crate) fn backlog(session: &dyn Session) -> Result<Vec<Backlog>> {
    list(session, statements::CALL_COUNTS, &[], |columns| {
        Ok(Backlog { tenant: columns.parsed()?, queued: columns.bits()?, dead: columns.bits()? })
    })
}

pub(crate) fn dead_letters(
    session: &dyn Session,
    tenant: &TenantName,
    query: &DeadLetterQuery,
) -> Result<Vec<DeadLetter>> {
    let values = [
        Value::Text(tenant.as_str()),
        Value::optional(query.before, Value::from),
        Value::text_or_null(query.function.as_ref().map(|name| name.as_str())),
        Value::limit(page(query.limit)),
    ];
    list(session, statements::LETTERS, &values, read_letter)
}

pub(crate) fn dead_letter(
    session: &dyn Session,
    tenant: &TenantName,
    id: InvocationId,
) -> Result<DeadLetter> {
    let values = [Value::Text(tenant.as_str()), id.into()];
    let found = first(session, statements::LETTER, &values, read_letter)?;
    found.ok_or_else(|| Error::not_found("dead letter", &id))
}

pub(crate) fn redrive(
    session: &dyn Session,
    tenant: &TenantName,
    id: InvocationId,
    at: Timestamp,
) -> Result<()> {
    let values = [at.into(), Value::Text(tenant.as_str()), id.into()];
    let redriven = session.execute(statements::LETTER_REDRIVE, &values)?;
    if redriven == 0 { Err(Error::not_found("dead letter", &id)) } else { Ok(()) }
}

pub(crate) fn delete_letter(
    session: &dyn Session,
    tenant: &TenantName,
    id: InvocationId,
) -> Result<()> {
    let values = [Value::Text(tenant.as_str()), id.into()];
    let deleted = session.execute(statements::LETTER_DELETE, &values)?;
    if deleted == 0 { Err(Error::not_found("dead letter", &id)) } else { Ok(()) }
}

/// The two columns of a failure.
pub(crate) fn failure_values(failure: Option<&FailureNote>) -> [Value<'_>; 2] {
    match failure {
        Some(FailureNote { kind, message }) => [Value::Text(kind.code()), Value::Text(message)],
        None => [Value::Null, Value::Null],
    }
}

/// The inverse of [`failure_values`].
pub(crate) fn read_failure(columns: &mut Columns<'_>) -> Result<Option<FailureNote>> {
    let kind = columns.optional(|columns| columns.word(FailureKind::from_code))?;
    let message = columns.optional(Columns::string)?;
    match (kind, message) {
        (Some(kind), Some(message)) => Ok(Some(FailureNote { kind, message })),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => Err(columns.damaged("a whole failure")),
    }
}

fn read_letter(columns: &mut Columns<'_>) -> Result<DeadLetter> {
    let (call, died) = read_call(columns)?;
    let died = died.ok_or_else(|| columns.damaged("a dead letter"))?;
    Ok(DeadLetter { call, died })
}

/// A call, and when it died.
fn read_call(columns: &mut Columns<'_>) -> Result<(AsyncCall, Option<Timestamp>)> {
    let mut call = AsyncCall {
        id: InvocationId(columns.id()?),
        tenant: columns.parsed()?,
        function: columns.parsed()?,
        version: columns.optional(|columns| columns.u32().map(Version))?,
        class: columns.string()?,
        max_class: columns.string()?,
        payload: Vec::new(),
        caller: columns.optional(|columns| columns.id().map(InvocationId))?,
        depth: columns.u32()?,
        traceparent: columns.optional(Columns::string)?,
        arrived: columns.time()?,
        attempt: columns.u32()?,
        first_attempt: columns.u32()?,
        not_before: columns.time()?,
        last_failure: read_failure(columns)?,
    };
    let died = columns.optional(Columns::time)?;
    call.payload = columns.bytes()?.to_vec();
    Ok((call, died))
}
