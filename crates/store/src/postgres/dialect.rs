//! What PostgreSQL says otherwise than SQLite.

use std::borrow::Cow;
use std::error::Error as StdError;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::error::{Error, Result};
use crate::sql::{Lock, Row, Value};

/// A step of the schema in PostgreSQL's words. Texts sort by their bytes, as they do elsewhere.
pub(super) fn schema(step: &str) -> String {
    let words = [
        (" BLOB", " BYTEA"),
        (" INTEGER", " BIGINT"),
        (" TEXT", " TEXT COLLATE \"C\""),
        (") STRICT, WITHOUT ROWID;", ");"),
        (") STRICT;", ");"),
    ];
    let mut step = words.iter().fold(step.to_owned(), |step, (from, to)| step.replace(from, to));
    // What is worth it comes packed, and PostgreSQL would take tens of milliseconds for a mebibyte.
    if step.contains("CREATE TABLE blobs ") {
        step.push_str("\nALTER TABLE blobs ALTER COLUMN content SET STORAGE EXTERNAL;\n");
    }
    step
}

/// The number of an advisory lock.
pub(super) fn lock_number(lock: Lock) -> i32 {
    match lock {
        Lock::Schema => -1,
        Lock::Records => -2,
        Lock::Blobs => -3,
        Lock::Partition(partition) => i32::try_from(partition).unwrap_or(i32::MAX),
    }
}

/// PostgreSQL keeps no NUL in a text. One is replaced, the same way wherever it is looked for.
fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Int(number) if *ty == Type::INT4 => {
                out.extend_from_slice(&i32::try_from(*number)?.to_be_bytes())
            }
            Self::Int(number) if *ty == Type::INT8 => out.extend_from_slice(&number.to_be_bytes()),
            Self::Text(text) if *ty == Type::TEXT => {
                out.extend_from_slice(without_nul(text).as_bytes());
            }
            Self::Bytes(bytes) if *ty == Type::BYTEA => out.extend_from_slice(bytes),
            Self::Id(bytes) if *ty == Type::BYTEA => out.extend_from_slice(bytes),
            Self::Int(_) | Self::Text(_) | Self::Bytes(_) | Self::Id(_) => {
                return Err(format!("{self:?} is no {ty}").into());
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Row for tokio_postgres::Row {
    fn value(&self, column: usize) -> Result<Value<'_>> {
        let failed = |error| database_error("read a row", error);
        let ty = self.columns().get(column).map(tokio_postgres::Column::type_);
        let value = if ty == Some(&Type::INT8) {
            self.try_get::<_, Option<i64>>(column).map_err(failed)?.map(Value::Int)
        } else if ty == Some(&Type::INT4) {
            let number = self.try_get::<_, Option<i32>>(column).map_err(failed)?;
            number.map(|number| Value::Int(number.into()))
        } else if ty == Some(&Type::BYTEA) {
            self.try_get::<_, Option<&[u8]>>(column).map_err(failed)?.map(Value::Bytes)
        } else {
            self.try_get::<_, Option<&str>>(column).map_err(failed)?.map(Value::Text)
        };
        Ok(value.unwrap_or(Value::Null))
    }
}

/// What the caller can do about an error of PostgreSQL or of the way to it.
pub(super) fn database_error(attempt: &str, error: tokio_postgres::Error) -> Error {
    let reason = |error: &tokio_postgres::Error| {
        let below = StdError::source(error).map(|below| format!(": {below}"));
        format!("cannot {attempt}: {error}{}", below.unwrap_or_default())
    };
    let Some(state) = error.code() else {
        // Not the server's answer: the connection is lost, or could not be made.
        return Error::Transient { reason: reason(&error) };
    };
    if *state == SqlState::DISK_FULL {
        return Error::Full;
    }
    // The first two characters name a class: connections, resources, operator intervention,
    // transactions that were in each other's way.
    let passing = ["08", "40", "53", "57"].iter().any(|class| state.code().starts_with(class));
    if passing
        || *state == SqlState::LOCK_NOT_AVAILABLE
        || *state == SqlState::READ_ONLY_SQL_TRANSACTION
    {
        return Error::Transient { reason: reason(&error) };
    }
    if state.code().starts_with("XX") {
        return Error::Corrupt { reason: reason(&error) };
    }
    Error::Io { attempt: attempt.to_owned(), source: Box::new(error) }
}
