//! Programs in interpreted languages as packages: the language's runner with the program in it.

use super::durable;

/// QuickJS-ng with the runner of `sdk/javascript-wasm`, as `cargo xtask guests` builds it.
const JAVASCRIPT: &[u8] = include_bytes!("../../../../sdk/javascript-wasm/javascript.wasm");

/// The package of a durable function in JavaScript. `source` is an ES module that exports the
/// function as default or as `handler`.
///
/// # Errors
/// A source that contains a NUL.
pub fn javascript(source: &str) -> Result<Vec<u8>, String> {
    with_arguments(JAVASCRIPT, &[source])
}

/// What runs a durable function in Python.
const PYTHON_RUNNER: &str = include_str!("../../../../sdk/python-wasm/runner.py");
/// Isolated, without `site`, without bytecode files, UTF-8.
const PYTHON_FLAGS: [&str; 7] = ["-I", "-S", "-B", "-X", "utf8", "-c", PYTHON_RUNNER];

/// The package of a durable function in Python. `interpreter` is CPython as a WASI program, best one
/// that went through the asyncify pass already, as `cargo xtask guests` makes it; `source` is a module
/// with a function `handler`.
///
/// # Errors
/// A source that contains a NUL.
pub fn python(interpreter: &[u8], source: &str) -> Result<Vec<u8>, String> {
    let arguments: Vec<&str> = PYTHON_FLAGS.into_iter().chain([source]).collect();
    let mut package = with_arguments(interpreter, &arguments)?;
    durable::mark_channel(&mut package);
    Ok(package)
}

/// Whether a module may suspend in the middle of a call, which its deploy needs `wasm-opt` for.
#[must_use]
pub fn waits_in_calls(module: &[u8]) -> bool {
    durable::waits_in_calls(module)
}

fn with_arguments(runner: &[u8], arguments: &[&str]) -> Result<Vec<u8>, String> {
    if arguments.iter().any(|argument| argument.contains('\0')) {
        return Err("the program contains a NUL".into());
    }
    let mut package = runner.to_vec();
    durable::append_arguments(&mut package, &arguments.join("\0"));
    Ok(package)
}
