//! Where an instance's linear memory lies, for those that look at it or move it.

#![expect(unsafe_code, reason = "the memory is wasmtime's; that it stays is known, not checked")]

use wasmtime::{AsContext, Memory};

use crate::swap::Region;

/// The whole of a linear memory.
///
/// It is the caller's to forget the region before the instance goes.
pub(super) fn region_of(memory: &Memory, store: impl AsContext) -> Region {
    let (base, length) = (memory.data_ptr(&store) as usize, memory.data_size(&store));
    // SAFETY: the memory is mapped for as long as its store lives, and never moves: its addresses
    // are 32 bits wide, and the engines reserve all of them (`tenant::config`). The region is kept
    // by the job: its pages are moved only while the job rests with its fiber, which owns the store
    // and is not polled then (`job::swapping`). All other uses only ask the kernel about the pages.
    unsafe { Region::new(base, length) }
}

/// The same memory, about to be this long.
pub(super) const fn grown(region: Region, length: usize) -> Region {
    // SAFETY: as in `region_of`. Growth is inside what is reserved; where it fails in the end, the
    // part beyond has no pages, and only pages that are there are touched.
    unsafe { Region::new(region.base(), length) }
}
