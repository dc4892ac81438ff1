//! Functions: named, versioned code.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::limits;

/// How a function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A WebAssembly core module: input on stdin, output on stdout.
    Wasm,
    /// A sandboxed process that speaks the Lambda Runtime API.
    Process,
    /// A definition in the Amazon States Language, interpreted turn by turn.
    StateMachine,
    /// A list of functions, each called with what the one before answered.
    Sequence,
}

/// Whether a function may suspend, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durable {
    /// It runs to its end in one go.
    #[default]
    No,
    /// A Wasm function that waits at any call depth: its stack is saved with its memory.
    Stackful,
    /// A Wasm function that registers what it waits for and returns: its memory is saved.
    Quiescent,
    /// It answers what shall wake it and its state, and is called again with both.
    Explicit,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Wasm, Self::Process, Self::StateMachine, Self::Sequence];

    /// The glossary's word for the kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Process => "process",
            Self::StateMachine => "state-machine",
            Self::Sequence => "sequence",
        }
    }

    /// The kind that [`Kind::as_str`] calls so.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl Durable {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::No, Self::Stackful, Self::Quiescent, Self::Explicit];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Stackful => "stackful",
            Self::Quiescent => "quiescent",
            Self::Explicit => "explicit",
        }
    }

    /// The way that [`Durable::as_str`] calls so.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|durable| durable.as_str() == word)
    }
}

/// A function's name: 1 to 64 of letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionName(String);

/// A text that cannot name a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameError;

/// A version of a function, counted from 1. Published versions never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32);

impl FunctionName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FunctionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        let fits = (1..=limits::NAME_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(allowed) { Ok(Self(text.into())) } else { Err(NameError) }
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a function name is 1 to 64 of letters, digits, - and _")
    }
}

impl core::error::Error for NameError {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
