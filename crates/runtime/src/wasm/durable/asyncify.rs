//! The pass that lets a function's stack be put into its memory and taken out again: binaryen's
//! `wasm-opt --asyncify`, run once in the life of a version.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::module::Module;
use crate::executor::PrepareError;

/// The tool's name on `PATH`.
const TOOL: &str = "wasm-opt";
/// What modules may use. Each is known to the oldest release that works (108).
const FEATURES: [&str; 7] = [
    "--enable-bulk-memory",
    "--enable-sign-ext",
    "--enable-nontrapping-float-to-int",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
    "--enable-simd",
];
/// Later releases made features of their own of parts of these.
const FEATURES_LATER: [&str; 2] = ["--enable-bulk-memory-opt", "--enable-call-indirect-overlong"];
const LATER: u32 = 120;
const CURE: &str = "a function that suspends in the middle of a call needs binaryen's wasm-opt at \
    its deploy: install binaryen (Debian: apt-get install binaryen; npm: binaryen) on the server, \
    or name the program by FERMATA_WASM_OPT; functions that return and are resumed do not need it";

/// Runs the pass over a module. `imports` may suspend, each as `module.name`.
///
/// # Errors
/// No tool, or what it says.
pub(super) fn run(
    tool: Option<&Path>,
    module: &Module<'_>,
    bytes: &[u8],
    imports: &str,
) -> Result<Vec<u8>, PrepareError> {
    let tool = tool.map_or_else(|| PathBuf::from(TOOL), Path::to_owned);
    let version = version(&tool)?;
    let scratch = Scratch::new().map_err(PrepareError::Io)?;
    let (from, to) = (scratch.0.join("in.wasm"), scratch.0.join("out.wasm"));
    std::fs::write(&from, bytes).map_err(PrepareError::Io)?;
    let mut command = Command::new(&tool);
    command.arg(&from).arg("-o").arg(&to).arg("--asyncify").args(["-O2", "--pass-arg"]);
    command.arg(format!("asyncify-imports@{imports}")).args(FEATURES);
    if version >= LATER {
        command.args(FEATURES_LATER);
    }
    if module.custom("name").is_some() {
        // Function names, for the place of a trap.
        command.arg("-g");
    }
    let output = command.output().map_err(|error| missing(&tool, &error))?;
    if !output.status.success() {
        return Err(PrepareError::Package { reason: format!("wasm-opt: {}", words(&output)) });
    }
    std::fs::read(&to).map_err(PrepareError::Io)
}

fn version(tool: &Path) -> Result<u32, PrepareError> {
    let output = Command::new(tool).arg("--version").output();
    let output = output.map_err(|error| missing(tool, &error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.split_whitespace().find_map(|word| word.parse().ok());
    number.ok_or_else(|| missing(tool, &io::Error::other("it does not say its version")))
}

fn missing(tool: &Path, error: &io::Error) -> PrepareError {
    let reason = format!("{} cannot be run ({error}); {CURE}", tool.display());
    PrepareError::Runtime { runtime: "wasm".into(), reason }
}

/// The end of what a tool said.
fn words(output: &Output) -> String {
    const BYTES_MAX: usize = 2000;
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.trim();
    let from = text.len().saturating_sub(BYTES_MAX);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    match &text[from..] {
        "" => output.status.to_string(),
        said => said.to_owned(),
    }
}

/// A folder that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(io::Error::other)?;
        let name = format!("fermata-asyncify-{:016x}", u64::from_le_bytes(number));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind in the system's folder for temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
