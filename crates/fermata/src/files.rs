//! Room for open files: each connection is one, and each sandbox several.

use std::fs::File;
use std::os::fd::AsFd as _;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::close;

/// The table is not made larger than this ahead of need; some 8 bytes an entry.
const TABLE_MAX: u64 = 1 << 16;

/// Lets this process, and those that it starts, open as many files as the system allows, and gives
/// that number.
///
/// The kernel keeps a table of a process's open files and doubles it when it is full, at 64, 128,
/// 256 … files. Where a process has several threads, the one that opened a file then waits until
/// every processor was seen in the kernel: 10 to 20 ms where functions keep them busy, for whatever
/// that thread carries. So the table is made large at once.
pub(crate) fn make_room() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
    // Where it is not granted, the old limit holds.
    let granted = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard);
    enlarge_table(granted.min(TABLE_MAX));
    granted
}

/// The table stays as large as its highest entry once made it. Best effort: without it, only time
/// is lost.
fn enlarge_table(entries: u64) {
    let Ok(file) = File::open("/dev/null") else { return };
    let Ok(highest) = i32::try_from(entries.saturating_sub(1)) else { return };
    if let Ok(copy) = fcntl(file.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(highest)) {
        // It was made here and is used by nobody; an error could only say that it is closed.
        let _ = close(copy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_as_the_system_allows_may_be_open_and_the_table_has_room_for_them() {
        let granted = make_room();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!((soft, granted), (hard, hard));
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        assert!(size.trim().parse::<u64>().unwrap() >= granted.min(TABLE_MAX));
    }
}
