//! Large pages for simulations: a large cluster is hundreds of megabytes that are read here and there,
//! and each page of 4 KiB that the processor does not know costs it a walk through tables.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Where the C library reads settings when a process starts.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Begins this process anew with its heap in large pages, where nobody has set that up. The heaps of
/// other threads than the first are not in them. Where it cannot be done, things go on as they are.
pub(super) fn want_large() {
    if cfg!(not(target_env = "gnu")) || std::env::var_os(TUNABLES).is_some() {
        return;
    }
    let Ok(this) = std::env::current_exe() else { return };
    let mut again = Command::new(this);
    again.args(std::env::args_os().skip(1)).env(TUNABLES, "glibc.malloc.hugetlb=1");
    let error = again.exec();
    tracing::debug!(%error, "the heap stays in small pages");
}
