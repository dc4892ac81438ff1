//! What a node refuses, by what the caller can do about it.

use std::time::Duration;

/// A request that the node did not carry out. A function that fails is not an error: see
/// [`crate::Invoked`].
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What the caller can do about it.
    pub kind: ErrorKind,
    /// For a person: the thing, the place, and the cure.
    pub message: String,
    /// When a retry may succeed.
    pub retry_after: Option<Duration>,
    /// What lies beneath, for the log.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The sorts of refusal. [`ErrorKind::code`] is public and never changes; `docs/errors.md` gives
/// cause and cure of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// No credentials, or wrong or revoked ones.
    Unauthenticated,
    /// The key may not do this.
    Forbidden,
    /// The stated class is above what the key allows.
    ClassNotAllowed,
    /// No such class in the price list.
    UnknownClass,
    /// No such function, or no such version of it.
    UnknownFunction,
    /// No such invocation.
    UnknownInvocation,
    /// No such dead letter, execution, tenant or key.
    NotFound,
    /// It exists already.
    Conflict,
    /// The execution has ended.
    ExecutionEnded,
    /// The callback token is forged, foreign, used or expired.
    TokenRefused,
    /// A name, setting or parameter is malformed.
    Invalid,
    /// The code package is malformed, unsafe or too large.
    BadPackage,
    /// The runtime is unknown or not available on this machine.
    UnavailableRuntime,
    /// The payload is over the cap.
    PayloadTooLarge,
    /// The call chain is too deep.
    TooDeep,
    /// The tenant's budget is spent.
    OverBudget,
    /// The queue is full.
    Overloaded,
    /// The node is shutting down.
    Draining,
    /// The node that has the execution is gone or just gives it away, and no other has it yet.
    OwnerAway,
    /// The store cannot write (disk full, locked, broken).
    Storage,
    /// A fault of the platform.
    Internal,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::Unauthenticated,
        Self::Forbidden,
        Self::ClassNotAllowed,
        Self::UnknownClass,
        Self::UnknownFunction,
        Self::UnknownInvocation,
        Self::NotFound,
        Self::Conflict,
        Self::ExecutionEnded,
        Self::TokenRefused,
        Self::Invalid,
        Self::BadPackage,
        Self::UnavailableRuntime,
        Self::PayloadTooLarge,
        Self::TooDeep,
        Self::OverBudget,
        Self::Overloaded,
        Self::Draining,
        Self::OwnerAway,
        Self::Storage,
        Self::Internal,
    ];

    /// The public code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::ClassNotAllowed => "class-not-allowed",
            Self::UnknownClass => "unknown-class",
            Self::UnknownFunction => "unknown-function",
            Self::UnknownInvocation => "unknown-invocation",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::ExecutionEnded => "execution-ended",
            Self::TokenRefused => "token-refused",
            Self::Invalid => "invalid",
            Self::BadPackage => "bad-package",
            Self::UnavailableRuntime => "unavailable-runtime",
            Self::PayloadTooLarge => "payload-too-large",
            Self::TooDeep => "too-deep",
            Self::OverBudget => "over-budget",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::OwnerAway => "owner-away",
            Self::Storage => "storage",
            Self::Internal => "internal",
        }
    }
}

impl ErrorKind {
    /// The kind of that code.
    pub(crate) fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

impl Error {
    /// An error without source.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, source: None }
    }

    /// The same with what lies beneath.
    #[must_use]
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The same with the time after which a retry may succeed.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}
