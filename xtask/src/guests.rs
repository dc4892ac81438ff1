//! The Wasm guests: small programs, most of them in C, whose `.wasm` files are committed beside them, so that nobody
//! needs a C compiler to run or test the platform. Rebuilding gives the same bytes.

use std::path::{Path, PathBuf};
use std::{fs, process};

use anyhow::{Context, bail};

use crate::command::{exists, root, run_with};
use crate::{languages, python};

/// Folders whose `*.c` files are guests, one each.
const FOLDERS: [&str; 2] = ["examples/guests", "examples/shop/home"];
/// The compiler is named with its version: another one gives other bytes.
const COMPILER: &str = "clang-19";
const PACKAGES: [&str; 4] = ["clang-19", "lld-19", "wasi-libc", "libclang-rt-19-dev-wasm32"];
const C_LIBRARY: &str = "/usr/lib/wasm32-wasi/libc.a";
const FLAGS: [&str; 6] =
    ["--target=wasm32-wasi", "-std=gnu17", "-Os", "-Wall", "-Wextra", "-Werror"];
/// `--strip-all` also leaves out names and producers, hence every trace of where it was built. Without
/// a level of optimization here, the driver does not run binaryen's optimizer where there is one, which
/// gives other bytes.
const LINK_FLAGS: [&str; 2] = ["--target=wasm32-wasi", "-Wl,--strip-all"];
/// Begins the line of a source that names further flags of the linker.
const FLAGS_LINE: &str = "// build: ";

/// Rebuilds all guests. With `check`, compares the bytes with the committed files instead of
/// replacing them, and fails naming those that differ.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    install()?;
    python::run().context("make the interpreter of durable Python functions")?;
    let scratch = std::env::temp_dir().join(format!("fermata-guests-{}", process::id()));
    fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    let result = sources().and_then(|sources| build(&sources, &scratch, check));
    fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
    result
}

fn build(sources: &[PathBuf], scratch: &Path, check: bool) -> anyhow::Result<()> {
    let mut different = Vec::new();
    let of_c = sources.iter().map(|source| (source.with_extension("wasm"), Source::C(source)));
    let others = languages::GUESTS;
    let others = others.map(|guest| (root().join(guest.committed), Source::Other(guest.build)));
    let guests: Vec<_> = of_c.chain(others).collect();
    let count = guests.len();
    for (committed, source) in guests {
        let built = scratch.join("guest.wasm");
        match source {
            Source::C(source) => compile(source, &built)?,
            Source::Other(build) => build(&built)?,
        }
        let bytes = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
        if fs::read(&committed).is_ok_and(|committed| committed == bytes) {
            continue;
        }
        if !check {
            fs::write(&committed, bytes)
                .with_context(|| format!("write {}", committed.display()))?;
        }
        different.push(committed.strip_prefix(root()).unwrap_or(&committed).display().to_string());
    }
    if check && !different.is_empty() {
        bail!(
            "these guests differ from what their sources give: {}; run `cargo xtask guests` and \
             commit them",
            different.join(", ")
        );
    }
    match different.as_slice() {
        [] => println!("{count} guests are what their sources give"),
        changed => {
            println!("{count} guests built, {} changed: {}", changed.len(), changed.join(", "))
        }
    }
    Ok(())
}

/// How a guest is made.
enum Source<'a> {
    C(&'a Path),
    Other(fn(&Path) -> anyhow::Result<()>),
}

/// All sources of C, in a fixed order.
fn sources() -> anyhow::Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for folder in FOLDERS.map(|folder| root().join(folder)) {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
            if path.extension().is_some_and(|extension| extension == "c") {
                sources.push(path);
            }
        }
    }
    sources.sort();
    Ok(sources)
}

fn compile(source: &Path, to: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(source).with_context(|| format!("read {}", source.display()))?;
    let own = text.lines().filter_map(|line| line.strip_prefix(FLAGS_LINE));
    let (Some(source), Some(to)) = (source.to_str(), to.to_str()) else {
        bail!("the path {} is not UTF-8", source.display());
    };
    let own = own.flat_map(str::split_whitespace);
    let object = format!("{to}.o");
    run_with(COMPILER, FLAGS.into_iter().chain(["-c", "-o", &object, source]), &[])?;
    run_with(COMPILER, LINK_FLAGS.into_iter().chain(own).chain(["-o", to, &object]), &[])
}

fn install() -> anyhow::Result<()> {
    if exists(COMPILER, "--version")
        && exists("wasm-ld-19", "--version")
        && Path::new(C_LIBRARY).exists()
    {
        return Ok(());
    }
    let cure = format!("building guests needs the Debian packages {}", PACKAGES.join(", "));
    let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
    run_with("apt-get", ["update", "-q"], &quiet).with_context(|| cure.clone())?;
    let install = ["install", "-q", "-y", "--no-install-recommends"];
    run_with("apt-get", install.into_iter().chain(PACKAGES), &quiet).context(cure)
}
