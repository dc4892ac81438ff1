//! Fields that are computed when a state is entered.

use serde_json::Value;

use super::Machine;
use super::branch::BranchId;
use super::flow::{Sees, runtime};
use crate::definition::Dynamic;
use crate::env::{ErrorName, EvalError};
use crate::jsonata;

/// What a field must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Array,
    /// What a distributed Map state takes as items: an array, or an object.
    Items,
    Boolean,
    Number,
    Text,
}

impl Wanted {
    const fn name(self) -> &'static str {
        match self {
            Self::Array | Self::Items => "array",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::Text => "string",
        }
    }

    fn is(self, value: &Value) -> bool {
        match self {
            Self::Array => value.is_array(),
            Self::Items => value.is_array() || value.is_object(),
            Self::Boolean => value.is_boolean(),
            Self::Number => value.is_number(),
            Self::Text => value.is_string(),
        }
    }
}

const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A value within a sentence.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Machine {
    /// JSONata that must give a value of one type.
    pub(super) fn query_of(
        &self,
        id: BranchId,
        field: &str,
        source: &str,
        wanted: Wanted,
        sees: Sees<'_>,
    ) -> Result<Value, EvalError> {
        let value = self.with_env(id, sees, |env| jsonata::evaluate(field, source, env))?;
        if wanted.is(&value) {
            return Ok(value);
        }
        let cause = format!(
            "The JSONata expression '{source}' specified for the field '{field}' returned an unexpected result \
             type. Expected '{}', but was '{}' for value: {value}",
            wanted.name(),
            type_name(&value)
        );
        Err(EvalError::new(ErrorName::QueryEvaluationError, cause).at(field))
    }

    /// `Error` and `Cause` of a Fail state.
    pub(super) fn text_field(
        &self,
        id: BranchId,
        field: &str,
        dynamic: &Dynamic,
    ) -> Result<String, EvalError> {
        match dynamic {
            Dynamic::Fixed(value) => Ok(plain(value)),
            Dynamic::Query(source) => self
                .query_of(id, field, source, Wanted::Text, Sees::default())
                .map(|value| plain(&value)),
            Dynamic::Expression(expression) => {
                let field = format!("{field}Path");
                let value = self
                    .with_env(id, Sees::default(), |env| expression.evaluate_field(&field, env))?;
                match value {
                    Value::String(text) => Ok(text),
                    other => Err(runtime(format!(
                        "The {field} field must reference a string value: {} == {other}",
                        expression.as_str()
                    ))),
                }
            }
        }
    }

    /// A field that is a number of something, not below zero.
    pub(super) fn count_field(
        &self,
        id: BranchId,
        field: &str,
        dynamic: &Dynamic,
        effective: &Value,
    ) -> Result<u64, EvalError> {
        let sees = Sees { input: Some(effective), ..Sees::default() };
        let (value, path) = match dynamic {
            Dynamic::Fixed(value) => (value.clone(), None),
            Dynamic::Query(source) => {
                // The input of a JSONata state has no `InputPath`.
                (self.query_of(id, field, source, Wanted::Number, Sees::default())?, None)
            }
            Dynamic::Expression(expression) => (
                self.with_env(id, sees, |env| expression.evaluate(env))?,
                Some(expression.as_str()),
            ),
        };
        // A path may lead to a number in quotes.
        let quoted = value.as_str().and_then(|text| text.parse::<i64>().ok());
        let value = quoted.map_or(value, Value::from);
        let whole = value.as_u64().or_else(|| as_whole(&value));
        let negative = value.as_f64().is_some_and(|number| number < 0.0);
        let problem = match (whole, path) {
            (Some(number), _) => return Ok(number),
            (None, _) if negative => format!("{field} cannot be negative."),
            (None, Some(path)) => format!(
                "The {field}Path field refers to value \"{}\" which is not a valid integer: {path}",
                plain(&value)
            ),
            (None, None) => format!("{field} must be an integer, but was: {value}"),
        };
        match dynamic {
            Dynamic::Query(_) => {
                Err(EvalError::new(ErrorName::QueryEvaluationError, problem).at(field))
            }
            Dynamic::Fixed(_) | Dynamic::Expression(_) => Err(runtime(problem)),
        }
    }

    /// `ToleratedFailurePercentage`.
    pub(super) fn percentage_field(
        &self,
        id: BranchId,
        dynamic: &Dynamic,
        effective: &Value,
    ) -> Result<f64, EvalError> {
        const FIELD: &str = "ToleratedFailurePercentage";
        let sees = Sees { input: Some(effective), ..Sees::default() };
        let value = match dynamic {
            Dynamic::Fixed(value) => value.clone(),
            Dynamic::Query(source) => {
                self.query_of(id, FIELD, source, Wanted::Number, Sees::default())?
            }
            Dynamic::Expression(expression) => {
                let value = self.with_env(id, sees, |env| expression.evaluate(env))?;
                let quoted = value.as_str().and_then(|text| text.parse::<f64>().ok());
                let value = quoted.map_or(value, Value::from);
                if !value.is_number() {
                    return Err(runtime(format!(
                        "The {FIELD}Path field refers to value \"{}\" which is not a valid float: {}",
                        plain(&value),
                        expression.as_str()
                    )));
                }
                value
            }
        };
        match value.as_f64() {
            Some(percentage) if (0.0..=100.0).contains(&percentage) => Ok(percentage),
            _ => {
                let cause = format!("{FIELD} must be between 0 and 100.");
                Err(match dynamic {
                    Dynamic::Query(_) => {
                        EvalError::new(ErrorName::QueryEvaluationError, cause).at(FIELD)
                    }
                    Dynamic::Fixed(_) | Dynamic::Expression(_) => runtime(cause),
                })
            }
        }
    }
}

/// A floating number that is a whole one.
fn as_whole(value: &Value) -> Option<u64> {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    let number = value.as_f64().filter(|n| (0.0..=LARGEST).contains(n) && n.fract() == 0.0)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and between 0 and 2^53"
    )]
    let whole = number as u64;
    Some(whole)
}
