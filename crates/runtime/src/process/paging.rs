//! Memory of a sandbox that does not run, out to the operating system's swap and back.
//!
//! The kernel is told by process and range (`process_madvise`), which works on a stopped process
//! and goes piece by piece, so that it can end early. What that does not reach (files in `/tmp`),
//! and all where it is not permitted, is asked of the control group: `memory.reclaim` in version 2,
//! `memory.force_empty` in version 1.

use std::fs;
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use model::Bytes64;

use super::cgroup::{Hierarchy, Place};
use super::sys::{self, Advice};

/// Moved before the next look at whether to go on.
const PIECE_BYTES: usize = 8 << 20;
/// What is left is asked of the control group only where it is this much, and a good part of all.
const LEFT_BYTES_MIN: u64 = 16 << 20;
const LEFT_PART: u64 = 4;

/// What the system's swap can take now, and all of it; none where the system has none.
pub(super) fn system_swap() -> Option<(Bytes64, Bytes64)> {
    let (total, free) = sys::system_swap().ok()?;
    (total > 0).then_some((Bytes64(total), Bytes64(free)))
}

/// One sandbox's memory, as its control group names it.
#[derive(Debug)]
pub(super) struct Pages {
    /// Its processes, one to a line.
    processes: PathBuf,
    reclaim: Option<(PathBuf, Hierarchy)>,
}

impl Pages {
    /// Of the sandbox whose group of processes and group of memory these are.
    pub(super) fn new(any: &Path, memory: Option<(&Place, u32)>) -> Self {
        let reclaim = memory.map(|(place, n)| {
            let file = match place.version {
                Hierarchy::V1 => "memory.force_empty",
                Hierarchy::V2 => "memory.reclaim",
            };
            (place.group(n).join(file), place.version)
        });
        Self { processes: any.join("cgroup.procs"), reclaim }
    }

    /// Moves it out as far as it goes; `held` tells what is left in RAM. After each piece `go_on` is
    /// told that too, and says whether to go on.
    ///
    /// # Errors
    /// Neither way is permitted.
    pub(super) fn send(
        &self,
        held: &dyn Fn() -> u64,
        go_on: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let before = held();
        let advised = self.advise(Advice::PageOut, &mut || go_on(held()));
        if matches!(advised, Ok(ControlFlow::Break(()))) {
            return Ok(());
        }
        let left = held();
        if advised.is_ok() && (left < LEFT_BYTES_MIN || left < before / LEFT_PART) {
            return Ok(());
        }
        let reclaimed = self.reclaim(left);
        let _ = go_on(held());
        // Where the first way worked, the second is for what little it left.
        advised.map(drop).or(reclaimed)
    }

    /// Has it read back before it is touched, as far as that is permitted: what is not comes when
    /// it is.
    pub(super) fn fetch(&self, go_on: &mut dyn FnMut() -> ControlFlow<()>) {
        let _ = self.advise(Advice::WillNeed, go_on);
    }

    fn advise(
        &self,
        advice: Advice,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        for id in fs::read_to_string(&self.processes)?.lines() {
            let Ok(id) = id.parse() else { continue };
            // It may have ended.
            let Ok(process) = sys::open_process(id) else { continue };
            let Ok(maps) = fs::read_to_string(format!("/proc/{id}/maps")) else { continue };
            for piece in pieces(own_ranges(&maps)) {
                match advise_all(process.as_fd(), &piece, advice) {
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => break,
                    result => result?,
                }
                if go_on().is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn reclaim(&self, bytes: u64) -> io::Result<()> {
        let Some((file, version)) = &self.reclaim else {
            return Err(io::Error::other("no memory control group"));
        };
        match version {
            Hierarchy::V1 => {
                // Otherwise never: see where the groups are made.
                let swappiness = file.with_file_name("memory.swappiness");
                let _ = fs::write(&swappiness, "100");
                let emptied = fs::write(file, "0");
                let _ = fs::write(&swappiness, "0");
                emptied
            }
            Hierarchy::V2 => match fs::write(file, bytes.to_string()) {
                // It took what it could.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(()),
                result => result,
            },
        }
    }
}

/// Advises on all the ranges; those that the kernel refuses (locked, of a device) are left out.
fn advise_all(
    process: std::os::fd::BorrowedFd<'_>,
    ranges: &[Range<usize>],
    advice: Advice,
) -> io::Result<()> {
    let mut ranges = ranges.to_vec();
    while !ranges.is_empty() {
        match sys::advise(process, &ranges, advice) {
            Ok(done) if done > 0 => forget_first(&mut ranges, done),
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EPERM | libc::ESRCH | libc::ENOSYS)
                ) =>
            {
                return Err(error);
            }
            Ok(_) | Err(_) => drop(ranges.remove(0)),
        }
    }
    Ok(())
}

fn forget_first(ranges: &mut Vec<Range<usize>>, mut bytes: usize) {
    ranges.retain_mut(|range| {
        let part = bytes.min(range.len());
        range.start += part;
        bytes -= part;
        range.start < range.end
    });
}

/// The ranges of a process that hold pages of its own: what it may write, and what has no file.
/// Pages of files are the machine's, and gone from RAM for others too.
fn own_ranges(maps: &str) -> Vec<Range<usize>> {
    let range = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        let (inode, name) = (words.nth(2)?, words.next().unwrap_or_default());
        let is_private = rights.ends_with('p') && (inode == "0" || rights.contains('w'));
        // What is only reserved can be larger than all memory, and holds nothing.
        let is_own = is_private && !rights.starts_with("---");
        let is_kernels = matches!(name, "[vdso]" | "[vvar]" | "[vvar_vclock]" | "[vsyscall]");
        let (start, end) = range.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        (is_own && !is_kernels).then_some(address(start)?..address(end)?)
    };
    maps.lines().filter_map(range).collect()
}

/// The ranges in pieces of a bounded size each.
fn pieces(ranges: Vec<Range<usize>>) -> impl Iterator<Item = Vec<Range<usize>>> {
    const RANGES_MAX: usize = 512;
    let mut rest = ranges.into_iter().peekable();
    let mut cut: Option<Range<usize>> = None;
    std::iter::from_fn(move || {
        let (mut piece, mut room) = (Vec::new(), PIECE_BYTES);
        while room > 0 && piece.len() < RANGES_MAX {
            let Some(range) = cut.take().or_else(|| rest.next()) else { break };
            let end = range.end.min(range.start + room);
            room -= end - range.start;
            if end < range.end {
                cut = Some(end..range.end);
            }
            piece.push(range.start..end);
        }
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_its_own_are_moved() {
        let maps = "\
55d0c0e00000-55d0c0e10000 r--p 00000000 fe:00 1234 /usr/bin/python3.12
55d0c0e10000-55d0c0e20000 rw-p 00010000 fe:00 1234 /usr/bin/python3.12
55d0c1000000-55d0c1200000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000100000 rw-s 00000000 00:01 77 /memfd:shared (deleted)
7f0000200000-7f0000300000 ---p 00000000 00:00 0
7ffd00000000-7ffd00004000 r--p 00000000 00:00 0 [vvar]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
";
        let ranges = own_ranges(maps);
        assert_eq!(
            ranges,
            [0x55d0_c0e1_0000..0x55d0_c0e2_0000, 0x55d0_c100_0000..0x55d0_c120_0000,]
        );
    }

    #[test]
    fn pieces_are_bounded_and_leave_nothing_out() {
        let ranges = vec![0..4096, 8192..8192 + 3 * PIECE_BYTES, 1 << 40..(1 << 40) + 4096];
        let all: Vec<_> = pieces(ranges.clone()).collect();
        assert!(all.iter().all(|p| p.iter().map(Range::len).sum::<usize>() <= PIECE_BYTES));
        let sum = |ranges: &[Range<usize>]| ranges.iter().map(Range::len).sum::<usize>();
        assert_eq!(all.iter().map(|piece| sum(piece)).sum::<usize>(), sum(&ranges));
        assert_eq!(all.len(), 4);
    }
}
