//! A temporary folder that is removed at the end, also when the user ends the program early.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

/// The folder. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Folder {
    folder: TempDir,
    armed: Arc<AtomicBool>,
}

impl Folder {
    /// Makes it. From now on, SIGINT and SIGTERM remove it and end the program.
    pub(crate) fn make(prefix: &str) -> anyhow::Result<Self> {
        Self::make_in(&std::env::temp_dir(), prefix)
    }

    /// The same below another folder than the system's for temporary ones.
    pub(crate) fn make_in(parent: &Path, prefix: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
        let folder = folder.context("make a temporary folder")?;
        let armed = Arc::new(AtomicBool::new(true));
        let (path, is_armed) = (folder.path().to_owned(), Arc::clone(&armed));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("listen for signals")?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            let listen = |kind| signal(kind).context("listen for signals");
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
        };
        thread::Builder::new()
            .name("cleanup".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                });
                if is_armed.load(Ordering::SeqCst) {
                    remove_and_end(&path);
                }
            })
            .context("start the thread that cleans up")?;
        Ok(Self { folder, armed })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// From now on somebody else handles the next signal.
    pub(crate) fn disarm(&self) {
        self.armed.store(false, Ordering::SeqCst);
    }
}

/// The platforms that use the folder end with this process ([`super::platform`]).
#[expect(clippy::exit, reason = "the other threads are in the middle of a measurement")]
fn remove_and_end(path: &Path) {
    /// As a shell tells it of a program that was interrupted.
    const INTERRUPTED: i32 = 130;
    // What a server still writes there is the system's to clean.
    let _ = std::fs::remove_dir_all(path);
    std::process::exit(INTERRUPTED);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_there_until_it_is_dropped() {
        let folder = Folder::make("fermata-test-").unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
    }
}
