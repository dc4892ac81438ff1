//! A connection to PostgreSQL: used by one thread at a time, which drives it while it waits.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::{Runtime, RuntimeFlavor};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Socket, Statement};

use crate::error::{Error, Result};
use crate::postgres::dialect::{database_error, lock_number};
use crate::sql::{Columns, EachRow, Hold, Lock, Session, Value};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one statement may take: longer than any that works, so that a server that does not
/// answer is noticed. The thread of the executions may wait for one, and has to hear that the node's
/// leases ran out meanwhile.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);
/// The same for what goes through all that there is.
const UPKEEP_TIMEOUT: Duration = Duration::from_secs(3600);
/// The server gives up a transaction whose client went silent, so that its locks are free: a node
/// that was cut off must not keep others from its partitions.
const SETTINGS: &str = "SET idle_in_transaction_session_timeout = 3000; \
    SET tcp_user_timeout = 5000; SET client_min_messages = 'warning'; \
    SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off';";

/// Where to connect, and which schema there is ours.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) schema: String,
    /// Tells what this process says from what others say.
    pub(super) origin: String,
}

impl Target {
    /// What is notified and listened to.
    pub(super) fn channel(&self) -> String {
        format!("fermata_{}", self.schema)
    }
}

pub(super) struct Connection {
    runtime: Driver,
    client: Client,
    driver: Pin<Box<tokio_postgres::Connection<Socket, NoTlsStream>>>,
    prepared: BTreeMap<&'static str, Statement>,
    /// Tells the locks of one schema from those of another of the same database.
    lock_space: i32,
    /// In a transaction, or was when the work in it panicked or the way to the server was lost.
    spoiled: bool,
    /// What was notified meanwhile.
    heard: Vec<String>,
}

/// A transaction that is open on a connection.
pub(super) struct Transaction<'a>(RefCell<&'a mut Connection>);

/// What a transaction may do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// Sees one state of the store.
    Read,
    Write,
}

/// What drives a connection, from whatever thread: one of another runtime may wait in it, too, as it
/// may in a call of SQLite.
struct Driver(Option<Runtime>);

impl Driver {
    fn block_on<F: Future>(&self, work: F) -> F::Output {
        let runtime = self.0.as_ref().expect("it is there until it is dropped");
        let around = tokio::runtime::Handle::try_current().map(|around| around.runtime_flavor());
        match around {
            Ok(RuntimeFlavor::MultiThread) => {
                tokio::task::block_in_place(|| runtime.block_on(work))
            }
            _ => runtime.block_on(work),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Its own drop would wait, which a thread of another runtime must not.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Connection {
    pub(super) fn open(target: &Target) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::from_io("start a runtime".into(), error))?;
        let runtime = Driver(Some(runtime));
        let connect =
            async { tokio::time::timeout(CONNECT_TIMEOUT, target.config.connect(NoTls)).await };
        let failed = |error| database_error("connect to PostgreSQL", error);
        let (client, driver) = match runtime.block_on(connect) {
            Ok(connected) => connected.map_err(failed)?,
            Err(_) => {
                return Err(Error::Transient {
                    reason: "PostgreSQL does not answer within 5 s".into(),
                });
            }
        };
        let mut hash = 17_i32;
        for byte in target.schema.bytes() {
            hash = hash.wrapping_mul(31).wrapping_add(byte.into());
        }
        let driver = Box::pin(driver);
        let (prepared, heard) = (BTreeMap::new(), Vec::new());
        let mut this =
            Self { runtime, client, driver, prepared, lock_space: hash, spoiled: false, heard };
        // The schema's name is checked where it is parsed: quotes are for words that SQL has itself.
        this.batch(&format!("{SETTINGS} SET search_path TO \"{}\";", target.schema))?;
        Ok(this)
    }

    /// Whether it is of no more use: closed, or given up in the middle of a transaction.
    pub(super) fn is_spoiled(&self) -> bool {
        self.spoiled || self.client.is_closed()
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&mut self, statements: &str) -> Result<()> {
        self.batch_within(STATEMENT_TIMEOUT, statements)
    }

    /// The same, for what takes long.
    pub(super) fn upkeep(&mut self, statements: &str) -> Result<()> {
        self.batch_within(UPKEEP_TIMEOUT, statements)
    }

    fn batch_within(&mut self, patience: Duration, statements: &str) -> Result<()> {
        let work = async |client: &Client| client.batch_execute(statements).await;
        self.run_within(patience, "run statements", work)
    }

    /// Begins a transaction: [`Connection::transaction`] is it.
    pub(super) fn begin(&mut self, access: Access) -> Result<()> {
        self.batch(match access {
            Access::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Access::Write => "BEGIN",
        })?;
        self.spoiled = true;
        Ok(())
    }

    /// The transaction that was begun.
    pub(super) fn transaction(&mut self) -> Transaction<'_> {
        Transaction(RefCell::new(self))
    }

    /// Waits for notifications until there are some, or `patience` is over.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<Vec<String>> {
        let Self { runtime, driver, heard, .. } = self;
        let listen = std::future::poll_fn(|cx| {
            loop {
                match driver.as_mut().poll_message(cx) {
                    Poll::Ready(Some(Ok(AsyncMessage::Notification(notification)))) => {
                        heard.push(notification.payload().to_owned());
                    }
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Some(error))),
                    Poll::Ready(None) => return Poll::Ready(Err(None)),
                    Poll::Pending if heard.is_empty() => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(Ok(())),
                }
            }
        });
        let lost = || Error::Transient { reason: "the connection to PostgreSQL is lost".into() };
        let waited = runtime.block_on(async { tokio::time::timeout(patience, listen).await });
        if let Ok(Err(error)) = waited {
            return Err(error.map_or_else(lost, |error| database_error("listen", error)));
        }
        Ok(std::mem::take(&mut self.heard))
    }

    fn run<T>(
        &mut self,
        attempt: &str,
        work: impl AsyncFnOnce(&Client) -> std::result::Result<T, tokio_postgres::Error>,
    ) -> Result<T> {
        self.run_within(STATEMENT_TIMEOUT, attempt, work)
    }

    /// Runs what needs the client, driving the connection meanwhile.
    fn run_within<T>(
        &mut self,
        patience: Duration,
        attempt: &str,
        work: impl AsyncFnOnce(&Client) -> std::result::Result<T, tokio_postgres::Error>,
    ) -> Result<T> {
        let Self { runtime, client, driver, heard, .. } = self;
        let driven = async {
            let mut work = pin!(work(client));
            std::future::poll_fn(|cx| {
                if let Poll::Ready(done) = work.as_mut().poll(cx) {
                    return Poll::Ready(Some(done));
                }
                loop {
                    match driver.as_mut().poll_message(cx) {
                        Poll::Ready(Some(Ok(AsyncMessage::Notification(notification)))) => {
                            heard.push(notification.payload().to_owned());
                        }
                        Poll::Ready(Some(Ok(_))) => {}
                        // What the work waits for was dropped, and it hears so.
                        Poll::Ready(Some(Err(_)) | None) => break,
                        Poll::Pending => break,
                    }
                }
                work.as_mut().poll(cx).map(Some)
            })
            .await
        };
        let done = runtime.block_on(async { tokio::time::timeout(patience, driven).await });
        match done.ok().flatten() {
            Some(done) => done.map_err(|error| database_error(attempt, error)),
            None => {
                Err(Error::Transient { reason: format!("PostgreSQL did not {attempt} in time") })
            }
        }
    }

    /// The statement, prepared once a connection.
    pub(super) fn prepare(&mut self, text: &str) -> Result<Statement> {
        if let Some(known) = self.prepared.get(text) {
            return Ok(known.clone());
        }
        let statement =
            self.run("prepare a statement", async |client| client.prepare(text).await)?;
        if let Some(text) = crate::sql::statements::ALL.iter().find(|known| **known == text) {
            self.prepared.insert(text, statement.clone());
        }
        Ok(statement)
    }
}

impl Transaction<'_> {
    /// Commits. An error means that it was rolled back, unless the connection was lost: then
    /// nobody knows.
    pub(super) fn commit(self) -> Result<()> {
        self.end("COMMIT")
    }

    /// Undoes what was done.
    pub(super) fn roll_back(self) -> Result<()> {
        self.end("ROLLBACK")
    }

    fn end(self, statement: &str) -> Result<()> {
        let connection = self.0.into_inner();
        connection.batch(statement)?;
        connection.spoiled = false;
        Ok(())
    }

    pub(super) fn batch(&self, statements: &str) -> Result<()> {
        self.0.borrow_mut().batch(statements)
    }
}

impl Session for Transaction<'_> {
    fn execute(&self, statement: &str, parameters: &[Value<'_>]) -> Result<usize> {
        let mut connection = self.0.borrow_mut();
        let prepared = connection.prepare(statement)?;
        let changed = connection.run("change the database", async |client| {
            client.execute_raw(&prepared, parameters.iter().copied()).await
        })?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    fn query(&self, query: &str, parameters: &[Value<'_>], each: EachRow<'_>) -> Result<()> {
        self.query_each(query, &[parameters.to_vec()], each)
    }

    fn lock(&self, what: Lock, hold: Hold) -> Result<()> {
        let mut connection = self.0.borrow_mut();
        let function = match hold {
            Hold::Shared => "pg_advisory_xact_lock_shared",
            Hold::Alone => "pg_advisory_xact_lock",
        };
        let (space, number) = (connection.lock_space, lock_number(what));
        connection.batch(&format!("SELECT {function}({space}, {number})"))
    }

    fn execute_each(&self, statement: &str, rows: &[Vec<Value<'_>>]) -> Result<Vec<usize>> {
        let mut connection = self.0.borrow_mut();
        let prepared = connection.prepare(statement)?;
        let changed = connection.run("change the database", async |client| {
            let sent = rows.iter().map(|row| client.execute_raw(&prepared, row.iter().copied()));
            join_all(sent).await.into_iter().collect::<std::result::Result<Vec<_>, _>>()
        })?;
        Ok(changed.into_iter().map(|rows| usize::try_from(rows).unwrap_or(usize::MAX)).collect())
    }

    fn query_each(&self, query: &str, rows: &[Vec<Value<'_>>], each: EachRow<'_>) -> Result<()> {
        let mut connection = self.0.borrow_mut();
        let prepared = connection.prepare(query)?;
        let found = connection.run("query the database", async |client| {
            let asked = rows.iter().map(async |row| {
                let parameters: Vec<_> = row
                    .iter()
                    .map(|value| value as &(dyn tokio_postgres::types::ToSql + Sync))
                    .collect();
                client.query(&prepared, &parameters).await
            });
            join_all(asked).await.into_iter().collect::<std::result::Result<Vec<_>, _>>()
        })?;
        drop(connection);
        for found in &found {
            for row in found {
                if each(&mut Columns::new(row))? == ControlFlow::Break(()) {
                    break;
                }
            }
        }
        Ok(())
    }
}
