//! Reference paths: those that name one place, to read it or to write there.

use serde_json::{Map, Value};

use super::parse::ParseError;
use super::{DEPTH_MAX, Path, Root, Step, is_deeper};
use crate::env::{Env, ErrorName, EvalError};

/// A path of properties and indexes only, as `ResultPath` has.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferencePath(Path);

impl ReferencePath {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong; a path with a wildcard, slice, filter, function or more than one name is not one.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let path = Path::parse(text)?;
        let plain = path.steps.iter().all(|step| match step {
            Step::Property(_) => true,
            Step::Index(index) => *index >= 0,
            Step::Properties(_)
            | Step::Indexes(_)
            | Step::Slice(..)
            | Step::Wildcard
            | Step::Descend
            | Step::Filter(_) => false,
        });
        if plain && path.function.is_none() {
            Ok(Self(path))
        } else {
            Err(ParseError { problem: "a reference path names one place only", at: 0 })
        }
    }

    /// The path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Where it begins.
    #[must_use]
    pub const fn root(&self) -> &Root {
        self.0.root()
    }

    /// What stands there.
    ///
    /// # Errors
    /// As [`Path::query`].
    pub fn get(&self, env: &Env<'_>) -> Result<Value, EvalError> {
        self.0.query(env)
    }

    /// Puts `value` there in `document`, making the objects on the way.
    ///
    /// # Errors
    /// `States.ResultPathMatchFailure` where the way leads through a value that is no object, or to an item
    /// that is not there.
    pub fn set(&self, document: &mut Value, value: Value) -> Result<(), EvalError> {
        if self.0.steps.len() > DEPTH_MAX || is_deeper(&value, DEPTH_MAX - self.0.steps.len()) {
            return Err(EvalError::new(
                ErrorName::Runtime,
                format!("The result nests deeper than {DEPTH_MAX} levels."),
            ));
        }
        let refused = || {
            EvalError::new(
                ErrorName::ResultPathMatchFailure,
                format!("Unable to apply Reference Path '{}' to input", self.as_str()),
            )
        };
        let mut place = document;
        for step in &self.0.steps {
            place = match step {
                Step::Property(name) => {
                    if place.is_null() {
                        *place = Value::Object(Map::new());
                    }
                    let fields = place.as_object_mut().ok_or_else(refused)?;
                    fields.entry(name.as_str()).or_insert(Value::Null)
                }
                Step::Index(index) => {
                    let at = usize::try_from(*index).map_err(|_| refused())?;
                    place.as_array_mut().and_then(|items| items.get_mut(at)).ok_or_else(refused)?
                }
                Step::Properties(_)
                | Step::Indexes(_)
                | Step::Slice(..)
                | Step::Wildcard
                | Step::Descend
                | Step::Filter(_) => return Err(refused()),
            };
        }
        *place = value;
        Ok(())
    }
}
