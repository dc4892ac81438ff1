//! Work that a state machine hands to services, as it lies in the payload of their calls.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The work of a Task state that no function does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    /// The `Resource`.
    pub resource: String,
    /// Its input, a JSON text.
    pub input: String,
    /// What ends the task, where it waits for a callback or a worker.
    pub token: Option<String>,
    /// The ARN of the role that it is done with.
    #[serde(default)]
    pub role: String,
    /// The signal by which the state hears that its job has begun.
    pub submitted: Option<String>,
    /// The execution and its machine, for a service that is told of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
}

/// Items of a distributed Map state that are to be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Read {
    /// The ARN of the role that they are read with.
    #[serde(default)]
    pub role: String,
    /// `s3:getObject` or `s3:listObjectsV2`, as an ARN.
    pub resource: String,
    /// Its parameters.
    pub arguments: Value,
    /// `JSON`, `JSONL`, `CSV`, `MANIFEST`, `PARQUET`; none for a listing.
    pub format: Option<String>,
    /// Headers of a CSV file that has none.
    pub csv_headers: Option<Vec<String>>,
    /// Between two fields of a CSV file.
    pub csv_delimiter: char,
    /// At most so many items.
    pub max_items: Option<u64>,
    /// Where in a JSON document the array stands.
    pub items_pointer: Option<String>,
    /// What sort of manifest it is.
    pub manifest_type: Option<String>,
    /// What is done with the objects of a listing.
    pub transformation: Option<String>,
}

/// Results of a distributed Map state that are to be written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Write {
    /// The ARN of the role that they are written with.
    #[serde(default)]
    pub role: String,
    /// The map run.
    pub map_run: String,
    /// Parameters of the writer.
    pub arguments: Value,
    /// `NONE`, `COMPACT` or `FLATTEN`.
    pub transformation: Option<String>,
    /// `JSON` or `JSONL`.
    pub output_type: Option<String>,
    /// Whether the children are EXPRESS ones.
    #[serde(default)]
    pub is_express: bool,
    /// One for each child, in order.
    pub results: Vec<WriteItem>,
}

/// What came of one child execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WriteItem {
    /// Its input, a JSON text.
    pub input: String,
    /// Its output, a JSON text, where it succeeded.
    pub output: Option<String>,
    /// The error name, where it failed.
    pub error: Option<String>,
    /// The cause, where it failed.
    pub cause: Option<String>,
}

/// Other limits for a map run under way, as a signal tells them. What is not named stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MapRunChange {
    /// Children that may run at the same time; 0 is as many as can.
    pub max_concurrency: Option<u64>,
    /// Children that may fail.
    pub tolerated_failure_count: Option<u64>,
    /// Of a hundred children, how many may fail.
    pub tolerated_failure_percentage: Option<f64>,
}

/// The signal by which a map run is given other limits.
#[must_use]
pub fn change_signal(map_run: &str) -> String {
    let id = map_run.rsplit(':').next().unwrap_or_default();
    format!("map run {id}")
}

/// A child execution of a distributed Map state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Child {
    /// The map run it belongs to.
    pub map_run: String,
    /// The name of the child's machine.
    pub machine: String,
    /// The name of the child.
    pub name: String,
    /// What it runs, of the same definition.
    pub chart: u32,
    /// Which of the run's children it is.
    #[serde(default)]
    pub index: Option<u64>,
    /// The test case that the execution has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// Its input, a JSON text.
    pub input: String,
}
