//! What is wrong with a definition, in AWS's words.

use std::fmt;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its sort.
    pub code: Code,
    /// Whether the definition is refused for it.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where: `/States/Name/Field`, or a place in the text if it is no JSON.
    pub location: Option<String>,
}

/// Whether a definition is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is not.
    Warning,
    /// It is.
    Error,
}

impl Severity {
    /// As AWS writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// The sorts of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "AWS names them so")]
pub enum Code {
    DuplicateLabelName,
    DuplicateStateName,
    InvalidJsonDescription,
    InvalidLabelName,
    InvalidStateName,
    MissingEndState,
    MissingTransitionTarget,
    NoDollar,
    NoPath,
    PassResultIsStatic,
    SchemaValidationFailed,
    TooDeeplyNested,
}

impl Code {
    /// As AWS writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DuplicateLabelName => "DUPLICATE_LABEL_NAME",
            Self::DuplicateStateName => "DUPLICATE_STATE_NAME",
            Self::InvalidJsonDescription => "INVALID_JSON_DESCRIPTION",
            Self::InvalidLabelName => "INVALID_LABEL_NAME",
            Self::InvalidStateName => "INVALID_STATE_NAME",
            Self::MissingEndState => "MISSING_END_STATE",
            Self::MissingTransitionTarget => "MISSING_TRANSITION_TARGET",
            Self::NoDollar => "NO_DOLLAR",
            Self::NoPath => "NO_PATH",
            Self::PassResultIsStatic => "PASS_RESULT_IS_STATIC",
            Self::SchemaValidationFailed => "SCHEMA_VALIDATION_FAILED",
            Self::TooDeeplyNested => "TOO_DEEPLY_NESTED",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)?;
        match &self.location {
            Some(location) if self.code != Code::InvalidJsonDescription => {
                write!(f, " at {location}")
            }
            _ => Ok(()),
        }
    }
}

/// What CreateStateMachine answers to a definition with these errors.
#[must_use]
pub fn summary(problems: &[Problem]) -> String {
    let errors: Vec<String> = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    format!("Invalid State Machine Definition: '{}'", errors.join(", "))
}
