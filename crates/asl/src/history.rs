//! What happened in an execution, as GetExecutionHistory tells it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use model::Timestamp;
use serde_json::{Map as Object, Value, json};

use crate::document::Document;
use crate::written::write_fields;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Counted from 1.
    pub id: u64,
    /// The event that led to it; 0 for the first ones.
    pub previous: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// What is known of it, under the names of the API; an empty object where there is nothing.
    pub details: Object<String, Value>,
}

macro_rules! event_kinds {
    ($($name:ident => $details:literal,)*) => {
        /// The sorts of events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are those of the API")]
        pub enum EventKind { $($name,)* }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its `type`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The field that holds its details; empty where it has none.
            #[must_use]
            pub const fn details_field(self) -> &'static str {
                match self { $(Self::$name => $details,)* }
            }
        }
    };
}

event_kinds! {
    ActivityFailed => "activityFailedEventDetails",
    ActivityScheduled => "activityScheduledEventDetails",
    ActivityScheduleFailed => "activityScheduleFailedEventDetails",
    ActivityStarted => "activityStartedEventDetails",
    ActivitySucceeded => "activitySucceededEventDetails",
    ActivityTimedOut => "activityTimedOutEventDetails",
    ChoiceStateEntered => "stateEnteredEventDetails",
    ChoiceStateExited => "stateExitedEventDetails",
    EvaluationFailed => "evaluationFailedEventDetails",
    ExecutionAborted => "executionAbortedEventDetails",
    ExecutionFailed => "executionFailedEventDetails",
    ExecutionRedriven => "executionRedrivenEventDetails",
    ExecutionStarted => "executionStartedEventDetails",
    ExecutionSucceeded => "executionSucceededEventDetails",
    ExecutionTimedOut => "executionTimedOutEventDetails",
    FailStateEntered => "stateEnteredEventDetails",
    LambdaFunctionFailed => "lambdaFunctionFailedEventDetails",
    LambdaFunctionScheduled => "lambdaFunctionScheduledEventDetails",
    LambdaFunctionScheduleFailed => "lambdaFunctionScheduleFailedEventDetails",
    LambdaFunctionStarted => "",
    LambdaFunctionStartFailed => "lambdaFunctionStartFailedEventDetails",
    LambdaFunctionSucceeded => "lambdaFunctionSucceededEventDetails",
    LambdaFunctionTimedOut => "lambdaFunctionTimedOutEventDetails",
    MapIterationAborted => "mapIterationAbortedEventDetails",
    MapIterationFailed => "mapIterationFailedEventDetails",
    MapIterationStarted => "mapIterationStartedEventDetails",
    MapIterationSucceeded => "mapIterationSucceededEventDetails",
    MapRunAborted => "",
    MapRunFailed => "mapRunFailedEventDetails",
    MapRunRedriven => "mapRunRedrivenEventDetails",
    MapRunStarted => "mapRunStartedEventDetails",
    MapRunSucceeded => "",
    MapStateAborted => "",
    MapStateEntered => "stateEnteredEventDetails",
    MapStateExited => "stateExitedEventDetails",
    MapStateFailed => "",
    MapStateStarted => "mapStateStartedEventDetails",
    MapStateSucceeded => "",
    ParallelStateAborted => "",
    ParallelStateEntered => "stateEnteredEventDetails",
    ParallelStateExited => "stateExitedEventDetails",
    ParallelStateFailed => "",
    ParallelStateStarted => "",
    ParallelStateSucceeded => "",
    PassStateEntered => "stateEnteredEventDetails",
    PassStateExited => "stateExitedEventDetails",
    SucceedStateEntered => "stateEnteredEventDetails",
    SucceedStateExited => "stateExitedEventDetails",
    TaskFailed => "taskFailedEventDetails",
    TaskScheduled => "taskScheduledEventDetails",
    TaskStarted => "taskStartedEventDetails",
    TaskStartFailed => "taskStartFailedEventDetails",
    TaskStateAborted => "",
    TaskStateEntered => "stateEnteredEventDetails",
    TaskStateExited => "stateExitedEventDetails",
    TaskSubmitFailed => "taskSubmitFailedEventDetails",
    TaskSubmitted => "taskSubmittedEventDetails",
    TaskSucceeded => "taskSucceededEventDetails",
    TaskTimedOut => "taskTimedOutEventDetails",
    WaitStateAborted => "",
    WaitStateEntered => "stateEnteredEventDetails",
    WaitStateExited => "stateExitedEventDetails",
}

/// Details under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details(Object<String, Value>);

impl Details {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// A field that is left out where there is no value.
    pub(crate) fn maybe(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// An input or output and what is said about it.
    pub(crate) fn data(self, name: &str, document: &Document) -> Self {
        self.with(name, document.text())
            .with(&format!("{name}Details"), json!({ "truncated": false }))
    }

    pub(crate) fn error(self, error: &str, cause: Option<&str>) -> Self {
        self.with("error", error).maybe("cause", cause)
    }
}

impl Event {
    pub(crate) fn new(
        id: u64,
        previous: u64,
        at: Timestamp,
        kind: EventKind,
        details: Details,
    ) -> Self {
        Self { id, previous, at, kind, details: details.0 }
    }

    /// The event as the API shows it. Times are seconds of the epoch.
    #[must_use]
    pub fn render(&self) -> Value {
        let mut object = Object::new();
        #[expect(clippy::cast_precision_loss, reason = "the API has times as floating point")]
        let seconds = self.at.as_millis() as f64 / 1_000.0;
        object.insert("timestamp".to_owned(), seconds.into());
        object.insert("type".to_owned(), self.kind.name().into());
        object.insert("id".to_owned(), self.id.into());
        object.insert("previousEventId".to_owned(), self.previous.into());
        if !self.kind.details_field().is_empty() {
            let details = self.details.clone();
            object.insert(self.kind.details_field().to_owned(), details.into());
        }
        Value::Object(object)
    }
}

/// A text of so many bytes is stored once for all events that are stored together: the output of one
/// state is the input of the next, and that of all branches.
const SHARED_TEXT_MIN: usize = 256;

/// Events of one step as bytes to store, a line each; [`decode`] reads them back. None where there
/// are none.
#[must_use]
pub fn encode(events: &[Event]) -> Option<Vec<u8>> {
    let mut texts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines = Vec::new();
    for event in events {
        let Event { id, previous, at, kind, details } = event;
        let mut shared = BTreeMap::new();
        for (name, value) in details {
            let Some(text) = value.as_str().filter(|text| text.len() >= SHARED_TEXT_MIN) else {
                continue;
            };
            let next = texts.len();
            match texts.entry(text) {
                Entry::Occupied(known) => {
                    shared.insert(name.as_str(), *known.get());
                }
                Entry::Vacant(new) => {
                    new.insert(next);
                }
            }
        }
        if !lines.is_empty() {
            lines.push(b'\n');
        }
        let head = format!("[2,{id},{previous},{},\"{}\",", at.0, kind.name());
        lines.extend_from_slice(head.as_bytes());
        // Nothing stands in place of a text that stood before.
        let stored = details.iter().map(|(name, value)| {
            let is_shared = shared.contains_key(name.as_str());
            (name.as_str(), if is_shared { &Value::Null } else { value })
        });
        write_fields(&mut lines, stored);
        lines.push(b',');
        serde_json::to_writer(&mut lines, &shared).expect("texts and numbers are JSON");
        lines.push(b']');
    }
    (!lines.is_empty()).then_some(lines)
}

/// Reads what [`encode`] wrote, and what earlier versions did. Lines that cannot be read are left out.
#[must_use]
pub fn decode(bytes: &[u8]) -> Vec<Event> {
    let mut texts = Vec::new();
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter_map(|line| decode_line(line, &mut texts)).collect()
}

fn decode_line(line: &[u8], texts: &mut Vec<String>) -> Option<Event> {
    let mut fields: Vec<Value> = serde_json::from_slice(line).ok()?;
    let shared = match fields.first()?.as_u64()? {
        1 => Object::new(),
        2 => match fields.pop()? {
            Value::Object(shared) => shared,
            _ => return None,
        },
        _ => return None,
    };
    let [_, id, previous, at, name, details] = <[Value; 6]>::try_from(fields).ok()?;
    let Value::Object(mut details) = details else { return None };
    let long = details.values().filter_map(Value::as_str);
    texts.extend(long.filter(|text| text.len() >= SHARED_TEXT_MIN).map(str::to_owned));
    for (name, number) in shared {
        let text = texts.get(usize::try_from(number.as_u64()?).ok()?)?;
        details.insert(name, text.clone().into());
    }
    let kind = EventKind::ALL.iter().copied().find(|kind| Some(kind.name()) == name.as_str())?;
    let (id, previous, at) = (id.as_u64()?, previous.as_u64()?, at.as_u64()?);
    Some(Event { id, previous, at: Timestamp(at), kind, details })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u64, details: Value) -> Event {
        let Value::Object(details) = details else { panic!("details are an object") };
        let kind = EventKind::PassStateEntered;
        Event { id, previous: id - 1, at: Timestamp(7), kind, details }
    }

    #[test]
    fn a_long_text_is_stored_once_for_all_events_of_a_step() {
        let (long, other) = ("a".repeat(SHARED_TEXT_MIN), "b".repeat(40_000));
        let short = "c".repeat(SHARED_TEXT_MIN - 1);
        let events = [
            event(1, json!({ "input": long, "name": "A", "output": other })),
            event(2, json!({ "output": other, "again": other, "short": short })),
            event(3, json!({})),
            event(4, json!({ "input": long, "short": short, "error": null })),
        ];
        let bytes = encode(&events).expect("there are some");
        assert!(bytes.len() < 41_500, "{} bytes", bytes.len());
        let read = decode(&bytes);
        assert_eq!(read, events);
        let names = |event: &Event| event.details.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&read[1]), names(&events[1]), "in their order");
        assert_eq!(encode(&[]), None);
        assert_eq!(decode(b""), []);
    }

    #[test]
    fn what_an_earlier_version_stored_is_read_and_damage_is_left_out() {
        let line = br#"[1,4,3,7,"PassStateEntered",{"name":"A"}]"#;
        let expected = event(4, json!({ "name": "A" }));
        assert_eq!(decode(line), std::slice::from_ref(&expected));
        let damaged = [
            &b"[2]"[..],
            b"[3,4,3,7,\"PassStateEntered\",{},{}]",
            b"[2,4,3,7,\"PassStateEntered\",{},{\"input\":0}]",
            b"[2,4,3,7,\"SomeStateEntered\",{},{}]",
            b"nonsense",
        ];
        for bytes in damaged {
            let both = [bytes, line].join(&b'\n');
            let told = String::from_utf8_lossy(bytes);
            assert_eq!(decode(&both), std::slice::from_ref(&expected), "{told}");
        }
    }
}
