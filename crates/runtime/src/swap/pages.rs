//! The memory of resting functions, page by page: what is there, reading it out, putting it back.
//! All `unsafe` of swapping is here.

#![expect(unsafe_code, reason = "raw system calls on memory that others own")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// Smallest unit of memory.
pub(crate) const PAGE: usize = 4096;

/// A range of this process's memory, page by page, that is mapped for as long as its owner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    base: usize,
    length: usize,
}

impl Region {
    /// The range from `base` on, whole pages of it.
    ///
    /// # Safety
    /// The range must stay mapped for reading and writing while a method of this region is called.
    /// For [`Region::copy_out`], [`Region::zero`], [`Region::release`], [`Region::write_to`] and
    /// [`Region::read_from`] nobody else may touch the memory meanwhile.
    pub(crate) const unsafe fn new(base: usize, length: usize) -> Self {
        Self { base, length: length / PAGE * PAGE }
    }

    pub(crate) const fn base(&self) -> usize {
        self.base
    }

    pub(crate) const fn length(&self) -> usize {
        self.length
    }

    /// Bytes in RAM that are this range's own: not those of a file that it has not changed, nor the
    /// page of zeros that all share.
    pub(crate) fn touched(&self, pagemap: &Pagemap) -> io::Result<usize> {
        let mut bytes = 0;
        pagemap.runs(self, |run| bytes += run.len())?;
        Ok(bytes)
    }

    /// As `touched`, in a fraction of the time, but pages of files and zeros may count too.
    pub(crate) fn present(&self) -> io::Result<usize> {
        const PIECE: usize = 32 << 20;
        let mut seen = [0_u8; PIECE / PAGE];
        let (mut pages, mut at) = (0, 0);
        while at < self.length {
            let length = PIECE.min(self.length - at);
            // SAFETY: `seen` has a byte for each page of the range; the kernel only looks at it.
            let result = unsafe {
                libc::mincore((self.base + at) as *mut libc::c_void, length, seen.as_mut_ptr())
            };
            check(result)?;
            pages += seen[..length / PAGE].iter().filter(|page| **page & 1 == 1).count();
            at += length;
        }
        Ok(pages * PAGE)
    }

    fn check(&self, range: &Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.length, "{range:?} of {self:?}");
        assert!(range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE), "whole pages");
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.check(range);
        // SAFETY: the range is inside the region, which is mapped, and nobody writes meanwhile
        // (both promised to `new`).
        unsafe { std::slice::from_raw_parts((self.base + range.start) as *const u8, range.len()) }
    }

    /// Whether all of it is zero. A page that is not there becomes the shared page of zeros.
    pub(crate) fn is_zero(&self, range: &Range<usize>) -> bool {
        self.bytes(range).as_chunks::<64>().0.iter().all(|chunk| *chunk == [0; 64])
    }

    /// The sum over a range, continued from `sum`.
    pub(crate) fn sum(&self, range: &Range<usize>, sum: u64) -> u64 {
        super::sum::continued(sum, self.bytes(range))
    }

    /// Copies a range.
    pub(crate) fn copy_out(&self, range: &Range<usize>, to: &mut [u8]) {
        to.copy_from_slice(self.bytes(range));
    }

    /// Writes over a range.
    pub(crate) fn copy_in(&self, range: &Range<usize>, from: &[u8]) {
        self.check(range);
        assert_eq!(range.len(), from.len(), "as much as is replaced");
        // SAFETY: the range is inside the region, which is mapped, and nobody else touches it (both
        // promised to `new`); `from` is other memory.
        unsafe {
            let to = (self.base + range.start) as *mut u8;
            std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        }
    }

    /// Makes a range zero, touching only pages that are not zero.
    pub(crate) fn zero(&self, range: &Range<usize>) {
        for start in range.clone().step_by(PAGE) {
            let page = start..start + PAGE;
            if !self.is_zero(&page) {
                // SAFETY: as in `copy_in`.
                unsafe { std::ptr::write_bytes((self.base + start) as *mut u8, 0, PAGE) };
            }
        }
    }

    /// Gives a range's pages back to the machine. It reads as it was when it was mapped.
    pub(crate) fn release(&self, range: &Range<usize>) -> io::Result<()> {
        self.check(range);
        let start = (self.base + range.start) as *mut libc::c_void;
        // SAFETY: inside the region; its owner expects that its pages go (promised to `new`).
        check(unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) })
    }

    /// Has the kernel give this range small pages only, so that each page fault is one page. Best
    /// effort: a kernel that has no others refuses.
    pub(crate) fn refuse_huge_pages(&self, range: &Range<usize>) {
        self.check(range);
        let start = (self.base + range.start) as *mut libc::c_void;
        // SAFETY: inside the region; it changes nothing of what is there.
        let _ = unsafe { libc::madvise(start, range.len(), libc::MADV_NOHUGEPAGE) };
    }

    /// Makes a range present in one step, which is quicker than page by page. Best effort.
    pub(crate) fn populate(&self, range: &Range<usize>) {
        self.check(range);
        let start = (self.base + range.start) as *mut libc::c_void;
        // SAFETY: inside the region; it changes nothing of what is there.
        let _ = unsafe { libc::madvise(start, range.len(), libc::MADV_POPULATE_WRITE) };
    }

    /// Writes some ranges, one after the other, to `at` in the file.
    pub(crate) fn write_to(&self, file: &File, at: u64, runs: &[Range<usize>]) -> io::Result<()> {
        self.transfer(runs, at, |vector, at| {
            let count = i32::try_from(vector.len()).expect("bounded by the caller");
            // SAFETY: each part of the vector is inside the region (checked in `transfer`).
            unsafe { libc::pwritev(file.as_raw_fd(), vector.as_ptr(), count, at) }
        })
    }

    /// Fills some ranges, one after the other, from `at` in the file.
    pub(crate) fn read_from(&self, file: &File, at: u64, runs: &[Range<usize>]) -> io::Result<()> {
        self.transfer(runs, at, |vector, at| {
            let count = i32::try_from(vector.len()).expect("bounded by the caller");
            // SAFETY: as in `write_to`, and nobody else touches the memory (promised to `new`).
            unsafe { libc::preadv(file.as_raw_fd(), vector.as_ptr(), count, at) }
        })
    }

    fn transfer(
        &self,
        runs: &[Range<usize>],
        at: u64,
        mut call: impl FnMut(&[libc::iovec], i64) -> isize,
    ) -> io::Result<()> {
        let mut at = i64::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut left: Vec<Range<usize>> = runs.to_vec();
        while !left.is_empty() {
            let part = |run: &Range<usize>| {
                assert!(run.end <= self.length, "{run:?} of {self:?}");
                libc::iovec {
                    iov_base: (self.base + run.start) as *mut libc::c_void,
                    iov_len: run.len(),
                }
            };
            let vector: Vec<libc::iovec> = left.iter().map(part).collect();
            let moved = call(&vector, at);
            let moved = match usize::try_from(moved) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(moved) => moved,
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => continue,
                    error => return Err(error),
                },
            };
            at += i64::try_from(moved).expect("no more than was asked for");
            forget_first(&mut left, moved);
        }
        Ok(())
    }
}

/// Drops the first so many bytes of the ranges.
fn forget_first(runs: &mut Vec<Range<usize>>, mut bytes: usize) {
    runs.retain_mut(|run| {
        let part = bytes.min(run.len());
        run.start += part;
        bytes -= part;
        run.start < run.end
    });
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's view of this process's pages.
#[derive(Debug)]
pub(crate) struct Pagemap {
    file: File,
    /// Whether the kernel scans (since 6.7); else its table is read entry by entry.
    can_scan: bool,
}

/// `struct pm_scan_arg` of the kernel.
#[repr(C)]
#[derive(Default)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
const IS_FILE: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_PFN_ZERO: u64 = 1 << 5;

impl Pagemap {
    pub(crate) fn open() -> io::Result<Self> {
        let mut pagemap = Self { file: File::open("/proc/self/pagemap")?, can_scan: true };
        let probe = vec![1_u8; 2 * PAGE];
        let base = (probe.as_ptr() as usize).next_multiple_of(PAGE);
        // SAFETY: a page inside `probe`, which lives on; it is only asked about.
        let region = unsafe { Region::new(base, PAGE) };
        pagemap.can_scan = region.touched(&pagemap).is_ok();
        Ok(pagemap)
    }

    /// Tells all runs of pages that are in RAM and the region's own.
    pub(crate) fn runs(
        &self,
        region: &Region,
        mut tell: impl FnMut(Range<usize>),
    ) -> io::Result<()> {
        if self.can_scan { self.scan(region, &mut tell) } else { self.read(region, &mut tell) }
    }

    fn scan(&self, region: &Region, tell: &mut dyn FnMut(Range<usize>)) -> io::Result<()> {
        const REGIONS: usize = 512;
        let mut found = [PageRegion::default(); REGIONS];
        let end = (region.base + region.length) as u64;
        let mut at = region.base as u64;
        while at < end {
            let mut arg = ScanArg {
                size: size_of::<ScanArg>() as u64,
                start: at,
                end,
                vec: found.as_mut_ptr() as u64,
                vec_len: REGIONS as u64,
                category_inverted: IS_PFN_ZERO | IS_FILE,
                category_mask: IS_PRESENT | IS_PFN_ZERO | IS_FILE,
                return_mask: IS_PRESENT,
                ..ScanArg::default()
            };
            // SAFETY: the argument has the kernel's layout, and `found` has room for `vec_len`.
            let count = unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN, &raw mut arg) };
            let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
            for run in &found[..count] {
                let [start, end] = [run.start, run.end].map(|at| super::size(at) - region.base);
                tell(start..end);
            }
            if arg.walk_end <= at {
                break;
            }
            at = arg.walk_end;
        }
        Ok(())
    }

    /// For older kernels: eight bytes for each page.
    fn read(&self, region: &Region, tell: &mut dyn FnMut(Range<usize>)) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        const PRESENT: u64 = 1 << 63;
        const FILE: u64 = 1 << 61;
        let mut entries = [0_u8; 8 * 512];
        let pages = region.length / PAGE;
        let mut open: Option<usize> = None;
        for first in (0..pages).step_by(512) {
            let count = 512.min(pages - first);
            let at = ((region.base / PAGE + first) * 8) as u64;
            self.file.read_exact_at(&mut entries[..8 * count], at)?;
            for (page, entry) in entries[..8 * count].as_chunks::<8>().0.iter().enumerate() {
                let entry = u64::from_ne_bytes(*entry);
                let is_own = entry & PRESENT != 0 && entry & FILE == 0;
                match (is_own, open) {
                    (true, None) => open = Some(first + page),
                    (false, Some(start)) => {
                        tell(start * PAGE..(first + page) * PAGE);
                        open = None;
                    }
                    (true, Some(_)) | (false, None) => {}
                }
            }
        }
        if let Some(start) = open {
            tell(start * PAGE..pages * PAGE);
        }
        Ok(())
    }
}

/// Memory of whole pages, for files that are read and written past the kernel's cache.
#[derive(Debug)]
pub(crate) struct PageBuffer {
    start: *mut u8,
    length: usize,
}

// SAFETY: it owns its memory, as a `Vec` does.
unsafe impl Send for PageBuffer {}

impl PageBuffer {
    /// `length` bytes, zero.
    pub(crate) fn new(length: usize) -> io::Result<Self> {
        let length = length.next_multiple_of(PAGE).max(PAGE);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), length })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is this long and lives as long as this.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and this is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }

    /// The buffer as a region, which must not outlive it.
    #[cfg(test)]
    pub(crate) fn region(&mut self) -> Region {
        // SAFETY: mapped as long as this lives; whoever takes it is the one that touches it.
        unsafe { Region::new(self.start as usize, self.length) }
    }
}

impl Drop for PageBuffer {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own, and goes with it.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// Maps a file privately over the beginning of a buffer, as an instance's image is.
#[cfg(test)]
pub(super) fn map_private(buffer: &mut PageBuffer, file: i32, length: usize) -> io::Result<()> {
    assert!(length <= buffer.length, "inside the buffer");
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    // SAFETY: over a part of the buffer's own mapping, which goes with it.
    let start = unsafe { libc::mmap(buffer.start.cast(), length, protection, flags, file, 0) };
    if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Opens a file so that its pages stay out of the kernel's cache, where the file system can.
pub(crate) const DIRECT: libc::c_int = libc::O_DIRECT;

/// Gives a file its room on disk. Where that is plainly more than there is, nothing is taken: to
/// try would leave others without room meanwhile.
pub(crate) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // SAFETY: all zero is a valid `statvfs`, which is plain numbers.
    let mut disk: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives for the call, which fills it.
    let is_known = unsafe { libc::fstatvfs(file.as_raw_fd(), &raw mut disk) } == 0;
    if is_known && disk.f_bavail.saturating_mul(disk.f_frsize) < bytes {
        return Err(io::Error::from_raw_os_error(libc::ENOSPC));
    }
    // SAFETY: a system call on an open file.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Writes out what the kernel still holds of a range of a file and forgets it: it would take the
/// memory that was to be freed.
pub(crate) fn forget_cached(file: &File, at: u64, bytes: u64) {
    let (Ok(at), Ok(length)) = (libc::off64_t::try_from(at), libc::off64_t::try_from(bytes)) else {
        return;
    };
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: system calls on an open file; where they fail, the kernel keeps its copy longer.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), at, length, flags);
        libc::posix_fadvise(file.as_raw_fd(), at, length, libc::POSIX_FADV_DONTNEED);
    }
}
