//! Code made ready ahead of time: checked and compiled at deploy, mapped at the first call.
//!
//! An artifact directory holds `module.wasm` (the package), `module.cwasm` (its machine code) and
//! `module.version` (which compiler wrote it for which settings and CPU, and its hash). Machine code
//! that another compiler wrote, or that is damaged, is compiled again from the package.

use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use model::{Failure, FailureKind, limits};
use sha2::{Digest, Sha256};
use wasmtime::{Engine, ExternType, Linker, Module, UnknownImportError};

use super::host::Host;
use super::tenant::{Home, Linked};
use super::{durable, load};
use crate::executor::{Code, Durable, Prepare, PrepareError, Prepared};

const PACKAGE: &str = "module.wasm";
const MACHINE_CODE: &str = "module.cwasm";
const VERSION: &str = "module.version";
/// What a command module exports, and is called where the function names no handler.
pub(super) const ENTRY_DEFAULT: &str = "_start";
/// What a library exports, to be called once before anything else of it.
pub(super) const INITIALIZE: &str = "_initialize";

/// Makes of a durable function's package what is to be stored in its place.
pub(super) fn instrument(
    engine: &Engine,
    tool: Option<&Path>,
    code: &Prepare<'_>,
) -> Result<Option<Vec<u8>>, PrepareError> {
    if code.durable == Durable::No {
        return Ok(None);
    }
    let refused = |reason| PrepareError::Package { reason };
    check_header(code.package).map_err(refused)?;
    durable::check(code.package)?;
    Module::validate(engine, code.package)
        .map_err(|error| refused(format!("the module is not valid: {error:#}")))?;
    durable::instrument(tool, code.package)
}

/// Checks and compiles a package into `directory`.
pub(super) fn prepare(
    compiler: &Home,
    code: &Prepare<'_>,
    directory: &Path,
) -> Result<Prepared, PrepareError> {
    let Home { engine, linker, .. } = compiler;
    if code.runtime != "wasm" {
        let reason = "this executor runs \"wasm\"".into();
        return Err(PrepareError::Runtime { runtime: code.runtime.into(), reason });
    }
    let refused = |reason| PrepareError::Package { reason };
    check_header(code.package).map_err(refused)?;
    let program = program(code.package, directory);
    let known = program.as_ref().filter(|program| is_current(engine, program));
    let module = match known {
        Some(known) => load::map(engine, &known.join(MACHINE_CODE)),
        None => Module::from_binary(engine, code.package),
    };
    let module = module.map_err(|error| refused(format!("the module is not valid: {error:#}")))?;
    check_imports(linker, &module).map_err(refused)?;
    check_exports(&module, code.handler).map_err(refused)?;
    if code.durable == Durable::Yes {
        durable::layout(code.package).map_err(refused)?;
    }
    let saved = match known {
        Some(known) => share(known, directory),
        None => save(engine, directory, &module, program.as_deref()),
    };
    let written = saved.and_then(|()| replace(directory, PACKAGE, code.package));
    let machine_code = written.and_then(|()| std::fs::metadata(directory.join(MACHINE_CODE)));
    let machine_code_bytes = machine_code.map_err(PrepareError::Io)?.len();
    Ok(Prepared { artifact_bytes: code.package.len() as u64 + machine_code_bytes })
}

/// Where the machine code of a program is kept that comes with different arguments, as interpreters
/// do: beside the artifacts of the same tenant.
fn program(package: &[u8], directory: &Path) -> Option<PathBuf> {
    let hash = durable::program_hash(package)?;
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(directory.parent()?.join(format!("program-{hex}")))
}

/// The module of `code`, linked, for one engine.
pub(super) fn load(engine: &Engine, linker: &Linker<Host>, code: &Code) -> Result<Linked, Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        let (function, version) = (&code.function, code.version.0);
        let message = format!("{what} of {function}:{version}: {error}");
        Failure::new(FailureKind::Platform, message)
    };
    let path = code.artifact_dir.join(MACHINE_CODE);
    if !is_current(engine, &code.artifact_dir) {
        recompile(engine, code).map_err(|error| failed("compile the code", &error))?;
    }
    let module = load::map(engine, &path).map_err(|error| failed("load the code", &error))?;
    let instance =
        linker.instantiate_pre(&module).map_err(|error| failed("link the code", &error))?;
    let layout = match code.durable {
        Durable::No => None,
        Durable::Yes => {
            let package = std::fs::read(code.artifact_dir.join(PACKAGE));
            let package = package.map_err(|error| failed("read the code", &error))?;
            Some(durable::layout(&package).map_err(|error| failed("read the code", &error))?)
        }
    };
    Ok(Linked { instance, layout, has_start: OnceLock::new() })
}

/// Whether code of it runs as soon as it is instantiated, or that cannot be told.
pub(super) fn has_start(code: &Code) -> bool {
    let package = std::fs::read(code.artifact_dir.join(PACKAGE));
    package.map_or(true, |package| durable::has_start(&package))
}

fn check_header(package: &[u8]) -> Result<(), String> {
    const MAGIC: &[u8] = b"\0asm";
    const CORE_VERSION: &[u8] = &[1, 0, 0, 0];
    if package.len() > limits::PACKAGE_BYTES_MAX {
        return Err(format!("it is larger than {} bytes", limits::PACKAGE_BYTES_MAX));
    }
    match package.split_at_checked(MAGIC.len()) {
        Some((MAGIC, rest)) if rest.starts_with(CORE_VERSION) => Ok(()),
        Some((MAGIC, [0x0d, 0, 1, 0, ..])) => {
            Err("it is a WebAssembly component; build a core module (wasm32-wasip1)".into())
        }
        Some((MAGIC, _)) => Err("its WebAssembly version is not 1".into()),
        _ => Err("it is not a WebAssembly module: it does not begin with \"\\0asm\"".into()),
    }
}

fn check_imports(linker: &Linker<Host>, module: &Module) -> Result<(), String> {
    match linker.instantiate_pre(module) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.downcast_ref::<UnknownImportError>() {
            Some(unknown) => format!(
                "it imports {:?} from {:?}, which this platform does not have",
                unknown.name(),
                unknown.module()
            ),
            None => format!("an import has another type here: {error:#}"),
        }),
    }
}

fn check_exports(module: &Module, handler: &str) -> Result<(), String> {
    let entry = entry(handler);
    let Some(ExternType::Func(found)) = module.get_export(entry) else {
        return Err(format!("it exports no function {entry:?} to call"));
    };
    if found.params().len() != 0 || found.results().len() != 0 {
        return Err(format!("its export {entry:?} takes or returns values; it must not"));
    }
    let has_memory = matches!(module.get_export("memory"), Some(ExternType::Memory(_)));
    if module.imports().len() > 0 && !has_memory {
        return Err("it exports no memory \"memory\", through which imports would work".into());
    }
    Ok(())
}

/// The export to call for a handler.
pub(super) fn entry(handler: &str) -> &str {
    if handler.is_empty() { ENTRY_DEFAULT } else { handler }
}

fn recompile(engine: &Engine, code: &Code) -> io::Result<()> {
    tracing::info!(
        function = %code.function, version = code.version.0,
        "the machine code is of another compiler or damaged; compiling it again"
    );
    let package = std::fs::read(code.artifact_dir.join(PACKAGE))?;
    if <[u8; 32]>::from(Sha256::digest(&package)) != code.hash {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its stored package is damaged"));
    }
    let machine_code = engine.precompile_module(&package).map_err(io::Error::other)?;
    save_machine_code(engine, &code.artifact_dir, &machine_code)
}

/// Saves a module's machine code, and for other packages of the same program too.
fn save(
    engine: &Engine,
    directory: &Path,
    module: &Module,
    program: Option<&Path>,
) -> io::Result<()> {
    let machine_code = module.serialize().map_err(io::Error::other)?;
    save_machine_code(engine, directory, &machine_code)?;
    let Some(program) = program else { return Ok(()) };
    std::fs::create_dir_all(program)?;
    share(directory, program)
}

/// Gives the machine code in one directory to another: as a second name of the same file where the
/// file system can do that, so that it lies on the disk and in memory once.
fn share(from: &Path, to: &Path) -> io::Result<()> {
    for name in [MACHINE_CODE, VERSION] {
        let (from, fresh) = (from.join(name), temporary(to, name));
        // What a crash left of an earlier try.
        let _ = std::fs::remove_file(&fresh);
        if std::fs::hard_link(&from, &fresh).is_err() {
            std::fs::copy(&from, &fresh)?;
        }
        std::fs::rename(&fresh, to.join(name))?;
        // Renaming does nothing where both are the same file already.
        let _ = std::fs::remove_file(&fresh);
    }
    Ok(())
}

/// A crash between the two files leaves a version that does not fit, hence a new compilation.
fn save_machine_code(engine: &Engine, directory: &Path, machine_code: &[u8]) -> io::Result<()> {
    replace(directory, MACHINE_CODE, machine_code)?;
    replace(directory, VERSION, version(engine, machine_code).as_bytes())
}

/// Writes a file beside its place and renames it into it, for whoever has mapped the old one.
fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(directory, name);
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(temporary, directory.join(name))
}

fn temporary(directory: &Path, name: &str) -> PathBuf {
    let thread = std::thread::current().id();
    directory.join(format!(".{name}.{}.{thread:?}", std::process::id()))
}

fn is_current(engine: &Engine, directory: &Path) -> bool {
    let noted = std::fs::read(directory.join(VERSION));
    let machine_code = std::fs::read(directory.join(MACHINE_CODE));
    match (noted, machine_code) {
        (Ok(noted), Ok(machine_code)) => noted == version(engine, &machine_code).as_bytes(),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

fn version(engine: &Engine, machine_code: &[u8]) -> String {
    // The hash covers wasmtime's version, the compiler's settings and the CPU's features.
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let hash = Sha256::digest(machine_code);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("fermata wasm artifact 1\nengine {:016x}\nsha256 {hex}\n", hasher.finish())
}
