//! What a store in memory holds, and what each method does to it.
//!
//! Every writing function checks first and changes after, so that an error leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use model::{FunctionName, InvocationId, KeyId, TenantName, Timestamp, Version};

use crate::api::{Batch, Change, Options, Retention, page};
use crate::bill::{BillQuery, BillRow, BillRows, SumKey, Usage};
use crate::blob::{BlobHash, Swept};
use crate::error::{Error, Result};
use crate::function::{FunctionQuery, FunctionSpec, FunctionVersion, not_found};
use crate::invocation::{Cursor, Detail, InvocationQuery, InvocationRecord};
use crate::memory::executions::Executions;
use crate::queue::{AsyncCall, Backlog, DeadLetter, DeadLetterQuery, Due, QueueChange};
use crate::tenant::{Key, Tenant};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) tenants: BTreeMap<TenantName, Tenant>,
    pub(super) keys: BTreeMap<KeyId, Key>,
    pub(super) settings: BTreeMap<String, Vec<u8>>,
    pub(super) blobs: BTreeMap<BlobHash, Vec<u8>>,
    functions: BTreeMap<(TenantName, FunctionName), Function>,
    queued: BTreeMap<InvocationId, AsyncCall>,
    dead: BTreeMap<InvocationId, DeadLetter>,
    records: BTreeMap<TenantName, BTreeMap<Cursor, InvocationRecord>>,
    /// Records in the order of their commits, for retention.
    order: BTreeMap<u64, (TenantName, Cursor)>,
    sums: BTreeMap<SumKey, Usage>,
    pub(super) executions: Executions,
}

#[derive(Debug, Default)]
struct Function {
    /// The highest number ever given; it outlives the versions.
    last: u32,
    versions: BTreeMap<Version, FunctionSpec>,
}

impl State {
    pub(super) fn commit(&mut self, batch: &Batch, options: &Options) {
        self.add_records(&batch.records.iter().collect::<Vec<_>>(), options);
        for change in &batch.queue {
            self.change_queue(change);
        }
    }

    pub(super) fn add_records(&mut self, records: &[&InvocationRecord], options: &Options) {
        if !records.is_empty() {
            self.forget_old(Retention::of(options, records.len()));
        }
        for record in records {
            self.add_record(record);
        }
    }

    fn forget_old(&mut self, retention: Retention) {
        for _ in 0..retention.removals_max {
            if self.order.len() as u64 <= retention.keep {
                return;
            }
            let Some((_, (tenant, cursor))) = self.order.pop_first() else { return };
            if let Some(records) = self.records.get_mut(&tenant) {
                records.remove(&cursor);
            }
        }
    }

    fn add_record(&mut self, record: &InvocationRecord) {
        let records = self.records.entry(record.tenant.clone()).or_default();
        if records.contains_key(&record.cursor()) {
            return;
        }
        records.insert(record.cursor(), record.clone());
        let sequence = self.order.last_key_value().map_or(0, |(last, _)| last + 1);
        self.order.insert(sequence, (record.tenant.clone(), record.cursor()));
        self.sums.entry(SumKey::from(record)).or_default().add(&Usage::from(record));
    }

    fn change_queue(&mut self, change: &QueueChange) {
        match change {
            QueueChange::Enqueue(call) => {
                if !self.dead.contains_key(&call.id) {
                    self.queued.entry(call.id).or_insert_with(|| call.clone());
                }
            }
            QueueChange::Retry { id, attempt, not_before, failure } => {
                if let Some(call) = self.queued.get_mut(id) {
                    call.attempt = *attempt;
                    call.not_before = *not_before;
                    call.last_failure = Some(failure.clone());
                }
            }
            QueueChange::Complete(id) => {
                self.queued.remove(id);
            }
            QueueChange::Bury { id, at, failure } => {
                if let Some(mut call) = self.queued.remove(id) {
                    call.last_failure = Some(failure.clone());
                    self.dead.insert(*id, DeadLetter { call, died: *at });
                }
            }
        }
    }

    pub(super) fn apply(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::CreateTenant(tenant) => {
                let known =
                    self.tenants.entry(tenant.name.clone()).or_insert_with(|| tenant.clone());
                same(known, tenant).ok_or_else(|| Error::conflict("tenant", &tenant.name))
            }
            Change::UpdateTenant { name, monthly_budget, allow_network } => {
                let known = self.tenants.get_mut(name);
                let known = known.ok_or_else(|| Error::not_found("tenant", name))?;
                known.monthly_budget = *monthly_budget;
                known.allow_network = *allow_network;
                Ok(())
            }
            Change::CreateKey(key) => {
                self.tenant(&key.tenant)?;
                let known = self.keys.entry(key.id).or_insert_with(|| key.clone());
                same(known, key).ok_or_else(|| Error::conflict("key", &key.id))
            }
            Change::RevokeKey { tenant, id, at } => {
                let known = self.keys.get_mut(id).filter(|key| key.tenant == *tenant);
                let known = known.ok_or_else(|| Error::not_found("key", id))?;
                known.revoked.get_or_insert(*at);
                Ok(())
            }
            Change::DeleteFunction { tenant, name, version } => {
                self.delete_function(tenant, name, *version)
            }
            Change::Redrive { tenant, id, at } => {
                let DeadLetter { mut call, .. } = self.take_dead_letter(tenant, *id)?;
                call.attempt = call.attempt.saturating_add(1);
                call.first_attempt = call.attempt;
                call.not_before = *at;
                call.last_failure = None;
                self.queued.insert(*id, call);
                Ok(())
            }
            Change::DeleteDeadLetter { tenant, id } => self.take_dead_letter(tenant, *id).map(drop),
            Change::PutSetting { name, value } => {
                self.settings.insert(name.clone(), value.clone());
                Ok(())
            }
        }
    }

    fn tenant(&self, name: &TenantName) -> Result<&Tenant> {
        self.tenants.get(name).ok_or_else(|| Error::not_found("tenant", name))
    }

    fn delete_function(
        &mut self,
        tenant: &TenantName,
        name: &FunctionName,
        version: Option<Version>,
    ) -> Result<()> {
        self.function(tenant, name, version)?;
        if let Some(function) = self.functions.get_mut(&(tenant.clone(), name.clone())) {
            function.versions.retain(|number, _| version.is_some_and(|only| *number != only));
        }
        Ok(())
    }

    fn take_dead_letter(&mut self, tenant: &TenantName, id: InvocationId) -> Result<DeadLetter> {
        self.dead_letter(tenant, id)?;
        self.dead.remove(&id).ok_or_else(|| Error::not_found("dead letter", &id))
    }

    pub(super) fn publish(&mut self, spec: &FunctionSpec) -> Result<FunctionVersion> {
        self.tenant(&spec.tenant)?;
        if !self.blobs.contains_key(&spec.code_hash) {
            return Err(Error::not_found("blob", &spec.code_hash));
        }
        let function = self.functions.entry((spec.tenant.clone(), spec.name.clone())).or_default();
        function.last += 1;
        let version = Version(function.last);
        function.versions.insert(version, spec.clone());
        Ok(FunctionVersion { version, spec: spec.clone() })
    }

    pub(super) fn sweep_blobs(&mut self) -> Swept {
        let specs = self.functions.values().flat_map(|function| function.versions.values());
        let code = specs.map(|spec| spec.code_hash);
        let used: BTreeSet<BlobHash> = code.chain(self.executions.blobs_used()).collect();
        let mut swept = Swept::default();
        self.blobs.retain(|hash, bytes| {
            let keep = used.contains(hash);
            if !keep {
                swept.blobs += 1;
                swept.bytes += bytes.len() as u64;
            }
            keep
        });
        swept
    }

    pub(super) fn function(
        &self,
        tenant: &TenantName,
        name: &FunctionName,
        version: Option<Version>,
    ) -> Result<FunctionVersion> {
        let find = || {
            let versions = &self.functions.get(&(tenant.clone(), name.clone()))?.versions;
            match version {
                Some(version) => versions.get_key_value(&version),
                None => versions.last_key_value(),
            }
        };
        find().map(published).ok_or_else(|| not_found(name, version))
    }

    pub(super) fn functions(
        &self,
        tenant: &TenantName,
        query: &FunctionQuery,
    ) -> Vec<FunctionVersion> {
        match query {
            FunctionQuery::Latest { after, limit } => {
                let own = self.functions.iter().filter(|((owner, _), _)| owner == tenant);
                let rest =
                    own.filter(|((_, name), _)| after.as_ref().is_none_or(|after| name > after));
                let latest = rest.filter_map(|(_, function)| function.versions.last_key_value());
                latest.take(page(*limit)).map(published).collect()
            }
            FunctionQuery::Versions { name, before, limit } => {
                let function = self.functions.get(&(tenant.clone(), name.clone()));
                let versions =
                    function.into_iter().flat_map(|function| function.versions.iter().rev());
                let rest =
                    versions.filter(|(version, _)| before.is_none_or(|before| **version < before));
                rest.take(page(*limit)).map(published).collect()
            }
        }
    }

    pub(super) fn due(
        &self,
        now: Timestamp,
        running: &BTreeSet<InvocationId>,
        limit: usize,
    ) -> Due {
        let (mut ready, later): (Vec<_>, Vec<_>) =
            self.queued.values().partition(|call| call.not_before <= now);
        ready.retain(|call| !running.contains(&call.id));
        ready.sort_by_key(|call| (call.not_before, call.id));
        Due {
            calls: ready.into_iter().take(page(limit)).cloned().collect(),
            next: later.iter().map(|call| call.not_before).min(),
        }
    }

    pub(super) fn queued(&self, tenant: &TenantName, id: InvocationId) -> Option<&AsyncCall> {
        self.queued.get(&id).filter(|call| call.tenant == *tenant)
    }

    pub(super) fn backlog(&self) -> Vec<Backlog> {
        let mut counts: BTreeMap<&TenantName, (u64, u64)> = BTreeMap::new();
        for call in self.queued.values() {
            counts.entry(&call.tenant).or_default().0 += 1;
        }
        for letter in self.dead.values() {
            counts.entry(&letter.call.tenant).or_default().1 += 1;
        }
        let backlog = |(tenant, (queued, dead)): (&TenantName, _)| Backlog {
            tenant: tenant.clone(),
            queued,
            dead,
        };
        counts.into_iter().map(backlog).collect()
    }

    pub(super) fn dead_letters(
        &self,
        tenant: &TenantName,
        query: &DeadLetterQuery,
    ) -> Vec<DeadLetter> {
        let wanted = |letter: &&DeadLetter| {
            letter.call.tenant == *tenant
                && query.function.as_ref().is_none_or(|name| letter.call.function == *name)
                && query.before.is_none_or(|before| letter.call.id < before)
        };
        self.dead.values().rev().filter(wanted).take(page(query.limit)).cloned().collect()
    }

    pub(super) fn dead_letter(&self, tenant: &TenantName, id: InvocationId) -> Result<&DeadLetter> {
        let found = self.dead.get(&id).filter(|letter| letter.call.tenant == *tenant);
        found.ok_or_else(|| Error::not_found("dead letter", &id))
    }

    pub(super) fn invocation(
        &self,
        tenant: &TenantName,
        id: InvocationId,
    ) -> Vec<InvocationRecord> {
        let Some(records) = self.records.get(tenant) else { return Vec::new() };
        let all = Cursor { id, attempt: 0 }..=Cursor { id, attempt: u32::MAX };
        records.range(all).map(|(_, record)| record.clone()).collect()
    }

    pub(super) fn invocations(
        &self,
        tenant: &TenantName,
        query: &InvocationQuery,
    ) -> Vec<InvocationRecord> {
        let Some(records) = self.records.get(tenant) else { return Vec::new() };
        let end = query.before.map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = |record: &&InvocationRecord| {
            query.function.as_ref().is_none_or(|name| record.function == *name)
                && query.class.as_ref().is_none_or(|class| record.class == *class)
                && query.status.is_none_or(|status| record.status() == status)
                && query.since.is_none_or(|since| record.arrived >= since)
        };
        let newest_first = records.range((Bound::Unbounded, end)).rev().map(|(_, record)| record);
        newest_first
            .filter(wanted)
            .take(page(query.limit))
            .map(|record| match query.detail {
                Detail::Whole => record.clone(),
                Detail::Summary => summary(record),
            })
            .collect()
    }

    pub(super) fn bill(&self, query: &BillQuery) -> Vec<BillRow> {
        let mut rows = BillRows::new(query.by);
        for (key, usage) in &self.sums {
            let asked = query.tenant.as_ref().is_none_or(|tenant| key.tenant == *tenant);
            if asked && (query.first..=query.last).contains(&key.day) {
                rows.add(key.clone(), usage);
            }
        }
        rows.finish()
    }
}

fn same<T: PartialEq>(known: &T, wanted: &T) -> Option<()> {
    (known == wanted).then_some(())
}

fn published((version, spec): (&Version, &FunctionSpec)) -> FunctionVersion {
    FunctionVersion { version: *version, spec: spec.clone() }
}

fn summary(record: &InvocationRecord) -> InvocationRecord {
    InvocationRecord { trace: String::new(), logs: Vec::new(), ..record.clone() }
}
