//! A state machine as it was written, in types that cannot be wrong.
//!
//! [`parse`] reads a definition and tells all that is wrong with it, each problem with its place. What it
//! returns is flat: a definition is a list of [`Chart`]s, the first of which is the state machine itself;
//! the others are branches of its Parallel states and item processors of its Map states.

mod check;
mod choice;
mod flow;
mod item_reader;
mod json;
mod map;
mod parse;
mod problem;
mod reader;
mod resource;
mod retry;
mod state;
mod task;
mod template;

use serde_json::Value;

use crate::intrinsic::Expression;
use crate::path::{Path, ReferencePath};
pub use parse::{MachineType, Parsed, TestedState, parse, parse_state};
pub use problem::{Code, Problem, Severity, summary};
pub use resource::{Integration, Pattern, Resource, Sdk};

/// A whole state machine.
#[derive(Clone, Debug)]
pub struct Definition {
    /// For a person.
    pub comment: Option<String>,
    /// After so many seconds an execution ends as `TIMED_OUT`.
    pub timeout_seconds: Option<u64>,
    /// The machine itself and all charts inside of its states.
    pub charts: Vec<Chart>,
}

/// The number of a chart within its definition; 0 is the machine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChartId(pub u32);

/// The number of a state within its chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(pub u32);

/// States that lead to one another: the machine, a branch, an item processor.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Where it begins.
    pub start: StateId,
    /// Its states, in the order they were written.
    pub states: Vec<State>,
}

/// How expressions of a state are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Paths, intrinsic functions, payload templates.
    #[default]
    JsonPath,
    /// `{% … %}`.
    Jsonata,
}

impl Language {
    /// As AWS writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JsonPath => "JSONPath",
            Self::Jsonata => "JSONata",
        }
    }
}

/// One state.
#[derive(Clone, Debug)]
pub struct State {
    /// Its name, unique in the definition.
    pub name: String,
    /// How its expressions are written.
    pub language: Language,
    /// Where it leads; none ends the chart.
    pub next: Option<StateId>,
    /// What becomes of its input and output.
    pub flow: Flow,
    /// What it does.
    pub kind: Kind,
}

/// What becomes of the input and the output of a state.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// `InputPath`.
    pub input_path: PathField,
    /// `OutputPath`.
    pub output_path: PathField,
    /// `ResultPath`.
    pub result_path: ResultPath,
    /// `Parameters`, or `Arguments` of a JSONata state.
    pub arguments: Option<Value>,
    /// `ResultSelector`.
    pub result_selector: Option<Value>,
    /// `Output` of a JSONata state.
    pub output: Option<Value>,
    /// `Assign`.
    pub assign: Option<Value>,
}

/// `InputPath` and `OutputPath`.
#[derive(Clone, Debug, Default)]
pub enum PathField {
    /// Not given, or `$`.
    #[default]
    Whole,
    /// `null`: an empty object.
    Nothing,
    /// A path.
    Path(Box<Path>),
}

/// `ResultPath`.
#[derive(Clone, Debug, Default)]
pub enum ResultPath {
    /// Not given, or `$`: the result takes the place of the input.
    #[default]
    Whole,
    /// `null`: the result is dropped.
    Nothing,
    /// The result is put there.
    Path(Box<ReferencePath>),
}

/// A field that is written out, or computed when its state is entered.
#[derive(Clone, Debug)]
pub enum Dynamic {
    /// As written.
    Fixed(Value),
    /// A path or intrinsic function, of the field `…Path`.
    Expression(Box<Expression>),
    /// JSONata, without its `{%` and `%}`.
    Query(String),
}

/// What a state does.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Hands its input on, or its `Result`.
    Pass {
        /// `Result`.
        result: Option<Value>,
    },
    /// Has something done.
    Task(Box<Task>),
    /// Chooses where to go.
    Choice(Choice),
    /// Waits.
    Wait(Wait),
    /// Ends its chart well.
    Succeed,
    /// Ends its chart badly.
    Fail(Fail),
    /// Runs branches at the same time.
    Parallel(Parallel),
    /// Runs its processor once for each item.
    Map(Box<Map>),
}

impl Kind {
    /// The name of the type, as written.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Pass { .. } => "Pass",
            Self::Task(_) => "Task",
            Self::Choice(_) => "Choice",
            Self::Wait(_) => "Wait",
            Self::Succeed => "Succeed",
            Self::Fail(_) => "Fail",
            Self::Parallel(_) => "Parallel",
            Self::Map(_) => "Map",
        }
    }

    /// Its retriers and catchers, where it may have some.
    #[must_use]
    pub fn recovery(&self) -> Option<&Recovery> {
        match self {
            Self::Task(task) => Some(&task.recovery),
            Self::Parallel(parallel) => Some(&parallel.recovery),
            Self::Map(map) => Some(&map.recovery),
            Self::Pass { .. } | Self::Choice(_) | Self::Wait(_) | Self::Succeed | Self::Fail(_) => {
                None
            }
        }
    }
}

/// A Task state.
#[derive(Clone, Debug)]
pub struct Task {
    /// What does the work.
    pub resource: Resource,
    /// `Credentials`, a template.
    pub credentials: Option<Value>,
    /// `TimeoutSeconds`.
    pub timeout: Option<Dynamic>,
    /// `HeartbeatSeconds`.
    pub heartbeat: Option<Dynamic>,
    /// What follows a failure.
    pub recovery: Recovery,
}

/// A Choice state.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Tried in order.
    pub rules: Vec<ChoiceRule>,
    /// Where to go when none holds.
    pub default: Option<StateId>,
}

/// One of its choices.
#[derive(Clone, Debug)]
pub struct ChoiceRule {
    /// What must hold.
    pub test: Test,
    /// Where to go then.
    pub next: StateId,
    /// `Assign` of this choice.
    pub assign: Option<Value>,
    /// `Output` of this choice.
    pub output: Option<Value>,
}

/// What must hold for a choice.
#[derive(Clone, Debug)]
pub enum Test {
    /// All of these.
    And(Vec<Self>),
    /// One of these.
    Or(Vec<Self>),
    /// Not this.
    Not(Box<Self>),
    /// A comparison.
    Compare {
        /// `Variable`.
        variable: Box<Path>,
        /// The operator.
        operator: Operator,
        /// What it is compared with.
        operand: Operand,
    },
    /// `Condition` of a JSONata state.
    Condition(Dynamic),
}

/// The right side of a comparison.
#[derive(Clone, Debug)]
pub enum Operand {
    /// As written.
    Value(Value),
    /// `…Path`.
    Path(Box<Path>),
}

/// The operators of a Choice state, without the `Path` at their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the language")]
pub enum Operator {
    BooleanEquals,
    IsBoolean,
    IsNull,
    IsNumeric,
    IsPresent,
    IsString,
    IsTimestamp,
    NumericEquals,
    NumericGreaterThan,
    NumericGreaterThanEquals,
    NumericLessThan,
    NumericLessThanEquals,
    StringEquals,
    StringGreaterThan,
    StringGreaterThanEquals,
    StringLessThan,
    StringLessThanEquals,
    StringMatches,
    TimestampEquals,
    TimestampGreaterThan,
    TimestampGreaterThanEquals,
    TimestampLessThan,
    TimestampLessThanEquals,
}

/// A Wait state.
#[derive(Clone, Debug)]
pub enum Wait {
    /// For so many seconds.
    Seconds(Dynamic),
    /// Until a time.
    Timestamp(Dynamic),
}

/// A Fail state.
#[derive(Clone, Debug)]
pub struct Fail {
    /// `Error` or `ErrorPath`.
    pub error: Option<Dynamic>,
    /// `Cause` or `CausePath`.
    pub cause: Option<Dynamic>,
}

/// A Parallel state.
#[derive(Clone, Debug)]
pub struct Parallel {
    /// Its branches.
    pub branches: Vec<ChartId>,
    /// What follows a failure.
    pub recovery: Recovery,
}

/// A Map state.
#[derive(Clone, Debug)]
pub struct Map {
    /// What each item goes through.
    pub processor: ChartId,
    /// `ItemsPath`, or `Items` of a JSONata state.
    pub items: Option<Items>,
    /// `ItemSelector`, or `Parameters` as it was called before.
    pub item_selector: Option<Value>,
    /// Which of the two names was used.
    pub selector_field: &'static str,
    /// `MaxConcurrency`; 0 and none are no bound.
    pub max_concurrency: Option<Dynamic>,
    /// `ToleratedFailureCount`.
    pub tolerated_count: Option<Dynamic>,
    /// `ToleratedFailurePercentage`.
    pub tolerated_percentage: Option<Dynamic>,
    /// Its items are child executions of their own.
    pub distributed: Option<Box<Distributed>>,
    /// What follows a failure.
    pub recovery: Recovery,
}

/// Where the items of a Map state are.
#[derive(Clone, Debug)]
pub enum Items {
    /// `ItemsPath`.
    Path(Box<Path>),
    /// `Items`: JSONata, or JSON with JSONata in it.
    Template(Value),
}

/// What a distributed Map state has besides.
#[derive(Clone, Debug)]
pub struct Distributed {
    /// Whether child executions are express.
    pub child_type: MachineType,
    /// `Label`.
    pub label: Option<String>,
    /// `ItemReader`.
    pub reader: Option<Reader>,
    /// `ItemBatcher`.
    pub batcher: Option<Batcher>,
    /// `ResultWriter`.
    pub writer: Option<Writer>,
}

/// `ItemReader`.
#[derive(Clone, Debug)]
pub struct Reader {
    /// `arn:…:s3:getObject` or `…:s3:listObjectsV2`.
    pub resource: Resource,
    /// `Parameters` or `Arguments`: a template.
    pub arguments: Option<Value>,
    /// `InputType`; none for a listing.
    pub format: Option<Format>,
    /// `CSVHeaders` where the file has none of its own.
    pub csv_headers: Option<Vec<String>>,
    /// `CSVDelimiter`, a comma unless given.
    pub csv_delimiter: char,
    /// `MaxItems`.
    pub max_items: Option<Dynamic>,
    /// `ItemsPointer`: where in a JSON document the array stands.
    pub items_pointer: Option<String>,
    /// `ManifestType`: `S3_INVENTORY` or `ATHENA_DATA`.
    pub manifest_type: Option<String>,
    /// `Transformation`: `LOAD_AND_FLATTEN` reads each listed object.
    pub transformation: Option<String>,
}

/// `InputType` of an `ItemReader`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the language")]
pub enum Format {
    Csv,
    Json,
    Jsonl,
    Manifest,
    Parquet,
}

impl Format {
    /// As `InputType` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Json => "JSON",
            Self::Jsonl => "JSONL",
            Self::Manifest => "MANIFEST",
            Self::Parquet => "PARQUET",
        }
    }

    /// The inverse of [`Format::as_str`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Csv, Self::Json, Self::Jsonl, Self::Manifest, Self::Parquet];
        all.into_iter().find(|format| format.as_str() == name)
    }
}

/// `ItemBatcher`.
#[derive(Clone, Debug)]
pub struct Batcher {
    /// `BatchInput`, a template.
    pub batch_input: Option<Value>,
    /// `MaxItemsPerBatch`.
    pub max_items: Option<Dynamic>,
    /// `MaxInputBytesPerBatch`.
    pub max_bytes: Option<Dynamic>,
}

/// `ResultWriter`.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Where results go; none only transforms them.
    pub resource: Option<Resource>,
    /// `Parameters` or `Arguments`: a template.
    pub arguments: Option<Value>,
    /// `WriterConfig.Transformation`: `NONE`, `COMPACT` or `FLATTEN`.
    pub transformation: Option<String>,
    /// `WriterConfig.OutputType`: `JSON` or `JSONL`.
    pub output_type: Option<String>,
}

/// What follows a failure.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Tried in order, before the catchers.
    pub retriers: Vec<Retrier>,
    /// Tried in order.
    pub catchers: Vec<Catcher>,
}

/// One of `Retry`.
#[derive(Clone, Debug)]
pub struct Retrier {
    /// `ErrorEquals`.
    pub errors: Vec<String>,
    /// `IntervalSeconds`, 1 unless given.
    pub interval_seconds: u32,
    /// `MaxAttempts`, 3 unless given.
    pub max_attempts: u32,
    /// `BackoffRate` in thousandths, 2,000 unless given.
    pub backoff_thousandths: u64,
    /// `MaxDelaySeconds`.
    pub max_delay_seconds: Option<u32>,
    /// Whether a delay is drawn between 0 and its full length.
    pub jitter: Jitter,
}

/// `JitterStrategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jitter {
    /// Delays are as computed.
    #[default]
    None,
    /// Drawn between 0 and what was computed.
    Full,
}

/// One of `Catch`.
#[derive(Clone, Debug)]
pub struct Catcher {
    /// `ErrorEquals`.
    pub errors: Vec<String>,
    /// Where to go.
    pub next: StateId,
    /// `ResultPath` of this catcher.
    pub result_path: ResultPath,
    /// `Assign` of this catcher.
    pub assign: Option<Value>,
    /// `Output` of this catcher.
    pub output: Option<Value>,
}

impl Definition {
    /// A chart of it.
    #[must_use]
    pub fn chart(&self, id: ChartId) -> &Chart {
        &self.charts[id.0 as usize]
    }

    /// A state of it.
    #[must_use]
    pub fn state(&self, chart: ChartId, state: StateId) -> &State {
        &self.chart(chart).states[state.0 as usize]
    }
}
