//! Code packages as zip archives, in the Lambda layout. The archive comes from a stranger: nothing
//! in it is believed before it is checked, sizes least of all.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use model::limits;
use zip::ZipArchive;
use zip::read::ZipFile;

use crate::executor::PrepareError;

/// Longest path in a package.
const PATH_BYTES_MAX: usize = 1024;
/// Longest target of a symbolic link.
const LINK_BYTES_MAX: u64 = 1024;
/// A package may unpack to this much more than its own size (and to [`SMALL_BYTES`] in any case).
/// Code and text stay far below; what is above was made to fill a disk.
const EXPANSION_MAX: u64 = 100;
const SMALL_BYTES: u64 = 16 << 20;

const FILE_TYPE: u32 = 0o170_000;
const SYMLINK: u32 = 0o120_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const EXECUTABLE: u32 = 0o111;

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes in files.
    pub bytes: u64,
    /// Files that may be executed, as the package names them.
    pub executables: Vec<String>,
}

/// Unpacks `package` into `folder`, which it makes. On an error the folder may hold a part.
///
/// # Errors
/// [`PrepareError::Package`] for an archive that is malformed, has unsafe paths (absolute, `..`,
/// twice the same, a link that leaves the package), or unpacks to more than the limits;
/// [`PrepareError::Io`] where the disk fails.
pub fn unpack(package: &[u8], folder: &Path) -> Result<Unpacked, PrepareError> {
    if package.len() > limits::PACKAGE_BYTES_MAX {
        return refuse(format!("it is larger than {} bytes", limits::PACKAGE_BYTES_MAX));
    }
    let mut archive = ZipArchive::new(Cursor::new(package))
        .map_err(|error| refused(format!("it is not a zip archive: {error}")))?;
    if archive.len() > limits::PACKAGE_FILES_MAX {
        return refuse(format!("it has more than {} entries", limits::PACKAGE_FILES_MAX));
    }
    fs::create_dir_all(folder).map_err(PrepareError::Io)?;
    let size = u64::try_from(package.len()).unwrap_or(u64::MAX);
    let mut unpacking = Unpacking {
        folder,
        bytes_max: limits::UNPACKED_BYTES_MAX.min((size * EXPANSION_MAX).max(SMALL_BYTES)),
        seen: BTreeSet::new(),
        links: Vec::new(),
        unpacked: Unpacked::default(),
    };
    for place in 0..archive.len() {
        let entry = archive
            .by_index(place)
            .map_err(|error| refused(format!("entry {place} cannot be read: {error}")))?;
        unpacking.take(entry)?;
    }
    unpacking.finish()
}

struct Unpacking<'a> {
    folder: &'a Path,
    bytes_max: u64,
    /// Files and links; folders may come twice.
    seen: BTreeSet<PathBuf>,
    /// Made last, so that no file is ever written through one.
    links: Vec<(PathBuf, PathBuf)>,
    unpacked: Unpacked,
}

impl Unpacking<'_> {
    fn take<R: Read>(&mut self, mut entry: ZipFile<'_, R>) -> Result<(), PrepareError> {
        let name = std::str::from_utf8(entry.name_raw())
            .map_err(|_| refused("an entry's name is not UTF-8".into()))?
            .to_owned();
        let path = safe_path(&name)?;
        if entry.encrypted() {
            return refuse(format!("entry {name:?} is encrypted"));
        }
        let mode = entry.unix_mode().unwrap_or_default();
        match mode & FILE_TYPE {
            _ if name.ends_with('/') => self.make_folder(&path),
            DIRECTORY => self.make_folder(&path),
            SYMLINK => {
                let mut target = String::new();
                let read = entry.by_ref().take(LINK_BYTES_MAX + 1).read_to_string(&mut target);
                read.map_err(|error| unreadable(&name, &error))?;
                self.note(&name, &path)?;
                check_link(&name, &path, &target)?;
                self.links.push((path, target.into()));
                Ok(())
            }
            0 | REGULAR => {
                self.note(&name, &path)?;
                let is_executable = mode & EXECUTABLE != 0;
                if is_executable {
                    self.unpacked.executables.push(name.clone());
                }
                self.write(&name, &path, is_executable, entry)
            }
            _ => refuse(format!("entry {name:?} is neither file, folder nor link")),
        }
    }

    /// Notes a file or link; the second of the same name is refused.
    fn note(&mut self, name: &str, path: &Path) -> Result<(), PrepareError> {
        if path.as_os_str().is_empty() || !self.seen.insert(path.to_owned()) {
            return refuse(format!("entry {name:?} is there twice"));
        }
        Ok(())
    }

    fn make_folder(&self, path: &Path) -> Result<(), PrepareError> {
        fs::create_dir_all(self.folder.join(path)).map_err(|error| clash(path, error))
    }

    fn write(
        &mut self,
        name: &str,
        path: &Path,
        is_executable: bool,
        mut content: impl Read,
    ) -> Result<(), PrepareError> {
        if let Some(parent) = path.parent() {
            self.make_folder(parent)?;
        }
        let mode = if is_executable { 0o755 } else { 0o644 };
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(mode);
        let mut file: File =
            options.open(self.folder.join(path)).map_err(|error| clash(path, error))?;
        let mut piece = vec![0; 64 << 10];
        loop {
            let length = content.read(&mut piece).map_err(|error| unreadable(name, &error))?;
            if length == 0 {
                break;
            }
            self.unpacked.bytes += u64::try_from(length).unwrap_or(u64::MAX);
            if self.unpacked.bytes > self.bytes_max {
                return refuse(format!(
                    "at entry {name:?} it unpacks to more than {} bytes",
                    self.bytes_max
                ));
            }
            file.write_all(&piece[..length]).map_err(PrepareError::Io)?;
        }
        // Whatever this process's mask is, a sandbox's user must be able to read it.
        file.set_permissions(fs::Permissions::from_mode(mode)).map_err(PrepareError::Io)
    }

    fn finish(self) -> Result<Unpacked, PrepareError> {
        for (path, target) in &self.links {
            if let Some(parent) = path.parent() {
                self.make_folder(parent)?;
            }
            symlink(target, self.folder.join(path)).map_err(|error| clash(path, error))?;
        }
        open_folders(self.folder).map_err(PrepareError::Io)?;
        Ok(self.unpacked)
    }
}

/// The path of an entry's name, which must stay in the package.
fn safe_path(name: &str) -> Result<PathBuf, PrepareError> {
    if name.len() > PATH_BYTES_MAX {
        return refuse(format!("a path is longer than {PATH_BYTES_MAX} bytes"));
    }
    if name.is_empty() || name.contains(['\\', '\0']) {
        return refuse(format!("entry {name:?} has no usable path"));
    }
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => return refuse(format!("entry {name:?} has .. in its path")),
            Component::RootDir | Component::Prefix(_) => {
                return refuse(format!("entry {name:?} has an absolute path"));
            }
        }
    }
    Ok(path)
}

/// A link must point into the package, wherever the package is.
fn check_link(name: &str, path: &Path, target: &str) -> Result<(), PrepareError> {
    let leaves = || refuse(format!("the link {name:?} leaves the package"));
    if target.is_empty() || u64::try_from(target.len()).is_ok_and(|size| size > LINK_BYTES_MAX) {
        return leaves();
    }
    let mut depth = path.components().count().saturating_sub(1);
    for component in Path::new(target).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return leaves(),
        }
    }
    Ok(())
}

/// Lets everybody look into all folders.
fn open_folders(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

/// A file where a folder must be, or the other way round, is the package's fault.
fn clash(path: &Path, error: io::Error) -> PrepareError {
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            refused(format!("{:?} is both a file and a folder, or there twice", path.display()))
        }
        _ => PrepareError::Io(error),
    }
}

fn unreadable(name: &str, error: &io::Error) -> PrepareError {
    refused(format!("entry {name:?} cannot be read: {error}"))
}

fn refused(reason: String) -> PrepareError {
    PrepareError::Package { reason }
}

fn refuse<T>(reason: String) -> Result<T, PrepareError> {
    Err(refused(reason))
}
