//! The one place where machine code from a file is trusted.

#![expect(unsafe_code, reason = "wasmtime cannot check the machine code that it maps")]

use std::path::Path;

use wasmtime::{Engine, Module};

/// Maps a compiled module.
///
/// The caller has checked, by its hash, that the file is what this platform's compiler wrote.
pub(super) fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Module> {
    // SAFETY: the only caller (`artifact::load`) compares the file's SHA-256 with the one noted when
    // our own compiler wrote it, and artifact files are replaced by renaming, never written in
    // place, so what is mapped stays what was checked. They lie in the platform's data directory,
    // which no function can reach.
    unsafe { Module::deserialize_file(engine, path) }
}
