//! Finds or builds the shop's native function.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BINARY: &str = "shop-thumbnail";
const PACKAGE: &str = "fermata-shop-thumbnail";

/// The executable of the thumbnail function: beside this program, or built by cargo where this
/// program lies in the target folder of its own source tree.
///
/// # Errors
/// Says for a person why there is none and what to do.
pub(crate) fn executable(say_building: impl FnOnce()) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let beside = own.with_file_name(BINARY);
    if beside.is_file() {
        return Ok(beside);
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = own.parent().and_then(Path::parent).filter(|folder| is_cargo_target(folder));
    let (true, Some(target)) = (workspace.join("Cargo.lock").is_file(), target) else {
        return Err(format!("{} is missing: build it with {}", beside.display(), hint()));
    };
    say_building();
    build(&workspace, target)
}

/// Cargo marks its folders as caches.
fn is_cargo_target(folder: &Path) -> bool {
    folder.join("CACHEDIR.TAG").is_file()
}

fn build(workspace: &Path, target: &Path) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--package", PACKAGE, "--target-dir"])
        .arg(target)
        .current_dir(workspace)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("run {}: {error}", hint()))?;
    let built = target.join("release").join(BINARY);
    if output.status.success() && built.is_file() {
        return Ok(built);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} failed:\n{}", hint(), said.trim_end()))
}

fn hint() -> String {
    format!("cargo build --release -p {PACKAGE}")
}
