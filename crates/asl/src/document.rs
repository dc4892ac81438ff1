//! JSON that an execution carries: shared, with its text as it was written.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

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
    /// It is no JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let document = Self::new(serde_json::from_str(text)?);
        let _ = document.0.text.set(text.into());
        Ok(document)
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0.value
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text.get_or_init(|| self.0.value.to_string().into())
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
