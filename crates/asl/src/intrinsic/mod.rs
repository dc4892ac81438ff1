//! Intrinsic functions: `States.Format('Hello {}', $.name)`.

mod functions;
mod parse;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::env::{Env, ErrorName, EvalError};
use crate::path::{NotFound, ParseError, Path};
use functions::Function;
pub(crate) use functions::{hash, java_text, parse_json, uuid};

/// What a field may hold where a value is computed: a path or a call of an intrinsic function.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Path(Path),
    Call(Call),
}

#[derive(Clone, Debug, PartialEq)]
struct Call {
    function: Function,
    arguments: Vec<Argument>,
}

#[derive(Clone, Debug, PartialEq)]
enum Argument {
    Path(Path),
    Call(Call),
    Value(Value),
    /// A text in quotes: what `States.Format` reads keeps its escapes, everything else reads `plain`.
    Text {
        plain: String,
        raw: String,
    },
}

/// Why a call gave no value, without AWS's frame around it.
enum Failed {
    NotFound(String),
    Refused(&'static str),
}

impl Expression {
    /// Reads a path or a call.
    ///
    /// # Errors
    /// What is wrong and where: an unknown function, a wrong count of arguments, a quote without end, an
    /// illegal escape.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let kind = if text.starts_with('$') {
            Kind::Path(Path::parse(text)?)
        } else {
            Kind::Call(parse::call(text)?)
        };
        Ok(Self { text: text.to_owned(), kind })
    }

    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path, if it is one.
    #[must_use]
    pub const fn as_path(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Path(path) => Some(path),
            Kind::Call(_) => None,
        }
    }

    /// Calls `each` with every path it reads, arguments of calls included.
    pub fn paths(&self, each: &mut dyn FnMut(&Path)) {
        match &self.kind {
            Kind::Path(path) => each(path),
            Kind::Call(call) => call.paths(each),
        }
    }

    /// Its value, errors worded for a field of its own such as `InputPath`.
    ///
    /// # Errors
    /// `States.Runtime`, in AWS's words.
    pub fn evaluate(&self, env: &Env<'_>) -> Result<Value, EvalError> {
        match &self.kind {
            Kind::Path(path) => path.query(env),
            Kind::Call(call) => self.call(call, env),
        }
    }

    /// Its value, errors worded for a field of a payload template, or one such as `ErrorPath`.
    ///
    /// # Errors
    /// `States.Runtime`, in AWS's words.
    pub fn evaluate_field(&self, field: &str, env: &Env<'_>) -> Result<Value, EvalError> {
        match &self.kind {
            Kind::Path(path) => path.find(env).map_err(|NotFound(_)| {
                let cause = format!(
                    "The JSONPath '{}' specified for the field '{field}' could not be found in the input '{}'",
                    self.text, env.input
                );
                EvalError::new(ErrorName::Runtime, cause)
            }),
            Kind::Call(call) => self.call(call, env),
        }
    }

    fn call(&self, call: &Call, env: &Env<'_>) -> Result<Value, EvalError> {
        call.evaluate(env).map_err(|failed| {
            let detail = match failed {
                Failed::NotFound(path) => format!(
                    "The JsonPath argument for the field '{path}' could not be found in the input '{}'",
                    env.input
                ),
                Failed::Refused(function) => format!("Invalid arguments in {function}"),
            };
            EvalError::new(
                ErrorName::Runtime,
                format!("The function '{}' had the following error: {detail}", self.text),
            )
        })
    }
}

impl Call {
    fn evaluate(&self, env: &Env<'_>) -> Result<Value, Failed> {
        let mut values = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            values.push(match argument {
                Argument::Path(path) => path
                    .find(env)
                    .map_err(|NotFound(_)| Failed::NotFound(path.as_str().to_owned()))?,
                Argument::Call(call) => call.evaluate(env)?,
                Argument::Value(value) => value.clone(),
                Argument::Text { plain, raw } => {
                    let format = self.function == Function::Format && values.is_empty();
                    Value::String(if format { raw.clone() } else { plain.clone() })
                }
            });
        }
        self.function.apply(values, env.random).ok_or_else(|| Failed::Refused(self.function.name()))
    }

    fn paths(&self, each: &mut dyn FnMut(&Path)) {
        for argument in &self.arguments {
            match argument {
                Argument::Path(path) => each(path),
                Argument::Call(call) => call.paths(each),
                Argument::Value(_) | Argument::Text { .. } => {}
            }
        }
    }
}
