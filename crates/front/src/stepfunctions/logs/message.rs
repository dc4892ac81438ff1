//! An event as a log group has it.

use asl::history::{Event, EventKind};
use serde::Serialize;
use serde_json::{Map, Value};

/// Which events a configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    All,
    /// What went wrong.
    Error,
    /// Executions that did not succeed.
    Fatal,
}

impl Level {
    /// None for `OFF`.
    pub(super) fn read(word: &str) -> Option<Self> {
        match word {
            "ALL" => Some(Self::All),
            "ERROR" => Some(Self::Error),
            "FATAL" => Some(Self::Fatal),
            _ => None,
        }
    }

    pub(super) fn tells(self, kind: EventKind) -> bool {
        let name = kind.name();
        let ends_badly = ["Failed", "Aborted", "TimedOut"].iter().any(|end| name.ends_with(end));
        match self {
            Self::All => true,
            Self::Error => ends_badly || kind == EventKind::FailStateEntered,
            Self::Fatal => ends_badly && name.starts_with("Execution"),
        }
    }
}

/// What is data of an execution, and left out where a configuration does not ask for it.
const DATA: &[&str] = &[
    "input",
    "inputDetails",
    "output",
    "outputDetails",
    "parameters",
    "assignedVariables",
    "assignedVariablesDetails",
];

/// In the order in which AWS writes it; numbers are texts there.
#[derive(Serialize)]
struct Message<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    details: Map<String, Value>,
    previous_event_id: String,
    event_timestamp: String,
    execution_arn: &'a str,
    redrive_count: String,
}

pub(super) fn text(event: &Event, arn: &str, redrives: u32, has_data: bool) -> String {
    let mut details = event.details.clone();
    if !has_data {
        details.retain(|name, _| !DATA.contains(&name.as_str()));
    }
    let message = Message {
        id: event.id.to_string(),
        kind: event.kind.name(),
        details,
        previous_event_id: event.previous.to_string(),
        event_timestamp: event.at.as_millis().to_string(),
        execution_arn: arn,
        redrive_count: redrives.to_string(),
    };
    serde_json::to_string(&message).expect("texts are JSON")
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_level_tells_what_went_wrong_and_how_badly() {
        use EventKind::{
            ExecutionFailed, ExecutionStarted, ExecutionTimedOut, FailStateEntered, MapRunAborted,
            PassStateEntered, TaskFailed, TaskSubmitFailed,
        };
        let told = |level: Level| {
            let kinds = [
                ExecutionStarted,
                PassStateEntered,
                FailStateEntered,
                TaskFailed,
                TaskSubmitFailed,
                MapRunAborted,
                ExecutionFailed,
                ExecutionTimedOut,
            ];
            kinds.into_iter().filter(|kind| level.tells(*kind)).count()
        };
        assert_eq!([Level::All, Level::Error, Level::Fatal].map(told), [8, 6, 2]);
        assert_eq!(Level::read("OFF"), None);
    }

    #[test]
    fn data_is_told_only_where_it_is_asked_for() {
        let Value::Object(details) = json!({"input": "{}", "inputDetails": {}, "roleArn": "r"})
        else {
            unreachable!()
        };
        let at = Timestamp::from_millis(7);
        let event = Event { id: 2, previous: 1, at, kind: EventKind::ExecutionStarted, details };
        assert_eq!(
            text(&event, "arn", 3, false),
            r#"{"id":"2","type":"ExecutionStarted","details":{"roleArn":"r"},"previous_event_id":"1","event_timestamp":"7","execution_arn":"arn","redrive_count":"3"}"#
        );
        assert!(text(&event, "arn", 3, true).contains(r#""input":"{}""#));
    }
}
