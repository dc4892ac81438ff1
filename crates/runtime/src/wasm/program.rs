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
