//! What an interpreted state machine asks of the world, and what it hears back.

use std::time::Duration;

use model::Timestamp;
use model::suspend::OpId;
use serde_json::Value;

use crate::definition::{ChartId, Format, MachineType, Resource};
use crate::document::Document;
use crate::env::EvalError;

/// Something a state machine wants done.
#[derive(Clone, Debug)]
pub enum Ask {
    /// [`Input::Fired`] at that time.
    Timer {
        /// When.
        at: Timestamp,
    },
    /// The work of a Task state.
    Task(Box<TaskAsk>),
    /// The items of a distributed Map state.
    Read(Box<ReadAsk>),
    /// A child execution of a distributed Map state.
    Child(Box<ChildAsk>),
    /// The results of a distributed Map state, to be written where its `ResultWriter` says.
    Write(Box<WriteAsk>),
}

/// The work of a Task state. Its time limits are kept by the machine itself.
#[derive(Clone, Debug)]
pub struct TaskAsk {
    /// The state.
    pub state: String,
    /// Who does the work.
    pub resource: Resource,
    /// Its input, or the parameters of a service.
    pub input: Document,
    /// The role of the machine.
    pub role: String,
    /// `Credentials`, computed.
    pub credentials: Option<Value>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Longest time between two signs of life.
    pub heartbeat: Option<Duration>,
    /// 0 for the first attempt.
    pub attempt: u32,
}

/// Where the items of a distributed Map state are to be read.
#[derive(Clone, Debug)]
pub struct ReadAsk {
    /// The role of the machine.
    pub role: String,
    /// `s3:getObject` or `s3:listObjectsV2`.
    pub resource: Resource,
    /// Its parameters, computed.
    pub arguments: Value,
    /// How the object is to be understood; none for a listing.
    pub format: Option<Format>,
    /// Headers of a CSV file that has none.
    pub csv_headers: Option<Vec<String>>,
    /// Between two fields of a CSV file.
    pub csv_delimiter: char,
    /// At most so many items.
    pub max_items: Option<u64>,
    /// Where in a JSON document the array stands, a JSON pointer.
    pub items_pointer: Option<String>,
    /// What sort of manifest it is.
    pub manifest_type: Option<String>,
    /// What is done with the objects of a listing.
    pub transformation: Option<String>,
}

/// A child execution.
#[derive(Clone, Debug)]
pub struct ChildAsk {
    /// The map run it belongs to.
    pub map_run: String,
    /// `Label` of the Map state, or one that was drawn.
    pub label: String,
    /// Which of the children it is.
    pub index: u64,
    /// What it runs, of the same definition.
    pub chart: ChartId,
    /// How.
    pub machine_type: MachineType,
    /// Its input.
    pub input: Document,
}

/// Results of a map run.
#[derive(Clone, Debug)]
pub struct WriteAsk {
    /// The role of the machine.
    pub role: String,
    /// The map run.
    pub map_run: String,
    /// Parameters of the writer, computed.
    pub arguments: Value,
    /// `NONE`, `COMPACT` or `FLATTEN`.
    pub transformation: Option<String>,
    /// `JSON` or `JSONL`.
    pub output_type: Option<String>,
    /// How the children ran.
    pub machine_type: MachineType,
    /// One for each child, in order: its input and what came of it.
    pub results: Vec<ChildResult>,
}

/// What came of a child execution.
#[derive(Clone, Debug)]
pub struct ChildResult {
    /// Its input, a JSON text: there may be very many.
    pub input: String,
    /// Its output, a JSON text.
    pub outcome: Result<String, Failed>,
}

/// The items of a distributed Map state.
#[derive(Clone, Debug)]
pub struct ItemsFound {
    /// An array.
    pub items: Document,
    /// Where they were found, in order: for each file the number of its first item, the place, and `true`
    /// where the items are the fields of an object.
    pub places: Document,
}

impl From<Document> for ItemsFound {
    /// An object of `Items` and `Places`; anything else is the items themselves.
    fn from(document: Document) -> Self {
        let has_places = document.value().get("Places").is_some_and(Value::is_array);
        if !has_places || !document.value().get("Items").is_some_and(Value::is_array) {
            return Self { items: document, places: Value::Array(Vec::new()).into() };
        }
        let mut both = document.into_value();
        let (items, places) = (both["Items"].take(), both["Places"].take());
        Self { items: items.into(), places: places.into() }
    }
}

/// Why something failed: the error name and the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The name that retriers and catchers match; empty where it has none.
    pub error: String,
    /// For a person.
    pub cause: Option<String>,
}

impl From<EvalError> for Failed {
    fn from(error: EvalError) -> Self {
        Self { error: error.name.as_str().to_owned(), cause: Some(error.cause) }
    }
}

/// What a state machine hears.
#[derive(Clone, Debug)]
pub enum Input {
    /// A timer is due.
    Fired(OpId),
    /// A worker took the work of an activity.
    TaskStarted(OpId, Option<String>),
    /// The service took the request, and the state waits for a token or the end of a job.
    TaskSubmitted(OpId, Document),
    /// Who does the work is alive.
    TaskHeartbeat(OpId),
    /// The work is done.
    TaskEnded(OpId, Result<Document, Failed>),
    /// The items were read.
    ItemsRead(OpId, Result<ItemsFound, Failed>),
    /// A child execution ended.
    ChildEnded(OpId, Result<Document, Failed>),
    /// The results were written; what the state then has as its result.
    ResultsWritten(OpId, Result<Document, Failed>),
    /// Somebody stops the execution.
    Abort {
        /// Their word for it.
        error: Option<String>,
        /// Their reason.
        cause: Option<String>,
    },
}

impl Input {
    /// The ask that it is about.
    #[must_use]
    pub const fn op(&self) -> Option<OpId> {
        match self {
            Self::Fired(op)
            | Self::TaskStarted(op, _)
            | Self::TaskSubmitted(op, _)
            | Self::TaskHeartbeat(op)
            | Self::TaskEnded(op, _)
            | Self::ItemsRead(op, _)
            | Self::ChildEnded(op, _)
            | Self::ResultsWritten(op, _) => Some(*op),
            Self::Abort { .. } => None,
        }
    }
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// With this output.
    Succeeded(Document),
    /// With an error.
    Failed {
        /// Its name.
        error: Option<String>,
        /// For a person.
        cause: Option<String>,
    },
    /// It took longer than its `TimeoutSeconds`.
    TimedOut,
    /// Somebody stopped it.
    Aborted {
        /// Their word for it.
        error: Option<String>,
        /// Their reason.
        cause: Option<String>,
    },
}

impl End {
    /// The status, as the API has it.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        match self {
            Self::Succeeded(_) => "SUCCEEDED",
            Self::Failed { .. } => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Aborted { .. } => "ABORTED",
        }
    }
}
