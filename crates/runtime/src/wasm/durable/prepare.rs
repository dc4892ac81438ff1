//! What the deploy of a durable function makes of its module.

use std::path::Path;

use super::module::Module;
use super::{FRAMES, RESUME, asyncify, imports, rewrite};
use crate::executor::PrepareError;

/// What a program does that asks through the channel and waits.
const CHANNEL_READ: &str = "wasi_snapshot_preview1.fd_read";

/// Refuses a module for what of it cannot be saved. One that is malformed is left to the compiler,
/// which says better what is wrong.
///
/// # Errors
/// All that is in the way, at once.
pub(in super::super) fn check(bytes: &[u8]) -> Result<(), PrepareError> {
    let obstacles = Module::parse(bytes).and_then(|module| module.obstacles());
    match obstacles {
        Ok(obstacles) if !obstacles.is_empty() => {
            let reason = format!("it cannot be suspended: {}", obstacles.join("; "));
            Err(PrepareError::Package { reason })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether code of it runs as soon as it is instantiated, or that cannot be told.
pub(in super::super) fn has_start(bytes: &[u8]) -> bool {
    Module::parse(bytes).map_or(true, |module| module.start.is_some())
}

/// The module as it is to be stored. None where it was made ready before.
///
/// # Errors
/// It waits and cannot be resumed; no tool; what the tool says.
pub(in super::super) fn instrument(
    tool: Option<&Path>,
    bytes: &[u8],
) -> Result<Option<Vec<u8>>, PrepareError> {
    let refused = |reason: String| PrepareError::Package { reason };
    let module = Module::parse(bytes).map_err(refused)?;
    if rewrite::is_marked(&module) {
        rewrite::layout(bytes).map_err(refused)?;
        return Ok(None);
    }
    let imports = suspending(&module).map_err(refused)?;
    let was_passed = module.exported_function("asyncify_get_state").is_some();
    let passed = match imports {
        Some(imports) if !was_passed => Some(asyncify::run(tool, &module, bytes, &imports)?),
        Some(_) | None => None,
    };
    let rewritten = rewrite::rewrite(passed.as_deref().unwrap_or(bytes)).map_err(refused)?;
    rewrite::layout(&rewritten).map_err(refused)?;
    Ok(Some(rewritten))
}

/// Whether it may suspend in the middle of a call.
pub(in super::super) fn waits_in_calls(bytes: &[u8]) -> bool {
    Module::parse(bytes).is_ok_and(|module| {
        module.imports("fermata", imports::WAIT) || rewrite::has_channel(&module)
    })
}

/// The imports in the middle of which it may wait; none where it only waits between calls.
fn suspending(module: &Module<'_>) -> Result<Option<String>, String> {
    if rewrite::has_channel(module) {
        return Ok(Some(CHANNEL_READ.into()));
    }
    let resumes = module.exported_function(RESUME).is_some();
    if module.imports("fermata", imports::WAIT) {
        if module.exported_function(FRAMES).is_none() {
            return Err(format!(
                "it imports fermata.wait and exports no {FRAMES}, which tells where its stack may \
                 go while it waits (fermata.h has it)"
            ));
        }
        return Ok(Some(format!("fermata.{}", imports::WAIT)));
    }
    if module.imports("fermata", "await") && !resumes {
        return Err(format!("it imports fermata.await and exports no {RESUME}"));
    }
    Ok(None)
}
