//! The schema: numbered steps that only go forward.
//!
//! A step that was released never changes, not even in its white space: stores have it behind
//! them, and `tests/schema` keeps a filled store of each version. To change the schema, add a step
//! at the end and a filled store of the version before it.

use crate::error::{Error, Result};
use crate::sql::{Session, Value, first, statements};

/// Step `n` (counted from 1) takes a store from version `n - 1` to version `n`.
pub(crate) const MIGRATIONS: &[&str] =
    &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// The version of a store, 0 for an empty one.
pub(crate) fn version(session: &dyn Session) -> Result<u32> {
    session.execute(statements::SCHEMA_VERSION_TABLE, &[])?;
    let version = first(session, statements::SCHEMA_VERSION, &[], |columns| columns.u32())?;
    Ok(version.unwrap_or(0))
}

/// The steps a store of version `found` has before it.
pub(crate) fn pending<'a>(
    migrations: &'a [&'a str],
    found: u32,
) -> Result<impl Iterator<Item = (u32, &'a str)>> {
    let supported = u32::try_from(migrations.len()).expect("steps are written by hand");
    if found > supported {
        return Err(Error::NewerVersion { found, supported });
    }
    Ok((1..).zip(migrations.iter().copied()).filter(move |(version, _)| *version > found))
}

/// Remembers, in the transaction of a step, that the step was made.
pub(crate) fn set_version(session: &dyn Session, version: u32) -> Result<()> {
    session.execute(statements::SCHEMA_VERSION_CLEAR, &[])?;
    session.execute(statements::SCHEMA_VERSION_SET, &[Value::from(version)])?;
    Ok(())
}
