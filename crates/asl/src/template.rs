//! Payload templates: JSON in which a field whose name ends in `.$` takes its value from a path or an
//! intrinsic function.

use serde_json::{Map, Value};

use crate::env::{Env, ErrorName, EvalError};
use crate::intrinsic::Expression;
use crate::path::{DEPTH_MAX, is_deeper};

/// The template with every `name.$` field replaced by `name` and what its expression gives.
///
/// # Errors
/// `States.ParameterPathFailure` never comes from here: AWS answers `States.Runtime` where a path finds
/// nothing, with the field and the input in its cause, and where an intrinsic function fails.
pub fn evaluate(template: &Value, env: &Env<'_>) -> Result<Value, EvalError> {
    let made = node(template, env, 0)?;
    if is_deeper(&made, DEPTH_MAX) {
        return Err(too_deep());
    }
    Ok(made)
}

fn too_deep() -> EvalError {
    EvalError::new(ErrorName::Runtime, format!("The result nests deeper than {DEPTH_MAX} levels."))
}

fn node(template: &Value, env: &Env<'_>, depth: usize) -> Result<Value, EvalError> {
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    match template {
        Value::Object(fields) => {
            let mut made = Map::with_capacity(fields.len());
            for (key, value) in fields {
                match (key.strip_suffix(".$"), value) {
                    (Some(name), Value::String(text)) => {
                        made.insert(name.to_owned(), field(key, text, env)?);
                    }
                    _ => {
                        made.insert(key.clone(), node(value, env, depth + 1)?);
                    }
                }
            }
            Ok(Value::Object(made))
        }
        Value::Array(items) => {
            let made: Result<Vec<Value>, EvalError> =
                items.iter().map(|item| node(item, env, depth + 1)).collect();
            made.map(Value::Array)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(template.clone()),
    }
}

/// The value of one expression, its errors worded for the field it stands in: `value.$`, `ErrorPath`.
///
/// # Errors
/// As [`evaluate`].
pub fn field(field: &str, text: &str, env: &Env<'_>) -> Result<Value, EvalError> {
    let expression = Expression::parse(text).map_err(|_| {
        EvalError::new(
            ErrorName::Runtime,
            format!("The value for the field '{field}' must be a valid JSONPath or a valid intrinsic function call"),
        )
    })?;
    expression.evaluate_field(field, env)
}
