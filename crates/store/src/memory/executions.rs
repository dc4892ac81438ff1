//! Executions and leases in memory.

use std::collections::BTreeMap;

use model::suspend::OpId;
use model::{ExecutionId, TenantName, Timestamp};

use crate::api::{Options, page};
use crate::blob::BlobHash;
use crate::error::{Error, Result};
use crate::execution::{
    Claim, Committed, Execution, ExecutionCommit, ExecutionQuery, ExecutionRow, HistoryOrder,
    HistoryQuery, HistoryRow, Lease, OpenExecution, OutboxItem, Revision, RowChange, TimersDue,
};
use crate::memory::state::State;

#[derive(Debug, Default)]
pub(super) struct Executions {
    kept: BTreeMap<ExecutionId, Kept>,
    names: BTreeMap<(TenantName, String), ExecutionId>,
    timers: std::collections::BTreeSet<(u32, Timestamp, ExecutionId)>,
    outbox: BTreeMap<(u32, ExecutionId, OpId), Vec<u8>>,
    leases: BTreeMap<u32, Lease>,
}

#[derive(Debug)]
struct Kept {
    revision: Revision,
    row: ExecutionRow,
    history: BTreeMap<u64, HistoryRow>,
}

impl State {
    pub(super) fn commit_executions(
        &mut self,
        leases: &[Lease],
        items: &[ExecutionCommit],
        options: &Options,
    ) -> Vec<Committed> {
        let mut done = vec![Committed::Fenced; items.len()];
        // Those that are there go first: they may free a name that a new one takes.
        let (there, new): (Vec<_>, Vec<_>) =
            (0..items.len()).partition(|index| items[*index].expected != Revision(0));
        for index in there.into_iter().chain(new) {
            let item = &items[index];
            done[index] = self.refuse_execution(leases, item).unwrap_or_else(|| {
                self.apply_execution(item);
                Committed::Applied(item.revision_after())
            });
        }
        let applied =
            |(done, item): (&Committed, _)| matches!(done, Committed::Applied(_)).then_some(item);
        let applied = done.iter().zip(items).filter_map(applied);
        let records: Vec<_> = applied.flat_map(|item| &item.records).collect();
        self.add_records(&records, options);
        done
    }

    /// Why the item does not apply, where it does not.
    fn refuse_execution(&self, leases: &[Lease], item: &ExecutionCommit) -> Option<Committed> {
        let held = self.executions.leases.get(&item.id.partition());
        if !held.is_some_and(|held| leases.iter().any(|lease| lease.is(held))) {
            return Some(Committed::Fenced);
        }
        let known = self.executions.kept.get(&item.id);
        let found = known.map_or(Revision(0), |kept| kept.revision);
        if found != item.expected {
            return Some(Committed::Conflict { found });
        }
        if known.is_none() && !matches!(item.row, RowChange::Put(_)) {
            return Some(Committed::Conflict { found });
        }
        if let Some(holder) = self.name_holder(item) {
            return Some(Committed::NameTaken(holder));
        }
        let missing = item.blobs_wanted().find(|hash| !self.blobs.contains_key(hash));
        missing.map(Committed::BlobMissing)
    }

    /// Who has the name that a new execution wants.
    fn name_holder(&self, item: &ExecutionCommit) -> Option<ExecutionId> {
        let RowChange::Put(row) = &item.row else { return None };
        if item.expected != Revision(0) || item.free_name {
            return None;
        }
        let key = (row.tenant.clone(), row.name.clone()?);
        self.executions.names.get(&key).copied()
    }

    fn apply_execution(&mut self, item: &ExecutionCommit) {
        for (hash, bytes) in &item.blobs {
            self.blobs.entry(*hash).or_insert_with(|| bytes.clone());
        }
        let executions = &mut self.executions;
        if item.free_name {
            executions.free_name(item.id);
        }
        match &item.row {
            RowChange::Keep => {}
            RowChange::Put(row) => executions.put(item, row),
            RowChange::Purge => return executions.purge(item.id),
        }
        let partition = item.id.partition();
        for op in &item.outbox_done {
            executions.outbox.remove(&(partition, item.id, *op));
        }
        for (op, bytes) in &item.outbox_put {
            executions.outbox.insert((partition, item.id, *op), bytes.clone());
        }
        let Some(kept) = executions.kept.get_mut(&item.id) else { return };
        if let Some(first) = item.forget_history_before {
            kept.history = kept.history.split_off(&first);
        }
        for row in &item.history {
            kept.history.entry(row.seq).or_insert_with(|| row.clone());
        }
    }

    pub(super) fn execution(&self, tenant: &TenantName, id: ExecutionId) -> Result<Execution> {
        let kept = self.executions.kept.get(&id).filter(|kept| kept.row.tenant == *tenant);
        kept.map(|kept| whole(id, kept)).ok_or_else(|| Error::not_found("execution", &id))
    }

    pub(super) fn execution_named(&self, tenant: &TenantName, name: &str) -> Result<Execution> {
        let key = (tenant.clone(), name.to_owned());
        let id = self.executions.names.get(&key);
        self.execution(tenant, *id.ok_or_else(|| Error::not_found("execution", &name))?)
    }

    pub(super) fn load_executions(&self, ids: &[ExecutionId]) -> Vec<Execution> {
        let found = |id: &ExecutionId| self.executions.kept.get(id).map(|kept| whole(*id, kept));
        ids.iter().filter_map(found).collect()
    }

    pub(super) fn list_executions(
        &self,
        tenant: &TenantName,
        query: &ExecutionQuery,
    ) -> Vec<Execution> {
        let end = query.before.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let newest_first = self.executions.kept.range((std::ops::Bound::Unbounded, end)).rev();
        newest_first
            .filter(|(_, kept)| kept.row.tenant == *tenant && wanted(query, &kept.row))
            .take(page(query.limit))
            .map(|(id, kept)| {
                let row = ExecutionRow { state: Vec::new(), blobs: Vec::new(), ..kept.row.clone() };
                Execution { id: *id, revision: kept.revision, row }
            })
            .collect()
    }

    pub(super) fn history(&self, id: ExecutionId, query: &HistoryQuery) -> Vec<HistoryRow> {
        let Some(Kept { history, .. }) = self.executions.kept.get(&id) else { return Vec::new() };
        let limit = page(query.limit);
        match query.order {
            HistoryOrder::From(first) => {
                history.range(first..).take(limit).map(|(_, row)| row.clone()).collect()
            }
            HistoryOrder::Before(end) => {
                let end = end.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
                let rows = history.range((std::ops::Bound::Unbounded, end)).rev();
                rows.take(limit).map(|(_, row)| row.clone()).collect()
            }
        }
    }

    pub(super) fn open_executions(
        &self,
        partition: u32,
        after: Option<ExecutionId>,
        limit: usize,
    ) -> Vec<OpenExecution> {
        let begin = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let rest = self.executions.kept.range((begin, std::ops::Bound::Unbounded));
        rest.filter(|(id, kept)| id.partition() == partition && kept.row.finished.is_none())
            .take(page(limit))
            .map(|(id, kept)| OpenExecution {
                id: *id,
                wake: kept.row.wake,
                status: kept.row.status,
            })
            .collect()
    }

    pub(super) fn timers_due(
        &self,
        partitions: &[u32],
        until: Timestamp,
        after: Option<(Timestamp, ExecutionId)>,
        limit: usize,
    ) -> TimersDue {
        let all = |partition: &u32| {
            let (first, last) = (ExecutionId(0), ExecutionId(u128::MAX));
            (*partition, Timestamp(0), first)..=(*partition, Timestamp(u64::MAX), last)
        };
        let timers =
            partitions.iter().flat_map(|partition| self.executions.timers.range(all(partition)));
        let (mut due, later): (Vec<_>, Vec<_>) =
            timers.map(|(_, at, id)| (*at, *id)).partition(|(at, _)| *at <= until);
        due.retain(|timer| after.is_none_or(|after| *timer > after));
        due.sort_unstable();
        due.truncate(page(limit));
        TimersDue { due, next: later.into_iter().map(|(at, _)| at).min() }
    }

    pub(super) fn outbox(
        &self,
        partition: u32,
        after: Option<(ExecutionId, OpId)>,
        limit: usize,
    ) -> Vec<OutboxItem> {
        let begin = after
            .map_or(std::ops::Bound::Included((partition, ExecutionId(0), OpId(0))), |(id, op)| {
                std::ops::Bound::Excluded((partition, id, op))
            });
        let rest = self.executions.outbox.range((begin, std::ops::Bound::Unbounded));
        rest.take_while(|((of, _, _), _)| *of == partition)
            .take(page(limit))
            .map(|((_, id, op), bytes)| OutboxItem { id: *id, op: *op, bytes: bytes.clone() })
            .collect()
    }

    pub(super) fn acquire_leases(&mut self, claim: &Claim, partitions: &[u32]) -> Vec<Lease> {
        let mut taken = Vec::new();
        for partition in partitions {
            let held = self.executions.leases.get(partition);
            if held.is_some_and(|held| held.until > claim.now && held.node != claim.node) {
                continue;
            }
            let epoch = held.map_or(0, |held| held.epoch) + 1;
            let lease = claim.lease(*partition, epoch);
            self.executions.leases.insert(*partition, lease.clone());
            taken.push(lease);
        }
        taken
    }

    pub(super) fn renew_leases(&mut self, claim: &Claim, leases: &[Lease]) -> Vec<Lease> {
        let mut renewed = Vec::new();
        for lease in leases {
            let held = self.executions.leases.get_mut(&lease.partition);
            if let Some(held) = held.filter(|held| lease.is(held)) {
                *held = claim.lease(lease.partition, lease.epoch);
                renewed.push(held.clone());
            }
        }
        renewed
    }

    pub(super) fn release_leases(&mut self, leases: &[Lease]) {
        for lease in leases {
            let held = self.executions.leases.get_mut(&lease.partition);
            if let Some(held) = held.filter(|held| lease.is(held)) {
                held.until = Timestamp(0);
                held.epoch += 1;
            }
        }
    }

    pub(super) fn leases(&self) -> Vec<Lease> {
        self.executions.leases.values().cloned().collect()
    }
}

impl Executions {
    /// Every blob that an execution refers to.
    pub(super) fn blobs_used(&self) -> impl Iterator<Item = BlobHash> {
        self.kept.values().flat_map(|kept| {
            let history = kept.history.values().flat_map(|row| &row.blobs);
            kept.row.blobs.iter().chain(history).copied()
        })
    }

    fn put(&mut self, item: &ExecutionCommit, row: &ExecutionRow) {
        let (id, revision) = (item.id, item.expected.next());
        let partition = id.partition();
        let known = self.kept.remove(&id);
        let (mut row, history) = match known {
            None => (row.clone(), BTreeMap::new()),
            Some(known) => {
                if let Some(wake) = known.row.wake {
                    self.timers.remove(&(partition, wake, id));
                }
                (step(known.row, row), known.history)
            }
        };
        if let Some(wake) = row.wake {
            self.timers.insert((partition, wake, id));
        }
        if item.free_name {
            row.name = None;
        }
        if let Some(name) = &row.name {
            self.names.insert((row.tenant.clone(), name.clone()), id);
        }
        self.kept.insert(id, Kept { revision, row, history });
    }

    fn free_name(&mut self, id: ExecutionId) {
        let Some(kept) = self.kept.get_mut(&id) else { return };
        if let Some(name) = kept.row.name.take() {
            self.names.remove(&(kept.row.tenant.clone(), name));
        }
    }

    fn purge(&mut self, id: ExecutionId) {
        self.free_name(id);
        let Some(kept) = self.kept.remove(&id) else { return };
        if let Some(wake) = kept.row.wake {
            self.timers.remove(&(id.partition(), wake, id));
        }
        self.outbox.retain(|(_, of, _), _| *of != id);
    }
}

/// The row after a step: what never changes stays as it was known.
fn step(known: ExecutionRow, row: &ExecutionRow) -> ExecutionRow {
    let ExecutionRow { tenant, name, function, kind, class, max_class, parent, created, .. } =
        known;
    ExecutionRow { tenant, name, function, kind, class, max_class, parent, created, ..row.clone() }
}

fn whole(id: ExecutionId, kept: &Kept) -> Execution {
    Execution { id, revision: kept.revision, row: kept.row.clone() }
}

fn wanted(query: &ExecutionQuery, row: &ExecutionRow) -> bool {
    query.status.is_none_or(|status| row.status == status)
        && (!query.open || row.finished.is_none())
        && query.function.as_ref().is_none_or(|function| row.function == *function)
        && query.version.is_none_or(|version| row.version == version)
        && query
            .name_prefix
            .as_ref()
            .is_none_or(|prefix| row.name.as_ref().is_some_and(|name| name.starts_with(prefix)))
        && query.parent.is_none_or(|parent| row.parent.is_some_and(|(id, _)| id == parent))
        && query.since.is_none_or(|since| row.created >= since)
        && query.until.is_none_or(|until| row.created < until)
}
