//! JSONata, fenced: an expression of a user ends within limits of time, memory and depth, with AWS's error.
//!
//! The evaluator is `jsonata-core`. It checks time and depth between nodes, so what this module adds is that
//! no single operation in between can run away: [`fence`] rewrites each expression such that everything that
//! makes a value larger is charged before it runs. The only clock is inside of that library, as a limit.

mod convert;
mod fence;
mod functions;
mod names;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Context, Evaluator, EvaluatorOptions};
use jsonata_core::value::JValue;
use serde_json::{Map, Value};

use crate::env::{Env, ErrorName, EvalError};
use crate::path::DEPTH_MAX;
use convert::Budget;
pub use names::Names;

/// Bytes of source that one expression may have, and brackets that may stand in each other in it.
const SOURCE_BYTES_MAX: usize = 256 * 1024;
const SOURCE_NESTING_MAX: usize = 100;

/// What one evaluation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Milliseconds.
    pub time_ms: u64,
    /// Size of one value: 8 for a number, 1 for each byte of a text.
    pub value_size: u64,
    /// Size of all values made on the way, together.
    pub total_size: u64,
    /// Evaluations that wait for each other: calls in calls.
    pub depth: usize,
}

impl Limits {
    /// Within AWS's own limits, except for the time, of which AWS gives 5 s.
    pub const DEFAULT: Self =
        Self { time_ms: 1_000, value_size: 6_990_256, total_size: 48 << 20, depth: 1_000 };
}

/// A parsed expression, fenced.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    fenced: AstNode,
    names: Names,
}

/// Why a text is not an expression, in the parser's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

/// The expression inside of `{% … %}`, if the text is one.
#[must_use]
pub fn unwrap(text: &str) -> Option<&str> {
    text.strip_prefix("{%")?.strip_suffix("%}").map(str::trim)
}

impl Expression {
    /// Reads an expression, without the `{% %}` around it.
    ///
    /// # Errors
    /// The parser's words, beginning with JSONata's code of the error.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > SOURCE_BYTES_MAX || fence::nesting(text) > SOURCE_NESTING_MAX {
            return Err(ParseError(functions::too_deep()));
        }
        let parsed =
            jsonata_core::parser::parse(text).map_err(|error| ParseError(error.to_string()))?;
        let names = Names::of(&parsed);
        let fenced = fence::fence(parsed).ok_or_else(|| ParseError(functions::too_deep()))?;
        Ok(Self { text: text.to_owned(), fenced, names })
    }

    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it refers to outside of itself.
    #[must_use]
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// Its value; `field` is where it stands, as errors tell it: `Output/a/b[0]`.
    ///
    /// # Errors
    /// `States.QueryEvaluationError` in AWS's words, also where it gives nothing or a limit ends it.
    pub fn evaluate(&self, field: &str, env: &Env<'_>) -> Result<Value, EvalError> {
        self.evaluate_within(field, env, &Limits::DEFAULT)
    }

    /// As [`Expression::evaluate`], within these limits.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn evaluate_within(
        &self,
        field: &str,
        env: &Env<'_>,
        limits: &Limits,
    ) -> Result<Value, EvalError> {
        Session::new(env, *limits).evaluate(self, field)
    }
}

/// The value of one expression, given without the `{% %}` around it.
///
/// # Errors
/// `States.QueryEvaluationError`, as [`Expression::evaluate`].
pub fn evaluate(field: &str, text: &str, env: &Env<'_>) -> Result<Value, EvalError> {
    Session::new(env, Limits::DEFAULT).text(field, text)
}

/// The template with each text `{% … %}` replaced by its value; `field` is where the template stands.
///
/// # Errors
/// `States.QueryEvaluationError`, as [`Expression::evaluate`]; its location names the place in the template.
pub fn evaluate_template(field: &str, template: &Value, env: &Env<'_>) -> Result<Value, EvalError> {
    let made = node(field, template, &Session::new(env, Limits::DEFAULT), 0)?;
    if crate::path::is_deeper(&made, DEPTH_MAX) {
        return Err(refused(field, format!("The result nests deeper than {DEPTH_MAX} levels.")));
    }
    Ok(made)
}

fn node(
    field: &str,
    template: &Value,
    session: &Session<'_>,
    depth: usize,
) -> Result<Value, EvalError> {
    if depth > DEPTH_MAX {
        return Err(refused(field, format!("The template nests deeper than {DEPTH_MAX} levels.")));
    }
    match template {
        Value::String(text) => match unwrap(text) {
            Some(text) => session.text(field, text),
            None => Ok(template.clone()),
        },
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(at, item)| node(&format!("{field}[{at}]"), item, session, depth + 1))
                .collect()
        }
        Value::Object(fields) => {
            let mut made = Map::with_capacity(fields.len());
            for (name, item) in fields {
                made.insert(
                    name.clone(),
                    node(&format!("{field}/{name}"), item, session, depth + 1)?,
                );
            }
            Ok(Value::Object(made))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(template.clone()),
    }
}

fn refused(field: &str, cause: String) -> EvalError {
    EvalError::new(ErrorName::QueryEvaluationError, cause).at(field)
}

/// What several expressions of one field share: the values they read, converted once.
struct Session<'a> {
    env: &'a Env<'a>,
    limits: Limits,
    states: JValue,
    variables: Vec<(String, JValue)>,
}

impl<'a> Session<'a> {
    fn new(env: &'a Env<'a>, limits: Limits) -> Self {
        let mut variables = Vec::new();
        env.variables.for_each(&mut |name, value| {
            variables.push((name.to_owned(), convert::from_json(value)))
        });
        Self { env, limits, states: convert::states(env), variables }
    }

    fn text(&self, field: &str, text: &str) -> Result<Value, EvalError> {
        let expression =
            Expression::parse(text).map_err(|ParseError(problem)| threw(text, field, &problem))?;
        self.evaluate(&expression, field)
    }

    fn evaluate(&self, expression: &Expression, field: &str) -> Result<Value, EvalError> {
        let mut context = Context::new();
        for (name, value) in &self.variables {
            context.bind(name.clone(), value.clone());
        }
        context.bind("states".to_owned(), self.states.clone());
        let options = EvaluatorOptions {
            timeout_ms: Some(self.limits.time_ms),
            cancel: None,
            max_stack_depth: Some(self.limits.depth),
            max_sequence_length: usize::try_from(self.limits.value_size / 8).ok(),
        };
        let budget = Rc::new(Budget::new(&self.limits));
        let mut evaluator = Evaluator::with_options(context, options);
        let text = expression.as_str();
        functions::register(&mut evaluator, self.env, &budget)
            .map_err(|error| threw(text, field, error.message()))?;
        let value = evaluator
            .evaluate(&expression.fenced, &JValue::Undefined)
            .map_err(|error| threw(text, field, &functions::in_aws_words(error.message())))?;
        match convert::to_json(&value, &budget) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(refused(
                field,
                format!(
                    "The JSONata expression '{text}' specified for the field '{field}' returned nothing (undefined)."
                ),
            )),
            Err(problem) => Err(threw(text, field, problem)),
        }
    }
}

fn threw(text: &str, field: &str, problem: &str) -> EvalError {
    refused(
        field,
        format!(
            "The JSONata expression '{text}' specified for the field '{field}' threw an error during evaluation. \
             {problem}"
        ),
    )
}
