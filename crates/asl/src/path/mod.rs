//! JSONPath as Step Functions reads it: the Jayway dialect, with `$$` for the context object and
//! `$name` for variables.
//!
//! A *definite* path names one place and gives its value, or fails where nothing is there. Any other path
//! gives an array of all that it matches, an empty one where its beginning is missing.

mod evaluate;
mod filter;
mod function;
mod parse;
mod reference;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::env::{Env, ErrorName, EvalError};
use filter::Filter;
use function::Function;
pub use parse::ParseError;
pub(crate) use parse::{Cursor, path_at};
pub use reference::ReferencePath;

/// How deep a value may nest: a deeper one is refused where it would come to be.
pub const DEPTH_MAX: usize = 500;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    text: String,
    root: Root,
    steps: Vec<Step>,
    function: Option<Function>,
}

/// Where a path begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// `$`: the input.
    Input,
    /// `$$`: the context object.
    Context,
    /// `$name`: a variable.
    Variable(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// `.name`, `['name']`.
    Property(String),
    /// `['a','b']`.
    Properties(Vec<String>),
    /// `[3]`, `[-1]`.
    Index(i64),
    /// `[0,2]`.
    Indexes(Vec<i64>),
    /// `[1:5]`.
    Slice(Option<i64>, Option<i64>),
    /// `.*`, `[*]`.
    Wildcard,
    /// `..`, before the step that is looked for everywhere below.
    Descend,
    /// `[?(…)]`.
    Filter(Filter),
}

/// Why a definite path gave nothing, in the words of the library that AWS uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFound(pub String);

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong and at which character.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::path(text)
    }

    /// The path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where it begins.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// Whether it names exactly one place.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        self.function.is_some() || evaluate::is_definite(&self.steps)
    }

    /// What it gives, or AWS's error for a field such as `InputPath`.
    ///
    /// # Errors
    /// `States.Runtime` where a definite path finds nothing, or a function of it is given what it cannot take.
    pub fn query(&self, env: &Env<'_>) -> Result<Value, EvalError> {
        self.find(env).map_err(|NotFound(detail)| {
            EvalError::new(ErrorName::Runtime, format!("Invalid path '{}' : {detail}", self.text))
        })
    }

    /// What it gives; for callers that word the error themselves.
    ///
    /// # Errors
    /// As [`Path::query`], without AWS's frame around it.
    pub fn find(&self, env: &Env<'_>) -> Result<Value, NotFound> {
        let missing = Value::Null;
        let root = match &self.root {
            Root::Input => env.input,
            Root::Context => env.context.value(),
            Root::Variable(name) => match env.variables.get(name) {
                Some(value) => value,
                None if self.is_definite() => {
                    return Err(NotFound(format!("No results for path: $['{name}']")));
                }
                None => &missing,
            },
        };
        self.find_in(root)
    }

    /// What it gives in one value, whatever its root is called.
    ///
    /// # Errors
    /// As [`Path::find`].
    pub fn find_in(&self, root: &Value) -> Result<Value, NotFound> {
        let definite = evaluate::is_definite(&self.steps);
        let found = match evaluate::steps(root, root, &self.steps) {
            Ok(found) => found,
            Err(NotFound(_)) if !definite => Vec::new(),
            Err(not_found) => return Err(not_found),
        };
        if let Some(function) = &self.function {
            return function.apply(root, found, definite).map(evaluate::Found::into_value);
        }
        if !definite {
            return Ok(Value::Array(found.into_iter().map(evaluate::Found::into_value).collect()));
        }
        match found.into_iter().next() {
            Some(value) => Ok(value.into_value()),
            None => {
                Err(NotFound(format!("No results for path: {}", evaluate::render(&self.steps))))
            }
        }
    }
}

/// Whether a value nests deeper than `depth_max` levels.
pub(crate) fn is_deeper(value: &Value, depth_max: usize) -> bool {
    match value {
        Value::Array(items) => {
            depth_max == 0 || items.iter().any(|item| is_deeper(item, depth_max - 1))
        }
        Value::Object(fields) => {
            depth_max == 0 || fields.values().any(|item| is_deeper(item, depth_max - 1))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
