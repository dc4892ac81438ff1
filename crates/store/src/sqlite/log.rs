//! The write-ahead log's room, taken before it is needed.
//!
//! A commit that makes its file longer also writes where the file's blocks lie, which costs a third
//! to a half of its time again. SQLite makes the log longer commit by commit until it is folded into
//! the database, and writes it over from the start after that; so only a fresh log is slow. Zeros
//! behind what it holds are no frames to SQLite, and are overwritten like old ones.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;

/// Pages in the log before it is folded into the database.
pub(super) const PAGES: u32 = 4_000;
/// What the pages take with the header of each, and one large commit more.
pub(super) const LOG_BYTES: u64 = PAGES as u64 * (4_096 + 24) + (1 << 20);

/// Brings the log of `database` to its full length. Nobody may write to it meanwhile. A disk without
/// room for it does without.
pub(super) fn lay_ahead(database: &Path) {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    let Ok(mut log) = OpenOptions::new().write(true).open(path) else { return };
    if let Ok(held) = log.seek(SeekFrom::End(0))
        && held < LOG_BYTES
    {
        match fill(&mut log, LOG_BYTES - held) {
            // Whoever commits first need not wait for all of it.
            Ok(()) => drop(thread::spawn(move || log.sync_all())),
            Err(_) => drop(log.set_len(held)),
        }
    }
}

fn fill(log: &mut File, mut bytes: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    while bytes > 0 {
        let chunk = usize::try_from(bytes).map_or(zeros.len(), |bytes| bytes.min(zeros.len()));
        log.write_all(&zeros[..chunk])?;
        bytes -= chunk as u64;
    }
    Ok(())
}
