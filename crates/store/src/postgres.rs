//! A store in PostgreSQL, which several nodes may share.
//!
//! Statements and rows are those of SQLite; what differs stands in `dialect`. What one process
//! of SQLite does alone is guarded here by advisory locks, held until the end of a transaction:
//! see [`Lock`]. A commit is on the server's disk before it is acknowledged.

mod connection;
mod dialect;
mod listen;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::suspend::OpId;
use model::{ExecutionId, FunctionName, InvocationId, TenantName, Timestamp, Version};

use crate::api::{Batch, Change, Compacted, Listener, Options, Store, Subscription, Wake};
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
use crate::queue::{AsyncCall, Backlog, DeadLetter, DeadLetterQuery, Due, QueueChange};
use crate::sql::executions::{self, Around};
use crate::sql::{
    Hold, Lock, Session, blobs, change, first, functions, invocations, leases, queue, schema,
    statements, sums, tenants,
};
use crate::tenant::{Key, Tenant};

use connection::{Access, Connection, Target, Transaction};
use listen::Listening;

/// Connections that read.
const READERS: usize = 4;
/// How long taking a lease waits for a commit in its partition.
const LEASE_PATIENCE: &str = "SET LOCAL lock_timeout = 1000";
/// How long what was sent may go unanswered before the connection is given up.
const DEAD_PEER: Duration = Duration::from_secs(5);
/// Nanoseconds since the epoch, by the server's clock.
const CLOCK: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) * 1000";
/// Bytes of all tables and indexes of the schema.
const SIZE: &str = "SELECT CAST(COALESCE(SUM(pg_total_relation_size(c.oid)), 0) AS BIGINT) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = current_schema() AND c.relkind = 'r'";
/// The schema that is used where the address names none.
const SCHEMA: &str = "fermata";

/// A [`Store`] in PostgreSQL.
pub struct PostgresStore {
    options: Options,
    target: Target,
    /// None where it was lost; the next who wants it opens another.
    writer: Mutex<Option<Connection>>,
    /// Takes and renews leases, so that a long commit does not make this node lose them.
    keeper: Mutex<Option<Connection>>,
    readers: Pool<Option<Connection>>,
}

impl PostgresStore {
    /// Connects to the server that `url` names (`postgres://user:password@host/database`) and
    /// brings the schema up to date, which is created where it is missing. The parameter `schema`
    /// names another one than `fermata`; the others are those of libpq. There is no TLS.
    ///
    /// # Errors
    /// `Invalid` where the address is malformed, `NewerVersion` where a newer program wrote the
    /// schema; `Transient` where the server cannot be reached; `Full`, `Io`.
    pub fn connect(url: &str, options: Options) -> Result<Self> {
        let target = parse(url)?;
        let mut writer = Connection::open(&target)?;
        writer.batch(&format!("CREATE SCHEMA IF NOT EXISTS \"{}\"", target.schema)).or_else(
            |error| {
                // Two that create it at a time are in each other's way, and then it is there.
                writer
                    .batch(&format!("SELECT '\"{}\"'::regnamespace", target.schema))
                    .map_err(|_| error)
            },
        )?;
        let mut readers = Vec::new();
        readers.resize_with(READERS, || None);
        let (writer, keeper) = (Mutex::new(Some(writer)), Mutex::default());
        let store = Self { options, target, writer, keeper, readers: Pool::new(readers) };
        store.migrate(schema::MIGRATIONS)?;
        Ok(store)
    }

    /// Looks whether `url` is well-formed, without connecting.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check_url(url: &str) -> Result<()> {
        parse(url).map(drop)
    }

    /// Brings the schema up to date, all in one transaction.
    fn migrate(&self, migrations: &[&str]) -> Result<()> {
        self.with_writer(|writer| {
            transact(writer, &self.target, Access::Write, |transaction| {
                transaction.lock(Lock::Schema, Hold::Alone)?;
                let found = schema::version(transaction)?;
                for (version, step) in schema::pending(migrations, found)? {
                    transaction.batch(&dialect::schema(step))?;
                    schema::set_version(transaction, version)?;
                }
                Ok(())
            })
        })
    }

    /// Runs `read` on one state of the store.
    fn read<T>(&self, read: impl FnOnce(&dyn Session) -> Result<T>) -> Result<T> {
        self.readers.with(|reader| {
            transact(reader, &self.target, Access::Read, |transaction| read(transaction))
        })
    }

    /// Runs `write` and commits; an error of either rolls everything back.
    fn write<T>(&self, write: impl FnOnce(&dyn Session) -> Result<T>) -> Result<T> {
        self.with_writer(|writer| {
            transact(writer, &self.target, Access::Write, |transaction| write(transaction))
        })
    }

    /// The same, and tells those who listen.
    fn write_and_tell<T>(
        &self,
        wake: Wake,
        write: impl FnOnce(&dyn Session) -> Result<T>,
    ) -> Result<T> {
        self.with_writer(|writer| {
            transact(writer, &self.target, Access::Write, |transaction| {
                let written = write(transaction)?;
                self.tell(transaction, wake)?;
                Ok(written)
            })
        })
    }

    /// The same on the connection for leases. It waits for a partition that is being written no
    /// longer than [`LEASE_PATIENCE`]: who was cut off in the middle of a commit must not keep this
    /// node from renewing the leases that it has.
    fn keep<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        transact(&mut keeper, &self.target, Access::Write, |transaction| {
            transaction.batch(LEASE_PATIENCE)?;
            work(transaction)
        })
    }

    /// Heard by those who listen once the transaction is committed.
    fn tell(&self, transaction: &Transaction<'_>, wake: Wake) -> Result<()> {
        let (channel, word) = (self.target.channel(), listen::word(wake, &self.target.origin));
        transaction.batch(&format!("SELECT pg_notify('{channel}', '{word}')"))
    }

    fn with_writer<T>(&self, work: impl FnOnce(&mut Option<Connection>) -> Result<T>) -> Result<T> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut writer)
    }
}

/// Runs `work` in a transaction on the connection in `slot`, and commits. Where that connection was
/// lost before anything was done, another one takes its place.
fn transact<T>(
    slot: &mut Option<Connection>,
    target: &Target,
    access: Access,
    work: impl FnOnce(&Transaction<'_>) -> Result<T>,
) -> Result<T> {
    let usable = slot.take_if(|connection| !connection.is_spoiled());
    let usable =
        usable.and_then(|mut connection| connection.begin(access).is_ok().then_some(connection));
    let connection = match usable {
        Some(connection) => slot.insert(connection),
        None => {
            let connection = slot.insert(Connection::open(target)?);
            connection.begin(access)?;
            connection
        }
    };
    let transaction = connection.transaction();
    match work(&transaction) {
        Ok(done) => {
            transaction.commit()?;
            Ok(done)
        }
        Err(error) => {
            // A connection that cannot even do this is not used again.
            drop(transaction.roll_back());
            Err(error)
        }
    }
}

fn parse(url: &str) -> Result<Target> {
    let malformed = |reason: String| Error::Invalid { what: "the store's address", reason };
    let (rest, query) = url.split_once('?').unwrap_or((url, ""));
    let (ours, theirs): (Vec<_>, Vec<_>) = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .partition(|pair| pair.starts_with("schema="));
    let schema = ours.last().map_or(SCHEMA, |pair| &pair["schema=".len()..]);
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    let letter = schema.bytes().next().is_some_and(|c| c.is_ascii_lowercase());
    if !letter || schema.len() > 63 || !schema.bytes().all(plain) {
        return Err(malformed(format!(
            "the schema {schema:?} is not 1 to 63 of a-z, 0-9 and _, beginning with a letter"
        )));
    }
    let mut config: tokio_postgres::Config = format!("{rest}?{}", theirs.join("&"))
        .parse()
        .map_err(|error: tokio_postgres::Error| malformed(crate::error::chain(&error)))?;
    config.application_name("fermata");
    // A way to the server that is broken is noticed in time to keep the leases.
    let states = |name: &str| theirs.iter().any(|pair| pair.starts_with(name));
    if !states("tcp_user_timeout=") {
        config.tcp_user_timeout(DEAD_PEER);
    }
    if !states("keepalives") {
        config.keepalives_idle(DEAD_PEER).keepalives_interval(DEAD_PEER / 5).keepalives_retries(3);
    }
    Ok(Target { config, schema: schema.to_owned(), origin: origin() })
}

/// Tells what this store wrote from what others did. Not a secret.
fn origin() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("schema", &self.target.schema).finish_non_exhaustive()
    }
}

impl Store for PostgresStore {
    fn commit(&self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let commit = |session: &dyn Session| change::commit(session, batch, &self.options);
        if batch.queue.iter().any(|change| matches!(change, QueueChange::Enqueue(_))) {
            return self.write_and_tell(Wake::Queue, commit);
        }
        self.write(commit)
    }

    fn apply(&self, change: &Change) -> Result<()> {
        let queues = matches!(change, Change::Redrive { .. });
        let wake = if queues { Wake::Queue } else { Wake::Catalog };
        self.write_and_tell(wake, |session| change::apply(session, change))
    }

    fn publish(&self, spec: &FunctionSpec) -> Result<FunctionVersion> {
        self.write_and_tell(Wake::Catalog, |session| {
            functions::publish(session, spec, |hash| blobs::contain(session, hash))
        })
    }

    fn put_blob(&self, hash: BlobHash, bytes: &[u8]) -> Result<()> {
        hash.verify(bytes)?;
        let packed = Packed::new(bytes);
        self.write(|session| {
            session.execute(statements::BLOB_ADD, &blobs::values(&hash, &packed)).map(drop)
        })
    }

    fn get_blob(&self, hash: BlobHash) -> Result<Vec<u8>> {
        let found = self.read(|session| blobs::get(session, hash))?;
        found.ok_or_else(|| Error::not_found("blob", &hash))
    }

    fn sweep_blobs(&self) -> Result<Swept> {
        self.write(|session| {
            session.lock(Lock::Blobs, Hold::Alone)?;
            blobs::sweep(session, &blobs::used(session)?)
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
        let around = Around { options: &self.options, has_file: &|_| Ok(false) };
        self.write(|session| executions::commit(session, leases, items, &packed, &around))
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
        self.keep(|transaction| {
            let taken = leases::acquire(transaction, claim, partitions)?;
            if !taken.is_empty() {
                self.tell(transaction, Wake::Leases)?;
            }
            Ok(taken)
        })
    }

    fn renew_leases(&self, claim: &Claim, held: &[Lease]) -> Result<Vec<Lease>> {
        self.keep(|transaction| leases::renew(transaction, claim, held))
    }

    fn release_leases(&self, held: &[Lease]) -> Result<()> {
        self.keep(|transaction| {
            leases::release(transaction, held)?;
            self.tell(transaction, Wake::Leases)
        })
    }

    fn leases(&self) -> Result<Vec<Lease>> {
        self.read(leases::leases)
    }

    fn clock(&self) -> Result<Option<Timestamp>> {
        let nanos = self.read(|session| first(session, CLOCK, &[], |columns| columns.bits()))?;
        Ok(nanos.map(Timestamp))
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.read(|session| tenants::setting(session, name))
    }

    fn subscribe(&self, listener: Listener) -> Result<Option<Box<dyn Subscription>>> {
        Ok(Some(Box::new(Listening::start(self.target.clone(), listener)?)))
    }

    fn wake(&self, partition: u32) -> Result<()> {
        self.with_writer(|writer| {
            transact(writer, &self.target, Access::Write, |transaction| {
                self.tell(transaction, Wake::Partition(partition))
            })
        })
    }

    fn backup(&self, to: &Path) -> Result<()> {
        Err(Error::Invalid {
            what: "a backup of PostgreSQL by this means",
            reason: format!(
                "PostgreSQL brings its own: pg_dump --schema={} --format=custom --file={} and the \
                 address of the server",
                self.target.schema,
                to.display()
            ),
        })
    }

    fn compact(&self) -> Result<Compacted> {
        let swept = self.sweep_blobs()?;
        let size = || {
            self.read(|session| {
                Ok(first(session, SIZE, &[], |columns| columns.bits())?.unwrap_or(0))
            })
        };
        let bytes_before = size()?;
        self.with_writer(|writer| {
            // Not inside of a transaction.
            let tables = "tenants, keys, settings, functions, function_versions, async_calls, \
                          invocations, sums, executions, history, outbox, leases, blobs";
            transact(writer, &self.target, Access::Write, |_| Ok(()))?;
            writer
                .as_mut()
                .map_or(Ok(()), |open| open.upkeep(&format!("VACUUM (FULL, ANALYZE) {tables}")))
        })?;
        Ok(Compacted { swept, bytes_before, bytes_after: size()? })
    }

    fn check(&self) -> Result<()> {
        self.read(|session| tenants::keys(session).map(drop))?;
        for hash in self.read(blobs::used)? {
            let checked = self.get_blob(hash).map(drop);
            // What used it may have been deleted and swept since its hash was read.
            if checked.is_err() && self.read(blobs::used)?.contains(&hash) {
                return match checked {
                    Err(Error::NotFound { .. }) => Err(blobs::missing(hash)),
                    other => other,
                };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
