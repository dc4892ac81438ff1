//! Blobs as rows, and which ones are used.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::blob::{BlobHash, Packed, Swept};
use crate::error::{Error, Result};
use crate::sql::{Columns, Session, Value, first, functions, list, statements};

/// What the statement that keeps a blob takes.
pub(crate) fn values<'a>(hash: &'a BlobHash, blob: &'a Packed<'_>) -> Vec<Value<'a>> {
    vec![
        Value::Bytes(&hash.0),
        Value::bits(blob.size_bytes),
        Value::Text(blob.compression),
        Value::Bytes(&blob.content),
    ]
}

pub(crate) fn contain(session: &dyn Session, hash: BlobHash) -> Result<bool> {
    let there =
        first(session, statements::BLOB_THERE, &[Value::Bytes(&hash.0)], |columns| columns.int())?;
    Ok(there.is_some())
}

/// The blob of that hash, verified, where it is a row.
pub(crate) fn get(session: &dyn Session, hash: BlobHash) -> Result<Option<Vec<u8>>> {
    let found = first(session, statements::BLOB, &[Value::Bytes(&hash.0)], |columns| {
        let (compression, size_bytes) = (columns.text()?, columns.bits()?);
        Packed::unpack(compression, size_bytes, columns.bytes()?)
    })?;
    let Some(bytes) = found else { return Ok(None) };
    hash.verify(&bytes)?;
    Ok(Some(bytes))
}

/// Every blob that a version or an execution refers to.
pub(crate) fn used(session: &dyn Session) -> Result<BTreeSet<BlobHash>> {
    let mut used = functions::code_used(session)?;
    for query in [statements::BLOBS_OF_EXECUTIONS, statements::BLOBS_OF_HISTORY] {
        session.query(query, &[], &mut |columns| {
            used.extend(decode(columns)?);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(used)
}

/// Every blob that is used and is no row.
pub(crate) fn files_used(session: &dyn Session) -> Result<BTreeSet<BlobHash>> {
    let rows = list(session, statements::BLOBS, &[], |columns| columns.hash().map(BlobHash))?;
    let rows: BTreeSet<_> = rows.into_iter().collect();
    let mut used = used(session)?;
    used.retain(|hash| !rows.contains(hash));
    Ok(used)
}

/// Removes rows whose hash is not in `used`.
pub(crate) fn sweep(session: &dyn Session, used: &BTreeSet<BlobHash>) -> Result<Swept> {
    let all = list(session, statements::BLOBS, &[], |columns| {
        Ok((BlobHash(columns.hash()?), columns.bits()?))
    })?;
    let unused: Vec<_> = all.into_iter().filter(|(hash, _)| !used.contains(hash)).collect();
    let rows: Vec<_> = unused.iter().map(|(hash, _)| vec![Value::Bytes(&hash.0)]).collect();
    session.execute_each(statements::BLOB_REMOVE, &rows)?;
    Ok(Swept {
        blobs: unused.len() as u64,
        bytes: unused.iter().map(|(_, size_bytes)| size_bytes).sum(),
    })
}

/// Many hashes in one column, one after the other; no column where there are none.
pub(crate) fn encode(hashes: &[BlobHash]) -> Option<Vec<u8>> {
    let bytes = || hashes.iter().flat_map(|hash| hash.0).collect();
    (!hashes.is_empty()).then(bytes)
}

/// The inverse of [`encode`], of a column that is not null.
pub(crate) fn decode(columns: &mut Columns<'_>) -> Result<Vec<BlobHash>> {
    let bytes = columns.bytes()?;
    let (hashes, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(columns.damaged("a list of hashes"));
    }
    Ok(hashes.iter().map(|hash| BlobHash(*hash)).collect())
}

/// What became of a blob that a version or an execution refers to.
pub(crate) fn missing(hash: BlobHash) -> Error {
    Error::Corrupt { reason: format!("blob {hash} is missing") }
}
