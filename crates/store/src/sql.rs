//! What SQL databases share: the schema, the statements, and the mapping of rows.
//!
//! A database comes in as a [`Session`]: an open transaction that runs statements. Statements use
//! `$1`, `$2`, … in the order of their first use, and only what SQLite and PostgreSQL both know.
//!
//! Numbers: SQL integers have a sign. Times and counters that SQL compares saturate at the largest
//! positive one (for a time, the year 2262). Amounts and other sums, which SQL neither compares
//! nor adds, keep all 64 bits by storing the signed number with the same bits.

pub(crate) mod blobs;
pub(crate) mod change;
pub(crate) mod executions;
pub(crate) mod functions;
pub(crate) mod invocations;
pub(crate) mod leases;
pub(crate) mod queue;
pub(crate) mod schema;
pub(crate) mod statements;
pub(crate) mod sums;
pub(crate) mod tenants;

use std::ops::ControlFlow;
use std::str::FromStr;

use model::{ExecutionId, InvocationId, Timestamp};

use crate::error::{Error, Result};

/// An open transaction.
pub(crate) trait Session {
    /// Runs a statement and tells how many rows it changed.
    fn execute(&self, statement: &str, parameters: &[Value<'_>]) -> Result<usize>;

    /// Runs a query and gives each row to `each`, until that breaks.
    fn query(&self, query: &str, parameters: &[Value<'_>], each: EachRow<'_>) -> Result<()>;

    /// Waits until no transaction of another process holds `what` in a way that excludes `hold`,
    /// and holds it until the end of this one. Nothing where only one process writes at all.
    fn lock(&self, what: Lock, hold: Hold) -> Result<()> {
        let _ = (what, hold);
        Ok(())
    }

    /// Runs a statement once for each row of parameters, in order, and tells how many rows each
    /// changed. A database far away gets all of them at once.
    fn execute_each(&self, statement: &str, rows: &[Vec<Value<'_>>]) -> Result<Vec<usize>> {
        rows.iter().map(|parameters| self.execute(statement, parameters)).collect()
    }

    /// Runs a query once for each row of parameters, in order, like [`Session::execute_each`].
    fn query_each(&self, query: &str, rows: &[Vec<Value<'_>>], each: EachRow<'_>) -> Result<()> {
        rows.iter().try_for_each(|parameters| self.query(query, parameters, each))
    }
}

/// What several processes must not do at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Change the schema.
    Schema,
    /// Number records and add to sums.
    Records,
    /// Refer to blobs (shared) or sweep them (alone).
    Blobs,
    /// Write executions of a partition (shared) or take it (alone).
    Partition(u32),
}

/// How a [`Lock`] is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// With others who share it.
    Shared,
    /// With nobody.
    Alone,
}

pub(crate) type EachRow<'a> = &'a mut dyn FnMut(&mut Columns<'_>) -> Result<ControlFlow<()>>;

/// A parameter of a statement, or one column of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// Sixteen bytes in an order that sorts as the number does.
    Id([u8; 16]),
}

/// One row of a query's result.
pub(crate) trait Row {
    /// The value of a column, counted from 0.
    fn value(&self, column: usize) -> Result<Value<'_>>;
}

/// Reads the columns of a row from left to right.
pub(crate) struct Columns<'a> {
    row: &'a dyn Row,
    next: usize,
}

/// All rows of a query, each read by `read`.
pub(crate) fn list<T>(
    session: &dyn Session,
    query: &str,
    parameters: &[Value<'_>],
    read: impl Fn(&mut Columns<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    session.query(query, parameters, &mut |columns| {
        found.push(read(columns)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The first row of a query, where there is one.
pub(crate) fn first<T>(
    session: &dyn Session,
    query: &str,
    parameters: &[Value<'_>],
    read: impl Fn(&mut Columns<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let mut found = None;
    session.query(query, parameters, &mut |columns| {
        found = Some(read(columns)?);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

impl<'a> Value<'a> {
    /// A number whose bits are kept.
    pub(crate) fn bits(number: u64) -> Self {
        Self::Int(number.cast_signed())
    }

    /// A number that SQL may compare.
    pub(crate) fn count(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// The limit of a query.
    pub(crate) fn limit(rows: usize) -> Self {
        Self::Int(i64::try_from(rows).unwrap_or(i64::MAX))
    }

    /// `make` of what is there.
    pub(crate) fn optional<T>(value: Option<T>, make: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Null, make)
    }

    /// Text that may be absent.
    pub(crate) fn text_or_null(text: Option<&'a str>) -> Self {
        Self::optional(text, Self::Text)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Int(i64::from(flag))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(at: Timestamp) -> Self {
        Self::count(at.0)
    }
}

impl From<InvocationId> for Value<'_> {
    fn from(id: InvocationId) -> Self {
        Self::Id(id.0.to_be_bytes())
    }
}

impl From<ExecutionId> for Value<'_> {
    fn from(id: ExecutionId) -> Self {
        Self::Id(id.0.to_be_bytes())
    }
}

impl<'a> Columns<'a> {
    pub(crate) fn new(row: &'a dyn Row) -> Self {
        Self { row, next: 0 }
    }

    pub(crate) fn int(&mut self) -> Result<i64> {
        self.required("an integer", |value| if let Value::Int(n) = value { Some(n) } else { None })
    }

    /// The inverse of [`Value::bits`].
    pub(crate) fn bits(&mut self) -> Result<u64> {
        self.int().map(i64::cast_unsigned)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        let number = self.int()?;
        u32::try_from(number).map_err(|_| self.damaged("a small number"))
    }

    pub(crate) fn flag(&mut self) -> Result<bool> {
        Ok(self.int()? != 0)
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp> {
        let nanos = self.int()?;
        u64::try_from(nanos).map(Timestamp).map_err(|_| self.damaged("a time"))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str> {
        self.required("text", |value| if let Value::Text(text) = value { Some(text) } else { None })
    }

    pub(crate) fn string(&mut self) -> Result<String> {
        self.text().map(str::to_owned)
    }

    /// A text that `T` parses, such as a name.
    pub(crate) fn parsed<T: FromStr>(&mut self) -> Result<T> {
        let text = self.text()?;
        text.parse().map_err(|_| self.damaged("a well-formed name"))
    }

    /// A text that `find` knows.
    pub(crate) fn word<T>(&mut self, find: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        let text = self.text()?;
        find(text).ok_or_else(|| self.damaged("a known word"))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        self.required("bytes", |value| if let Value::Bytes(b) = value { Some(b) } else { None })
    }

    pub(crate) fn hash(&mut self) -> Result<[u8; 32]> {
        let bytes = self.bytes()?;
        bytes.try_into().map_err(|_| self.damaged("32 bytes"))
    }

    pub(crate) fn id(&mut self) -> Result<u128> {
        let bytes = self.bytes()?;
        let bytes = bytes.try_into().map_err(|_| self.damaged("16 bytes"))?;
        Ok(u128::from_be_bytes(bytes))
    }

    /// What `read` reads, or nothing where the next column is null. `read` takes one column.
    pub(crate) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.row.value(self.next)? == Value::Null {
            self.next += 1;
            return Ok(None);
        }
        read(self).map(Some)
    }

    fn required<T>(
        &mut self,
        wanted: &str,
        pick: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<T> {
        let value = self.row.value(self.next)?;
        self.next += 1;
        pick(value).ok_or_else(|| self.damaged(wanted))
    }

    /// The column last read is not what it must be.
    pub(crate) fn damaged(&self, wanted: &str) -> Error {
        Error::Corrupt { reason: format!("column {} of a row is not {wanted}", self.next) }
    }
}
