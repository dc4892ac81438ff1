//! Parameters of a request.

use serde_json::{Map, Value};

use super::error::AwsError;

/// What a request carries.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(Map<String, Value>);

impl From<Map<String, Value>> for Params {
    fn from(fields: Map<String, Value>) -> Self {
        Self(fields)
    }
}

impl Params {
    pub(super) fn parse(body: &[u8]) -> Result<Self, AwsError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            _ => Err(AwsError::new("SerializationException", "the request is not a JSON object")),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, AwsError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => {
                Err(AwsError::new("SerializationException", format!("{name} must be a string")))
            }
        }
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, AwsError> {
        self.text(name)?.ok_or_else(|| {
            AwsError::validation(format!(
                "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not \
                 be null"
            ))
        })
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Whether the definition, and inputs and outputs, are to be left out of the answer.
    pub(super) fn only_metadata(&self) -> bool {
        self.get("includedData").and_then(Value::as_str) == Some("METADATA_ONLY")
    }

    pub(super) fn list(&self, name: &str) -> &[Value] {
        self.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// `maxResults`, or the default page.
    pub(super) fn page_size(&self) -> usize {
        const PAGE_DEFAULT: usize = 100;
        let wanted = self.get("maxResults").and_then(Value::as_u64).filter(|wanted| *wanted > 0);
        wanted.and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(PAGE_DEFAULT)
    }

    /// All of them.
    pub(super) const fn fields(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// A name of a state machine, an activity or an execution.
pub(super) fn check_name(name: &str) -> Result<(), AwsError> {
    let allowed = |c: char| {
        let forbidden = "<>{}[]?*\"#%\\^|~`$&,;:/";
        !c.is_whitespace()
            && !forbidden.contains(c)
            && !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}')
    };
    if name.chars().all(allowed) {
        Ok(())
    } else {
        Err(AwsError::new("InvalidName", format!("Invalid Name: '{name}'")))
    }
}

/// The rule of alias names.
pub(super) fn check_alias_name(name: &str) -> Result<(), AwsError> {
    let letters = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | '.');
    let allowed = name.chars().all(|c| letters(c) || c.is_ascii_digit());
    if allowed && name.chars().any(letters) {
        return Ok(());
    }
    let rule =
        r"Member must satisfy regular expression pattern: ^(?=.*[a-zA-Z_\-\.])[a-zA-Z0-9_\-\.]+$";
    Err(AwsError::constraint(name, "name", rule))
}
