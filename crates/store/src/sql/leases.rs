//! Leases as rows.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::execution::{Claim, Lease};
use crate::sql::{Columns, Hold, Lock, Session, Value, first, list, statements};

pub(crate) fn leases(session: &dyn Session) -> Result<Vec<Lease>> {
    list(session, statements::LEASES, &[], read_lease)
}

/// The leases of these partitions; where there are several, of all.
pub(crate) fn of(session: &dyn Session, partitions: &BTreeSet<u32>) -> Result<Vec<Lease>> {
    let mut wanted = partitions.iter();
    match (wanted.next(), wanted.next()) {
        (Some(partition), None) => {
            list(session, statements::LEASE, &[(*partition).into()], read_lease)
        }
        _ => leases(session),
    }
}

/// One statement looks and takes, so that of two nodes one gets it.
pub(crate) fn acquire(
    session: &dyn Session,
    claim: &Claim,
    partitions: &[u32],
) -> Result<Vec<Lease>> {
    let mut taken = Vec::new();
    for partition in partitions {
        // Whoever holds it may be in the middle of a commit, which ends before this goes on.
        session.lock(Lock::Partition(*partition), Hold::Alone)?;
        let values = [
            (*partition).into(),
            Value::Text(claim.node.as_str()),
            Value::Text(&claim.address),
            (claim.now + claim.ttl).into(),
            claim.now.into(),
        ];
        let epoch = first(session, statements::LEASE_TAKE, &values, |columns| columns.bits())?;
        taken.extend(epoch.map(|epoch| claim.lease(*partition, epoch)));
    }
    Ok(taken)
}

pub(crate) fn renew(session: &dyn Session, claim: &Claim, leases: &[Lease]) -> Result<Vec<Lease>> {
    let values = |lease: &Lease| {
        vec![
            (claim.now + claim.ttl).into(),
            Value::Text(&claim.address),
            lease.partition.into(),
            Value::Text(claim.node.as_str()),
            Value::bits(lease.epoch),
        ]
    };
    let own: Vec<_> = leases.iter().filter(|lease| lease.node == claim.node).collect();
    let rows: Vec<_> = own.iter().map(|lease| values(lease)).collect();
    let renewed = session.execute_each(statements::LEASE_RENEW, &rows)?;
    let renewed = own.iter().zip(renewed).filter(|(_, count)| *count == 1);
    Ok(renewed.map(|(lease, _)| claim.lease(lease.partition, lease.epoch)).collect())
}

pub(crate) fn release(session: &dyn Session, leases: &[Lease]) -> Result<()> {
    let values = |lease: &Lease| {
        let node = Value::Text(lease.node.as_str());
        session.execute(
            statements::LEASE_RELEASE,
            &[lease.partition.into(), node, Value::bits(lease.epoch)],
        )
    };
    leases.iter().try_for_each(|lease| values(lease).map(drop))
}

fn read_lease(columns: &mut Columns<'_>) -> Result<Lease> {
    Ok(Lease {
        partition: columns.u32()?,
        node: columns.parsed()?,
        address: columns.string()?,
        epoch: columns.bits()?,
        until: columns.time()?,
    })
}
