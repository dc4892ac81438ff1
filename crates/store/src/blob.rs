//! Code packages, kept by the hash of their content.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use lz4_flex::block;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::execution::ExecutionCommit;

/// A blob's name, and the proof that it is whole: the SHA-256 of its content, or the BLAKE3, which
/// takes a third of the time, where a step waits for it.
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
    /// The SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The other hash of `bytes`, for what a step waits for.
    #[must_use]
    pub fn quick(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }

    /// Passes only bytes that have this hash.
    pub(crate) fn verify(self, bytes: &[u8]) -> Result<()> {
        if self == Self::quick(bytes) {
            return Ok(());
        }
        let found = Self::of(bytes);
        if self == found {
            return Ok(());
        }
        Err(Error::Corrupt { reason: format!("blob {self} has content with hash {found}") })
    }
}

/// Smaller content is kept as it is.
const PACKED_MIN: usize = 512;
/// Larger content of a step is kept as it is, unless a part of it shrinks to a quarter.
const PACKED_IN_STEP_MAX: usize = 128 << 10;
/// Bytes that are tried before all are.
const SAMPLE: usize = 16 << 10;
/// No content that was ever packed is larger. Guards against damage that claims so.
const SIZE_MAX: usize = 2 << 30;

/// A blob as it lies in a database.
#[derive(Clone, Debug)]
pub(crate) struct Packed<'a> {
    pub(crate) size_bytes: u64,
    /// `none`, `lz4` or `zstd`.
    pub(crate) compression: &'static str,
    pub(crate) content: Cow<'a, [u8]>,
}

impl<'a> Packed<'a> {
    /// What came with a step, which somebody waits for. What is large there is a memory image, which
    /// the runtime has compressed, or text that is soon compressed or not worth the wait; for the rest
    /// LZ4 takes a tenth of the time.
    pub(crate) fn of_item(item: &'a ExecutionCommit) -> Vec<(BlobHash, Self)> {
        item.blobs
            .iter()
            .map(|(hash, bytes)| {
                let quick = bytes.len() <= PACKED_IN_STEP_MAX
                    || block::compress(middle(bytes)).len() < SAMPLE / 4;
                (*hash, if quick { Self::quick(bytes) } else { Self::plain(bytes) })
            })
            .collect()
    }

    /// As it is.
    fn plain(bytes: &'a [u8]) -> Self {
        let size_bytes = bytes.len() as u64;
        Self { size_bytes, compression: "none", content: Cow::Borrowed(bytes) }
    }

    /// Compressed in little time, where that saves an eighth or more.
    fn quick(bytes: &'a [u8]) -> Self {
        let packed = (bytes.len() >= PACKED_MIN).then(|| block::compress(bytes));
        match packed.filter(|packed| packed.len() < bytes.len() / 8 * 7) {
            Some(packed) => {
                let (size_bytes, content) = (bytes.len() as u64, Cow::Owned(packed));
                Self { size_bytes, compression: "lz4", content }
            }
            None => Self::plain(bytes),
        }
    }

    /// Compressed, where that saves an eighth or more.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let size_bytes = bytes.len() as u64;
        // Most of what is large and does not shrink shows it in a part.
        let worth = bytes.len() >= PACKED_MIN && compress(middle(bytes)).is_some();
        match worth.then(|| compress(bytes)).flatten() {
            Some(packed) => Self { size_bytes, compression: "zstd", content: Cow::Owned(packed) },
            None => Self::plain(bytes),
        }
    }

    /// What was packed. Its hash is still to be verified.
    pub(crate) fn unpack(compression: &str, size_bytes: u64, content: &[u8]) -> Result<Vec<u8>> {
        let capacity = usize::try_from(size_bytes).ok().filter(|size| *size <= SIZE_MAX);
        let bytes = match compression {
            "none" => return Ok(content.to_vec()),
            "zstd" => capacity.and_then(|size| decompress(content, size)),
            "lz4" => capacity
                .and_then(|size| block::decompress(content, size).ok())
                .filter(|bytes| bytes.len() as u64 == size_bytes),
            other => {
                let reason = format!("a blob of {size_bytes} bytes is compressed by {other:?}");
                return Err(Error::Corrupt { reason });
            }
        };
        bytes.ok_or_else(|| Error::Corrupt {
            reason: format!("a blob of {size_bytes} bytes cannot be unpacked"),
        })
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

/// Some of it, from its middle on.
fn middle(bytes: &[u8]) -> &[u8] {
    let middle = bytes.len() / 2;
    &bytes[middle..bytes.len().min(middle + SAMPLE)]
}

/// A frame of `bytes`, where it is smaller by an eighth or more.
fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let packed = compress_to_vec(bytes, CompressionLevel::Fastest);
    (packed.len() < bytes.len() / 8 * 7).then_some(packed)
}

/// The content of a frame, where that has `size` bytes.
fn decompress(frame: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut decoder = StreamingDecoder::new(frame).ok()?.take(size as u64 + 1);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).ok()?;
    decoder.read_to_end(&mut bytes).ok()?;
    (bytes.len() == size).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_and_damage_is_noticed() {
        let noise: Vec<u8> =
            (0..600_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        let contents = [Vec::new(), vec![7; 511], vec![7; 100_000], noise];
        for (bytes, compression) in contents.iter().zip(["none", "none", "zstd", "none"]) {
            let packed = Packed::new(bytes);
            assert_eq!(packed.compression, compression, "{} bytes", bytes.len());
            let unpack = |size| Packed::unpack(packed.compression, size, &packed.content);
            assert_eq!(unpack(packed.size_bytes).unwrap(), *bytes);
            if compression == "zstd" {
                assert!(packed.content.len() < bytes.len() / 100);
                assert!(unpack(99).is_err() && unpack(u64::MAX).is_err());
                assert!(Packed::unpack("zstd", 9, b"no frame").is_err());
            }
            let quick = Packed::quick(bytes);
            assert_eq!(quick.compression, compression.replace("zstd", "lz4"));
            let unpack = |size| Packed::unpack(quick.compression, size, &quick.content);
            assert_eq!(unpack(quick.size_bytes).unwrap(), *bytes);
            if quick.compression == "lz4" {
                assert!(quick.content.len() < bytes.len() / 100);
                assert!(unpack(99).is_err() && unpack(quick.size_bytes + 1).is_err());
                assert!(unpack(u64::MAX).is_err());
                assert!(Packed::unpack("lz4", 9, b"no block").is_err());
            }
        }
        assert!(Packed::unpack("lzma", 9, b"tomorrow").is_err());
    }

    #[test]
    fn what_is_large_in_a_step_is_packed_only_where_that_is_soon_done() {
        let large = PACKED_IN_STEP_MAX + 1;
        let mut word: u64 = 1;
        let mut noise = || {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            word.to_be_bytes()[0]
        };
        let noise: Vec<u8> = (0..large).map(|_| noise()).collect();
        let mut commit = ExecutionCommit::new(model::ExecutionId(1), crate::Revision(0));
        commit.blobs = [noise, vec![7; large]].map(|bytes| (BlobHash::quick(&bytes), bytes)).into();
        let packed = Packed::of_item(&commit);
        let compressions: Vec<_> = packed.iter().map(|(_, packed)| packed.compression).collect();
        assert_eq!(compressions, ["none", "lz4"]);
    }
}
