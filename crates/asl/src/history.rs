//! What happened in an execution, as GetExecutionHistory tells it.

use model::Timestamp;
use serde_json::{Map as Object, Value, json};

use crate::document::Document;

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

    /// Bytes to store; [`Event::decode`] reads them back.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let fields =
            json!([1, self.id, self.previous, self.at.0, self.kind.name(), self.details.clone()]);
        fields.to_string().into_bytes()
    }

    /// Reads what [`Event::encode`] wrote.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, id, previous, at, name, details): (
            u32,
            u64,
            u64,
            u64,
            String,
            Object<String, Value>,
        ) = serde_json::from_slice(bytes).ok()?;
        let kind = EventKind::ALL.iter().copied().find(|kind| kind.name() == name)?;
        (version == 1).then_some(Self { id, previous, at: Timestamp(at), kind, details })
    }
}
