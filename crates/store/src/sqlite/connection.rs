//! Connections to the database: how they are opened, pooled and used as a [`Session`].

use std::path::Path;
use std::time::Duration;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params_from_iter,
};

use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::sql::{Columns, EachRow, Row, Session, Value};

/// How long a connection waits for another one. Only checkpoints make them wait at all.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// More than there are statements, so that each is prepared once.
const STATEMENTS_CACHED: usize = 128;

/// Opens the one connection that writes, creating the database where it is missing.
pub(super) fn open_writer(database: &Path) -> Result<Connection> {
    let writer = open(database, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    // The limit gives back the space of a write-ahead log that a burst made long. A page that many
    // commits change is folded into the database once for all of them: fewer foldings, fewer waits.
    let settings = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA journal_size_limit = 67108864; PRAGMA wal_autocheckpoint = {}; \
         PRAGMA cache_size = -32768;",
        super::log::PAGES
    );
    writer
        .execute_batch(&settings)
        .map_err(|error| database_error("set up the database", error))?;
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

/// Writes a copy of the database as it is now.
pub(super) fn copy(database: &Path, to: &Path) -> Result<()> {
    let reader = open(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let to = to.to_str().ok_or_else(|| Error::Invalid {
        what: "the place of a backup",
        reason: "its name is not UTF-8".into(),
    })?;
    let copied = reader.execute("VACUUM INTO ?1", [to]);
    copied.map(drop).map_err(|error| database_error("copy the database", error))
}

/// Writes the database anew without the pages that are free.
pub(super) fn compact(writer: &Connection) -> Result<()> {
    let compact = "VACUUM; PRAGMA wal_checkpoint(TRUNCATE);";
    writer.execute_batch(compact).map_err(|error| database_error("compact the database", error))
}

/// Size of the database with its free pages.
pub(super) fn size_bytes(connection: &Connection) -> Result<u64> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let size = || Ok(number("page_count")?.unsigned_abs() * number("page_size")?.unsigned_abs());
    size().map_err(|error| database_error("measure the database", error))
}

/// Connections that only read.
pub(super) fn open_readers(database: &Path, size: usize) -> Result<Pool<Connection>> {
    let reader = |_| open(database, OpenFlags::SQLITE_OPEN_READ_ONLY);
    (0..size).map(reader).collect::<Result<_>>().map(Pool::new)
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
