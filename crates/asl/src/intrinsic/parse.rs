//! Reads a call of an intrinsic function.

use serde_json::Value;

use super::functions::Function;
use super::{Argument, Call};
use crate::path::{Cursor, ParseError, path_at};

/// Arguments that one call may have.
const ARGUMENTS_MAX: usize = 1_000;

pub(super) fn call(text: &str) -> Result<Call, ParseError> {
    let mut cursor = Cursor::new(text);
    cursor.blanks();
    let call = call_at(&mut cursor)?;
    cursor.blanks();
    if cursor.at == text.len() {
        Ok(call)
    } else {
        Err(cursor.error("unexpected text after the call"))
    }
}

fn call_at(cursor: &mut Cursor<'_>) -> Result<Call, ParseError> {
    let name = cursor.take_while(|c| c.is_ascii_alphanumeric() || c == '.');
    let function = Function::of_name(name)
        .ok_or_else(|| cursor.error("there is no such intrinsic function"))?;
    cursor.blanks();
    cursor.expect("(", "the arguments are missing")?;
    let arguments = cursor.nested(arguments)?;
    let (least, most) = function.arity();
    if arguments.len() < least || arguments.len() > most {
        return Err(cursor.error("the function takes another number of arguments"));
    }
    let numeric =
        matches!(function, Function::ArrayRange | Function::MathAdd | Function::MathRandom);
    if numeric && !arguments.iter().all(may_be_number) {
        return Err(cursor.error("the function takes numbers"));
    }
    Ok(Call { function, arguments })
}

const fn may_be_number(argument: &Argument) -> bool {
    match argument {
        Argument::Path(_) | Argument::Call(_) | Argument::Value(Value::Number(_)) => true,
        Argument::Value(_) | Argument::Text { .. } => false,
    }
}

/// The arguments after the opening parenthesis, and the closing one.
fn arguments(cursor: &mut Cursor<'_>) -> Result<Vec<Argument>, ParseError> {
    let mut arguments = Vec::new();
    cursor.blanks();
    if cursor.take(")") {
        return Ok(arguments);
    }
    loop {
        cursor.blanks();
        arguments.push(argument(cursor)?);
        if arguments.len() > ARGUMENTS_MAX {
            return Err(cursor.error("the call has too many arguments"));
        }
        cursor.blanks();
        if cursor.take(")") {
            return Ok(arguments);
        }
        cursor.expect(",", "a comma is missing")?;
    }
}

fn argument(cursor: &mut Cursor<'_>) -> Result<Argument, ParseError> {
    match cursor.peek() {
        Some('$') => path_at(cursor, true).map(Argument::Path),
        Some('\'') => {
            cursor.next();
            text(cursor)
        }
        Some('S') => call_at(cursor).map(Argument::Call),
        Some('t') if cursor.take("true") => Ok(Argument::Value(Value::Bool(true))),
        Some('f') if cursor.take("false") => Ok(Argument::Value(Value::Bool(false))),
        Some('n') if cursor.take("null") => Ok(Argument::Value(Value::Null)),
        Some(c) if c.is_ascii_digit() || c == '-' => {
            let digits = cursor
                .take_while(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E'));
            match serde_json::from_str::<Value>(digits) {
                Ok(number @ Value::Number(_)) => Ok(Argument::Value(number)),
                _ => Err(cursor.error("the number is not one")),
            }
        }
        _ => Err(cursor.error(
            "an argument is a path, a call, a number, true, false, null or a text in quotes",
        )),
    }
}

/// A text after its opening quote; `\'`, `\{`, `\}` and `\\` are its escapes and there are no others.
fn text(cursor: &mut Cursor<'_>) -> Result<Argument, ParseError> {
    let mut plain = String::new();
    let mut raw = String::new();
    loop {
        match cursor.next() {
            None => return Err(cursor.error("the quote does not end")),
            Some('\'') => return Ok(Argument::Text { plain, raw }),
            Some('\\') => match cursor.next() {
                Some(escaped @ ('\'' | '{' | '}' | '\\')) => {
                    plain.push(escaped);
                    raw.push('\\');
                    raw.push(escaped);
                }
                _ => return Err(cursor.error("there is no such escape")),
            },
            Some(other) => {
                plain.push(other);
                raw.push(other);
            }
        }
    }
}
