//! The two writing decisions, as statements of one transaction.

use std::collections::BTreeMap;

use crate::api::{Batch, Change, Options, Retention};
use crate::bill::{SumKey, Usage};
use crate::error::Result;
use crate::invocation::InvocationRecord;
use crate::sql::{Hold, Lock, Session, functions, invocations, queue, sums, tenants};

/// Writes a batch.
pub(crate) fn commit(session: &dyn Session, batch: &Batch, options: &Options) -> Result<()> {
    if !batch.records.is_empty() {
        add_records(session, &batch.records.iter().collect::<Vec<_>>(), options)?;
    }
    batch.queue.iter().try_for_each(|change| queue::change(session, change))
}

/// Sums are collected first, so that a busy function costs one statement and not one a record.
pub(crate) fn add_records(
    session: &dyn Session,
    records: &[&InvocationRecord],
    options: &Options,
) -> Result<()> {
    session.lock(Lock::Records, Hold::Alone)?;
    let retention = Retention::of(options, records.len());
    let mut sequence = invocations::forget_old(session, retention)?;
    let mut usages: BTreeMap<SumKey, Usage> = BTreeMap::new();
    for record in records {
        if invocations::add(session, sequence, record)? {
            sequence += 1;
            usages.entry(SumKey::from(*record)).or_default().add(&Usage::from(*record));
        }
    }
    usages.iter().try_for_each(|(key, usage)| sums::add(session, key, usage))
}

/// Does one [`Change`].
pub(crate) fn apply(session: &dyn Session, change: &Change) -> Result<()> {
    match change {
        Change::CreateTenant(tenant) => tenants::add_tenant(session, tenant),
        Change::UpdateTenant { name, monthly_budget, allow_network } => {
            tenants::update_tenant(session, name, *monthly_budget, *allow_network)
        }
        Change::CreateKey(key) => tenants::add_key(session, key),
        Change::RevokeKey { tenant, id, at } => tenants::revoke_key(session, tenant, *id, *at),
        Change::DeleteFunction { tenant, name, version } => {
            functions::delete(session, tenant, name, *version)
        }
        Change::Redrive { tenant, id, at } => queue::redrive(session, tenant, *id, *at),
        Change::DeleteDeadLetter { tenant, id } => queue::delete_letter(session, tenant, *id),
        Change::PutSetting { name, value } => tenants::put_setting(session, name, value),
    }
}
