//! Kinds of functions that are interpreted: their turns run inside the step, not in a runtime.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::Orchestrator;
use model::{FunctionName, Kind};

/// Makes an orchestrator of a definition.
pub trait Interpreter: Send + Sync {
    /// Which kind of function it is for. The runtime's name is that of the kind.
    fn kind(&self) -> Kind;

    /// Reads a definition, at deploy and whenever it is needed again.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place, for a person.
    fn parse(&self, source: &Source<'_>) -> Result<Arc<dyn Orchestrator>, String>;
}

/// What a definition is read from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The package.
    pub definition: &'a [u8],
    /// The function's name.
    pub function: &'a FunctionName,
    /// Its environment.
    pub environment: &'a [(String, String)],
}

/// The interpreters of a node.
#[derive(Default)]
pub struct Interpreters(BTreeMap<Kind, Box<dyn Interpreter>>);

impl Interpreters {
    /// The one for sequences, which every node has.
    #[must_use]
    pub fn new() -> Self {
        Self::default().with(Box::new(Sequences))
    }

    /// The same with one more.
    #[must_use]
    pub fn with(mut self, interpreter: Box<dyn Interpreter>) -> Self {
        self.0.insert(interpreter.kind(), interpreter);
        self
    }

    /// The kind whose runtime is called so.
    pub(crate) fn kind(&self, runtime: &str) -> Option<Kind> {
        self.0.keys().copied().find(|kind| kind.as_str() == runtime)
    }

    pub(crate) fn of(&self, kind: Kind) -> Option<&dyn Interpreter> {
        self.0.get(&kind).map(|interpreter| &**interpreter)
    }
}

/// A list of functions, each called with what the one before answered:
/// `{"sequence": ["first", "second:3"]}`.
struct Sequences;

impl Interpreter for Sequences {
    fn kind(&self) -> Kind {
        Kind::Sequence
    }

    fn parse(&self, source: &Source<'_>) -> Result<Arc<dyn Orchestrator>, String> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Definition {
            sequence: Vec<String>,
        }
        let Definition { sequence } = serde_json::from_slice(source.definition)
            .map_err(|error| format!("the definition is not a sequence: {error}"))?;
        let sequence = engine::sequence::Sequence::new(sequence).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            errors.join("; ")
        })?;
        Ok(Arc::new(sequence))
    }
}
