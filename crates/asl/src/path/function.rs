//! Functions at the end of a path: `$.numbers.sum()`.

use serde_json::{Number, Value};

use super::evaluate::Found;
use super::parse::{self, Cursor, ParseError};
use super::{NotFound, Path};

/// A function and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Function {
    kind: Kind,
    arguments: Vec<Argument>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Min,
    Max,
    Average,
    Deviation,
    Sum,
    Length,
    Keys,
    Concat,
    Append,
    First,
    Last,
    Index,
}

const NAMES: [(&str, Kind); 13] = [
    ("min", Kind::Min),
    ("max", Kind::Max),
    ("avg", Kind::Average),
    ("stddev", Kind::Deviation),
    ("sum", Kind::Sum),
    ("length", Kind::Length),
    ("size", Kind::Length),
    ("keys", Kind::Keys),
    ("concat", Kind::Concat),
    ("append", Kind::Append),
    ("first", Kind::First),
    ("last", Kind::Last),
    ("index", Kind::Index),
];

#[derive(Clone, Debug, PartialEq)]
enum Argument {
    Path(Path),
    Value(Value),
}

/// A function that begins here, after the point; none if it is a property.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<Function>, ParseError> {
    let rest = cursor.rest();
    let Some((name, kind)) = NAMES
        .iter()
        .find(|(name, _)| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')))
    else {
        return Ok(None);
    };
    cursor.at += name.len() + 1;
    let mut arguments = Vec::new();
    cursor.blanks();
    while !cursor.take(")") {
        if !arguments.is_empty() {
            cursor.expect(",", "a comma is missing")?;
            cursor.blanks();
        }
        arguments.push(cursor.nested(argument)?);
        cursor.blanks();
    }
    Ok(Some(Function { kind: *kind, arguments }))
}

fn argument(cursor: &mut Cursor<'_>) -> Result<Argument, ParseError> {
    match cursor.peek() {
        Some('$') => parse::path_at(cursor, true).map(Argument::Path),
        _ => parse::literal(cursor).map(Argument::Value),
    }
}

impl Function {
    /// What it makes of the values that the steps before it found.
    pub(super) fn apply<'v>(
        &self,
        root: &'v Value,
        found: Vec<Found<'v>>,
        definite: bool,
    ) -> Result<Found<'v>, NotFound> {
        let mut values: Vec<Value> = found.into_iter().map(Found::into_value).collect();
        let target = if definite {
            values.pop().ok_or_else(|| NotFound("No results for path".to_owned()))?
        } else {
            Value::Array(values)
        };
        let mut arguments = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            arguments.push(match argument {
                Argument::Path(path) => path.find_in(root)?,
                Argument::Value(value) => value.clone(),
            });
        }
        self.of(target, arguments).map(Found::Made)
    }

    fn of(&self, target: Value, arguments: Vec<Value>) -> Result<Value, NotFound> {
        match self.kind {
            Kind::Length => Ok(match &target {
                Value::String(text) => text.encode_utf16().count().into(),
                Value::Array(items) => items.len().into(),
                Value::Object(fields) => fields.len().into(),
                Value::Null | Value::Bool(_) | Value::Number(_) => Value::Null,
            }),
            Kind::Keys => Ok(match target {
                Value::Object(fields) => {
                    fields.into_iter().map(|(key, _)| Value::String(key)).collect()
                }
                _ => Value::Null,
            }),
            Kind::Concat => {
                let items = if let Value::Array(items) = target { items } else { Vec::new() };
                let parts = items.iter().chain(&arguments);
                Ok(Value::String(parts.filter_map(Value::as_str).collect()))
            }
            Kind::Append => match target {
                Value::Array(mut items) => {
                    items.extend(arguments);
                    Ok(Value::Array(items))
                }
                other => Ok(other),
            },
            Kind::First => pick(&target, 0),
            Kind::Last => pick(&target, -1),
            Kind::Index => pick(&target, arguments.first().and_then(Value::as_i64).unwrap_or(0)),
            Kind::Min | Kind::Max | Kind::Average | Kind::Deviation | Kind::Sum => {
                aggregate(self.kind, &numbers(&target, &arguments)?)
            }
        }
    }
}

fn pick(target: &Value, index: i64) -> Result<Value, NotFound> {
    let nothing = || {
        NotFound("Aggregation function attempted to calculate value using empty array".to_owned())
    };
    let items = target.as_array().ok_or_else(nothing)?;
    let at = if index < 0 { i64::try_from(items.len()).unwrap_or(i64::MAX) + index } else { index };
    let at = usize::try_from(at).map_err(|_| nothing())?;
    items.get(at).cloned().ok_or_else(nothing)
}

/// The numbers that an aggregate is of: those of the array and of the arguments.
fn numbers(target: &Value, arguments: &[Value]) -> Result<Vec<f64>, NotFound> {
    let mut numbers: Vec<f64> = Vec::new();
    for value in std::iter::once(target).chain(arguments) {
        match value {
            Value::Array(items) => numbers.extend(items.iter().filter_map(Value::as_f64)),
            other => numbers.extend(other.as_f64()),
        }
    }
    if numbers.is_empty() {
        let text = "Aggregation function attempted to calculate value using empty array";
        return Err(NotFound(text.to_owned()));
    }
    Ok(numbers)
}

fn aggregate(kind: Kind, numbers: &[f64]) -> Result<Value, NotFound> {
    #[expect(clippy::cast_precision_loss, reason = "an array never has 2^53 items")]
    let count = numbers.len() as f64;
    let sum: f64 = numbers.iter().sum();
    let mean = sum / count;
    let result = match kind {
        Kind::Min => numbers.iter().copied().fold(f64::INFINITY, f64::min),
        Kind::Max => numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Kind::Average => mean,
        Kind::Deviation => {
            let squares: f64 = numbers.iter().map(|number| number * number).sum();
            (squares / count - mean * mean).max(0.0).sqrt()
        }
        _ => sum,
    };
    match Number::from_f64(result) {
        Some(number) => Ok(Value::Number(number)),
        None => Err(NotFound("the result is not a number".to_owned())),
    }
}
