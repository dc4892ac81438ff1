//! JSON that an execution carries: shared, with its text as it was written.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use crate::written::written;

/// How deep the text of a document may nest: a little more than what an execution may hold, since its state
/// wraps that.
const DEPTH_MAX: usize = crate::path::DEPTH_MAX + 16;
/// How deep `serde_json` reads.
const DEPTH_EASY: usize = 120;

/// A JSON document. A clone is cheap and shares everything.
#[derive(Clone, Debug)]
pub struct Document(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    value: Value,
    text: OnceLock<Arc<str>>,
    part: OnceLock<u64>,
}

impl Document {
    /// A document of that value.
    #[must_use]
    pub fn new(value: Value) -> Self {
        Self(Arc::new(Inner { value, text: OnceLock::new(), part: OnceLock::new() }))
    }

    /// Reads a text and keeps it as it is: AWS shows an input as its sender wrote it.
    ///
    /// # Errors
    /// It is no JSON, or nests too deep.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let value = match nesting(text) {
            depth if depth <= DEPTH_EASY || depth > DEPTH_MAX => serde_json::from_str(text)?,
            _ => deep(text)?,
        };
        let document = Self::new(value);
        let _ = document.0.text.set(text.into());
        Ok(document)
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0.value
    }

    /// Its value, copied only where others have the document too.
    #[must_use]
    pub fn into_value(self) -> Value {
        Arc::try_unwrap(self.0).map_or_else(|shared| shared.value.clone(), |inner| inner.value)
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text.get_or_init(|| written(&self.0.value).into())
    }

    /// The number of the part in which the state of its execution is stored apart from the rest.
    pub(crate) fn part(&self) -> Option<u64> {
        self.0.part.get().copied()
    }

    pub(crate) fn set_part(&self, part: u64) {
        let _ = self.0.part.set(part);
    }

    /// Which of all documents it is, for as long as it lives.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.0.value == other.0.value
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self::new(value)
    }
}

/// How many brackets are open at the same time.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Reads what nests deeper than `serde_json` goes: the containers here, what is in them there.
fn deep(text: &str) -> Result<Value, serde_json::Error> {
    let mut rest = text;
    let value = deep_value(&mut rest, text)?;
    if rest.trim_start().is_empty() { Ok(value) } else { whole(text) }
}

/// The error that `serde_json` has for a text that is not what it should be.
fn whole<T>(text: &str) -> Result<T, serde_json::Error> {
    match serde_json::from_str::<Value>(text) {
        Err(error) => Err(error),
        Ok(_) => Err(serde::de::Error::custom("unexpected text")),
    }
}

fn deep_value(rest: &mut &str, text: &str) -> Result<Value, serde_json::Error> {
    *rest = rest.trim_start();
    if take(rest, '[') {
        let mut items = Vec::new();
        if take(rest, ']') {
            return Ok(items.into());
        }
        loop {
            items.push(deep_value(rest, text)?);
            if take(rest, ']') {
                return Ok(items.into());
            }
            if !take(rest, ',') {
                return whole(text);
            }
        }
    }
    if take(rest, '{') {
        let mut fields = Map::new();
        if take(rest, '}') {
            return Ok(fields.into());
        }
        loop {
            let Value::String(key) = scalar(rest)? else { return whole(text) };
            if !take(rest, ':') {
                return whole(text);
            }
            let value = deep_value(rest, text)?;
            fields.insert(key, value);
            if take(rest, '}') {
                return Ok(fields.into());
            }
            if !take(rest, ',') {
                return whole(text);
            }
        }
    }
    scalar(rest)
}

fn take(rest: &mut &str, token: char) -> bool {
    let after = rest.trim_start().strip_prefix(token);
    if let Some(after) = after {
        *rest = after;
    }
    after.is_some()
}

/// A value without brackets.
fn scalar(rest: &mut &str) -> Result<Value, serde_json::Error> {
    *rest = rest.trim_start();
    let end = if rest.starts_with('"') {
        let mut escaped = false;
        let close = rest.char_indices().skip(1).find(|(_, c)| {
            let is_end = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            is_end
        });
        close.map_or(rest.len(), |(at, _)| at + 1)
    } else {
        rest.find([',', ']', '}', ':']).unwrap_or(rest.len())
    };
    let (token, after) = rest.split_at(end);
    *rest = after;
    serde_json::from_str(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_document_is_read_as_a_flat_one_is() {
        for depth in [0, 50, 70, 150, DEPTH_MAX / 2 - 1] {
            let inner = r#"[null,-1.5,"]\"é",true,{},[]]"#;
            let (open, close) = (r#"[{"a\"}":1,"b":"#.repeat(depth), "}]".repeat(depth));
            let text = format!("{open}{inner}{close}");
            assert_eq!(Document::parse(&text).unwrap().value().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_refused() {
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(200), "]".repeat(200));
        for text in [
            "",
            "[",
            "{\"a\" 1}",
            "[1 2]",
            &deep("1 2"),
            &deep("{1:2}"),
            &deep("nul"),
            &"[".repeat(300),
            &format!("{}]", deep("")),
            &"[".repeat(100_000),
        ] {
            assert!(Document::parse(text).is_err(), "{text}");
        }
        assert!(Document::parse(&deep("{\"a\": []}")).is_ok());
    }
}
