//! Writes the results of distributed Map states to S3: files of results, and a manifest that names them.

use std::collections::BTreeMap;

use asl::ask::Failed;
use model::{Timestamp, limits};
use node::states::{Write, WriteItem};
use serde_json::{Map, Value, json};

use super::aws::{Way, no_endpoint};
use super::{Outside, query, s3, services};

/// What a child's own execution tells of itself.
pub(crate) struct Described {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) machine: String,
    pub(crate) status: &'static str,
    pub(crate) started: Timestamp,
    pub(crate) stopped: Option<Timestamp>,
    pub(crate) redrives: u32,
    pub(crate) redriven: Option<Timestamp>,
    pub(crate) redrive_status: &'static str,
    pub(crate) reason: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) cause: Option<String>,
}

/// One kind of files.
struct Files {
    /// `SUCCEEDED` or `FAILED`.
    kind: &'static str,
    is_lines: bool,
    text: String,
    written: Vec<Value>,
}

impl Outside {
    /// Writes them; gives what the state has as its result.
    pub(crate) async fn write(
        &self,
        write: &Write,
        children: &BTreeMap<u64, Described>,
    ) -> Result<Value, Failed> {
        let text = |name: &str| write.arguments.get(name).and_then(Value::as_str);
        let bucket = text("Bucket").unwrap_or_default();
        let run = write.map_run.rsplit(':').next().unwrap_or_default();
        let folder = match text("Prefix").map(|prefix| prefix.trim_matches('/')) {
            None | Some("") => run.to_owned(),
            Some(prefix) => format!("{prefix}/{run}"),
        };
        let is_lines = write.output_type.as_deref() == Some("JSONL");
        let of = |kind| Files { kind, is_lines, text: String::new(), written: Vec::new() };
        let (mut succeeded, mut failures) = (of("SUCCEEDED"), of("FAILED"));
        for (index, item) in (0..).zip(&write.results) {
            let files = if item.output.is_some() { &mut succeeded } else { &mut failures };
            for value in entries(write, item, children.get(&index)) {
                files.add(&value);
                if files.text.len() >= limits::ASL_RESULT_FILE_BYTES {
                    self.put_file(bucket, &folder, files).await?;
                }
            }
        }
        for files in [&mut succeeded, &mut failures] {
            if !files.text.is_empty() {
                self.put_file(bucket, &folder, files).await?;
            }
        }
        let manifest = json!({
            "DestinationBucket": bucket,
            "MapRunArn": write.map_run,
            "ResultFiles": {
                "FAILED": failures.written,
                "PENDING": [],
                "SUCCEEDED": succeeded.written,
            },
        });
        let key = format!("{folder}/manifest.json");
        self.put(bucket, &key, manifest.to_string()).await?;
        Ok(json!({
            "MapRunArn": write.map_run,
            "ResultWriterDetails": { "Bucket": bucket, "Key": key },
        }))
    }

    async fn put_file(&self, bucket: &str, folder: &str, files: &mut Files) -> Result<(), Failed> {
        let mut text = std::mem::take(&mut files.text);
        if !files.is_lines {
            text.push(']');
        }
        let extension = if files.is_lines { "jsonl" } else { "json" };
        let key = format!("{folder}/{}_{}.{extension}", files.kind, files.written.len());
        files.written.push(json!({ "Key": key, "Size": text.len() }));
        self.put(bucket, &key, text).await
    }

    async fn put(&self, bucket: &str, key: &str, body: String) -> Result<(), Failed> {
        let without = || failed(no_endpoint("s3").cause.unwrap_or_default());
        let service = services::find("s3").ok_or_else(without)?;
        let endpoint = self.settings.endpoint("s3").ok_or_else(without)?;
        let mut parameters = Map::new();
        for (name, value) in
            [("Bucket", bucket.to_owned()), ("Key", key.to_owned()), ("Body", body)]
        {
            parameters.insert(name.to_owned(), value.into());
        }
        let request = s3::request(endpoint, "putObject", &parameters).map_err(failed)?;
        let answer = self.exchange(service.signing, request).await.map_err(failed)?;
        if answer.status.is_success() {
            return Ok(());
        }
        let refusal = query::refusal(&answer).told(&service.names(), Way::Optimized);
        Err(failed(refusal.cause.unwrap_or_default()))
    }
}

impl Files {
    fn add(&mut self, value: &Value) {
        match (self.is_lines, self.text.is_empty()) {
            (true, _) => {}
            (false, true) => self.text.push('['),
            (false, false) => self.text.push(','),
        }
        self.text.push_str(&value.to_string());
        if self.is_lines {
            self.text.push('\n');
        }
    }
}

/// What a file has of one child.
fn entries(write: &Write, item: &WriteItem, child: Option<&Described>) -> Vec<Value> {
    let Some(output) = &item.output else { return vec![whole(write, item, child)] };
    let value = || serde_json::from_str(output).unwrap_or_else(|_| output.as_str().into());
    match write.transformation.as_deref() {
        Some("COMPACT") => vec![value()],
        Some("FLATTEN") => match value() {
            Value::Array(items) => items,
            other => vec![other],
        },
        Some(_) | None => vec![whole(write, item, child)],
    }
}

/// A child as its execution tells of itself. Of one that is no longer kept there is what its map run knows.
fn whole(write: &Write, item: &WriteItem, child: Option<&Described>) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    let text = |text: Option<&String>| text.map(|text| text.as_str().into());
    let date = |at: Option<Timestamp>| at.map(|at| asl::time::render(at).into());
    let included = json!({ "Included": true });
    let (error, cause) = match child {
        Some(child) => (child.error.as_ref(), child.cause.as_ref()),
        None => (item.error.as_ref(), item.cause.as_ref()),
    };
    put("Cause", text(cause));
    put("Error", text(error));
    put("ExecutionArn", text(child.map(|child| &child.arn)));
    put("Input", Some(item.input.as_str().into()));
    put("InputDetails", Some(included.clone()));
    put("Name", text(child.map(|child| &child.name)));
    put("Output", text(item.output.as_ref()));
    put("OutputDetails", Some(included));
    if let Some(child) = child {
        put("RedriveCount", Some(child.redrives.into()));
        // EXPRESS ones are started anew, and say nothing of redrives.
        if !write.is_express {
            put("RedriveDate", date(child.redriven));
            put("RedriveStatus", Some(child.redrive_status.into()));
            put("RedriveStatusReason", text(child.reason.as_ref()));
        }
        put("StartDate", date(Some(child.started)));
        put("StateMachineArn", Some(child.machine.as_str().into()));
    }
    let known = if item.output.is_some() { "SUCCEEDED" } else { "FAILED" };
    put("Status", Some(child.map_or(known, |child| child.status).into()));
    put("StopDate", date(child.and_then(|child| child.stopped)));
    Value::Object(fields)
}

fn failed(cause: impl Into<String>) -> Failed {
    Failed { error: "States.ResultWriterFailed".to_owned(), cause: Some(cause.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(transformation: Option<&str>, is_express: bool) -> Write {
        Write {
            role: String::new(),
            map_run: String::new(),
            arguments: Value::Null,
            transformation: transformation.map(str::to_owned),
            output_type: None,
            is_express,
            results: Vec::new(),
        }
    }

    fn succeeded() -> WriteItem {
        let output = Some("[2,3]".to_owned());
        WriteItem { input: "1".to_owned(), output, error: None, cause: None }
    }

    fn child(status: &'static str) -> Described {
        Described {
            arn: "arn:e".to_owned(),
            name: "n".to_owned(),
            machine: "arn:m".to_owned(),
            status,
            started: Timestamp(1_000_000),
            stopped: Some(Timestamp(2_000_000)),
            redrives: 1,
            redriven: Some(Timestamp(1_500_000)),
            redrive_status: "REDRIVABLE_BY_MAP_RUN",
            reason: None,
            error: Some("E".to_owned()),
            cause: Some("because".to_owned()),
        }
    }

    #[track_caller]
    fn check(transformation: Option<&str>, expected: &Value) {
        let entries = entries(&write(transformation, false), &succeeded(), None);
        assert_eq!(Value::Array(entries), *expected);
    }

    #[test]
    fn results_are_written_whole_as_outputs_or_flat() {
        let details = json!({ "Included": true });
        check(
            None,
            &json!([{ "Input": "1", "InputDetails": details, "Output": "[2,3]",
                      "OutputDetails": details, "Status": "SUCCEEDED" }]),
        );
        check(Some("COMPACT"), &json!([[2, 3]]));
        check(Some("FLATTEN"), &json!([2, 3]));
    }

    #[test]
    fn a_child_that_failed_is_written_whole_with_all_that_its_execution_tells() {
        let item = WriteItem { output: None, ..succeeded() };
        let details = json!({ "Included": true });
        let mut expected = json!({
            "Cause": "because", "Error": "E", "ExecutionArn": "arn:e", "Input": "1",
            "InputDetails": details, "Name": "n", "OutputDetails": details, "RedriveCount": 1,
            "RedriveDate": "1970-01-01T00:00:00.001Z", "RedriveStatus": "REDRIVABLE_BY_MAP_RUN",
            "StartDate": "1970-01-01T00:00:00.001Z", "StateMachineArn": "arn:m",
            "Status": "ABORTED", "StopDate": "1970-01-01T00:00:00.002Z",
        });
        let written = |is_express| {
            entries(&write(Some("COMPACT"), is_express), &item, Some(&child("ABORTED")))
        };
        // The order is AWS's, too.
        assert_eq!(Value::Array(written(false)).to_string(), json!([expected]).to_string());
        let fields = expected.as_object_mut().unwrap();
        fields.retain(|name, _| !matches!(name.as_str(), "RedriveDate" | "RedriveStatus"));
        assert_eq!(written(true), [expected]);
    }
}
