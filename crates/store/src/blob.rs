//! Code packages, kept by the hash of their content.

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// SHA-256 of a blob's content: its name, and the proof that it is whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobHash(pub [u8; 32]);

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs removed.
    pub blobs: u64,
    /// Bytes they held.
    pub bytes: u64,
}

impl BlobHash {
    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Passes only bytes that have this hash.
    pub(crate) fn verify(self, bytes: &[u8]) -> Result<()> {
        let found = Self::of(bytes);
        if found == self {
            return Ok(());
        }
        Err(Error::Corrupt { reason: format!("blob {self} has content with hash {found}") })
    }
}

/// A blob as it lies in a database.
#[derive(Clone, Debug)]
pub(crate) struct Packed<'a> {
    pub(crate) size_bytes: u64,
    /// `none` or `zstd`.
    pub(crate) compression: &'static str,
    pub(crate) content: Cow<'a, [u8]>,
}

impl<'a> Packed<'a> {
    /// As it is.
    pub(crate) fn plain(bytes: &'a [u8]) -> Self {
        Self { size_bytes: bytes.len() as u64, compression: "none", content: Cow::Borrowed(bytes) }
    }

    /// What was packed. Its hash is still to be verified.
    pub(crate) fn unpack(compression: &str, size_bytes: u64, content: &[u8]) -> Result<Vec<u8>> {
        match compression {
            "none" => Ok(content.to_vec()),
            other => Err(Error::Corrupt {
                reason: format!("a blob of {size_bytes} bytes is compressed by {other:?}"),
            }),
        }
    }
}

/// Prints 64 hexadecimal digits.
impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobHash({self})")
    }
}
