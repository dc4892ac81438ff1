//! Sequences: functions one after the other, the output of one is the input of the next.
//!
//! The smallest orchestrator there is, of kind `sequence`. A function that fails or is refused ends
//! the sequence with that failure; a redrive calls it again.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use model::suspend::{Ask, InvokeMode, OpId, Resolution, Step, Until};
use model::{Failure, FailureKind, limits};

use crate::input::Turned;
use crate::orchestrator::{Orchestrator, Turn};

/// One sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    functions: Vec<String>,
}

/// Why functions are no sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceError {
    /// None, or more than [`limits::SEQUENCE_STEPS_MAX`].
    Size(usize),
    /// The function at that place (from 0) is not `name` or `name:version`.
    Name {
        /// The place.
        place: usize,
        /// What stands there.
        name: String,
    },
}

impl Sequence {
    /// A sequence of functions, each `name` or `name:version`.
    ///
    /// # Errors
    /// All that is wrong, each with its place.
    pub fn new(functions: Vec<String>) -> Result<Self, Vec<SequenceError>> {
        let size = functions.len();
        if size == 0 || size > limits::SEQUENCE_STEPS_MAX {
            return Err([SequenceError::Size(size)].into());
        }
        let wrong = functions.iter().enumerate().filter(|(_, name)| !is_function(name));
        let wrong = wrong.map(|(place, name)| SequenceError::Name { place, name: name.clone() });
        let wrong: Vec<_> = wrong.collect();
        if wrong.is_empty() { Ok(Self { functions }) } else { Err(wrong) }
    }

    /// The functions in order.
    #[must_use]
    pub fn functions(&self) -> &[String] {
        &self.functions
    }

    /// Asks for the function at `place`. Its number is its place, counted from 1.
    fn call(&self, place: usize, payload: &[u8]) -> Turned {
        let op = OpId(place as u64 + 1);
        let ask = Ask::Invoke {
            function: self.functions[place].clone(),
            class: None,
            payload: payload.to_vec(),
            mode: InvokeMode::Wait,
        };
        let step = Step::Wait {
            asks: [(op, ask)].into(),
            drops: Vec::new(),
            until: Until::All([op].into()),
            status: None,
        };
        Turned::new((place as u64).to_le_bytes().to_vec(), step)
    }
}

impl Orchestrator for Sequence {
    fn turn(&self, turn: &Turn<'_>) -> Turned {
        let Some(state) = turn.state else {
            return self.call(0, turn.input);
        };
        let place = <[u8; 8]>::try_from(state).ok().map(u64::from_le_bytes);
        let place = place.and_then(|place| usize::try_from(place).ok());
        let (Some(place), [(_, resolution)]) = (place, turn.resolved) else {
            return ended(Step::Failed(Failure::new(
                FailureKind::Platform,
                "the state is not that of a sequence",
            )));
        };
        match resolution {
            Resolution::Ok(answer) if place + 1 < self.functions.len() => {
                self.call(place + 1, answer)
            }
            Resolution::Ok(answer) => ended(Step::Done(answer.clone())),
            Resolution::Failed(failure) => ended(Step::Failed(failure.clone())),
            Resolution::Refused { code, message } => {
                let message = format!("{} was refused ({code}): {message}", self.functions[place]);
                ended(Step::Failed(Failure::new(FailureKind::Handler, message)))
            }
        }
    }
}

impl fmt::Display for SequenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => {
                let most = limits::SEQUENCE_STEPS_MAX;
                write!(f, "a sequence has 1 to {most} functions, not {size}")
            }
            Self::Name { place, name } => {
                write!(f, "function {place}: {name:?} is not `name` or `name:version`")
            }
        }
    }
}

impl core::error::Error for SequenceError {}

const fn ended(step: Step) -> Turned {
    Turned::new(Vec::new(), step)
}

fn is_function(text: &str) -> bool {
    let (name, version) = text.split_once(':').map_or((text, None), |(n, v)| (n, Some(v)));
    let is_version = |version: &str| {
        version.parse::<u32>().is_ok_and(|number| number > 0) && !version.starts_with('+')
    };
    name.parse::<model::FunctionName>().is_ok() && version.is_none_or(is_version)
}
