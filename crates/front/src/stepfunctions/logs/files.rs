//! Log groups as files: one in JSON lines for each, and the one before it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use model::{TenantName, limits};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Entry;

/// What was found of a group; none where it has no file.
pub(crate) type Found = io::Result<Option<Vec<Line>>>;

/// An event of a log group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Milliseconds of the epoch.
    pub(crate) at: u64,
    pub(crate) stream: String,
    pub(crate) message: String,
}

/// The files.
#[derive(Clone)]
pub(super) struct Files {
    folder: Option<PathBuf>,
    /// One at a time reads or writes. What was written for each tenant since its bytes were counted.
    turn: Arc<Mutex<Written>>,
    file_bytes: u64,
    bytes_max: u64,
}

type Written = BTreeMap<TenantName, u64>;

/// Characters of a group's name that its file is named by; a longer one is told apart by its hash.
const NAME_MAX: usize = 150;

impl Files {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        let (file_bytes, bytes_max) = (limits::LOG_FILE_BYTES, limits::LOG_GROUPS_BYTES_MAX);
        Self { folder, turn: Arc::default(), file_bytes, bytes_max }
    }

    /// Appends events. What cannot be written is lost, and the operator's log says so.
    pub(super) async fn write(&self, entries: Vec<Entry>) {
        self.run(move |files, folder, written| {
            let mut left = entries.as_slice();
            while let Some(first) = left.first() {
                let same =
                    |entry: &&Entry| entry.tenant == first.tenant && entry.group == first.group;
                let (these, others) = left.split_at(left.iter().take_while(same).count());
                left = others;
                let written = written.entry(first.tenant.clone()).or_default();
                if let Err(error) = files.append(folder, these, written) {
                    let group = &first.group;
                    tracing::warn!(%error, group, "events of a log group are lost");
                }
            }
        })
        .await;
    }

    fn append(&self, folder: &Path, entries: &[Entry], written: &mut u64) -> io::Result<()> {
        let Some(first) = entries.first() else { return Ok(()) };
        let place = Place::of(folder, &first.tenant, &first.group);
        fs::create_dir_all(&place.folder)?;
        let open = OpenOptions::new().create(true).append(true).read(true).open(place.now());
        let mut file = open?;
        let mut length = file.metadata()?.len();
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                // A crash left half a line.
                file.write_all(b"\n")?;
            }
        }
        for entry in entries {
            let mut line = serde_json::to_vec(&entry.line)?;
            line.push(b'\n');
            if length > 0 && length + line.len() as u64 > self.file_bytes {
                fs::rename(place.now(), place.before())?;
                file = File::create(place.now())?;
                length = 0;
            }
            file.write_all(&line)?;
            length += line.len() as u64;
            *written += line.len() as u64;
        }
        if *written > self.file_bytes {
            self.make_room(&place)?;
            *written = 0;
        }
        Ok(())
    }

    /// Removes the oldest files of a tenant that has too many bytes of them.
    fn make_room(&self, place: &Place) -> io::Result<()> {
        let mut files = Vec::new();
        for file in fs::read_dir(&place.folder)? {
            let file = file?;
            let about = file.metadata()?;
            files.push((about.modified()?, about.len(), file.path()));
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }

    /// All lines of a group, oldest first.
    pub(super) async fn read(&self, tenant: &TenantName, group: &str) -> Found {
        let (tenant, group) = (tenant.clone(), group.to_owned());
        let read = self.run(move |_, folder, _| {
            let place = Place::of(folder, &tenant, &group);
            let mut lines = None;
            for path in [place.before(), place.now()] {
                let file = match File::open(path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                let lines = lines.get_or_insert_with(Vec::new);
                for line in BufReader::new(file).split(b'\n') {
                    // Half a line is what a crash left.
                    lines.extend(serde_json::from_slice::<Line>(&line?).ok());
                }
            }
            Ok(lines)
        });
        read.await.unwrap_or(Ok(None))
    }

    /// Removes a group.
    pub(super) async fn remove(&self, tenant: &TenantName, group: &str) {
        let (tenant, group) = (tenant.clone(), group.to_owned());
        self.run(move |_, folder, _| {
            let place = Place::of(folder, &tenant, &group);
            for path in [place.before(), place.now()] {
                // It may have none.
                let _ = fs::remove_file(path);
            }
        })
        .await;
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self, &Path, &mut Written) -> T + Send + 'static,
    ) -> Option<T> {
        let files = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut written = files.turn.lock().unwrap_or_else(PoisonError::into_inner);
            files.folder.as_deref().map(|folder| work(&files, folder, &mut written))
        });
        done.await.ok().flatten()
    }
}

/// Where the files of a group are.
struct Place {
    folder: PathBuf,
    name: String,
}

impl Place {
    fn of(folder: &Path, tenant: &TenantName, group: &str) -> Self {
        let mut name = String::new();
        for char in group.chars() {
            match char {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => name.push(char),
                // No file is hidden, and `a/b` is not `a-b`.
                other => name.push_str(&format!("%{:02X}", u32::from(other))),
            }
        }
        if name.len() > NAME_MAX {
            let digest = Sha256::digest(group.as_bytes());
            name.truncate(NAME_MAX);
            name.push('~');
            name.extend(digest.iter().take(16).map(|byte| format!("{byte:02x}")));
        }
        Self { folder: folder.join(tenant.as_str()), name }
    }

    fn now(&self) -> PathBuf {
        self.folder.join(format!("{}.jsonl", self.name))
    }

    fn before(&self) -> PathBuf {
        self.folder.join(format!("{}.1.jsonl", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(group: &str, message: &str) -> Entry {
        let line = Line { at: 1, stream: "s".to_owned(), message: message.to_owned() };
        Entry { tenant: tenant(), group: group.to_owned(), line }
    }

    fn tenant() -> TenantName {
        "t".parse().unwrap()
    }

    async fn messages(files: &Files, group: &str) -> Option<Vec<String>> {
        let lines = files.read(&tenant(), group).await.unwrap();
        lines.map(|lines| lines.into_iter().map(|line| line.message).collect())
    }

    #[tokio::test]
    async fn a_group_keeps_its_last_two_files_and_is_gone_when_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { file_bytes: 100, ..Files::new(Some(folder.path().to_owned())) };
        assert_eq!(messages(&files, "/a/b").await, None);
        for number in 0..6 {
            files.write(vec![entry("/a/b", &format!("{number:030}"))]).await;
        }
        files.write(vec![entry("/a-b", "other")]).await;
        let left = messages(&files, "/a/b").await.unwrap();
        assert_eq!(left, ["4", "5"].map(|number| format!("{number:0>30}")));
        assert_eq!(messages(&files, "/a-b").await.unwrap(), ["other"]);
        files.remove(&tenant(), "/a/b").await;
        assert_eq!(messages(&files, "/a/b").await, None);
    }

    #[tokio::test]
    async fn the_oldest_files_of_a_tenant_go_where_there_are_too_many_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            Files { file_bytes: 100, bytes_max: 150, ..Files::new(Some(folder.path().to_owned())) };
        for group in ["old", "new", "new", "new", "new"] {
            files.write(vec![entry(group, &"x".repeat(30))]).await;
            // Files are told apart by when they were changed.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(messages(&files, "old").await, None);
        assert!(messages(&files, "new").await.is_some());
    }

    #[tokio::test]
    async fn half_a_line_is_skipped_and_long_names_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(Some(folder.path().to_owned()));
        let [one, other] = ["a", "b"].map(|end| "x".repeat(511) + end);
        files.write(vec![entry(&one, "1"), entry(&other, "2"), entry(&other, "3")]).await;
        assert_eq!(messages(&files, &one).await.unwrap(), ["1"]);
        assert_eq!(messages(&files, &other).await.unwrap(), ["2", "3"]);
        let path = Place::of(folder.path(), &tenant(), &one).now();
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"{\"at\":1,\"str").unwrap();
        assert_eq!(messages(&files, &one).await.unwrap(), ["1"]);
        files.write(vec![entry(&one, "4")]).await;
        assert_eq!(messages(&files, &one).await.unwrap(), ["1", "4"]);
    }
}
