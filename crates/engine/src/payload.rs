//! Bytes that an execution carries, in its state or apart from it.

use alloc::vec::Vec;

use model::limits;

/// Bytes of a user: small ones here, large ones by reference.
///
/// The engine only carries them. The shell puts what is larger than
/// [`Execution::inline_max`](crate::Execution::inline_max) into the blob store before a step and
/// loads it again where a function is to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The bytes.
    Inline(Vec<u8>),
    /// Content of the blob store.
    Stored {
        /// SHA-256 of the bytes.
        hash: [u8; 32],
        /// Their number.
        len: u64,
    },
}

impl Payload {
    /// Nothing.
    #[must_use]
    pub const fn empty() -> Self {
        Self::Inline(Vec::new())
    }

    /// Bytes of content, wherever they lie. Storage is billed by it.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Stored { len, .. } => *len,
        }
    }

    /// Whether there is no content.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held inside the state.
    #[must_use]
    pub fn inline_len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Stored { .. } => 0,
        }
    }

    /// The hash, where the content lies apart.
    #[must_use]
    pub const fn stored(&self) -> Option<[u8; 32]> {
        match self {
            Self::Inline(_) => None,
            Self::Stored { hash, .. } => Some(*hash),
        }
    }

    pub(crate) fn fits_inline(&self) -> bool {
        self.inline_len() <= limits::PAYLOAD_INLINE_BYTES_MAX as u64
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Inline(bytes)
    }
}
