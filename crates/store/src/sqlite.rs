//! A store in a directory: an SQLite database and a folder of blobs.
//!
//! One connection writes, a few read, all in write-ahead mode, so that readers and the writer do
//! not wait for each other. Each commit is on the disk before it is acknowledged
//! (`synchronous = FULL`). One process at a time: the directory is locked while it is open.

mod blobs;
mod connection;
mod lock;
mod log;
mod staging;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use model::suspend::OpId;
use model::{ExecutionId, FunctionName, InvocationId, TenantName, Timestamp, Version};
use rusqlite::{Connection, TransactionBehavior};

use crate::api::{Batch, Change, Compacted, Options, Store};
use crate::bill::{BillQuery, BillRow};
use crate::blob::{BlobHash, Packed, Swept};
use crate::error::{Error, Result};
use crate::execution::{
    Claim, Committed, Execution, ExecutionCommit, ExecutionQuery, HistoryQuery, HistoryRow, Lease,
    OpenExecution, OutboxItem, TimersDue,
};
use crate::function::{FunctionQuery, FunctionSpec, FunctionVersion};
use crate::invocation::{InvocationQuery, InvocationRecord};
use crate::pool::Pool;
use crate::queue::{AsyncCall, Backlog, DeadLetter, DeadLetterQuery, Due};
use crate::sql::executions::{self, Around};
use crate::sql::{
    Session, blobs as rows, change, functions, invocations, leases, queue, schema, statements,
    sums, tenants,
};
use crate::tenant::{Key, Tenant};

use blobs::Blobs;
use connection::{begin, database_error, finish, open_readers, open_writer};
use lock::Lock;

/// Connections that read.
const READERS: usize = 4;

/// A [`Store`] in a directory.
#[derive(Debug)]
pub struct SqliteStore {
    directory: PathBuf,
    options: Options,
    /// Before the writer, since fields are dropped in order: the last connection to close folds
    /// the write-ahead log into the database, and a reader cannot.
    readers: Pool<Connection>,
    writer: Mutex<Connection>,
    blobs: Blobs,
    /// Last, so that the directory is free only after the connections are closed.
    _lock: Lock,
}

impl SqliteStore {
    /// Opens the store in `directory`, which is created where it is missing, and brings its schema
    /// up to date.
    ///
    /// # Errors
    /// `Locked` where another process has it open, `NewerVersion` where a newer program wrote it,
    /// `Corrupt` where it is no store; `Full`, `Transient`, `Io`.
    pub fn open(directory: &Path, options: Options) -> Result<Self> {
        create_private(directory)?;
        let lock = Lock::take(directory)?;
        let database = directory.join("fermata.db");
        let mut writer = open_writer(&database)?;
        migrate(&mut writer, schema::MIGRATIONS)?;
        end_leases(&mut writer)?;
        log::lay_ahead(&database);
        Ok(Self {
            directory: directory.to_owned(),
            options,
            writer: Mutex::new(writer),
            readers: open_readers(&database, READERS)?,
            blobs: Blobs::open(&directory.join("blobs"))?,
            _lock: lock,
        })
    }

    /// Runs `read` on one state of the store.
    fn read<T>(&self, read: impl FnOnce(&dyn Session) -> Result<T>) -> Result<T> {
        self.readers.with(|connection| {
            let transaction = begin(connection, TransactionBehavior::Deferred)?;
            read(&transaction)
        })
    }

    /// Runs `write` and commits; an error of either rolls everything back.
    fn write<T>(&self, write: impl FnOnce(&dyn Session) -> Result<T>) -> Result<T> {
        // A panic inside rolled its transaction back when that was dropped.
        let mut writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let transaction = begin(&mut writer, TransactionBehavior::Immediate)?;
        let written = write(&transaction)?;
        finish(transaction)?;
        Ok(written)
    }
}

/// Brings the schema up to date, each step in a transaction of its own.
fn migrate(writer: &mut Connection, migrations: &[&str]) -> Result<()> {
    let transaction = begin(writer, TransactionBehavior::Immediate)?;
    let found = schema::version(&transaction)?;
    finish(transaction)?;
    for (version, step) in schema::pending(migrations, found)? {
        let transaction = begin(writer, TransactionBehavior::Immediate)?;
        transaction.execute_batch(step).map_err(|error| database_error("migrate", error))?;
        schema::set_version(&transaction, version)?;
        finish(transaction)?;
    }
    Ok(())
}

/// Writes a copy of the store in `directory` into the directory `to`, which is created and must be
/// empty. Another process may have the store open and go on with it.
///
/// # Errors
/// `NotFound` where there is no store, `Invalid` where there is something in `to`; `Full`,
/// `Transient`, `Io`.
pub fn backup(directory: &Path, to: &Path) -> Result<()> {
    let database = directory.join("fermata.db");
    if !database.is_file() {
        return Err(Error::not_found("store", &directory.display()));
    }
    create_private(to)?;
    let failed = |error| Error::from_io(format!("read the directory {}", to.display()), error);
    if fs::read_dir(to).map_err(failed)?.next().is_some() {
        let reason = format!("{} is not empty", to.display());
        return Err(Error::Invalid { what: "the place of a backup", reason });
    }
    let copy = to.join("fermata.db");
    connection::copy(&database, &copy)?;
    // The copy tells which blobs belong to it.
    let mut copied = open_writer(&copy)?;
    let used = {
        let transaction = begin(&mut copied, TransactionBehavior::Deferred)?;
        rows::files_used(&transaction)?
    };
    drop(copied);
    Blobs::open(&to.join("blobs"))?.copy_from(&directory.join("blobs"), &used)
}

/// Nobody else has the directory open, so whoever held a lease has ended.
fn end_leases(writer: &mut Connection) -> Result<()> {
    let transaction = begin(writer, TransactionBehavior::Immediate)?;
    transaction.execute(statements::LEASES_END, &[])?;
    finish(transaction)
}

/// Payloads and keys lie in it: only its owner may look.
fn create_private(directory: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let attempt = || format!("create the data directory {}", directory.display());
    builder.create(directory).map_err(|error| Error::from_io(attempt(), error))
}

impl Store for SqliteStore {
    fn commit(&self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.write(|session| change::commit(session, batch, &self.options))
    }

    fn apply(&self, change: &Change) -> Result<()> {
        self.write(|session| change::apply(session, change))
    }

    fn publish(&self, spec: &FunctionSpec) -> Result<FunctionVersion> {
        // A sweep takes the same lock, so the blob that is there now stays.
        self.write(|session| {
            let has_code = |hash| Ok(self.blobs.contain(hash)? || rows::contain(session, hash)?);
            functions::publish(session, spec, has_code)
        })
    }

    fn put_blob(&self, hash: BlobHash, bytes: &[u8]) -> Result<()> {
        hash.verify(bytes)?;
        self.blobs.put(hash, bytes)
    }

    fn stage_blob(&self, bytes: &[u8]) -> Result<Option<BlobHash>> {
        // In a file each byte is written once, and not to the log of the database before.
        self.blobs.stage(bytes).map(Some)
    }

    fn stage_ahead(&self) {
        self.blobs.stage_ahead();
    }

    fn get_blob(&self, hash: BlobHash) -> Result<Vec<u8>> {
        match self.read(|session| rows::get(session, hash))? {
            Some(bytes) => Ok(bytes),
            None => self.blobs.get(hash),
        }
    }

    fn sweep_blobs(&self) -> Result<Swept> {
        self.write(|session| {
            let used = rows::used(session)?;
            let (rows, files) = (rows::sweep(session, &used)?, self.blobs.sweep(&used)?);
            Ok(Swept { blobs: rows.blobs + files.blobs, bytes: rows.bytes + files.bytes })
        })
    }

    fn tenants(&self) -> Result<Vec<Tenant>> {
        self.read(tenants::tenants)
    }

    fn keys(&self) -> Result<Vec<Key>> {
        self.read(tenants::keys)
    }

    fn function(
        &self,
        tenant: &TenantName,
        name: &FunctionName,
        version: Option<Version>,
    ) -> Result<FunctionVersion> {
        self.read(|session| functions::function(session, tenant, name, version))
    }

    fn functions(
        &self,
        tenant: &TenantName,
        query: &FunctionQuery,
    ) -> Result<Vec<FunctionVersion>> {
        self.read(|session| functions::functions(session, tenant, query))
    }

    fn due(&self, now: Timestamp, running: &BTreeSet<InvocationId>, limit: usize) -> Result<Due> {
        self.read(|session| queue::due(session, now, running, limit))
    }

    fn queued(&self, tenant: &TenantName, id: InvocationId) -> Result<Option<AsyncCall>> {
        self.read(|session| queue::queued(session, tenant, id))
    }

    fn backlog(&self) -> Result<Vec<Backlog>> {
        self.read(queue::backlog)
    }

    fn dead_letters(
        &self,
        tenant: &TenantName,
        query: &DeadLetterQuery,
    ) -> Result<Vec<DeadLetter>> {
        self.read(|session| queue::dead_letters(session, tenant, query))
    }

    fn dead_letter(&self, tenant: &TenantName, id: InvocationId) -> Result<DeadLetter> {
        self.read(|session| queue::dead_letter(session, tenant, id))
    }

    fn invocation(&self, tenant: &TenantName, id: InvocationId) -> Result<Vec<InvocationRecord>> {
        self.read(|session| invocations::invocation(session, tenant, id))
    }

    fn invocations(
        &self,
        tenant: &TenantName,
        query: &InvocationQuery,
    ) -> Result<Vec<InvocationRecord>> {
        self.read(|session| invocations::invocations(session, tenant, query))
    }

    fn bill(&self, query: &BillQuery) -> Result<Vec<BillRow>> {
        self.read(|session| sums::bill(session, query))
    }

    fn commit_executions(
        &self,
        leases: &[Lease],
        items: &[ExecutionCommit],
    ) -> Result<Vec<Committed>> {
        let packed: Vec<_> = items.iter().map(Packed::of_item).collect();
        let around = Around { options: &self.options, has_file: &|hash| self.blobs.contain(hash) };
        let done =
            self.write(|session| executions::commit(session, leases, items, &packed, &around))?;
        let applied =
            |(item, done): (_, &Committed)| matches!(done, Committed::Applied(_)).then_some(item);
        let applied = items.iter().zip(&done).filter_map(applied);
        self.blobs.settle(applied.flat_map(ExecutionCommit::blobs_wanted));
        Ok(done)
    }

    fn execution(&self, tenant: &TenantName, id: ExecutionId) -> Result<Execution> {
        self.read(|session| executions::execution(session, tenant, id))
    }

    fn execution_named(&self, tenant: &TenantName, name: &str) -> Result<Execution> {
        self.read(|session| executions::execution_named(session, tenant, name))
    }

    fn load_executions(&self, ids: &[ExecutionId]) -> Result<Vec<Execution>> {
        self.read(|session| executions::load(session, ids))
    }

    fn executions(&self, tenant: &TenantName, query: &ExecutionQuery) -> Result<Vec<Execution>> {
        self.read(|session| executions::executions(session, tenant, query))
    }

    fn history(&self, id: ExecutionId, query: &HistoryQuery) -> Result<Vec<HistoryRow>> {
        self.read(|session| executions::history(session, id, query))
    }

    fn open_executions(
        &self,
        partition: u32,
        after: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Vec<OpenExecution>> {
        self.read(|session| executions::open_executions(session, partition, after, limit))
    }

    fn timers_due(
        &self,
        partitions: &[u32],
        until: Timestamp,
        after: Option<(Timestamp, ExecutionId)>,
        limit: usize,
    ) -> Result<TimersDue> {
        self.read(|session| executions::timers_due(session, partitions, until, after, limit))
    }

    fn outbox(
        &self,
        partition: u32,
        after: Option<(ExecutionId, OpId)>,
        limit: usize,
    ) -> Result<Vec<OutboxItem>> {
        self.read(|session| executions::outbox(session, partition, after, limit))
    }

    fn acquire_leases(&self, claim: &Claim, partitions: &[u32]) -> Result<Vec<Lease>> {
        self.write(|session| leases::acquire(session, claim, partitions))
    }

    fn renew_leases(&self, claim: &Claim, held: &[Lease]) -> Result<Vec<Lease>> {
        self.write(|session| leases::renew(session, claim, held))
    }

    fn release_leases(&self, held: &[Lease]) -> Result<()> {
        self.write(|session| leases::release(session, held))
    }

    fn leases(&self) -> Result<Vec<Lease>> {
        self.read(leases::leases)
    }

    fn clock(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.read(|session| tenants::setting(session, name))
    }

    fn backup(&self, to: &Path) -> Result<()> {
        backup(&self.directory, to)
    }

    fn compact(&self) -> Result<Compacted> {
        let swept = self.sweep_blobs()?;
        let writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bytes_before = connection::size_bytes(&writer)?;
        connection::compact(&writer)?;
        Ok(Compacted { swept, bytes_before, bytes_after: connection::size_bytes(&writer)? })
    }

    fn check(&self) -> Result<()> {
        self.readers.with(|connection| connection::check_integrity(connection))?;
        self.read(|session| tenants::keys(session).map(drop))?;
        for hash in self.read(rows::used)? {
            let checked = self.get_blob(hash).map(drop);
            // What used it may have been deleted and swept since its hash was read.
            if checked.is_err() && self.read(rows::used)?.contains(&hash) {
                return match checked {
                    Err(Error::NotFound { .. }) => Err(rows::missing(hash)),
                    other => other,
                };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
