//! Choice states.

use std::cmp::Ordering;

use serde_json::Value;

use super::Machine;
use super::branch::BranchId;
use super::fields::Wanted;
use super::flow::{Sees, runtime};
use crate::definition::{Choice, Dynamic, Operand, Operator, State, Test};
use crate::document::Document;
use crate::env::{Env, ErrorName, EvalError};
use crate::path::Path;
use crate::time;

impl Machine {
    pub(super) fn choose(&mut self, id: BranchId, state: &State, choice: &Choice) {
        let chosen = self.effective_input(id, state).and_then(|input| {
            for rule in &choice.rules {
                if self.holds(id, &rule.test, &input)? {
                    return Ok((Some(rule), input));
                }
            }
            Ok((None, input))
        });
        let (rule, input) = match chosen {
            Ok(chosen) => chosen,
            Err(error) => return self.broke(id, error),
        };
        let own = [&state.flow.assign, &state.flow.output];
        let (next, [assign, output]) = match (rule, choice.default) {
            // What a rule does not say is not taken from the state.
            (Some(rule), _) => (rule.next, [&rule.assign, &rule.output]),
            (None, Some(default)) => (default, own),
            (None, None) => {
                let cause = "No choice rule matched and there is no default";
                return self.broke(id, EvalError::new(ErrorName::NoChoiceMatched, cause));
            }
        };
        match self.hand_on_as(id, state, input, [assign, output]) {
            Ok(left) => self.leave(id, left, Some(next)),
            Err(error) => self.broke(id, error),
        }
    }

    fn holds(&self, id: BranchId, test: &Test, input: &Document) -> Result<bool, EvalError> {
        match test {
            Test::Condition(Dynamic::Query(source)) => self
                .query_of(id, "Condition", source, Wanted::Boolean, Sees::default())
                .map(|value| value == Value::Bool(true)),
            Test::Condition(Dynamic::Fixed(value)) => Ok(*value == Value::Bool(true)),
            Test::Condition(Dynamic::Expression(_)) => Ok(false),
            Test::And(_) | Test::Or(_) | Test::Not(_) | Test::Compare { .. } => {
                let sees = Sees { input: Some(input.value()), ..Sees::default() };
                self.with_env(id, sees, |env| holds(test, env))
            }
        }
    }
}

fn holds(test: &Test, env: &Env<'_>) -> Result<bool, EvalError> {
    match test {
        Test::And(tests) => {
            for test in tests {
                if !holds(test, env)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Test::Or(tests) => {
            for test in tests {
                if holds(test, env)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Test::Not(test) => holds(test, env).map(|holds| !holds),
        Test::Compare { variable, operator, operand } => compare(variable, *operator, operand, env),
        Test::Condition(_) => Ok(false),
    }
}

fn compare(
    variable: &Path,
    operator: Operator,
    operand: &Operand,
    env: &Env<'_>,
) -> Result<bool, EvalError> {
    let found = variable.find(env);
    if operator == Operator::IsPresent {
        let wanted = matches!(operand, Operand::Value(Value::Bool(true)));
        return Ok(found.is_ok() == wanted);
    }
    let value = found.map_err(|_| {
        runtime(format!(
            "Invalid path '{}': The choice state's condition path references an invalid value.",
            variable.as_str()
        ))
    })?;
    let operand = match operand {
        Operand::Value(operand) => operand.clone(),
        Operand::Path(path) => path.find(env).map_err(|_| {
            runtime(format!(
                "Invalid path '{}': The choice state's condition path references an invalid value.",
                path.as_str()
            ))
        })?,
    };
    Ok(apply(operator, &value, &operand))
}

fn apply(operator: Operator, value: &Value, operand: &Value) -> bool {
    let is = |holds: bool| Value::Bool(holds) == *operand;
    let text = |wanted: fn(Ordering) -> bool| match (value, operand) {
        // Java compares UTF-16 units.
        (Value::String(a), Value::String(b)) => wanted(a.encode_utf16().cmp(b.encode_utf16())),
        _ => false,
    };
    let number = |wanted: fn(Ordering) -> bool| numbers(value, operand).is_some_and(wanted);
    let time = |wanted: fn(Ordering) -> bool| match (as_time(value), as_time(operand)) {
        (Some(a), Some(b)) => wanted(a.cmp(&b)),
        _ => false,
    };
    match operator {
        Operator::BooleanEquals => value.is_boolean() && value == operand,
        Operator::IsBoolean => is(value.is_boolean()),
        Operator::IsNull => is(value.is_null()),
        Operator::IsNumeric => is(value.is_number()),
        Operator::IsPresent => is(true),
        Operator::IsString => is(value.is_string()),
        Operator::IsTimestamp => is(as_time(value).is_some()),
        Operator::NumericEquals => number(Ordering::is_eq),
        Operator::NumericGreaterThan => number(Ordering::is_gt),
        Operator::NumericGreaterThanEquals => number(Ordering::is_ge),
        Operator::NumericLessThan => number(Ordering::is_lt),
        Operator::NumericLessThanEquals => number(Ordering::is_le),
        Operator::StringEquals => text(Ordering::is_eq),
        Operator::StringGreaterThan => text(Ordering::is_gt),
        Operator::StringGreaterThanEquals => text(Ordering::is_ge),
        Operator::StringLessThan => text(Ordering::is_lt),
        Operator::StringLessThanEquals => text(Ordering::is_le),
        Operator::StringMatches => match (value, operand) {
            (Value::String(text), Value::String(pattern)) => matches_pattern(text, pattern),
            _ => false,
        },
        Operator::TimestampEquals => time(Ordering::is_eq),
        Operator::TimestampGreaterThan => time(Ordering::is_gt),
        Operator::TimestampGreaterThanEquals => time(Ordering::is_ge),
        Operator::TimestampLessThan => time(Ordering::is_lt),
        Operator::TimestampLessThanEquals => time(Ordering::is_le),
    }
}

fn numbers(a: &Value, b: &Value) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        return Some(a.cmp(&b));
    }
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        _ => None,
    }
}

fn as_time(value: &Value) -> Option<i128> {
    value.as_str().and_then(time::parse)
}

/// Whether a text is like a pattern: `*` stands for any characters; `\*` and `\\` for themselves.
#[must_use]
pub fn matches_pattern(text: &str, pattern: &str) -> bool {
    let mut parts: Vec<String> = vec![String::new()];
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            '*' => parts.push(String::new()),
            '\\' => parts[last].extend(chars.next()),
            other => parts[last].push(other),
        }
    }
    let [first, middle @ .., last] = parts.as_slice() else { return text == parts[0] };
    let Some(rest) = text.strip_prefix(first.as_str()) else { return false };
    let Some(mut rest) = rest.strip_suffix(last.as_str()) else { return false };
    for part in middle {
        match rest.find(part.as_str()) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_characters() {
        for (text, pattern, expected) in [
            ("log-2024.txt", "log-*.txt", true),
            ("log-.txt", "log-*.txt", true),
            ("log.txt", "log-*.txt", false),
            ("a", "*", true),
            ("", "*", true),
            ("", "", true),
            ("ab", "a*a", false),
            ("aXbXc", "a*b*c", true),
            ("a*c", "a\\*c", true),
            ("abc", "a\\*c", false),
            ("a\\c", "a\\\\c", true),
            ("aa", "a*a*a", false),
        ] {
            assert_eq!(matches_pattern(text, pattern), expected, "{text} {pattern}");
        }
    }
}
