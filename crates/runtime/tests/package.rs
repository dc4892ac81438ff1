//! Code packages made to do harm, and good ones.

#![cfg(feature = "process")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;

use model::limits;
use runtime::PrepareError;
use runtime::package::{Unpacked, unpack};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

type Writer = ZipWriter<Cursor<Vec<u8>>>;

fn zip(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    fill(&mut writer);
    writer.finish().unwrap().into_inner()
}

fn file(writer: &mut Writer, name: &str, text: &[u8]) {
    writer.start_file(name, SimpleFileOptions::default()).unwrap();
    writer.write_all(text).unwrap();
}

fn try_unpack(package: &[u8]) -> (tempfile::TempDir, Result<Unpacked, PrepareError>) {
    let folder = tempfile::tempdir().unwrap();
    let result = unpack(package, &folder.path().join("in/code"));
    (folder, result)
}

#[track_caller]
fn refused(package: &[u8], reason: &str) {
    let (folder, result) = try_unpack(package);
    let error = result.unwrap_err();
    assert!(matches!(error, PrepareError::Package { .. }), "{error:?}");
    assert!(error.to_string().contains(reason), "{error}");
    let outside: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(outside.len() <= 1, "nothing beside its folder: {outside:?}");
}

#[test]
fn files_folders_links_and_the_right_to_execute_are_kept() {
    let package = zip(|w| {
        w.add_directory("empty", SimpleFileOptions::default().unix_permissions(0o700)).unwrap();
        w.start_file("bootstrap", SimpleFileOptions::default().unix_permissions(0o700)).unwrap();
        w.write_all(b"#!/bin/sh\n").unwrap();
        file(w, "./lib/deep/a.py", b"a = 1\n");
        w.add_symlink("lib/link.py", "deep/../deep/a.py", SimpleFileOptions::default()).unwrap();
    });
    let (folder, result) = try_unpack(&package);
    assert_eq!(result.unwrap(), Unpacked { bytes: 16, executables: vec!["bootstrap".into()] });
    let code = folder.path().join("in/code");
    let mode = |name: &str| fs::metadata(code.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("bootstrap"), mode("lib/deep/a.py")), (0o755, 0o644));
    assert_eq!((mode("empty"), mode("lib/deep"), mode("")), (0o755, 0o755, 0o755));
    assert_eq!(fs::read_to_string(code.join("lib/link.py")).unwrap(), "a = 1\n");
}

#[test]
fn paths_that_leave_the_package_are_refused() {
    for (name, reason) in [
        ("../evil", ".. in its path"),
        ("a/../../evil", ".. in its path"),
        ("a/..", ".. in its path"),
        ("/etc/evil", "absolute path"),
        ("a\\..\\evil", "no usable path"),
    ] {
        refused(&zip(|w| file(w, name, b"x")), reason);
    }
}

#[test]
fn links_that_leave_the_package_are_refused() {
    for target in ["/etc/passwd", "../evil", "a/../../evil", "x/../../../evil"] {
        let link = |w: &mut Writer| {
            w.add_symlink("dir/link", format!("../{target}"), SimpleFileOptions::default())
                .unwrap();
        };
        if target.starts_with('/') {
            let absolute = zip(|w| {
                w.add_symlink("link", target, SimpleFileOptions::default()).unwrap();
            });
            refused(&absolute, "leaves the package");
        } else {
            refused(&zip(link), "leaves the package");
        }
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    let package = zip(|w| {
        w.add_symlink("dir", "other", SimpleFileOptions::default()).unwrap();
        file(w, "dir/file", b"x");
    });
    refused(&package, "both a file and a folder");
}

#[test]
fn the_same_name_twice_is_refused() {
    refused(
        &zip(|w| {
            file(w, "a/b", b"x");
            file(w, "a/./b", b"y");
        }),
        "there twice",
    );
    refused(
        &zip(|w| {
            file(w, "a", b"x");
            file(w, "a/b", b"y");
        }),
        "both a file and a folder",
    );
}

#[test]
fn too_many_entries_are_refused() {
    let package = zip(|w| {
        for n in 0..=limits::PACKAGE_FILES_MAX {
            let options =
                SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            w.start_file(format!("{n}"), options).unwrap();
        }
    });
    refused(&package, "more than 20000 entries");
}

#[test]
fn an_archive_that_unpacks_to_absurdly_much_is_refused_on_the_way() {
    let zeros = vec![0_u8; 1 << 20];
    let package = zip(|w| {
        w.start_file("zeros", SimpleFileOptions::default()).unwrap();
        for _ in 0..64 {
            w.write_all(&zeros).unwrap();
        }
    });
    assert!(package.len() < 100_000, "{}", package.len());
    refused(&package, "unpacks to more than 16777216 bytes");
}

#[test]
fn a_stated_size_is_not_believed() {
    // The sizes in the directory and in the entry's head are made small; the content is not.
    let zeros = vec![0_u8; 32 << 20];
    let mut package = zip(|w| file(w, "zeros", &zeros));
    let stated = u32::try_from(zeros.len()).unwrap().to_le_bytes();
    let places: Vec<usize> =
        package.windows(4).enumerate().filter(|(_, w)| *w == stated).map(|(n, _)| n).collect();
    assert_eq!(places.len(), 2, "head and directory");
    for place in places {
        package[place..place + 4].copy_from_slice(&5_u32.to_le_bytes());
    }
    let (_folder, result) = try_unpack(&package);
    assert!(matches!(result, Err(PrepareError::Package { .. })), "{result:?}");
}

#[test]
fn what_is_no_archive_is_refused() {
    refused(b"", "not a zip archive");
    refused(b"\0asm\x01\0\0\0", "not a zip archive");
    let mut broken = zip(|w| file(w, "app.py", &b"x = 1 + 2 + 3 + 4\n".repeat(100)));
    broken[50] ^= 0xff;
    refused(&broken, "entry");
}

proptest::proptest! {
    #[test]
    fn damaged_archives_never_write_outside(place in 0_usize..400, value: u8) {
        let mut package = zip(|w| {
            file(w, "a/b.py", b"text");
            w.add_symlink("link", "a/b.py", SimpleFileOptions::default()).unwrap();
        });
        if let Some(byte) = package.get_mut(place) {
            *byte = value;
        }
        let (folder, _) = try_unpack(&package);
        let outside = fs::read_dir(folder.path()).unwrap().count();
        proptest::prop_assert!(outside <= 1);
    }
}
