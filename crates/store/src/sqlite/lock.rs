//! The lock that keeps a second process out of a data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long whoever holds it is given to end.
const PATIENCE: Duration = Duration::from_secs(2);
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// The operating system frees it when the process ends, however it ends. A process that it was just
/// starting another program in holds it too, for the moment until that program is loaded, and
/// outlives one that is killed in that moment.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not used")] File);

impl Lock {
    pub(super) fn take(directory: &Path) -> Result<Self> {
        let path = directory.join("lock");
        let io = |error| Error::from_io(format!("lock {}", path.display()), error);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(io)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(TRY_AGAIN),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Locked { path: directory.to_owned() });
                }
                Err(TryLockError::Error(error)) => return Err(io(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn one_that_is_about_to_end_is_waited_for_and_one_that_stays_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let first = Lock::take(directory.path()).unwrap();
        let refused = Lock::take(directory.path()).unwrap_err();
        assert!(matches!(refused, Error::Locked { .. }), "{refused}");
        let (tries, is_tried) = mpsc::channel();
        thread::scope(|scope| {
            let second = scope.spawn(|| {
                tries.send(()).unwrap();
                Lock::take(directory.path())
            });
            is_tried.recv().unwrap();
            drop(first);
            second.join().unwrap().unwrap();
        });
    }
}
