//! How an invocation ended. A function that fails is data, not an error of the platform.

use alloc::string::String;
use alloc::vec::Vec;

/// What a function gave back: bytes, or a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function's answer, as it wrote it.
    Ok(Vec<u8>),
    /// The function failed, or was ended.
    Failed(Failure),
}

/// Why an invocation gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What sort of failure.
    pub kind: FailureKind,
    /// For a person: what happened, and where the function said more, its words.
    pub message: String,
    /// What the handler threw, as its runtime reported it (JSON), where there is any.
    pub detail: Option<Vec<u8>>,
}

/// The sorts of failure. [`FailureKind::code`] is public and never changes; `docs/errors.md` gives
/// cause and cure of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// The handler reported an error or threw.
    Handler,
    /// The code could not be loaded: an import error, no such handler, a missing bootstrap.
    Init,
    /// The function ended without an answer: a process exit, a Wasm exit code other than zero.
    Exited,
    /// A Wasm trap: unreachable, out-of-bounds access, stack overflow, division by zero.
    Trapped,
    /// Ended at the function's time limit.
    TimedOut,
    /// Ended because memory ran out.
    OutOfMemory,
    /// What the function answered is not what its runtime promises (garbage on the Runtime API).
    BadResponse,
    /// The answer is larger than the payload cap.
    ResponseTooLarge,
    /// Ended by an operator or because the server stopped.
    Cancelled,
    /// The platform could not run it: no sandbox, no interpreter, the code is gone from the disk.
    Platform,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Handler,
        Self::Init,
        Self::Exited,
        Self::Trapped,
        Self::TimedOut,
        Self::OutOfMemory,
        Self::BadResponse,
        Self::ResponseTooLarge,
        Self::Cancelled,
        Self::Platform,
    ];

    /// The public code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Handler => "handler-error",
            Self::Init => "init-error",
            Self::Exited => "exited",
            Self::Trapped => "trapped",
            Self::TimedOut => "timed-out",
            Self::OutOfMemory => "out-of-memory",
            Self::BadResponse => "bad-response",
            Self::ResponseTooLarge => "response-too-large",
            Self::Cancelled => "cancelled",
            Self::Platform => "platform-error",
        }
    }

    /// The kind of that public code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

impl Failure {
    /// A failure without detail.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: None }
    }
}
