//! Memory of resting functions in a file of the platform's own, so that it works where the operating
//! system has no swap.
//!
//! [`Swap`] is the file: preallocated, so that a full disk shows at the start and never later;
//! unlinked at once, so that whatever ends the process frees it; read and written past the kernel's
//! cache, which would hold the very memory that was to be freed. [`Image`] is one function's memory
//! in it. Pages of zeros are noted and not written. Every piece has a checksum: a function whose
//! memory comes back damaged is ended and never goes on.
//!
//! The memory of a function is never mapped from the file: it is read back into the function's own
//! mapping, which stays what it was. So an instance may be dropped while its memory is out.
//!
//! Start reading at [`Swap::send`].

mod codec;
mod extents;
mod faults;
mod pages;
mod sum;

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{Bytes64, limits};

use self::codec::Codec;
pub use self::codec::Coding;
use self::extents::{Extent, Extents};
pub use self::faults::Faults;
pub(crate) use self::pages::{PAGE, Pagemap, Region};
use crate::executor::SwapUse;
use crate::throttle::Throttle;

/// Bytes moved in one step; between two, others are looked at.
const PIECE_BYTES: usize = 1 << 20;
/// Runs of pages moved in one step; the kernel takes no more than 1,024.
const PIECE_RUNS: usize = 512;

/// How a swap file is made.
#[derive(Clone, Debug)]
pub struct SwapOptions {
    /// The folder on whose disk it lies.
    pub folder: PathBuf,
    /// Its size.
    pub bytes: Bytes64,
    /// Bytes a second that are written at most, and as many that are read.
    pub bandwidth: Option<Bytes64>,
    /// What is done to memory before it is written.
    pub coding: Coding,
    /// Errors to be made, for tests and benches.
    pub faults: Arc<Faults>,
}

impl SwapOptions {
    /// A file of that size in that folder, as fast as the disk, plain.
    #[must_use]
    pub fn new(folder: PathBuf, bytes: Bytes64) -> Self {
        Self { folder, bytes, bandwidth: None, coding: Coding::Plain, faults: Arc::default() }
    }
}

/// The swap file. Cheap to share.
#[derive(Debug)]
pub struct Swap {
    file: File,
    is_direct: bool,
    extents: Mutex<Extents>,
    pagemap: Pagemap,
    codec: Codec,
    write_throttle: Throttle,
    read_throttle: Throttle,
    faults: Arc<Faults>,
    written: AtomicU64,
    read: AtomicU64,
    zeros: AtomicU64,
    held: AtomicU64,
}

/// Why memory could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// The swap file has no room left.
    #[error("swap is full ({total} bytes)")]
    Full {
        /// Its size.
        total: u64,
    },
    /// The disk refused to take it.
    #[error("write memory to the swap file")]
    Write(#[source] io::Error),
    /// The disk refused to give it back.
    #[error("read memory back from the swap file")]
    Read(#[source] io::Error),
    /// It is not what was written.
    #[error("memory came back from the swap file damaged")]
    Damaged,
    /// The kernel refused to look at the memory or to take it back.
    #[error("look at the function's memory")]
    Memory(#[source] io::Error),
}

/// One function's memory in a swap file.
#[derive(Debug)]
pub(crate) struct Image {
    swap: Arc<Swap>,
    pieces: Vec<Piece>,
    zeros: Vec<Range<usize>>,
    bytes: u64,
}

/// What was moved in one step.
#[derive(Debug)]
struct Piece {
    /// Where in the function's memory, one after the other.
    runs: Vec<Range<usize>>,
    /// Where in the file.
    extent: Extent,
    /// Bytes of the extent that mean something, where it was packed.
    packed: Option<usize>,
    /// Over what is in the file.
    sum: u64,
}

/// How far a function's memory got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All of it is out.
    All,
    /// It was wanted back meanwhile.
    Stopped,
}

impl Swap {
    /// Makes the file.
    ///
    /// # Errors
    /// The folder cannot be written, or its disk has not so much room.
    pub fn open(options: &SwapOptions) -> io::Result<Arc<Self>> {
        let bytes = options.bytes.0 / PAGE as u64 * PAGE as u64;
        let (file, is_direct) = make_file(&options.folder)?;
        pages::reserve(&file, bytes)?;
        Ok(Arc::new(Self {
            file,
            is_direct,
            extents: Mutex::new(Extents::new(bytes)),
            pagemap: Pagemap::open()?,
            codec: Codec::new(options.coding)?,
            write_throttle: Throttle::new(options.bandwidth),
            read_throttle: Throttle::new(options.bandwidth),
            faults: Arc::clone(&options.faults),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            zeros: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }))
    }

    /// What is in it and went through it.
    #[must_use]
    pub fn usage(&self) -> SwapUse {
        let (total, used) = {
            let extents = self.lock();
            (extents.total(), extents.used())
        };
        let get = |counter: &AtomicU64| Bytes64(counter.load(Ordering::Relaxed));
        SwapUse {
            total: Bytes64(total),
            used: Bytes64(used),
            held: get(&self.held),
            written: get(&self.written),
            read: get(&self.read),
            zeros: get(&self.zeros),
        }
    }

    /// How it is kept, for a person.
    #[must_use]
    pub fn describe(&self) -> String {
        let total = self.lock().total();
        let way = if self.is_direct { "past the page cache" } else { "through the page cache" };
        let mut text = format!("swap of Wasm functions: a file of {total} bytes, {way}");
        match self.codec.coding() {
            Coding::Plain => {}
            Coding::Packed => text += ", compressed",
            Coding::Sealed => text += ", encrypted",
            Coding::PackedSealed => text += ", compressed and encrypted",
        }
        text
    }

    /// Writes the region's own pages out and gives them back to the machine, piece by piece. After
    /// each `go_on` is told what was freed so far, and says whether to go on. The image then holds
    /// what is out, also where this failed; [`Image::restore`] brings it back.
    pub(crate) fn send(
        &self,
        region: &Region,
        image: &mut Image,
        go_on: &dyn Fn(u64) -> bool,
    ) -> Result<Sent, SwapError> {
        let mut runs = Vec::new();
        self.pagemap.runs(region, |run| runs.push(run)).map_err(SwapError::Memory)?;
        let mut buffer = self.codec.buffer(PIECE_BYTES).map_err(SwapError::Memory)?;
        let mut waiting: Vec<Range<usize>> = Vec::new();
        for run in pieces(&runs) {
            if region.is_zero(&run) {
                region.release(&run).map_err(SwapError::Memory)?;
                self.zeros.fetch_add(run.len() as u64, Ordering::Relaxed);
                image.note_zeros(run);
            } else {
                push(&mut waiting, run);
            }
            let bytes: usize = waiting.iter().map(Range::len).sum();
            if bytes >= PIECE_BYTES || waiting.len() >= PIECE_RUNS {
                self.send_all(region, image, &mut waiting, buffer.as_mut())?;
                if !go_on(image.bytes) {
                    return Ok(Sent::Stopped);
                }
            }
        }
        self.send_all(region, image, &mut waiting, buffer.as_mut())?;
        go_on(image.bytes);
        Ok(Sent::All)
    }

    fn send_all(
        &self,
        region: &Region,
        image: &mut Image,
        waiting: &mut Vec<Range<usize>>,
        mut buffer: Option<&mut codec::Buffers>,
    ) -> Result<(), SwapError> {
        while !waiting.is_empty() {
            let piece = match buffer.as_deref_mut() {
                None => self.send_plain(region, waiting)?,
                Some(buffer) => self.send_coded(region, waiting, buffer)?,
            };
            let bytes: usize = piece.runs.iter().map(Range::len).sum();
            self.written.fetch_add(piece.extent.length, Ordering::Relaxed);
            self.write_throttle.pay(piece.extent.length);
            let runs = piece.runs.clone();
            image.note(piece, bytes as u64);
            for run in &runs {
                region.release(run).map_err(SwapError::Memory)?;
            }
        }
        Ok(())
    }

    /// Writes as much of what waits as there is room for in one place.
    fn send_plain(
        &self,
        region: &Region,
        waiting: &mut Vec<Range<usize>>,
    ) -> Result<Piece, SwapError> {
        let bytes: usize = waiting.iter().map(Range::len).sum();
        let extent = self.take(bytes.min(PIECE_BYTES) as u64)?;
        let runs = cut(waiting, size(extent.length));
        let sum = runs.iter().fold(sum::START, |sum, run| region.sum(run, sum));
        let written =
            self.faults.write().and_then(|()| region.write_to(&self.file, extent.at, &runs));
        self.written(extent, written)?;
        Ok(Piece { runs, extent, packed: None, sum })
    }

    /// Codes what waits, less of it where there is no room for that in one place, and writes it.
    fn send_coded(
        &self,
        region: &Region,
        waiting: &mut Vec<Range<usize>>,
        buffers: &mut codec::Buffers,
    ) -> Result<Piece, SwapError> {
        let all: usize = waiting.iter().map(Range::len).sum();
        let mut bytes = all.min(PIECE_BYTES);
        loop {
            let mut rest = waiting.clone();
            let runs = cut(&mut rest, bytes);
            let mut at = 0;
            for run in &runs {
                region.copy_out(run, &mut buffers.plain.bytes_mut()[at..at + run.len()]);
                at += run.len();
            }
            let packed = self.codec.encode(buffers, at);
            let length = packed.next_multiple_of(PAGE);
            let extent = self.take(length as u64)?;
            if size(extent.length) < length {
                self.lock().give(extent);
                if bytes == PAGE {
                    return Err(SwapError::Full { total: self.lock().total() });
                }
                bytes = size(extent.length).min(bytes / 2).next_multiple_of(PAGE);
                continue;
            }
            let coded = &buffers.coded.bytes()[..length];
            let sum = sum::continued(sum::START, coded);
            let written =
                self.faults.write().and_then(|()| self.file.write_all_at(coded, extent.at));
            self.written(extent, written)?;
            *waiting = rest;
            return Ok(Piece { runs, extent, packed: Some(packed), sum });
        }
    }

    /// After a write: the extent goes back where it failed.
    fn written(&self, extent: Extent, written: io::Result<()>) -> Result<(), SwapError> {
        if let Err(error) = written {
            self.lock().give(extent);
            return Err(SwapError::Write(error));
        }
        if !self.is_direct {
            pages::forget_cached(&self.file, extent.at, extent.length);
        }
        Ok(())
    }

    fn take(&self, bytes: u64) -> Result<Extent, SwapError> {
        let mut extents = self.lock();
        extents.take(bytes).ok_or_else(|| SwapError::Full { total: extents.total() })
    }

    fn bring_piece(
        &self,
        region: &Region,
        piece: &Piece,
        buffers: Option<&mut codec::Buffers>,
    ) -> Result<(), SwapError> {
        let at = piece.extent.at;
        self.read_throttle.pay(piece.extent.length);
        self.faults.read().map_err(SwapError::Read)?;
        let Some((packed, buffers)) = piece.packed.zip(buffers) else {
            piece.runs.iter().for_each(|run| region.populate(run));
            region.read_from(&self.file, at, &piece.runs).map_err(SwapError::Read)?;
            let sum = piece.runs.iter().fold(sum::START, |sum, run| region.sum(run, sum));
            return if sum == piece.sum { Ok(()) } else { Err(SwapError::Damaged) };
        };
        let coded = &mut buffers.coded.bytes_mut()[..packed.next_multiple_of(PAGE)];
        self.file.read_exact_at(coded, at).map_err(SwapError::Read)?;
        if sum::continued(sum::START, coded) != piece.sum {
            return Err(SwapError::Damaged);
        }
        let bytes: usize = piece.runs.iter().map(Range::len).sum();
        self.codec.decode(buffers, packed, bytes).ok_or(SwapError::Damaged)?;
        let mut from = 0;
        for run in &piece.runs {
            region.copy_in(run, &buffers.plain.bytes()[from..from + run.len()]);
            from += run.len();
        }
        Ok(())
    }

    pub(crate) fn pagemap(&self) -> &Pagemap {
        &self.pagemap
    }

    fn lock(&self) -> MutexGuard<'_, Extents> {
        self.extents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Image {
    /// Nothing yet.
    pub(crate) fn new(swap: &Arc<Swap>) -> Self {
        Self { swap: Arc::clone(swap), pieces: Vec::new(), zeros: Vec::new(), bytes: 0 }
    }

    /// Memory that is out, zeros included.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Brings all back to where it was, piece by piece; `tell` hears how much is back. Where this fails,
    /// the memory is not what it was, and the function must not go on.
    pub(crate) fn restore(
        mut self,
        region: &Region,
        tell: &mut dyn FnMut(u64),
    ) -> Result<(), SwapError> {
        let swap = Arc::clone(&self.swap);
        let mut restored = 0;
        let mut buffers = swap.codec.buffer(PIECE_BYTES).map_err(SwapError::Memory)?;
        while let Some(piece) = self.pieces.last() {
            swap.bring_piece(region, piece, buffers.as_mut())?;
            let piece = self.pieces.pop().expect("looked at");
            swap.read.fetch_add(piece.extent.length, Ordering::Relaxed);
            swap.lock().give(piece.extent);
            restored += piece.runs.iter().map(|run| run.len() as u64).sum::<u64>();
            tell(restored);
        }
        // Most are zero already: what is under them decides.
        self.zeros.iter().for_each(|run| region.zero(run));
        Ok(())
    }

    fn note(&mut self, piece: Piece, bytes: u64) {
        self.pieces.push(piece);
        self.count(bytes);
    }

    fn note_zeros(&mut self, run: Range<usize>) {
        let bytes = run.len() as u64;
        push(&mut self.zeros, run);
        self.count(bytes);
    }

    fn count(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.swap.held.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let mut extents = self.swap.lock();
        for piece in self.pieces.drain(..) {
            extents.give(piece.extent);
        }
        self.swap.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A part of memory is no longer than memory.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("64-bit machines only: instances reserve gigabytes each")
}

/// A new file without a name, and whether it goes past the page cache.
fn make_file(folder: &Path) -> io::Result<(File, bool)> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("swap-{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let direct = options.clone().custom_flags(pages::DIRECT).open(&path);
    let (file, is_direct) = match direct {
        Ok(file) => (file, true),
        // Not every file system can.
        Err(_) => (options.open(&path)?, false),
    };
    std::fs::remove_file(&path)?;
    Ok((file, is_direct))
}

/// Runs cut at every piece of memory that is looked at on its own: pages where zeros begin or end
/// would be too fine.
fn pieces(runs: &[Range<usize>]) -> impl Iterator<Item = Range<usize>> {
    const LOOK_BYTES: usize = 4 * PAGE;
    runs.iter().flat_map(|run| {
        let end = run.end;
        run.clone().step_by(LOOK_BYTES).map(move |start| start..end.min(start + LOOK_BYTES))
    })
}

/// Appends a run, joined with the last one where they touch.
fn push(runs: &mut Vec<Range<usize>>, run: Range<usize>) {
    match runs.last_mut() {
        Some(last) if last.end == run.start => last.end = run.end,
        Some(_) | None => runs.push(run),
    }
}

/// Takes the first so many bytes of the runs.
fn cut(runs: &mut Vec<Range<usize>>, mut bytes: usize) -> Vec<Range<usize>> {
    let mut first = Vec::new();
    runs.retain_mut(|run| {
        let part = bytes.min(run.len());
        if part > 0 {
            first.push(run.start..run.start + part);
            run.start += part;
            bytes -= part;
        }
        run.start < run.end
    });
    first
}

/// The largest swap file.
const _: () = assert!(limits::SWAP_BYTES_MAX <= i64::MAX as u64, "file offsets are signed");

#[cfg(test)]
mod tests;
