//! Blobs as files: `ab/cdef…`, named by the hash of what is in them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::staging::{self, Staging};
use crate::blob::{BlobHash, Swept};
use crate::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Blobs {
    root: PathBuf,
    /// Where files are written before they get their name. What a crash left in it is worthless.
    unfinished: PathBuf,
    next: AtomicU64,
    staging: Staging,
}

impl Blobs {
    pub(super) fn open(root: &Path) -> Result<Self> {
        let unfinished = root.join("unfinished");
        let open = || {
            fs::create_dir_all(root)?;
            match fs::remove_dir_all(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            fs::create_dir(&unfinished)?;
            Staging::open(root, &|hash| path(root, hash))
        };
        let staging = open().map_err(|error| failed("open the blobs", root, error))?;
        Ok(Self { root: root.to_owned(), unfinished, next: AtomicU64::new(0), staging })
    }

    pub(super) fn contain(&self, hash: BlobHash) -> Result<bool> {
        let path = self.path(hash);
        path.try_exists().map_err(|error| failed("look for", &path, error))
    }

    /// Writes under another name first, so that a name stands for a whole file only.
    pub(super) fn put(&self, hash: BlobHash, bytes: &[u8]) -> Result<()> {
        if self.contain(hash)? {
            return Ok(());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.unfinished.join(number.to_string());
        let path = self.path(hash);
        let written = write_and_rename(&unfinished, &path, bytes);
        written.map_err(|error| {
            // The write failed already; what it left is removed at the next start at the latest.
            drop(fs::remove_file(&unfinished));
            failed("write", &path, error)
        })
    }

    /// Writes what a step is going to refer to.
    pub(super) fn stage(&self, bytes: &[u8]) -> Result<BlobHash> {
        let staged = self.staging.write(bytes, &|hash| self.path(hash));
        staged.map_err(|error| failed("write a blob in", &self.root, error))
    }

    /// Prepares for the next one.
    pub(super) fn stage_ahead(&self) {
        self.staging.make_ahead();
    }

    /// Steps refer to these now.
    pub(super) fn settle(&self, hashes: impl IntoIterator<Item = BlobHash>) {
        self.staging.settle(hashes);
    }

    pub(super) fn get(&self, hash: BlobHash) -> Result<Vec<u8>> {
        let path = self.path(hash);
        let bytes = fs::read(&path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Error::not_found("blob", &hash)
            } else {
                failed("read", &path, error)
            }
        })?;
        staging::whole(hash, bytes)
    }

    /// Removes every file whose name is not a hash in `used`, but for what is about to be.
    pub(super) fn sweep(&self, used: &BTreeSet<BlobHash>) -> Result<Swept> {
        let staged = self.staging.kept();
        let used: BTreeSet<PathBuf> =
            used.iter().chain(&staged).map(|hash| self.path(*hash)).collect();
        let mut swept = Swept::default();
        let mut sweep = || {
            for folder in fs::read_dir(&self.root)? {
                let folder = folder?.path();
                if folder == self.unfinished || folder.ends_with(staging::FOLDER) {
                    continue;
                }
                for file in fs::read_dir(folder)? {
                    let file = file?;
                    if !used.contains(&file.path()) {
                        let bytes = file.metadata()?.len();
                        fs::remove_file(file.path())?;
                        swept.blobs += 1;
                        swept.bytes += bytes;
                    }
                }
            }
            Ok(())
        };
        sweep().map_err(|error| failed("sweep", &self.root, error))?;
        Ok(swept)
    }

    /// Takes those of `hashes` that another root has as files.
    pub(super) fn copy_from(&self, root: &Path, hashes: &BTreeSet<BlobHash>) -> Result<()> {
        for hash in hashes {
            let from = path(root, *hash);
            let bytes = fs::read(&from).map_err(|error| failed("read", &from, error))?;
            self.put(*hash, &staging::whole(*hash, bytes)?)?;
        }
        Ok(())
    }

    fn path(&self, hash: BlobHash) -> PathBuf {
        path(&self.root, hash)
    }
}

fn path(root: &Path, hash: BlobHash) -> PathBuf {
    let name = hash.to_string();
    let (folder, rest) = name.split_at(2);
    root.join(folder).join(rest)
}

/// The file is on the disk under its name when this returns: first its content, then the name,
/// then the name of its folder.
fn write_and_rename(unfinished: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let folder = path.parent().expect("a blob lies in a folder");
    let root = folder.parent().expect("the folder lies in the root");
    fs::create_dir_all(folder)?;
    fs::rename(unfinished, path)?;
    File::open(folder)?.sync_all()?;
    File::open(root)?.sync_all()
}

fn failed(verb: &str, path: &Path, error: io::Error) -> Error {
    Error::from_io(format!("{verb} {}", path.display()), error)
}
