//! Blobs that a step is going to refer to: written before its commit, and safe as soon as can be.
//!
//! A file is made when there is time for it, under a name in the folder `staged` that is on the disk before anything is
//! in it. Once its content is there too, it is renamed to its hash, and nothing waits for that name
//! to reach the disk: where a crash undoes it, the file lies in `staged` and is renamed at the next
//! start.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::blob::BlobHash;

/// The folder's name.
pub(super) const FOLDER: &str = "staged";
/// A step that was not committed by then will not be.
const PROMISED_FOR: Duration = Duration::from_secs(3_600);
/// From so many on, those that are older are looked for.
const PROMISED_MANY: usize = 1_024;
/// Files made ahead: as many as were written at once, at the most.
const SPARES_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Staging {
    folder: PathBuf,
    next: AtomicU64,
    spares: Mutex<Vec<Spare>>,
    /// What a step that is not committed yet is going to refer to.
    promised: Mutex<HashMap<BlobHash, Instant>>,
}

/// An empty file whose name is on the disk.
#[derive(Debug)]
struct Spare {
    path: PathBuf,
    file: File,
}

impl Staging {
    /// Gives what a crash left behind its name, by `path`; what nothing refers to is swept some day.
    pub(super) fn open(root: &Path, path: &dyn Fn(BlobHash) -> PathBuf) -> io::Result<Self> {
        let folder = root.join(FOLDER);
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let left = entry?.path();
            let bytes = fs::read(&left)?;
            if bytes.is_empty() {
                fs::remove_file(&left)?;
                continue;
            }
            let to = path(BlobHash::of(&bytes));
            let parent = to.parent().expect("a blob lies in a folder");
            fs::create_dir_all(parent)?;
            File::open(&left)?.sync_all()?;
            fs::rename(&left, &to)?;
            File::open(parent)?.sync_all()?;
        }
        File::open(root)?.sync_all()?;
        Ok(Self {
            folder,
            next: AtomicU64::new(0),
            spares: Mutex::default(),
            promised: Mutex::default(),
        })
    }

    /// Writes these bytes, which are on the disk when this returns, and hashes them meanwhile.
    pub(super) fn write(
        &self,
        bytes: &[u8],
        path: &dyn Fn(BlobHash) -> PathBuf,
    ) -> io::Result<BlobHash> {
        let spare = self.spares().pop();
        let mut spare = spare.map_or_else(|| self.make(), Ok)?;
        let hash = || BlobHash::of(bytes);
        let (hash, written) = thread::scope(|scope| {
            let named = thread::Builder::new().name("fermata-hash".into());
            let hashing = named.spawn_scoped(scope, hash);
            let written = spare.file.write_all(bytes).and_then(|()| spare.file.sync_all());
            let hash = match hashing {
                Ok(hashing) => hashing.join().expect("hashing does not panic"),
                Err(_) => hash(),
            };
            (hash, written)
        });
        self.promise(hash);
        let name = || {
            let to = path(hash);
            fs::create_dir_all(to.parent().expect("a blob lies in a folder"))?;
            fs::rename(&spare.path, to)
        };
        written.and_then(|()| name()).map(|()| hash).inspect_err(|_| {
            // The write failed already; what it left is looked at at the next start.
            drop(fs::remove_file(&spare.path));
            self.settle([hash]);
        })
    }

    /// Steps refer to these now.
    pub(super) fn settle(&self, hashes: impl IntoIterator<Item = BlobHash>) {
        let mut promised = self.promised();
        if !promised.is_empty() {
            for hash in hashes {
                promised.remove(&hash);
            }
        }
    }

    /// What a step is going to refer to.
    pub(super) fn kept(&self) -> Vec<BlobHash> {
        let promised = self.promised();
        let kept = promised.iter().filter(|(_, since)| since.elapsed() < PROMISED_FOR);
        kept.map(|(hash, _)| *hash).collect()
    }

    fn promise(&self, hash: BlobHash) {
        let mut promised = self.promised();
        if promised.len() >= PROMISED_MANY {
            promised.retain(|_, since| since.elapsed() < PROMISED_FOR);
        }
        promised.insert(hash, Instant::now());
    }

    /// Makes the next file. Where that fails, whoever needs it will say so.
    pub(super) fn make_ahead(&self) {
        if let Ok(spare) = self.make() {
            let mut spares = self.spares();
            if spares.len() < SPARES_MAX {
                spares.push(spare);
            } else {
                drop(fs::remove_file(spare.path));
            }
        }
    }

    fn make(&self) -> io::Result<Spare> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(number.to_string());
        let file = File::create_new(&path)?;
        File::open(&self.folder)?.sync_all()?;
        Ok(Spare { path, file })
    }

    fn spares(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn promised(&self) -> MutexGuard<'_, HashMap<BlobHash, Instant>> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
