//! Steps of many executions in one transaction.
//!
//! Each statement runs for all items before the next one does, so that a database far away answers
//! a few times a commit and not a few times an item.

use std::collections::BTreeSet;

use crate::api::Options;
use crate::blob::{BlobHash, Packed};
use crate::error::Result;
use crate::execution::{Committed, ExecutionCommit, ExecutionRow, Lease, Revision, RowChange};
use crate::sql::{Hold, Lock, Session, Value, blobs, change, first, leases as held, statements};

/// What stands around a commit.
pub(crate) struct Around<'a> {
    pub(crate) options: &'a Options,
    /// Whether a blob that is not a row is there.
    pub(crate) has_file: &'a dyn Fn(BlobHash) -> Result<bool>,
}

/// What a statement is run for: the item, and its place among all.
type Item<'a> = (usize, &'a ExecutionCommit);

pub(crate) fn commit(
    session: &dyn Session,
    leases: &[Lease],
    items: &[ExecutionCommit],
    packed: &[Vec<(BlobHash, Packed<'_>)>],
    around: &Around<'_>,
) -> Result<Vec<Committed>> {
    let mut done = vec![Committed::Fenced; items.len()];
    let open = admitted(session, leases, items, around, &mut done)?;
    write_known(session, &open, &mut done)?;
    free_names(session, items, &done)?;
    write_new(session, &open, &mut done)?;
    let applied: Vec<Item<'_>> = open
        .into_iter()
        .filter(|(index, _)| matches!(done[*index], Committed::Applied(_)))
        .collect();
    let brought: Vec<_> = applied.iter().flat_map(|(index, _)| &packed[*index]).collect();
    each(
        session,
        statements::BLOB_ADD,
        brought.iter().map(|(hash, blob)| blobs::values(hash, blob)),
    )?;
    write_history(session, &applied)?;
    write_outbox(session, &applied)?;
    let records: Vec<_> = applied.iter().flat_map(|(_, item)| &item.records).collect();
    if !records.is_empty() {
        change::add_records(session, &records, around.options)?;
    }
    Ok(done)
}

/// The items whose partition is held and whose blobs are there. They stand as applied so far.
fn admitted<'a>(
    session: &dyn Session,
    leases: &[Lease],
    items: &'a [ExecutionCommit],
    around: &Around<'_>,
    done: &mut [Committed],
) -> Result<Vec<Item<'a>>> {
    let partitions: BTreeSet<u32> = items.iter().map(|item| item.id.partition()).collect();
    for partition in &partitions {
        session.lock(Lock::Partition(*partition), Hold::Shared)?;
    }
    if items.iter().any(|item| !item.blobs.is_empty() || item.blobs_wanted().next().is_some()) {
        session.lock(Lock::Blobs, Hold::Shared)?;
    }
    let held = held::of(session, &partitions)?;
    let holds = |partition| {
        let lease = held.iter().find(|held| held.partition == partition);
        lease.is_some_and(|held| leases.iter().any(|lease| lease.is(held)))
    };
    let mut open = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        if !holds(item.id.partition()) {
            continue;
        }
        done[index] = match missing_blob(session, item, around)? {
            Some(hash) => Committed::BlobMissing(hash),
            None => {
                open.push((index, item));
                Committed::Applied(item.revision_after())
            }
        };
    }
    Ok(open)
}

fn missing_blob(
    session: &dyn Session,
    item: &ExecutionCommit,
    around: &Around<'_>,
) -> Result<Option<BlobHash>> {
    for hash in item.blobs_wanted() {
        if !blobs::contain(session, hash)? && !(around.has_file)(hash)? {
            return Ok(Some(hash));
        }
    }
    Ok(None)
}

/// Changes the rows of executions that are expected to be there.
fn write_known(session: &dyn Session, open: &[Item<'_>], done: &mut [Committed]) -> Result<()> {
    let mut purged = Vec::new();
    let mut steps = Vec::new();
    let mut ends = Vec::new();
    for (index, item) in open.iter().copied() {
        match &item.row {
            RowChange::Keep => check_revision(session, item, &mut done[index])?,
            RowChange::Purge => purged.push((index, item)),
            RowChange::Put(_) if item.expected == Revision(0) => {}
            RowChange::Put(row) if row.finished.is_some() => ends.push((index, item, &**row)),
            RowChange::Put(row) => steps.push((index, item, &**row)),
        }
    }
    let counts = each(
        session,
        statements::EXECUTION_PURGE,
        purged.iter().map(|(_, item)| vec![item.id.into(), Value::bits(item.expected.0)]),
    )?;
    for ((index, item), count) in purged.into_iter().zip(counts) {
        if count == 0 {
            done[index] = conflict(session, item)?;
        }
    }
    let rows: Vec<_> = steps.iter().map(|(_, _, row)| blobs::encode(&row.blobs)).collect();
    let values = steps.iter().zip(&rows);
    let counts = each(
        session,
        statements::EXECUTION_STEP,
        values.map(|((_, item, row), blobs)| {
            let mut values = step_values(item, row, blobs.as_deref());
            values.extend([item.id.into(), Value::bits(item.expected.0)]);
            values
        }),
    )?;
    // One that had ended and goes on again, or a conflict.
    ends.extend(steps.iter().zip(counts).filter(|(_, count)| *count == 0).map(|(step, _)| *step));
    let rows: Vec<_> = ends.iter().map(|(_, _, row)| blobs::encode(&row.blobs)).collect();
    let values = ends.iter().zip(&rows);
    let counts = each(
        session,
        statements::EXECUTION_END,
        values.map(|((_, item, row), blobs)| {
            let mut values = step_values(item, row, blobs.as_deref());
            let finished = Value::optional(row.finished, Value::from);
            values.extend([finished, item.id.into(), Value::bits(item.expected.0)]);
            values
        }),
    )?;
    for ((index, item, _), count) in ends.into_iter().zip(counts) {
        if count == 0 {
            done[index] = conflict(session, item)?;
        }
    }
    Ok(())
}

/// The columns that a step changes, in the order of the statements.
fn step_values<'a>(
    item: &ExecutionCommit,
    row: &'a ExecutionRow,
    blobs: Option<&'a [u8]>,
) -> Vec<Value<'a>> {
    vec![
        Value::bits(item.expected.next().0),
        row.version.0.into(),
        Value::Text(row.status.as_str()),
        row.updated.into(),
        Value::optional(row.wake, Value::from),
        Value::Text(&row.waits),
        Value::optional(row.custom_status.as_deref(), Value::Bytes),
        Value::bits(row.cost.0),
        Value::bits(row.state_bytes),
        Value::optional(blobs, Value::Bytes),
        Value::Bytes(&row.state),
    ]
}

fn check_revision(
    session: &dyn Session,
    item: &ExecutionCommit,
    done: &mut Committed,
) -> Result<()> {
    let found = revision(session, item)?;
    if found != item.expected || found == Revision(0) {
        *done = Committed::Conflict { found };
    }
    Ok(())
}

fn revision(session: &dyn Session, item: &ExecutionCommit) -> Result<Revision> {
    let query = statements::EXECUTION_REVISION;
    let found = first(session, query, &[item.id.into()], |columns| columns.bits())?;
    Ok(Revision(found.unwrap_or(0)))
}

fn conflict(session: &dyn Session, item: &ExecutionCommit) -> Result<Committed> {
    Ok(Committed::Conflict { found: revision(session, item)? })
}

fn free_names(session: &dyn Session, items: &[ExecutionCommit], done: &[Committed]) -> Result<()> {
    let freed = items.iter().zip(done).filter(|(item, done)| {
        item.free_name && item.expected != Revision(0) && matches!(done, Committed::Applied(_))
    });
    let rows = freed.map(|(item, _)| vec![item.id.into()]);
    each(session, statements::EXECUTION_FREE_NAME, rows).map(drop)
}

/// Adds the rows of executions that are not expected to be there.
fn write_new(session: &dyn Session, open: &[Item<'_>], done: &mut [Committed]) -> Result<()> {
    let new = open.iter().filter_map(|(index, item)| match &item.row {
        RowChange::Put(row) if item.expected == Revision(0) => Some((*index, *item, &**row)),
        RowChange::Put(_) | RowChange::Keep | RowChange::Purge => None,
    });
    let new: Vec<_> = new.collect();
    let rows: Vec<_> = new.iter().map(|(_, _, row)| blobs::encode(&row.blobs)).collect();
    let values = new.iter().zip(&rows);
    let counts = each(
        session,
        statements::EXECUTION_ADD,
        values.map(|((_, item, row), blobs)| {
            let name = row.name.as_deref().filter(|_| !item.free_name);
            let mut values = vec![
                item.id.into(),
                item.id.partition().into(),
                Value::Text(row.tenant.as_str()),
                Value::text_or_null(name),
                Value::Text(row.function.as_str()),
                Value::Text(row.kind.as_str()),
                Value::Text(&row.class),
                Value::Text(&row.max_class),
                Value::optional(row.parent, |(id, _)| id.into()),
                Value::optional(row.parent, |(_, op)| Value::bits(op.0)),
                row.created.into(),
            ];
            values.extend(step_values(item, row, blobs.as_deref()));
            values.push(Value::optional(row.finished, Value::from));
            values
        }),
    )?;
    for ((index, item, row), count) in new.into_iter().zip(counts) {
        if count == 0 {
            done[index] = why_not_added(session, item, row)?;
        }
    }
    Ok(())
}

fn why_not_added(
    session: &dyn Session,
    item: &ExecutionCommit,
    row: &ExecutionRow,
) -> Result<Committed> {
    let found = revision(session, item)?;
    let Some(name) = row.name.as_deref().filter(|_| found == Revision(0)) else {
        return Ok(Committed::Conflict { found });
    };
    let values = [Value::Text(row.tenant.as_str()), Value::Text(name)];
    let holder = first(session, statements::EXECUTION_HOLDER, &values, |columns| columns.id())?;
    Ok(holder
        .map_or(Committed::Conflict { found }, |id| Committed::NameTaken(model::ExecutionId(id))))
}

fn write_history(session: &dyn Session, applied: &[Item<'_>]) -> Result<()> {
    let purged = |item: &ExecutionCommit| item.row == RowChange::Purge;
    let gone = applied.iter().filter(|(_, item)| purged(item));
    each(session, statements::HISTORY_PURGE, gone.map(|(_, item)| vec![item.id.into()]))?;
    let kept = || applied.iter().map(|(_, item)| *item).filter(|item| !purged(item));
    let forgotten = kept().filter_map(|item| {
        item.forget_history_before.map(|seq| vec![item.id.into(), Value::count(seq)])
    });
    each(session, statements::HISTORY_FORGET, forgotten)?;
    let added = kept().flat_map(|item| item.history.iter().map(|row| (item.id, row)));
    let added: Vec<_> = added.map(|(id, row)| (id, row, blobs::encode(&row.blobs))).collect();
    let values = added.iter().map(|(id, row, blobs)| {
        vec![
            (*id).into(),
            Value::count(row.seq),
            row.at.into(),
            Value::Bytes(&row.bytes),
            Value::optional(blobs.as_deref(), Value::Bytes),
        ]
    });
    each(session, statements::HISTORY_ADD, values).map(drop)
}

fn write_outbox(session: &dyn Session, applied: &[Item<'_>]) -> Result<()> {
    let purged = |item: &ExecutionCommit| item.row == RowChange::Purge;
    let place = |item: &ExecutionCommit| vec![item.id.partition().into(), item.id.into()];
    let gone = applied.iter().filter(|(_, item)| purged(item));
    each(session, statements::OUTBOX_PURGE, gone.map(|(_, item)| place(item)))?;
    let kept = || applied.iter().map(|(_, item)| *item).filter(|item| !purged(item));
    let ended = kept().flat_map(|item| {
        item.outbox_done.iter().map(move |op| [place(item), vec![Value::bits(op.0)]].concat())
    });
    each(session, statements::OUTBOX_DONE, ended)?;
    let put = kept().flat_map(|item| item.outbox_put.iter().map(move |effect| (item, effect)));
    let values = put.map(|(item, (op, bytes))| {
        [place(item), vec![Value::bits(op.0), Value::Bytes(bytes)]].concat()
    });
    each(session, statements::OUTBOX_PUT, values).map(drop)
}

/// Runs a statement for every row, where there is one.
fn each<'a>(
    session: &dyn Session,
    statement: &str,
    rows: impl Iterator<Item = Vec<Value<'a>>>,
) -> Result<Vec<usize>> {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() { Ok(Vec::new()) } else { session.execute_each(statement, &rows) }
}
