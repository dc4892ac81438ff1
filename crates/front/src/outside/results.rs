//! Writes the results of distributed Map states to S3: files of results, and a manifest that names them.

use asl::ask::Failed;
use model::limits;
use node::states::{Write, WriteItem};
use serde_json::{Map, Value, json};

use super::aws::{Way, no_endpoint};
use super::{Outside, query, s3, services};

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
    pub(crate) async fn write(&self, write: &Write) -> Result<Value, Failed> {
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
        for item in &write.results {
            let files = if item.output.is_some() { &mut succeeded } else { &mut failures };
            for value in entries(write, item) {
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
fn entries(write: &Write, item: &WriteItem) -> Vec<Value> {
    let Some(output) = &item.output else { return vec![whole(item)] };
    let value = || serde_json::from_str(output).unwrap_or_else(|_| output.as_str().into());
    match write.transformation.as_deref() {
        Some("COMPACT") => vec![value()],
        Some("FLATTEN") => match value() {
            Value::Array(items) => items,
            other => vec![other],
        },
        Some(_) | None => vec![whole(item)],
    }
}

/// A child as its execution tells of itself.
fn whole(item: &WriteItem) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    for (name, value) in [("Cause", &item.cause), ("Error", &item.error)] {
        if let Some(value) = value {
            put(name, value.as_str().into());
        }
    }
    put("Input", item.input.as_str().into());
    put("InputDetails", json!({ "Included": true }));
    let status = match &item.output {
        None => "FAILED",
        Some(output) => {
            put("Output", output.as_str().into());
            put("OutputDetails", json!({ "Included": true }));
            "SUCCEEDED"
        }
    };
    put("Status", status.into());
    Value::Object(fields)
}

fn failed(cause: impl Into<String>) -> Failed {
    Failed { error: "States.ResultWriterFailed".to_owned(), cause: Some(cause.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(transformation: Option<&str>, expected: &Value) {
        let write = Write {
            map_run: String::new(),
            arguments: Value::Null,
            transformation: transformation.map(str::to_owned),
            output_type: None,
            results: Vec::new(),
        };
        let item = WriteItem {
            input: "1".to_owned(),
            output: Some("[2,3]".to_owned()),
            error: None,
            cause: None,
        };
        assert_eq!(Value::Array(entries(&write, &item)), *expected);
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
}
