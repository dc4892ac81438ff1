//! What is done to memory on its way to the disk: nothing, packing (LZ4), sealing (ChaCha20 with a
//! key that exists in this process only and a nonce for each piece), or both.
//!
//! A coded piece is `nonce (8), packed length (4), is packed (4)`, then the bytes.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};

use super::pages::PageBuffer;

/// What is done to memory before it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// Nothing: the quickest where the disk is quick.
    #[default]
    Plain,
    /// Compressed.
    Packed,
    /// Encrypted with a key that is never written anywhere.
    Sealed,
    /// Compressed, then encrypted.
    PackedSealed,
}

pub(super) struct Codec {
    coding: Coding,
    key: [u8; 32],
    next_nonce: AtomicU64,
}

/// Room for one piece on both sides.
pub(super) struct Buffers {
    pub(super) plain: PageBuffer,
    pub(super) coded: PageBuffer,
}

const HEAD: usize = 16;

impl Codec {
    pub(super) fn new(coding: Coding) -> io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Ok(Self { coding, key, next_nonce: AtomicU64::new(0) })
    }

    pub(super) const fn coding(&self) -> Coding {
        self.coding
    }

    /// Room to code pieces of up to `bytes`. None where nothing is to be done.
    pub(super) fn buffer(&self, bytes: usize) -> io::Result<Option<Buffers>> {
        if self.coding == Coding::Plain {
            return Ok(None);
        }
        let coded = HEAD + lz4_flex::block::get_maximum_output_size(bytes);
        Ok(Some(Buffers { plain: PageBuffer::new(bytes)?, coded: PageBuffer::new(coded)? }))
    }

    /// Codes the first `length` plain bytes; how long that became.
    pub(super) fn encode(&self, buffers: &mut Buffers, length: usize) -> usize {
        let (plain, coded) = (&buffers.plain.bytes()[..length], buffers.coded.bytes_mut());
        let (head, body) = coded.split_at_mut(HEAD);
        let packs = matches!(self.coding, Coding::Packed | Coding::PackedSealed);
        let packed = if packs { lz4_flex::block::compress_into(plain, body).ok() } else { None };
        // What does not shrink is kept as it is.
        let packed = packed.filter(|packed| *packed < length);
        if packed.is_none() {
            body[..length].copy_from_slice(plain);
        }
        let used = packed.unwrap_or(length);
        let nonce = self.next_nonce.fetch_add(1, Ordering::Relaxed);
        head[..8].copy_from_slice(&nonce.to_le_bytes());
        let used_u32 = u32::try_from(used).expect("pieces are small");
        head[8..12].copy_from_slice(&used_u32.to_le_bytes());
        head[12..].copy_from_slice(&u32::from(packed.is_some()).to_le_bytes());
        if self.seals() {
            self.cipher(nonce, &mut body[..used]);
        }
        HEAD + used
    }

    /// Decodes the first `coded` bytes into `length` plain ones. None where they are not that.
    pub(super) fn decode(&self, buffers: &mut Buffers, coded: usize, length: usize) -> Option<()> {
        let all = buffers.coded.bytes_mut().get_mut(..coded)?;
        let (head, body) = all.split_at_mut_checked(HEAD)?;
        let nonce = u64::from_le_bytes(head[..8].try_into().ok()?);
        let used = u32::from_le_bytes(head[8..12].try_into().ok()?);
        let is_packed = u32::from_le_bytes(head[12..].try_into().ok()?) == 1;
        let body = body.get_mut(..usize::try_from(used).ok()?)?;
        if self.seals() {
            self.cipher(nonce, body);
        }
        let plain = buffers.plain.bytes_mut().get_mut(..length)?;
        if is_packed {
            let unpacked = lz4_flex::block::decompress_into(body, plain).ok()?;
            return (unpacked == length).then_some(());
        }
        (body.len() == length).then(|| plain.copy_from_slice(body))
    }

    const fn seals(&self) -> bool {
        matches!(self.coding, Coding::Sealed | Coding::PackedSealed)
    }

    /// The key stream of one nonce over the bytes: done twice, it undoes itself.
    fn cipher(&self, nonce: u64, bytes: &mut [u8]) {
        let mut stream = ChaCha20Rng::from_seed(self.key);
        stream.set_stream(nonce);
        let mut keys = [0; 4096];
        for piece in bytes.chunks_mut(keys.len()) {
            let keys = &mut keys[..piece.len()];
            stream.fill_bytes(keys);
            piece.iter_mut().zip(keys).for_each(|(byte, key)| *byte ^= *key);
        }
    }
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the key.
        formatter.debug_struct("Codec").field("coding", &self.coding).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Buffers").finish_non_exhaustive()
    }
}
