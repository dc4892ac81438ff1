//! Guests in other languages than C: durable functions in Rust and AssemblyScript, and the runner of
//! durable functions in JavaScript. Each tool is named with its version: another gives other bytes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::command::{self, exists, root, run_with};

/// A guest, relative to the root, and how it is built.
pub(crate) struct Guest {
    pub(crate) committed: &'static str,
    pub(crate) build: fn(&Path) -> anyhow::Result<()>,
}

pub(crate) const GUESTS: [Guest; 3] = [
    Guest { committed: "sdk/javascript-wasm/javascript.wasm", build: javascript },
    Guest { committed: "examples/functions/rust-durable/journey.wasm", build: rust },
    Guest { committed: "examples/functions/assemblyscript/review.wasm", build: assemblyscript },
];

/// Debian's compiler, whose standard library for WebAssembly is a package of its own; its linker is
/// the one of the LLVM release that wrote that library.
const RUST: &str = "/usr/bin/rustc";
const RUST_PACKAGES: [&str; 3] = ["rustc", "libstd-rust-dev-wasm32", "lld-14"];
const ASSEMBLYSCRIPT: &str = "assemblyscript@0.28.20";
/// QuickJS-ng's sources come with this crate.
const QUICKJS_CRATE: &str = "rquickjs-sys";
const QUICKJS_VERSION: &str = "0.14.0";

/// QuickJS-ng with our runner. It waits between calls, so it is small and needs no pass.
fn javascript(to: &Path) -> anyhow::Result<()> {
    // The sources are not ours: no warnings. Linked without -O for the reason in `guests`.
    const FLAGS: [&str; 7] =
        ["--target=wasm32-wasi", "-std=gnu2x", "-Oz", "-DNDEBUG", "-D_GNU_SOURCE", "-w", "-c"];
    const LINK_FLAGS: [&str; 4] =
        ["--target=wasm32-wasi", "-Wl,--strip-all", "-Wl,-z,stack-size=1048576", "-o"];
    let quickjs = quickjs()?;
    let own = ["quickjs.c", "libregexp.c", "libunicode.c", "dtoa.c"];
    let runner = root().join("sdk/javascript-wasm/runner.c");
    let sources = own.map(|name| quickjs.join(name)).into_iter().chain([runner]);
    let (to, include) = (to.display().to_string(), format!("-I{}", quickjs.display()));
    let mut objects = Vec::new();
    for (number, source) in sources.enumerate() {
        let (object, source) = (format!("{to}.{number}.o"), source.display().to_string());
        let rest = [include.as_str(), source.as_str(), "-o", object.as_str()];
        run_with("clang-19", FLAGS.into_iter().chain(rest), &[])?;
        objects.push(object);
    }
    let objects = objects.iter().map(String::as_str);
    run_with("clang-19", LINK_FLAGS.into_iter().chain([to.as_str()]).chain(objects), &[])
}

/// The folder of QuickJS-ng's sources, fetched by cargo.
fn quickjs() -> anyhow::Result<PathBuf> {
    let project = tools()?.join("quickjs");
    fs::create_dir_all(project.join("src")).context("make a folder for the sources")?;
    let manifest = format!(
        "[package]\nname = \"quickjs-sources\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
         [workspace]\n[dependencies]\n{QUICKJS_CRATE} = {{ version = \"={QUICKJS_VERSION}\", \
         default-features = false }}\n"
    );
    fs::write(project.join("Cargo.toml"), manifest).context("write a manifest")?;
    fs::write(project.join("src/lib.rs"), "").context("write an empty library")?;
    let manifest = project.join("Cargo.toml").display().to_string();
    let arguments = ["metadata", "--format-version", "1", "--manifest-path", &manifest];
    let metadata = command::output("cargo", arguments)?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).context("read what cargo says of the sources")?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .find(|package| package["name"] == QUICKJS_CRATE)
        .and_then(|package| package["manifest_path"].as_str());
    let folder = manifest.and_then(|manifest| Path::new(manifest).parent());
    Ok(folder.context("cargo names no place of the sources")?.join("quickjs"))
}

fn rust(to: &Path) -> anyhow::Result<()> {
    const FLAGS: [&str; 12] = [
        "--edition=2021",
        "--target=wasm32-wasi",
        "-Copt-level=s",
        "-Cpanic=abort",
        "-Clto=fat",
        "-Ccodegen-units=1",
        "-Clinker=wasm-ld-14",
        "-Clink-arg=--strip-all",
        "--crate-name=journey",
        "-Adead_code",
        "examples/functions/rust-durable/journey.rs",
        "-o",
    ];
    if !Path::new("/usr/lib/rustlib/wasm32-wasi").exists() || !exists("wasm-ld-14", "--version") {
        install(&RUST_PACKAGES)?;
    }
    // The path is relative, so that messages of a panic do not name this machine.
    let to = to.display().to_string();
    run_with(RUST, FLAGS.into_iter().chain([to.as_str()]), &[])
}

fn assemblyscript(to: &Path) -> anyhow::Result<()> {
    const SOURCE: &str = "examples/functions/assemblyscript/review.ts";
    let folder = tools()?.join("assemblyscript");
    let compiler = folder.join("node_modules/assemblyscript/bin/asc.js");
    if !compiler.exists() {
        // Made beside its place, so that what was cut off in the middle is not taken for whole.
        let fresh = tools()?.join("assemblyscript.new");
        fs::create_dir_all(&fresh).context("make a folder for the compiler")?;
        let prefix = fresh.display().to_string();
        let install = ["install", "--silent", "--no-audit", "--prefix", &prefix, ASSEMBLYSCRIPT];
        run_with("npm", install, &[]).context("AssemblyScript's compiler comes with npm")?;
        fs::rename(&fresh, &folder).context("move the compiler to its place")?;
    }
    let (compiler, to) = (compiler.display().to_string(), to.display().to_string());
    let flags = ["-O2", "--runtime", "incremental", "--use", "abort=", "--exportStart", "_start"];
    let arguments = [compiler.as_str(), SOURCE].into_iter().chain(flags).chain(["-o", &to]);
    run_with("node", arguments, &[])
}

/// Where fetched tools are kept.
pub(crate) fn tools() -> anyhow::Result<PathBuf> {
    let tools = root().join("target/guest-tools");
    fs::create_dir_all(&tools).with_context(|| format!("make {}", tools.display()))?;
    Ok(tools)
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let cure = format!("building guests needs the Debian packages {}", packages.join(", "));
    let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
    run_with("apt-get", ["update", "-q"], &quiet).with_context(|| cure.clone())?;
    let install = ["install", "-q", "-y", "--no-install-recommends"];
    let arguments = install.into_iter().chain(packages.iter().copied());
    if run_with("apt-get", arguments, &quiet).is_err() {
        bail!(cure);
    }
    Ok(())
}
