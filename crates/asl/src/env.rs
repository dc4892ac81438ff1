//! What an expression may see while it is evaluated, and how it fails.

use std::cell::Cell;
use std::collections::BTreeMap;

use model::Timestamp;
use serde_json::Value;

/// Everything an expression of a state may read: path, intrinsic, payload template or JSONata.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// `$` of a JSONPath, `$states.input` of JSONata.
    pub input: &'a Value,
    /// `$$` of a JSONPath, `$states.context` of JSONata.
    pub context: &'a dyn Context,
    /// `$name`.
    pub variables: &'a dyn Variables,
    /// `$states.result` of JSONata, where the state has one yet.
    pub result: Option<&'a Value>,
    /// `$states.errorOutput` of JSONata, inside of a catcher.
    pub error_output: Option<&'a Value>,
    /// The time of this step.
    pub now: Timestamp,
    /// Draws of this step: `States.UUID`, `States.MathRandom`, `$random`, `$uuid`.
    pub random: &'a Random,
}

/// What `$$` stands for. One may make it only when something reads it.
pub trait Context {
    /// The context object.
    fn value(&self) -> &Value;
}

impl Context for Value {
    fn value(&self) -> &Value {
        self
    }
}

/// The variables in scope.
pub trait Variables {
    /// The value of one, the innermost scope first.
    fn get(&self, name: &str) -> Option<&Value>;
    /// Calls `each` once for every variable in scope.
    fn for_each(&self, each: &mut dyn FnMut(&str, &Value));
}

impl Variables for BTreeMap<String, Value> {
    fn get(&self, name: &str) -> Option<&Value> {
        BTreeMap::get(self, name)
    }

    fn for_each(&self, each: &mut dyn FnMut(&str, &Value)) {
        for (name, value) in self {
            each(name, value);
        }
    }
}

/// A seeded generator: the same seed gives the same draws.
#[derive(Debug)]
pub struct Random(Cell<u64>);

impl Random {
    /// A generator that begins at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// The next 64 random bits (SplitMix64).
    pub fn draw(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A random UUID.
    #[must_use]
    pub fn uuid(&self) -> String {
        let (high, low) = (self.draw(), self.draw());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            (low >> 48 & 0x3fff) | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }

    /// What a later generator must begin at to go on where this one stands.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.0.get()
    }
}

/// Why an expression gave no value: what a state machine sees as `Error` and `Cause`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {cause}")]
pub struct EvalError {
    /// Its name, which retriers and catchers match.
    pub name: ErrorName,
    /// AWS's words.
    pub cause: String,
    /// The field of the state in which it stood (`Output/result`), where AWS tells it.
    pub location: Option<String>,
}

impl EvalError {
    /// An error of that name.
    pub fn new(name: ErrorName, cause: impl Into<String>) -> Self {
        Self { name, cause: cause.into(), location: None }
    }

    /// The same, in that field of the state.
    #[must_use]
    pub fn at(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }
}

/// The names of errors that the language itself raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorName {
    /// `States.BranchFailed`
    BranchFailed,
    /// `States.DataLimitExceeded`
    DataLimitExceeded,
    /// `States.ExceedToleratedFailureThreshold`
    ExceedToleratedFailureThreshold,
    /// `States.HeartbeatTimeout`
    HeartbeatTimeout,
    /// `States.Http.Socket`
    HttpSocket,
    /// `States.IntrinsicFailure`
    IntrinsicFailure,
    /// `States.ItemReaderFailed`
    ItemReaderFailed,
    /// `States.NoChoiceMatched`
    NoChoiceMatched,
    /// `States.ParameterPathFailure`
    ParameterPathFailure,
    /// `States.Permissions`
    Permissions,
    /// `States.QueryEvaluationError`
    QueryEvaluationError,
    /// `States.ResultPathMatchFailure`
    ResultPathMatchFailure,
    /// `States.ResultWriterFailed`
    ResultWriterFailed,
    /// `States.Runtime`
    Runtime,
    /// `States.TaskFailed`
    TaskFailed,
    /// `States.Timeout`
    Timeout,
}

impl ErrorName {
    /// The name as a state machine sees it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BranchFailed => "States.BranchFailed",
            Self::DataLimitExceeded => "States.DataLimitExceeded",
            Self::ExceedToleratedFailureThreshold => "States.ExceedToleratedFailureThreshold",
            Self::HeartbeatTimeout => "States.HeartbeatTimeout",
            Self::HttpSocket => "States.Http.Socket",
            Self::IntrinsicFailure => "States.IntrinsicFailure",
            Self::ItemReaderFailed => "States.ItemReaderFailed",
            Self::NoChoiceMatched => "States.NoChoiceMatched",
            Self::ParameterPathFailure => "States.ParameterPathFailure",
            Self::Permissions => "States.Permissions",
            Self::QueryEvaluationError => "States.QueryEvaluationError",
            Self::ResultPathMatchFailure => "States.ResultPathMatchFailure",
            Self::ResultWriterFailed => "States.ResultWriterFailed",
            Self::Runtime => "States.Runtime",
            Self::TaskFailed => "States.TaskFailed",
            Self::Timeout => "States.Timeout",
        }
    }
}

impl std::fmt::Display for ErrorName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
