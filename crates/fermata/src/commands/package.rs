//! Code packages: from a file or folder to what is uploaded.

use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::client::Failed;

/// The manifest's name; it is not part of the package.
pub(super) const MANIFEST: &str = "fermata.toml";
/// Files that stay out of the package, as in a `.gitignore`.
const IGNORE: &str = ".fermataignore";

/// A folder as a zip in the Lambda layout. The same files give the same bytes.
pub(super) fn zip_folder(folder: &Path) -> Result<Vec<u8>, Failed> {
    let files = files_below(folder)?;
    if files.is_empty() {
        return Err(Failed::Usage(format!("{} has no files to deploy", folder.display())));
    }
    zip_files(folder, &files)
}

/// One source file as a zip.
pub(super) fn zip_file(file: &Path) -> Result<Vec<u8>, Failed> {
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    zip_files(folder, &[file.to_owned()])
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, Failed> {
    fs::read(file).map_err(|error| Failed::Usage(format!("read {}: {error}", file.display())))
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut walk = ignore::WalkBuilder::new(folder);
    walk.standard_filters(false).add_custom_ignore_filename(IGNORE).sort_by_file_path(Path::cmp);
    walk.filter_entry(|entry| entry.file_name() != ".git");
    let mut files = Vec::new();
    for entry in walk.build() {
        let entry = entry.map_err(|error| Failed::Usage(format!("read the folder: {error}")))?;
        let own = [MANIFEST, IGNORE].iter().any(|own| entry.file_name() == *own);
        if entry.file_type().is_some_and(|kind| !kind.is_dir()) && !own {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

fn zip_files(folder: &Path, files: &[PathBuf]) -> Result<Vec<u8>, Failed> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for file in files {
        let failed = |error: &dyn std::fmt::Display| {
            Failed::Usage(format!("package {}: {error}", file.display()))
        };
        let name = file.strip_prefix(folder).unwrap_or(file).to_string_lossy();
        // Follows links: what is deployed is what they point to.
        let mode = fs::metadata(file).map_err(|error| failed(&error))?.permissions().mode();
        let executable = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        let options = SimpleFileOptions::default().unix_permissions(executable);
        zip.start_file(name, options).map_err(|error| failed(&error))?;
        zip.write_all(&read(file)?).map_err(|error| failed(&error))?;
    }
    let written = zip.finish().map_err(|error| Failed::Usage(format!("write the zip: {error}")))?;
    Ok(written.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_folder_is_packed_without_its_manifest_and_what_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("fermata.toml", "name = 'f'");
        write(".fermataignore", "*.log\nnotes/\n");
        write("app.py", "def handler(event, context): pass");
        write("lib/.hidden.py", "x = 1");
        write("out.log", "no");
        write("notes/todo", "no");
        write(".git/config", "no");
        let bootstrap = folder.path().join("bootstrap");
        fs::write(&bootstrap, "#!/bin/sh").unwrap();
        fs::set_permissions(&bootstrap, fs::Permissions::from_mode(0o755)).unwrap();

        let packed = zip_folder(folder.path()).unwrap();
        assert_eq!(packed, zip_folder(folder.path()).unwrap());
        let mut zip = zip::ZipArchive::new(Cursor::new(packed)).unwrap();
        let names: Vec<String> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["app.py", "bootstrap", "lib/.hidden.py"]);
        let mut text = String::new();
        zip.by_name("bootstrap").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "#!/bin/sh");
        assert_eq!(zip.by_name("bootstrap").unwrap().unix_mode().unwrap() & 0o777, 0o755);
    }
}
