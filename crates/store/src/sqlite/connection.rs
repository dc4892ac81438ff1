//! Connections to the database: how they are opened, pooled and used as a [`Session`].

use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params_from_iter,
};

use crate::error::{Error, Result};
use crate::sql::{Columns, EachRow, Row, Session, Value};

/// How long a connection waits for another one. Only checkpoints make them wait at all.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// More than there are statements, so that each is prepared once.
const STATEMENTS_CACHED: usize = 128;

/// Opens the one connection that writes, creating the database where it is missing.
pub(super) fn open_writer(database: &Path) -> Result<Connection> {
    let writer = open(database, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    // The limit gives back the space of a write-ahead log that a burst made long.
    let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                    PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 67108864;";
    writer.execute_batch(settings).map_err(|error| database_error("set up the database", error))?;
    Ok(writer)
}

fn open(database: &Path, flags: OpenFlags) -> Result<Connection> {
    let set_up = || {
        let connection =
            Connection::open_with_flags(database, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        Ok(connection)
    };
    set_up().map_err(|error| database_error("open the database", error))
}

/// Begins a transaction, which rolls back where it is dropped unfinished.
pub(super) fn begin(
    connection: &mut Connection,
    behavior: TransactionBehavior,
) -> Result<Transaction<'_>> {
    let begun = connection.transaction_with_behavior(behavior);
    begun.map_err(|error| database_error("begin a transaction", error))
}

/// Commits. An error means that it was rolled back.
pub(super) fn finish(transaction: Transaction<'_>) -> Result<()> {
    transaction.commit().map_err(|error| database_error("commit", error))
}

/// Lets SQLite look through the whole file.
pub(super) fn check_integrity(connection: &Connection) -> Result<()> {
    let first = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0));
    let first: String = first.map_err(|error| database_error("check the database", error))?;
    if first == "ok" { Ok(()) } else { Err(Error::Corrupt { reason: first }) }
}

/// A few connections that read; who wants one waits until one is free.
#[derive(Debug)]
pub(super) struct ReadPool {
    free: Mutex<Vec<Connection>>,
    returned: Condvar,
}

/// A connection that goes back to its pool, also in a panic.
struct Borrowed<'a> {
    pool: &'a ReadPool,
    connection: Option<Connection>,
}

impl ReadPool {
    pub(super) fn open(database: &Path, size: usize) -> Result<Self> {
        let reader = |_| open(database, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let free = (0..size).map(reader).collect::<Result<_>>()?;
        Ok(Self { free: Mutex::new(free), returned: Condvar::new() })
    }

    pub(super) fn with<T>(&self, read: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let none = |free: &mut Vec<Connection>| free.is_empty();
        let mut free = self.returned.wait_while(free, none).unwrap_or_else(PoisonError::into_inner);
        let mut borrowed = Borrowed { pool: self, connection: free.pop() };
        drop(free);
        let connection = borrowed.connection.as_mut().expect("waited until one was there");
        read(connection)
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend(self.connection.take());
        self.pool.returned.notify_one();
    }
}

impl Session for Transaction<'_> {
    fn execute(&self, statement: &str, parameters: &[Value<'_>]) -> Result<usize> {
        let execute = || self.prepare_cached(statement)?.execute(params_from_iter(parameters));
        execute().map_err(|error| database_error("change the database", error))
    }

    fn query(&self, query: &str, parameters: &[Value<'_>], each: EachRow<'_>) -> Result<()> {
        let failed = |error| database_error("query the database", error);
        let mut statement = self.prepare_cached(query).map_err(failed)?;
        let mut rows = statement.query(params_from_iter(parameters)).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            if each(&mut Columns::new(row))?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Id(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Row for rusqlite::Row<'_> {
    fn value(&self, column: usize) -> Result<Value<'_>> {
        let damaged = |what: &str| Error::Corrupt { reason: format!("column {column} {what}") };
        let value = self.get_ref(column);
        match value.map_err(|error| database_error("read a row", error))? {
            ValueRef::Null => Ok(Value::Null),
            ValueRef::Integer(number) => Ok(Value::Int(number)),
            ValueRef::Text(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|_| damaged("is not UTF-8"))?;
                Ok(Value::Text(text))
            }
            ValueRef::Blob(bytes) => Ok(Value::Bytes(bytes)),
            ValueRef::Real(_) => Err(damaged("is a floating-point number")),
        }
    }
}

/// What the caller can do about an error of SQLite.
pub(super) fn database_error(attempt: &str, error: rusqlite::Error) -> Error {
    let reason = || error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::Full,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OutOfMemory) => {
            Error::Transient { reason: reason() }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Corrupt { reason: reason() }
        }
        _ => Error::Io { attempt: attempt.to_owned(), source: Box::new(error) },
    }
}
