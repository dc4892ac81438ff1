//! What can go wrong, by what the caller can do about it.

use std::io;
use std::path::PathBuf;

/// The result of every method of [`Store`](crate::Store).
pub type Result<T> = std::result::Result<T, Error>;

/// Why the store did not do what was asked. Whatever the variant, nothing was applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing, or it belongs to another tenant. Repeating will not help.
    #[error("no such {what}: {name}")]
    NotFound {
        /// The sort of thing: `function`, `key`, `dead letter` and so on.
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// There is already one of that name with other content. Choose another name.
    #[error("{what} {name} already exists with other content")]
    Conflict {
        /// The sort of thing.
        what: &'static str,
        /// What was to be created.
        name: String,
    },
    /// The disk, or the size allowed to the store, is full. Repeat once there is room.
    #[error("no room left on the disk of the store")]
    Full,
    /// The store is busy or a fault is passing. Repeat after a short wait.
    #[error("store is busy: {reason}")]
    Transient {
        /// What was in the way.
        reason: String,
    },
    /// What is stored cannot be right. A person must look; the store should not be written to.
    #[error("stored data is damaged: {reason}")]
    Corrupt {
        /// What was found and where.
        reason: String,
    },
    /// A newer version of Fermata wrote this store. Run that version, or restore a backup.
    #[error("store has schema version {found}, this program knows versions up to {supported}")]
    NewerVersion {
        /// The version found.
        found: u32,
        /// The newest version this program can use.
        supported: u32,
    },
    /// Another process has this data directory open. Stop it, or choose another directory.
    #[error("another process uses the data directory {}", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// What was given cannot be right. Change it.
    #[error("{what} is malformed: {reason}")]
    Invalid {
        /// The sort of thing.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system or the database refused, and waiting is not known to help.
    #[error("cannot {attempt}")]
    Io {
        /// What was attempted: verb and object.
        attempt: String,
        /// What the layer below said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Whether repeating the same call later may succeed without anybody changing the call.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Full | Self::Transient { .. } => true,
            Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::Corrupt { .. }
            | Self::NewerVersion { .. }
            | Self::Locked { .. }
            | Self::Invalid { .. }
            | Self::Io { .. } => false,
        }
    }

    pub(crate) fn from_io(attempt: String, error: io::Error) -> Self {
        use io::ErrorKind::{QuotaExceeded, ResourceBusy, StorageFull};
        let kind = error.kind();
        if matches!(kind, StorageFull | QuotaExceeded) {
            return Self::Full;
        }
        if kind == ResourceBusy {
            return Self::Transient { reason: error.to_string() };
        }
        Self::Io { attempt, source: Box::new(error) }
    }

    pub(crate) fn not_found(what: &'static str, name: &impl ToString) -> Self {
        Self::NotFound { what, name: name.to_string() }
    }

    pub(crate) fn conflict(what: &'static str, name: &impl ToString) -> Self {
        Self::Conflict { what, name: name.to_string() }
    }
}

/// An error with all that lies beneath it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let beneath = std::iter::successors(error.source(), |error| error.source());
    beneath.fold(error.to_string(), |text, error| format!("{text}: {error}"))
}
