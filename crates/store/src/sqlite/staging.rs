//! Blobs that a step is going to refer to: written before its commit, and safe as soon as can be.
//!
//! A file is made when there is time for it, under a name in the folder `staged`, with room that is on
//! the disk: what is written over that later is safe without a word in the file system's journal, which
//! halves the time and does not wait for others. The room ends with a [`Mark`] that tells how much of it
//! is content. Once that is safe, the file is renamed to its hash, and nothing waits for that to reach
//! the disk: where a crash undoes it, the file lies in `staged` and is named at the next start. The
//! rest of the room is cut off later; until then [`whole`] knows what is content.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use model::limits;

use crate::blob::BlobHash;
use crate::error::Result;

/// The folder's name.
pub(super) const FOLDER: &str = "staged";
/// Room is made in multiples of this.
const ROOM_UNIT: usize = 256 << 10;
/// Room is made once the steps that wait are committed, and not later than after that time.
const BUSY_MAX: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Staging {
    folder: PathBuf,
    next: AtomicU64,
    spares: Mutex<Vec<Spare>>,
    /// The room that the next one should have; held while it is made.
    /// Held while one is made.
    making: Mutex<()>,
    /// Of the last blob.
    last_bytes: AtomicU64,
    /// Named already, with room behind their content.
    uncut: Mutex<Vec<(File, u64)>>,
    /// What a step that is not committed yet is going to refer to.
    promised: Mutex<HashMap<BlobHash, Instant>>,
    settled: Condvar,
}

/// A file whose name and room are on the disk.
#[derive(Debug)]
struct Spare {
    path: PathBuf,
    file: File,
    room: usize,
}

/// The last bytes of a file with room: which of its bytes are content.
struct Mark;

impl Mark {
    const MAGIC: &[u8; 16] = b"fermata staged\n\0";
    const BYTES: usize = Self::MAGIC.len() + size_of::<u64>();

    fn render(length: usize) -> [u8; Self::BYTES] {
        let mut mark = [0; Self::BYTES];
        let (magic, number) = mark.split_at_mut(Self::MAGIC.len());
        magic.copy_from_slice(Self::MAGIC);
        number.copy_from_slice(&(length as u64).to_le_bytes());
        mark
    }

    /// The content of a file that ends with a mark.
    fn content(file: &[u8]) -> Option<&[u8]> {
        let (room, mark) = file.split_last_chunk::<{ Self::BYTES }>()?;
        let length = mark.strip_prefix(Self::MAGIC)?.first_chunk()?;
        room.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)
    }
}

impl Staging {
    /// Gives what a crash left behind its name, by `path`; what nothing refers to is swept some day.
    pub(super) fn open(root: &Path, path: &dyn Fn(BlobHash) -> PathBuf) -> io::Result<Self> {
        let folder = root.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let entries: io::Result<Vec<_>> = fs::read_dir(&folder)?.collect();
        for left in entries?.into_iter().map(|entry| entry.path()) {
            let bytes = fs::read(&left)?;
            if let Some(content) = Mark::content(&bytes).filter(|content| !content.is_empty()) {
                let cut = left.with_extension("cut");
                fs::write(&cut, content)?;
                name(&cut, content, path)?;
            }
            // Content may end like a mark itself, so the whole is kept, too.
            if bytes.is_empty() || Mark::content(&bytes).is_some_and(<[u8]>::is_empty) {
                fs::remove_file(&left)?;
            } else {
                name(&left, &bytes, path)?;
            }
        }
        File::open(root)?.sync_all()?;
        Ok(Self {
            folder,
            next: AtomicU64::new(0),
            spares: Mutex::default(),
            making: Mutex::default(),
            last_bytes: AtomicU64::new(0),
            uncut: Mutex::default(),
            promised: Mutex::default(),
            settled: Condvar::new(),
        })
    }

    /// Writes these bytes, which are on the disk when this returns, and hashes them meanwhile.
    pub(super) fn write(
        &self,
        bytes: &[u8],
        path: &dyn Fn(BlobHash) -> PathBuf,
    ) -> io::Result<BlobHash> {
        self.last_bytes.store(bytes.len() as u64, Ordering::Relaxed);
        let spare = match self.take(bytes.len()) {
            Some(spare) => spare,
            None => self.make(0)?,
        };
        let hash = || BlobHash::quick(bytes);
        let (hash, written) = thread::scope(|scope| {
            let named = thread::Builder::new().name("fermata-hash".into());
            let hashing = named.spawn_scoped(scope, hash);
            let written = spare.fill(bytes);
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
        written.and_then(|()| name()).inspect_err(|_| {
            // The write failed already; what it left is looked at at the next start.
            drop(fs::remove_file(&spare.path));
            self.settle([hash]);
        })?;
        if spare.room > 0 {
            self.uncut().push((spare.file, bytes.len() as u64));
        }
        Ok(hash)
    }

    /// Gives back the room behind content.
    fn cut(&self) {
        for (file, length) in std::mem::take(&mut *self.uncut()) {
            // It is as good with it.
            let _ = file.set_len(length);
        }
    }

    /// Steps refer to these now.
    pub(super) fn settle(&self, hashes: impl IntoIterator<Item = BlobHash>) {
        let mut promised = self.promised();
        if !promised.is_empty() {
            for hash in hashes {
                promised.remove(&hash);
            }
            if promised.is_empty() {
                self.settled.notify_all();
            }
        }
    }

    /// What a step is going to refer to.
    pub(super) fn kept(&self) -> Vec<BlobHash> {
        let promised = self.promised();
        let kept = promised.iter().filter(|(_, since)| is_fresh(since));
        kept.map(|(hash, _)| *hash).collect()
    }

    fn promise(&self, hash: BlobHash) {
        let mut promised = self.promised();
        if promised.len() >= limits::STAGED_PROMISED_MANY {
            promised.retain(|_, since| is_fresh(since));
        }
        promised.insert(hash, Instant::now());
    }

    /// Makes the next file, one at a time, with room for another one like the last. Where that fails,
    /// whoever needs it will say so.
    pub(super) fn make_ahead(&self) {
        let _one = match self.making.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(one)) => one.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        // The disk works for them first.
        let busy = self.settled.wait_timeout_while(self.promised(), BUSY_MAX, |p| !p.is_empty());
        drop(busy);
        self.cut();
        let last = usize::try_from(self.last_bytes.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let room = room_for(last);
        let is_enough = {
            let mut spares = self.spares();
            if spares.len() >= limits::STAGED_SPARES_MAX {
                // What is too small for what comes now gives way.
                if let Some(index) = spares.iter().position(|spare| spare.room < room) {
                    drop(fs::remove_file(spares.swap_remove(index).path));
                }
            }
            spares.len() >= limits::STAGED_SPARES_MAX
        };
        if !is_enough && let Ok(spare) = self.make(room) {
            self.spares().push(spare);
        }
    }

    /// The smallest of those that have room for so many bytes, or one without any.
    fn take(&self, bytes: usize) -> Option<Spare> {
        let mut spares = self.spares();
        let fits = |spare: &Spare| spare.room == 0 || spare.room >= bytes + Mark::BYTES;
        let fitting = spares.iter().enumerate().filter(|(_, spare)| fits(spare));
        // None at all comes last.
        let best = fitting.min_by_key(|(_, spare)| spare.room.wrapping_sub(1));
        let index = best.map(|(index, _)| index)?;
        Some(spares.swap_remove(index))
    }

    fn make(&self, room: usize) -> io::Result<Spare> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(number.to_string());
        let file = File::create_new(&path)?;
        let made = || {
            if room > 0 {
                let mut blank = vec![0; room - Mark::BYTES];
                blank.extend_from_slice(&Mark::render(0));
                file.write_all_at(&blank, 0)?;
                file.sync_all()?;
            }
            File::open(&self.folder)?.sync_all()
        };
        made().inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(Spare { path, file, room })
    }

    fn spares(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uncut(&self) -> MutexGuard<'_, Vec<(File, u64)>> {
        self.uncut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn promised(&self) -> MutexGuard<'_, HashMap<BlobHash, Instant>> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spare {
    /// Puts content into it, which is safe when this returns.
    fn fill(&self, bytes: &[u8]) -> io::Result<()> {
        if self.room == 0 {
            self.file.write_all_at(bytes, 0)?;
            return self.file.sync_all();
        }
        let mark = (self.room - Mark::BYTES) as u64;
        self.file.write_all_at(bytes, 0)?;
        self.file.write_all_at(&Mark::render(bytes.len()), mark)?;
        self.file.sync_data()
    }
}

/// The room for content of that length; none where that would be too much to hold in reserve.
fn room_for(bytes: usize) -> usize {
    let room = (bytes + Mark::BYTES).next_multiple_of(ROOM_UNIT);
    if room <= limits::STAGED_ROOM_BYTES_MAX { room } else { 0 }
}

fn is_fresh(since: &Instant) -> bool {
    since.elapsed() < limits::STAGED_PROMISED_FOR
}

/// The content of a named file: all of it, or what is before the rest of its room.
pub(super) fn whole(hash: BlobHash, mut file: Vec<u8>) -> Result<Vec<u8>> {
    if let Some(content) = Mark::content(&file)
        && hash.verify(content).is_ok()
    {
        let length = content.len();
        file.truncate(length);
        return Ok(file);
    }
    hash.verify(&file)?;
    Ok(file)
}

/// Makes a file that is whole a blob, for certain. A step may have referred to it by either hash: an
/// earlier release took the slow one.
fn name(from: &Path, content: &[u8], path: &dyn Fn(BlobHash) -> PathBuf) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    for hash in [BlobHash::quick(content), BlobHash::of(content)] {
        let to = path(hash);
        let parent = to.parent().expect("a blob lies in a folder");
        fs::create_dir_all(parent)?;
        match fs::hard_link(from, &to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => File::open(parent)?.sync_all()?,
        }
    }
    fs::remove_file(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(root: &Path) -> Staging {
        Staging::open(root, &|hash| path(root, hash)).unwrap()
    }

    fn path(root: &Path, hash: BlobHash) -> PathBuf {
        root.join("named").join(hash.to_string())
    }

    fn write(staging: &Staging, root: &Path, bytes: &[u8]) {
        let hash = staging.write(bytes, &|hash| path(root, hash)).unwrap();
        let read = || fs::read(path(root, hash)).unwrap();
        assert_eq!(whole(hash, read()).unwrap(), bytes);
        staging.settle([hash]);
        staging.cut();
        assert_eq!(read(), bytes);
        assert_eq!(whole(hash, read()).unwrap(), bytes);
    }

    fn rooms(staging: &Staging) -> Vec<usize> {
        staging.spares().iter().map(|spare| spare.room).collect()
    }

    #[test]
    fn room_is_made_for_one_like_the_last_and_not_for_what_is_too_large() {
        let root = tempfile::tempdir().unwrap();
        let staging = open(root.path());
        let largest = limits::STAGED_ROOM_BYTES_MAX - Mark::BYTES;
        for (bytes, room) in [
            (ROOM_UNIT - Mark::BYTES, ROOM_UNIT),
            (ROOM_UNIT, 2 * ROOM_UNIT),
            (largest, limits::STAGED_ROOM_BYTES_MAX),
            (largest + 1, 0),
        ] {
            let content = vec![7; bytes];
            write(&staging, root.path(), &content);
            staging.make_ahead();
            assert_eq!(rooms(&staging), [room], "{bytes}");
            write(&staging, root.path(), &content);
            assert_eq!(rooms(&staging), []);
        }
    }

    #[test]
    fn only_so_much_is_made_ahead_and_what_is_too_small_gives_way() {
        let root = tempfile::tempdir().unwrap();
        let staging = open(root.path());
        write(&staging, root.path(), b"small");
        (0..limits::STAGED_SPARES_MAX + 2).for_each(|_| staging.make_ahead());
        assert_eq!(rooms(&staging), [ROOM_UNIT; limits::STAGED_SPARES_MAX]);
        let large = vec![7; ROOM_UNIT];
        write(&staging, root.path(), &large);
        assert_eq!(rooms(&staging).len(), limits::STAGED_SPARES_MAX, "none of them has room");
        staging.make_ahead();
        write(&staging, root.path(), &large);
        assert_eq!(rooms(&staging), [ROOM_UNIT; limits::STAGED_SPARES_MAX - 1]);
    }

    #[test]
    fn content_is_found_again_wherever_a_crash_left_it() {
        let root = tempfile::tempdir().unwrap();
        // Some content ends like a mark, as only malice would.
        let sly = [vec![7; 1_000], Mark::render(10).to_vec()].concat();
        for content in [vec![7; 300_000], sly, vec![0; ROOM_UNIT]] {
            let staging = open(root.path());
            staging.last_bytes.store(content.len() as u64, Ordering::Relaxed);
            staging.make_ahead();
            let spare = staging.take(content.len()).unwrap();
            let unused = staging.make(ROOM_UNIT).unwrap().path;
            spare.fill(&content).unwrap();
            let named = [BlobHash::quick(&content), BlobHash::of(&content)];
            for is_cut in [true, false] {
                if !is_cut {
                    let rest = vec![0; spare.room - content.len() - Mark::BYTES];
                    let whole = [&content, &rest, &Mark::render(content.len())[..]].concat();
                    fs::write(&spare.path, whole).unwrap();
                }
                drop(open(root.path()));
                for name in named.map(|hash| path(root.path(), hash)) {
                    assert_eq!(fs::read(&name).unwrap(), content);
                    fs::remove_file(&name).unwrap();
                }
                assert!(!unused.exists() && !spare.path.exists());
            }
        }
    }

    #[test]
    fn what_is_promised_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let staging = open(root.path());
        let hash = |number: usize| BlobHash::of(&number.to_le_bytes());
        (0..=limits::STAGED_PROMISED_MANY).for_each(|number| staging.promise(hash(number)));
        assert_eq!(staging.kept().len(), limits::STAGED_PROMISED_MANY + 1, "none is old");
        staging.settle((1..=limits::STAGED_PROMISED_MANY).map(hash));
        assert_eq!(staging.kept(), [hash(0)]);
    }
}
