//! Reads the text of a path.

use serde_json::Value;

use super::filter::{self, Filter};
use super::function::{self, Function};
use super::{Path, Root, Step};

/// Steps, nested filters and filter terms that one path may have.
const STEPS_MAX: usize = 1_000;
const NESTING_MAX: usize = 32;

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at character {at}")]
pub struct ParseError {
    /// What is wrong.
    pub problem: &'static str,
    /// Where, counted in bytes from 0.
    pub at: usize,
}

/// A place in a text.
pub(crate) struct Cursor<'t> {
    pub(crate) text: &'t str,
    pub(crate) at: usize,
    pub(crate) nesting: usize,
}

impl<'t> Cursor<'t> {
    pub(crate) const fn new(text: &'t str) -> Self {
        Self { text, at: 0, nesting: 0 }
    }

    pub(crate) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Takes `token` if it stands here.
    pub(crate) fn take(&mut self, token: &str) -> bool {
        let here = self.rest().starts_with(token);
        if here {
            self.at += token.len();
        }
        here
    }

    pub(crate) fn expect(&mut self, token: &str, problem: &'static str) -> Result<(), ParseError> {
        if self.take(token) { Ok(()) } else { Err(self.error(problem)) }
    }

    pub(crate) fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
    }

    pub(crate) const fn error(&self, problem: &'static str) -> ParseError {
        ParseError { problem, at: self.at }
    }

    pub(crate) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Runs `inner` one level deeper.
    pub(crate) fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.nesting >= NESTING_MAX {
            return Err(self.error("the path nests too deep"));
        }
        self.nesting += 1;
        let result = inner(self);
        self.nesting -= 1;
        result
    }

    /// A quoted text after its opening quote. Only the quote and the backslash are escaped; any other
    /// backslash stands for itself.
    pub(crate) fn quoted(&mut self, quote: char) -> Result<String, ParseError> {
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(self.error("the quote does not end")),
                Some('\\') => match self.peek() {
                    Some(escaped) if escaped == quote && quote == '\'' || escaped == '\\' => {
                        self.next();
                        text.push(escaped);
                    }
                    Some('"') if quote == '"' => {
                        self.next();
                        text.push('"');
                    }
                    _ => text.push('\\'),
                },
                Some(end) if end == quote => return Ok(text),
                Some(other) => text.push(other),
            }
        }
    }
}

pub(super) fn path(text: &str) -> Result<Path, ParseError> {
    let mut cursor = Cursor::new(text);
    let path = path_at(&mut cursor, false)?;
    if cursor.at == text.len() {
        Ok(path)
    } else {
        Err(cursor.error("unexpected text after the path"))
    }
}

/// A path that begins here; `inside` another expression it ends at a blank, an operator or a bracket.
pub(crate) fn path_at(cursor: &mut Cursor<'_>, inside: bool) -> Result<Path, ParseError> {
    let begin = cursor.at;
    let root = root(cursor)?;
    let (steps, function) = steps(cursor, inside)?;
    let text = cursor.text[begin..cursor.at].to_owned();
    Ok(Path { text, root, steps, function })
}

fn root(cursor: &mut Cursor<'_>) -> Result<Root, ParseError> {
    cursor.expect("$", "a path begins with $")?;
    if cursor.take("$") {
        return Ok(Root::Context);
    }
    let name = cursor.take_while(|c| c.is_alphanumeric() || c == '_');
    Ok(if name.is_empty() { Root::Input } else { Root::Variable(name.to_owned()) })
}

/// The steps from here, and the function at their end.
pub(super) fn steps(
    cursor: &mut Cursor<'_>,
    inside: bool,
) -> Result<(Vec<Step>, Option<Function>), ParseError> {
    let mut steps = Vec::new();
    loop {
        if steps.len() > STEPS_MAX {
            return Err(cursor.error("the path has too many steps"));
        }
        if cursor.take("..") {
            steps.push(Step::Descend);
            if cursor.peek() == Some('[') {
                continue;
            }
            name(cursor, inside, &mut steps)?;
        } else if cursor.take(".") {
            if let Some(function) = function::parse(cursor)? {
                return Ok((steps, Some(function)));
            }
            name(cursor, inside, &mut steps)?;
        } else if cursor.take("[") {
            cursor.nested(|cursor| bracket(cursor, &mut steps))?;
        } else {
            if matches!(steps.last(), Some(Step::Descend)) {
                return Err(cursor.error("nothing follows .."));
            }
            return Ok((steps, None));
        }
    }
}

fn name(cursor: &mut Cursor<'_>, inside: bool, steps: &mut Vec<Step>) -> Result<(), ParseError> {
    if cursor.take("*") {
        steps.push(Step::Wildcard);
        return Ok(());
    }
    let ends = |c: char| {
        matches!(c, '.' | '[' | '(' | '\'' | '"')
            || c.is_whitespace()
            || inside && matches!(c, ')' | ']' | ',' | '=' | '!' | '<' | '>' | '&' | '|' | '}')
    };
    let name = cursor.take_while(|c| !ends(c));
    if name.is_empty() {
        return Err(cursor.error("a property name is missing"));
    }
    if !inside && cursor.peek().is_some_and(|c| c != '.' && c != '[') {
        return Err(cursor.error("a name with such a character is written in brackets"));
    }
    steps.push(Step::Property(name.to_owned()));
    Ok(())
}

/// What stands in brackets, after the opening one.
fn bracket(cursor: &mut Cursor<'_>, steps: &mut Vec<Step>) -> Result<(), ParseError> {
    cursor.blanks();
    let step = match cursor.peek() {
        Some('*') => {
            cursor.next();
            Step::Wildcard
        }
        Some('?') => {
            cursor.next();
            Step::Filter(condition(cursor)?)
        }
        Some('\'' | '"') => properties(cursor)?,
        Some('(') => from_end(cursor)?,
        Some(c) if c.is_ascii_digit() || c == '-' || c == ':' => numbers(cursor)?,
        _ => return Err(cursor.error("brackets hold a name in quotes, a number, * or a filter")),
    };
    cursor.blanks();
    cursor.expect("]", "the bracket does not end")?;
    steps.push(step);
    Ok(())
}

/// `(@.length-2)`, the only script that is taken.
fn from_end(cursor: &mut Cursor<'_>) -> Result<Step, ParseError> {
    const PROBLEM: &str = "the only script in brackets is (@.length-1)";
    cursor.expect("(@.length", PROBLEM)?;
    cursor.blanks();
    cursor.expect("-", PROBLEM)?;
    cursor.blanks();
    let digits = cursor.take_while(|c| c.is_ascii_digit());
    let back: i64 = digits.parse().map_err(|_| cursor.error(PROBLEM))?;
    cursor.expect(")", PROBLEM)?;
    Ok(Step::Index(-back))
}

fn condition(cursor: &mut Cursor<'_>) -> Result<Filter, ParseError> {
    cursor.blanks();
    cursor.expect("(", "a filter stands in parentheses")?;
    let filter = filter::parse(cursor)?;
    cursor.blanks();
    cursor.expect(")", "the filter does not end")?;
    Ok(filter)
}

fn properties(cursor: &mut Cursor<'_>) -> Result<Step, ParseError> {
    let mut names = Vec::new();
    loop {
        cursor.blanks();
        let Some(quote @ ('\'' | '"')) = cursor.next() else {
            return Err(cursor.error("a name in quotes is missing"));
        };
        names.push(cursor.quoted(quote)?);
        cursor.blanks();
        if !cursor.take(",") {
            break;
        }
    }
    Ok(if names.len() == 1 { Step::Property(names.remove(0)) } else { Step::Properties(names) })
}

fn numbers(cursor: &mut Cursor<'_>) -> Result<Step, ParseError> {
    let first = integer(cursor)?;
    cursor.blanks();
    if cursor.take(":") {
        cursor.blanks();
        return Ok(Step::Slice(first, integer(cursor)?));
    }
    let mut indexes = vec![first.ok_or_else(|| cursor.error("an index is missing"))?];
    while cursor.take(",") {
        cursor.blanks();
        indexes.push(integer(cursor)?.ok_or_else(|| cursor.error("an index is missing"))?);
        cursor.blanks();
    }
    Ok(if indexes.len() == 1 { Step::Index(indexes[0]) } else { Step::Indexes(indexes) })
}

fn integer(cursor: &mut Cursor<'_>) -> Result<Option<i64>, ParseError> {
    let begin = cursor.at;
    cursor.take("-");
    cursor.take_while(|c| c.is_ascii_digit());
    match &cursor.text[begin..cursor.at] {
        "" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| cursor.error("the index is not a number")),
    }
}

/// A value that begins here: a literal of a filter, in which texts may stand in single quotes.
pub(super) fn literal(cursor: &mut Cursor<'_>) -> Result<Value, ParseError> {
    match cursor.peek() {
        Some(quote @ ('\'' | '"')) => {
            cursor.next();
            cursor.quoted(quote).map(Value::String)
        }
        Some('[') => {
            cursor.next();
            cursor.nested(items).map(Value::Array)
        }
        Some('{') => {
            let mut stream = serde_json::Deserializer::from_str(cursor.rest()).into_iter::<Value>();
            match stream.next() {
                Some(Ok(value)) => {
                    cursor.at += stream.byte_offset();
                    Ok(value)
                }
                _ => Err(cursor.error("the object is not JSON")),
            }
        }
        _ => {
            let word =
                cursor.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
            serde_json::from_str(word).map_err(|_| cursor.error("the value is not JSON"))
        }
    }
}

/// The items of an array after its opening bracket, and the closing one.
fn items(cursor: &mut Cursor<'_>) -> Result<Vec<Value>, ParseError> {
    let mut items = Vec::new();
    cursor.blanks();
    while !cursor.take("]") {
        if !items.is_empty() {
            cursor.expect(",", "a comma is missing")?;
            cursor.blanks();
        }
        items.push(literal(cursor)?);
        cursor.blanks();
    }
    Ok(items)
}
