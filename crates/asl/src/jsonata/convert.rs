//! Values in and out of the evaluator, and what they are charged.

use std::cell::Cell;

use jsonata_core::value::{JValue, with_stack};
use serde_json::{Map, Number, Value};

use super::{Limits, functions::MEMORY_EXCEEDED};
use crate::env::Env;
use crate::path::DEPTH_MAX;

/// What is left of an evaluation's limits.
#[derive(Debug)]
pub(super) struct Budget {
    value_size: u64,
    left: Cell<u64>,
}

impl Budget {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self { value_size: limits.value_size, left: Cell::new(limits.total_size) }
    }

    pub(super) const fn value_size(&self) -> u64 {
        self.value_size
    }

    /// Takes `size` for one value.
    pub(super) fn charge(&self, size: u64) -> Result<(), &'static str> {
        let left = self.left.get().checked_sub(size).filter(|_| size <= self.value_size);
        self.left.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or(MEMORY_EXCEEDED)
    }

    /// Takes the size of a whole value, of what it shares with others as well.
    pub(super) fn charge_value(&self, value: &JValue) -> Result<(), &'static str> {
        let mut size = 0;
        measure(value, self.value_size, &mut size, 0)?;
        self.charge(size)
    }
}

fn measure(
    value: &JValue,
    size_max: u64,
    size: &mut u64,
    depth: usize,
) -> Result<(), &'static str> {
    with_stack(|| measure_level(value, size_max, size, depth))
}

fn measure_level(
    value: &JValue,
    size_max: u64,
    size: &mut u64,
    depth: usize,
) -> Result<(), &'static str> {
    match value {
        JValue::String(text) => *size += text.len() as u64 + 1,
        JValue::Array(items) => {
            *size += if depth == 0 { 0 } else { 8 };
            for item in items.iter() {
                measure(item, size_max, size, depth + 1)?;
            }
        }
        JValue::Object(fields) => {
            *size += 8;
            for (name, item) in fields.iter() {
                *size += name.len() as u64 + 1;
                measure(item, size_max, size, depth + 1)?;
            }
        }
        _ => *size += 8,
    }
    if *size > size_max { Err(MEMORY_EXCEEDED) } else { Ok(()) }
}

/// `$states`.
pub(super) fn states(env: &Env<'_>) -> JValue {
    let mut states = vec![("input", env.input), ("context", env.context.value())];
    states.extend(env.result.map(|result| ("result", result)));
    states.extend(env.error_output.map(|error| ("errorOutput", error)));
    let states = states.into_iter().map(|(name, value)| (name.to_owned(), from_json(value)));
    JValue::object(states.collect())
}

/// A value for the evaluator. Its numbers are floating-point there, as in every JSONata.
pub(super) fn from_json(value: &Value) -> JValue {
    JValue::from(value.clone())
}

/// A value of the evaluator as JSON; none for nothing.
pub(super) fn to_json(value: &JValue, budget: &Budget) -> Result<Option<Value>, &'static str> {
    match value {
        JValue::Undefined => return Ok(None),
        JValue::Array(_) | JValue::Object(_) => budget.charge_value(value)?,
        _ => {}
    }
    if is_deeper(value, DEPTH_MAX) {
        return Err("The value nests too deep");
    }
    Ok(json(value))
}

fn is_deeper(value: &JValue, depth_max: usize) -> bool {
    match value {
        JValue::Array(items) => {
            depth_max == 0 || items.iter().any(|item| is_deeper(item, depth_max - 1))
        }
        JValue::Object(fields) => {
            depth_max == 0 || fields.values().any(|item| is_deeper(item, depth_max - 1))
        }
        _ => false,
    }
}

fn json(value: &JValue) -> Option<Value> {
    match value {
        JValue::Null => Some(Value::Null),
        JValue::Bool(truth) => Some(Value::Bool(*truth)),
        JValue::Number(number) => Some(json_number(*number)),
        JValue::String(text) => Some(Value::String(text.to_string())),
        JValue::Array(items) => {
            Some(items.iter().map(|item| json(item).unwrap_or(Value::Null)).collect())
        }
        JValue::Object(fields) => {
            let fields = fields.iter().filter_map(|(name, item)| Some((name.clone(), json(item)?)));
            Some(Value::Object(fields.collect::<Map<String, Value>>()))
        }
        // A function, a pattern: JSON has no such thing.
        _ => Some(Value::String(String::new())),
    }
}

/// A whole number without a point; what JSON has no number for as the text that JavaScript prints.
fn json_number(number: f64) -> Value {
    const WHOLE_MAX: f64 = 9.0e18;
    if number.fract() == 0.0 && number.abs() < WHOLE_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "the guard keeps it within 64 bits")]
        return Value::from(number as i64);
    }
    match Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None if number.is_nan() => Value::from("NaN"),
        None => Value::from(if number > 0.0 { "Infinity" } else { "-Infinity" }),
    }
}
