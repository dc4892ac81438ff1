//! Which pages of a guest's memory differ from what it began with.

#![expect(unsafe_code, reason = "asking the kernel about pages has no safe wrapper")]

use std::ops::Range;

/// What is compared and saved as a whole.
pub(super) const PAGE_BYTES: usize = 4096;

/// Numbers of the pages of `memory` that differ from `initial` followed by zeros, in order.
///
/// The kernel is asked first which pages were written at all: most were not, and reading them would
/// bring them into memory.
pub(super) fn changed(memory: &[u8], initial: &[u8]) -> Vec<u32> {
    let all = 0..memory.len() / PAGE_BYTES;
    let candidates = written(memory).unwrap_or_else(|| std::iter::once(all).collect());
    let differs = |page: &usize| {
        let from = page * PAGE_BYTES;
        is_changed(&memory[from..from + PAGE_BYTES], initial.get(from..).unwrap_or_default())
    };
    let pages = candidates.into_iter().flatten().filter(differs);
    pages.filter_map(|page| u32::try_from(page).ok()).collect()
}

fn is_changed(page: &[u8], initial: &[u8]) -> bool {
    const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
    let (of_module, beyond) = page.split_at(initial.len().min(page.len()));
    *of_module != initial[..of_module.len()] || *beyond != ZEROS[..beyond.len()]
}

/// As `struct pm_scan_arg` in the kernel's `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    region_count: u64,
    pages_max: u64,
    inverted: u64,
    all_of: u64,
    any_of: u64,
    returned: u64,
}

/// As `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

mod category {
    pub(super) const FILE: u64 = 1 << 2;
    pub(super) const PRESENT: u64 = 1 << 3;
    pub(super) const SWAPPED: u64 = 1 << 4;
    pub(super) const ZERO: u64 = 1 << 5;
}

/// Pages that are the process's own copies, present or swapped out by the kernel. None where the
/// kernel cannot tell (before Linux 6.7, or no `/proc`).
fn written(memory: &[u8]) -> Option<Vec<Range<usize>>> {
    use std::os::fd::AsRawFd as _;
    const REQUEST: libc::c_ulong = 0xc060_6610;
    const REGIONS: usize = 512;
    let pagemap = std::fs::File::open("/proc/self/pagemap").ok()?;
    let base = memory.as_ptr() as u64;
    let mut regions = [Region::default(); REGIONS];
    let mut found = Vec::new();
    let mut scan = Scan {
        size: size_of::<Scan>() as u64,
        start: base,
        end: base + memory.len() as u64,
        regions: regions.as_mut_ptr() as u64,
        region_count: REGIONS as u64,
        inverted: category::FILE | category::ZERO,
        all_of: category::FILE | category::ZERO,
        any_of: category::PRESENT | category::SWAPPED,
        returned: category::PRESENT,
        ..Scan::default()
    };
    while scan.start < scan.end {
        // SAFETY: the kernel reads `scan`, whose layout is the one it names by its size and number,
        // and writes at most `region_count` entries to `regions`, which both outlive the call. The
        // pages themselves are only looked up, never changed (no flags).
        let count = unsafe {
            libc::ioctl(pagemap.as_raw_fd(), REQUEST as _, std::ptr::from_mut(&mut scan))
        };
        let count = usize::try_from(count).ok()?;
        let offset = |address: u64| usize::try_from(address - base).unwrap_or(usize::MAX);
        found.extend(
            regions
                .iter()
                .take(count)
                .map(|region| offset(region.start) / PAGE_BYTES..offset(region.end) / PAGE_BYTES),
        );
        if scan.walk_end <= scan.start {
            return None;
        }
        scan.start = scan.walk_end;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_that_differ_are_found() {
        let initial = [vec![7; PAGE_BYTES + 100], vec![0; 50], vec![9; 10]].concat();
        let mut memory = vec![0; PAGE_BYTES * 1000];
        memory[..initial.len()].copy_from_slice(&initial);
        assert_eq!(changed(&memory, &initial), Vec::<u32>::new());
        memory[PAGE_BYTES + 100] = 1;
        memory[PAGE_BYTES * 999 + 5] = 1;
        assert_eq!(changed(&memory, &initial), [1, 999]);
        memory[3] = 0;
        assert_eq!(changed(&memory, &initial), [0, 1, 999]);
    }

    #[test]
    fn the_kernel_names_what_was_written() {
        // The allocator gives fresh pages for as much as this.
        let mut memory = vec![0; PAGE_BYTES * 4096];
        let at = memory.as_ptr().align_offset(PAGE_BYTES);
        let memory = &mut memory[at..at + PAGE_BYTES * 4000];
        memory[PAGE_BYTES * 2000 + 17] = 1;
        match written(memory) {
            Some(found) => {
                assert!(found.iter().any(|pages| pages.contains(&2000)), "{found:?}");
                assert!(found.into_iter().flatten().count() < 1100, "most were never written");
            }
            None => println!("this kernel cannot tell"),
        }
    }
}
