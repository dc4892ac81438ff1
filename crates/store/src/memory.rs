//! A store in memory: for tests, for the simulator, and the model the other stores are tested
//! against. It forgets everything when it is dropped, and it can be told to fail.

mod executions;
mod faults;
mod state;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use model::suspend::OpId;
use model::{ExecutionId, FunctionName, InvocationId, TenantName, Timestamp, Version};

use crate::api::{Batch, Change, Compacted, Options, Store};
use crate::bill::{BillQuery, BillRow};
use crate::blob::{BlobHash, Swept};
use crate::error::{Error, Result};
use crate::execution::{
    Claim, Committed, Execution, ExecutionCommit, ExecutionQuery, HistoryQuery, HistoryRow, Lease,
    OpenExecution, OutboxItem, TimersDue,
};
use crate::function::{FunctionQuery, FunctionSpec, FunctionVersion};
use crate::invocation::{InvocationQuery, InvocationRecord};
use crate::queue::{AsyncCall, Backlog, DeadLetter, DeadLetterQuery, Due};
use crate::tenant::{Key, Tenant};

pub use faults::{Fault, Faults, Hold};
use state::State;

/// A [`Store`] in memory.
#[derive(Debug)]
pub struct MemoryStore {
    options: Options,
    state: Mutex<State>,
    faults: Faults,
}

impl MemoryStore {
    /// An empty store without faults.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, state: Mutex::default(), faults: Faults::default() }
    }

    /// What shall go wrong.
    #[must_use]
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> Result<T>) -> Result<T> {
        read(&*self.state.lock().map_err(|_| interrupted())?)
    }

    fn write<T>(&self, write: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let fault = self.faults.before_write()?;
        let mut state = self.state.lock().map_err(|_| interrupted())?;
        let written = write(&mut state)?;
        fault.map_or(Ok(written), Err)
    }
}

/// A panic inside [`State`] may have left half a change behind.
fn interrupted() -> Error {
    Error::Corrupt { reason: "a panic interrupted a write".into() }
}

impl Store for MemoryStore {
    fn commit(&self, batch: &Batch) -> Result<()> {
        self.write(|state| {
            state.commit(batch, &self.options);
            Ok(())
        })
    }

    fn apply(&self, change: &Change) -> Result<()> {
        self.write(|state| state.apply(change))
    }

    fn publish(&self, spec: &FunctionSpec) -> Result<FunctionVersion> {
        self.write(|state| state.publish(spec))
    }

    fn put_blob(&self, hash: BlobHash, bytes: &[u8]) -> Result<()> {
        hash.verify(bytes)?;
        self.write(|state| {
            state.blobs.entry(hash).or_insert_with(|| bytes.to_vec());
            Ok(())
        })
    }

    fn get_blob(&self, hash: BlobHash) -> Result<Vec<u8>> {
        self.read(|state| {
            let found = state.blobs.get(&hash);
            found.cloned().ok_or_else(|| Error::not_found("blob", &hash))
        })
    }

    fn sweep_blobs(&self) -> Result<Swept> {
        self.write(|state| Ok(state.sweep_blobs()))
    }

    fn tenants(&self) -> Result<Vec<Tenant>> {
        self.read(|state| Ok(state.tenants.values().cloned().collect()))
    }

    fn keys(&self) -> Result<Vec<Key>> {
        self.read(|state| Ok(state.keys.values().cloned().collect()))
    }

    fn function(
        &self,
        tenant: &TenantName,
        name: &FunctionName,
        version: Option<Version>,
    ) -> Result<FunctionVersion> {
        self.read(|state| state.function(tenant, name, version))
    }

    fn functions(
        &self,
        tenant: &TenantName,
        query: &FunctionQuery,
    ) -> Result<Vec<FunctionVersion>> {
        self.read(|state| Ok(state.functions(tenant, query)))
    }

    fn due(&self, now: Timestamp, running: &BTreeSet<InvocationId>, limit: usize) -> Result<Due> {
        self.read(|state| Ok(state.due(now, running, limit)))
    }

    fn queued(&self, tenant: &TenantName, id: InvocationId) -> Result<Option<AsyncCall>> {
        self.read(|state| Ok(state.queued(tenant, id).cloned()))
    }

    fn backlog(&self) -> Result<Vec<Backlog>> {
        self.read(|state| Ok(state.backlog()))
    }

    fn dead_letters(
        &self,
        tenant: &TenantName,
        query: &DeadLetterQuery,
    ) -> Result<Vec<DeadLetter>> {
        self.read(|state| Ok(state.dead_letters(tenant, query)))
    }

    fn dead_letter(&self, tenant: &TenantName, id: InvocationId) -> Result<DeadLetter> {
        self.read(|state| state.dead_letter(tenant, id).cloned())
    }

    fn invocation(&self, tenant: &TenantName, id: InvocationId) -> Result<Vec<InvocationRecord>> {
        self.read(|state| Ok(state.invocation(tenant, id)))
    }

    fn invocations(
        &self,
        tenant: &TenantName,
        query: &InvocationQuery,
    ) -> Result<Vec<InvocationRecord>> {
        self.read(|state| Ok(state.invocations(tenant, query)))
    }

    fn bill(&self, query: &BillQuery) -> Result<Vec<BillRow>> {
        self.read(|state| Ok(state.bill(query)))
    }

    fn commit_executions(
        &self,
        leases: &[Lease],
        items: &[ExecutionCommit],
    ) -> Result<Vec<Committed>> {
        self.write(|state| Ok(state.commit_executions(leases, items, &self.options)))
    }

    fn execution(&self, tenant: &TenantName, id: ExecutionId) -> Result<Execution> {
        self.read(|state| state.execution(tenant, id))
    }

    fn execution_named(&self, tenant: &TenantName, name: &str) -> Result<Execution> {
        self.read(|state| state.execution_named(tenant, name))
    }

    fn load_executions(&self, ids: &[ExecutionId]) -> Result<Vec<Execution>> {
        self.read(|state| Ok(state.load_executions(ids)))
    }

    fn executions(&self, tenant: &TenantName, query: &ExecutionQuery) -> Result<Vec<Execution>> {
        self.read(|state| Ok(state.list_executions(tenant, query)))
    }

    fn history(&self, id: ExecutionId, query: &HistoryQuery) -> Result<Vec<HistoryRow>> {
        self.read(|state| Ok(state.history(id, query)))
    }

    fn open_executions(
        &self,
        partition: u32,
        after: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Vec<OpenExecution>> {
        self.read(|state| Ok(state.open_executions(partition, after, limit)))
    }

    fn timers_due(
        &self,
        partitions: &[u32],
        until: Timestamp,
        after: Option<(Timestamp, ExecutionId)>,
        limit: usize,
    ) -> Result<TimersDue> {
        self.read(|state| Ok(state.timers_due(partitions, until, after, limit)))
    }

    fn outbox(
        &self,
        partition: u32,
        after: Option<(ExecutionId, OpId)>,
        limit: usize,
    ) -> Result<Vec<OutboxItem>> {
        self.read(|state| Ok(state.outbox(partition, after, limit)))
    }

    fn acquire_leases(&self, claim: &Claim, partitions: &[u32]) -> Result<Vec<Lease>> {
        self.write(|state| Ok(state.acquire_leases(claim, partitions)))
    }

    fn renew_leases(&self, claim: &Claim, leases: &[Lease]) -> Result<Vec<Lease>> {
        self.write(|state| Ok(state.renew_leases(claim, leases)))
    }

    fn release_leases(&self, leases: &[Lease]) -> Result<()> {
        self.write(|state| {
            state.release_leases(leases);
            Ok(())
        })
    }

    fn leases(&self) -> Result<Vec<Lease>> {
        self.read(|state| Ok(state.leases()))
    }

    fn clock(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.read(|state| Ok(state.settings.get(name).cloned()))
    }

    fn backup(&self, _: &Path) -> Result<()> {
        let reason = "a store in memory cannot be copied".into();
        Err(Error::Invalid { what: "the store's address", reason })
    }

    fn compact(&self) -> Result<Compacted> {
        Ok(Compacted { swept: self.sweep_blobs()?, ..Compacted::default() })
    }

    fn check(&self) -> Result<()> {
        self.read(|state| state.blobs.iter().try_for_each(|(hash, bytes)| hash.verify(bytes)))
    }
}
