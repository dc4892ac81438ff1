//! Filters: `[?(@.price < 10 && @.isbn)]`.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::Value;

use super::evaluate;
use super::function::Function;
use super::parse::{self, Cursor, ParseError};
use super::{NotFound, Step};

/// Bytes that a compiled pattern may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A condition on one value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Exists(Operand),
    Compare(Operand, Comparison, Operand),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    StrictEqual,
    StrictNotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    In,
    NotIn,
    SubsetOf,
    AnyOf,
    NoneOf,
    All,
    Contains,
    Size,
    Empty,
}

const COMPARISONS: [(&str, Comparison); 18] = [
    ("===", Comparison::StrictEqual),
    ("!==", Comparison::StrictNotEqual),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("=~", Comparison::Matches),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("subsetof", Comparison::SubsetOf),
    ("anyof", Comparison::AnyOf),
    ("noneof", Comparison::NoneOf),
    ("contains", Comparison::Contains),
    ("empty", Comparison::Empty),
    ("size", Comparison::Size),
    ("all", Comparison::All),
    ("nin", Comparison::NotIn),
    ("in", Comparison::In),
];

/// One side of a comparison.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    /// `@.a` (here) or `$.a` (from the root).
    Path {
        here: bool,
        steps: Vec<Step>,
        function: Option<Function>,
    },
    Value(Value),
    Regex(Regex),
}

impl PartialEq for Operand {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Path { here: a, steps: b, function: c },
                Self::Path { here: d, steps: e, function: f },
            ) => a == d && b == e && c == f,
            (Self::Value(a), Self::Value(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Path { .. } | Self::Value(_) | Self::Regex(_), _) => false,
        }
    }
}

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Filter, ParseError> {
    cursor.nested(|cursor| {
        let mut terms = vec![all(cursor)?];
        cursor.blanks();
        while cursor.take("||") {
            terms.push(all(cursor)?);
            cursor.blanks();
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Filter::Any(terms) })
    })
}

fn all(cursor: &mut Cursor<'_>) -> Result<Filter, ParseError> {
    let mut terms = vec![term(cursor)?];
    cursor.blanks();
    while cursor.take("&&") {
        terms.push(term(cursor)?);
        cursor.blanks();
    }
    Ok(if terms.len() == 1 { terms.remove(0) } else { Filter::All(terms) })
}

fn term(cursor: &mut Cursor<'_>) -> Result<Filter, ParseError> {
    cursor.blanks();
    if cursor.take("(") {
        let inner = parse(cursor)?;
        cursor.blanks();
        cursor.expect(")", "the parenthesis does not end")?;
        return Ok(inner);
    }
    if cursor.peek() == Some('!') {
        cursor.next();
        return cursor.nested(term).map(|inner| Filter::Not(Box::new(inner)));
    }
    let left = operand(cursor)?;
    cursor.blanks();
    for (token, comparison) in COMPARISONS {
        if cursor.rest().get(..token.len()).is_some_and(|here| here.eq_ignore_ascii_case(token)) {
            cursor.at += token.len();
            cursor.blanks();
            return Ok(Filter::Compare(left, comparison, operand(cursor)?));
        }
    }
    match left {
        path @ Operand::Path { .. } => Ok(Filter::Exists(path)),
        Operand::Value(_) | Operand::Regex(_) => Err(cursor.error("a comparison is missing")),
    }
}

fn operand(cursor: &mut Cursor<'_>) -> Result<Operand, ParseError> {
    match cursor.peek() {
        Some(root @ ('@' | '$')) => {
            cursor.next();
            let (steps, function) = cursor.nested(|cursor| parse::steps(cursor, true))?;
            Ok(Operand::Path { here: root == '@', steps, function })
        }
        Some('/') => {
            cursor.next();
            regex(cursor)
        }
        Some(_) => parse::literal(cursor).map(Operand::Value),
        None => Err(cursor.error("a value is missing")),
    }
}

/// A pattern after its opening slash. It has to match the whole text, as in Java.
fn regex(cursor: &mut Cursor<'_>) -> Result<Operand, ParseError> {
    let mut pattern = String::new();
    loop {
        match cursor.next() {
            None => return Err(cursor.error("the pattern does not end")),
            Some('/') => break,
            Some('\\') if cursor.take("/") => pattern.push('/'),
            Some('\\') => {
                pattern.push('\\');
                pattern.extend(cursor.next());
            }
            Some(other) => pattern.push(other),
        }
    }
    let flags = cursor.take_while(|c| c.is_ascii_alphabetic());
    let flags: String =
        flags.chars().filter(|flag| matches!(flag, 'i' | 'm' | 's' | 'x')).collect();
    let open = if flags.is_empty() { String::new() } else { format!("(?{flags})") };
    regex::RegexBuilder::new(&format!("{open}^(?:{pattern})$"))
        .size_limit(REGEX_BYTES_MAX)
        .nest_limit(100)
        .build()
        .map(Operand::Regex)
        .map_err(|_| cursor.error("the pattern is not a regular expression"))
}

impl Filter {
    /// Whether it holds for `here`.
    pub(super) fn holds(&self, root: &Value, here: &Value) -> bool {
        match self {
            Self::All(terms) => terms.iter().all(|term| term.holds(root, here)),
            Self::Any(terms) => terms.iter().any(|term| term.holds(root, here)),
            Self::Not(term) => !term.holds(root, here),
            Self::Exists(operand) => operand.value(root, here).is_some(),
            Self::Compare(left, comparison, right) => compare(left, *comparison, right, root, here),
        }
    }
}

impl Operand {
    fn value(&self, root: &Value, here: &Value) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value.clone()),
            Self::Regex(_) => None,
            Self::Path { here: relative, steps, function } => {
                let from = if *relative { here } else { root };
                let definite = evaluate::is_definite(steps);
                let found = match evaluate::steps(from, from, steps) {
                    Ok(found) => found,
                    Err(NotFound(_)) => return None,
                };
                if let Some(function) = function {
                    return function
                        .apply(from, found, definite)
                        .ok()
                        .map(evaluate::Found::into_value);
                }
                let mut values = found.into_iter().map(evaluate::Found::into_value);
                if definite { values.next() } else { Some(Value::Array(values.collect())) }
            }
        }
    }
}

fn compare(
    left: &Operand,
    comparison: Comparison,
    right: &Operand,
    root: &Value,
    here: &Value,
) -> bool {
    if comparison == Comparison::Matches {
        return match (left, right) {
            (Operand::Regex(regex), other) | (other, Operand::Regex(regex)) => {
                other.value(root, here).is_some_and(|value| is_match(regex, &value))
            }
            _ => false,
        };
    }
    let left = left.value(root, here);
    let right = right.value(root, here);
    match comparison {
        Comparison::Equal => equal(left.as_ref(), right.as_ref()),
        Comparison::NotEqual => !equal(left.as_ref(), right.as_ref()),
        Comparison::StrictEqual => left == right,
        Comparison::StrictNotEqual => left != right,
        _ => match (left, right) {
            (Some(left), Some(right)) => compare_values(&left, comparison, &right),
            _ => false,
        },
    }
}

fn compare_values(left: &Value, comparison: Comparison, right: &Value) -> bool {
    let ordered =
        |wanted: &[Ordering]| order(left, right).is_some_and(|order| wanted.contains(&order));
    let among = |item: &Value, items: &Value| {
        items
            .as_array()
            .is_some_and(|items| items.iter().any(|other| equal(Some(item), Some(other))))
    };
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    match comparison {
        Comparison::Less => ordered(&[Ordering::Less]),
        Comparison::LessOrEqual => ordered(&[Ordering::Less, Ordering::Equal]),
        Comparison::Greater => ordered(&[Ordering::Greater]),
        Comparison::GreaterOrEqual => ordered(&[Ordering::Greater, Ordering::Equal]),
        Comparison::In => among(left, right),
        Comparison::NotIn => !among(left, right),
        Comparison::SubsetOf => {
            left.is_array() && items(left).iter().all(|item| among(item, right))
        }
        Comparison::AnyOf => items(left).iter().any(|item| among(item, right)),
        Comparison::NoneOf => left.is_array() && !items(left).iter().any(|item| among(item, right)),
        Comparison::All => right.is_array() && items(right).iter().all(|item| among(item, left)),
        Comparison::Contains => match (left, right) {
            (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
            _ => among(right, left),
        },
        Comparison::Size => size(left).is_some_and(|size| right.as_u64() == Some(size as u64)),
        Comparison::Empty => size(left).is_some_and(|size| right.as_bool() == Some(size == 0)),
        Comparison::Equal
        | Comparison::NotEqual
        | Comparison::StrictEqual
        | Comparison::StrictNotEqual
        | Comparison::Matches => false,
    }
}

fn size(value: &Value) -> Option<usize> {
    match value {
        Value::String(text) => Some(text.chars().count()),
        Value::Array(items) => Some(items.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// Numbers are equal by value, and to a text that is such a number.
fn equal(left: Option<&Value>, right: Option<&Value>) -> bool {
    match (left, right) {
        (Some(Value::Number(_)), Some(Value::Number(_) | Value::String(_)))
        | (Some(Value::String(_)), Some(Value::Number(_))) => {
            left.zip(right).and_then(|(left, right)| order(left, right)) == Some(Ordering::Equal)
        }
        _ => left == right,
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(_), Value::Number(_) | Value::String(_))
        | (Value::String(_), Value::Number(_)) => number(left)?.partial_cmp(&number(right)?),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    }
}

fn is_match(regex: &Regex, value: &Value) -> bool {
    match value {
        Value::String(text) => regex.is_match(text),
        Value::Number(_) | Value::Bool(_) => regex.is_match(&value.to_string()),
        Value::Array(items) => {
            items.iter().any(|item| item.as_str().is_some_and(|text| regex.is_match(text)))
        }
        Value::Null | Value::Object(_) => false,
    }
}
