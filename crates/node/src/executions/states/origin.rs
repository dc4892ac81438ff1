//! What whoever starts an execution of a state machine says of it, kept with the execution.

use model::Timestamp;
use serde::{Deserialize, Serialize};

/// How an execution came to be, in AWS's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// Its name; its id where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name of its machine, where that is not the function's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The alias under which it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The version under which it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Which part of the definition it runs; 0 is the whole.
    #[serde(skip_serializing_if = "is_zero")]
    pub chart: u32,
    /// The call that began it, where one did: its repeat finds it by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The map run it is a child of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map_run: Option<String>,
    /// Which of the map run's children it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// How often it was begun anew in place of one that had failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub begun_again: u32,
    /// When the first of these began, in nanoseconds of the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_began: Option<u64>,
    /// The test case whose answers it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// The trace that it is part of, as who started it wrote that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl Origin {
    /// This one in place of one that has ended and had `before`, and began then.
    #[must_use]
    pub fn in_place_of(self, before: &Self, created: Timestamp) -> Self {
        Self {
            begun_again: before.begun_again.saturating_add(1),
            first_began: before.first_began.or(Some(created.0)),
            ..self
        }
    }

    /// As it is kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }

    /// What was kept; nothing is known of an execution that was started as a function.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(chart: &u32) -> bool {
    *chart == 0
}
