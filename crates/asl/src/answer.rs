//! What callees answer, in the words in which AWS hands it to a state.

use model::{Failure, FailureKind, Timestamp};
use serde_json::{Map, Value, json};

use crate::ask::Failed;
use crate::definition::Pattern;
use crate::document::Document;

/// A function's answer: JSON, or else a text.
#[must_use]
pub fn value_of(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let text = String::from_utf8_lossy(bytes);
    match Document::parse(&text) {
        Ok(document) => document.value().clone(),
        Err(_) => Value::String(text.into_owned()),
    }
}

/// A function's failure as Lambda tells it.
#[must_use]
pub fn error_body(failure: &Failure) -> Value {
    let detail =
        failure.detail.as_deref().and_then(|detail| serde_json::from_slice::<Value>(detail).ok());
    detail.filter(Value::is_object).unwrap_or_else(|| {
        let sort = match failure.kind {
            FailureKind::TimedOut => "Sandbox.Timedout",
            FailureKind::OutOfMemory => "Runtime.OutOfMemory",
            FailureKind::Exited => "Runtime.ExitError",
            _ => "Runtime.Unknown",
        };
        json!({ "errorType": sort, "errorMessage": failure.message })
    })
}

/// A function's failure as a state sees it.
#[must_use]
pub fn failed(failure: &Failure) -> Failed {
    let body = error_body(failure);
    let error =
        body.get("errorType").and_then(Value::as_str).unwrap_or("Lambda.Unknown").to_owned();
    Failed { error, cause: Some(body.to_string()) }
}

/// A failure that carries an error name and a cause, each where it is there.
#[must_use]
pub fn failure(kind: FailureKind, error: Option<&str>, cause: Option<&str>) -> Failure {
    let mut detail = Map::new();
    for (name, value) in [("errorType", error), ("errorMessage", cause)] {
        if let Some(value) = value {
            detail.insert(name.to_owned(), value.into());
        }
    }
    let message = match (error, cause) {
        (Some(error), Some(cause)) => format!("{error}: {cause}"),
        (Some(text), None) | (None, Some(text)) => text.to_owned(),
        (None, None) => "it failed".to_owned(),
    };
    let detail = Value::Object(detail).to_string().into_bytes();
    Failure { detail: Some(detail), ..Failure::new(kind, message) }
}

/// What [`failure`] carries.
#[must_use]
pub fn carried(failure: &Failure) -> (Option<String>, Option<String>) {
    let detail = failure.detail.as_deref();
    let detail =
        detail.and_then(|detail| serde_json::from_slice::<Map<String, Value>>(detail).ok());
    let Some(detail) = detail else {
        return (Some(format!("Fermata.{}", failure.kind.code())), Some(failure.message.clone()));
    };
    let text = |name: &str| detail.get(name).and_then(Value::as_str).map(str::to_owned);
    (text("errorType"), text("errorMessage"))
}

/// There is no such function.
#[must_use]
pub fn no_function(arn: &str, request: &str) -> Failed {
    Failed {
        error: "Lambda.ResourceNotFoundException".to_owned(),
        cause: Some(format!(
            "Function not found: {arn}:$LATEST (Service: AWSLambda; Status Code: 404; Error Code: \
             ResourceNotFoundException; Request ID: {request}; Proxy: null)"
        )),
    }
}

/// A role may not call a function. `why` is IAM's sentence.
#[must_use]
pub fn denied_function(why: &str, request: &str) -> Failed {
    Failed {
        error: "Lambda.AWSLambdaException".to_owned(),
        cause: Some(format!(
            "{why} (Service: AWSLambda; Status Code: 403; Error Code: AccessDeniedException; Request ID: \
             {request}; Proxy: null)"
        )),
    }
}

/// The name of a function in a name, a part of an ARN or an ARN.
#[must_use]
pub fn function_name(text: &str) -> &str {
    let name = text.split_once("function:").map_or(text, |(_, rest)| rest);
    name.split(':').next().unwrap_or_default()
}

/// `Payload` of `lambda:invoke` as a function gets it. It is bytes to the service: a text with JSON in it is
/// that JSON.
#[must_use]
pub fn lambda_payload(parameters: &Value) -> String {
    match parameters.get("Payload") {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) if serde_json::from_str::<Value>(text).is_ok() => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The result of `lambda:invoke`: the function's answer among what else Lambda tells.
#[must_use]
pub fn lambda_invoked(answer: Value, request: &str) -> Document {
    let answer = match &answer {
        Value::String(text) => serde_json::from_str(text).unwrap_or(answer),
        _ => answer,
    };
    let length = answer.to_string().len().to_string();
    let headers = json!({
        "Connection": "keep-alive",
        "Content-Length": length,
        "Content-Type": "application/json",
        "X-Amz-Executed-Version": "$LATEST",
    });
    json!({
        "ExecutedVersion": "$LATEST",
        "Payload": answer,
        "SdkHttpMetadata": { "HttpHeaders": headers, "HttpStatusCode": 200 },
        "SdkResponseMetadata": { "RequestId": request },
        "StatusCode": 200,
    })
    .into()
}

/// The result of `lambda:invoke` that waits for nothing (`InvocationType` is `Event`).
#[must_use]
pub fn lambda_queued(request: &str) -> Document {
    json!({
        "Payload": "",
        "SdkHttpMetadata": { "HttpStatusCode": 202 },
        "SdkResponseMetadata": { "RequestId": request },
        "StatusCode": 202,
    })
    .into()
}

/// An execution that a state began and waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nested {
    /// Its ARN.
    pub execution_arn: String,
    /// Its name.
    pub name: String,
    /// The ARN of its machine.
    pub machine_arn: String,
    /// Its input.
    pub input: String,
    /// When it began.
    pub started: Timestamp,
}

impl Nested {
    /// How it ended at that time, as the state that waited for it sees it.
    ///
    /// # Errors
    /// It did not succeed.
    pub fn ended(
        &self,
        at: Timestamp,
        end: &crate::ask::End,
        pattern: Pattern,
    ) -> Result<Document, Failed> {
        use crate::ask::End;
        // `.sync:2` has JSON where `.sync` has text.
        let data = |text: &str| match pattern {
            Pattern::Sync2 => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
            Pattern::RequestResponse | Pattern::Sync | Pattern::Callback => Value::from(text),
        };
        let millis = |at: Timestamp| Value::from(at.as_millis());
        let mut result = Map::new();
        let mut put = |name: &str, value: Value| result.insert(name.to_owned(), value);
        put("ExecutionArn", self.execution_arn.clone().into());
        put("Input", data(&self.input));
        put("InputDetails", json!({ "Included": true }));
        put("Name", self.name.clone().into());
        put("StartDate", millis(self.started));
        put("StateMachineArn", self.machine_arn.clone().into());
        put("Status", end.status().into());
        put("StopDate", millis(at));
        put("RedriveCount", 0.into());
        if matches!(end, End::Succeeded(_)) {
            put("RedriveStatus", "NOT_REDRIVABLE".into());
            let reason = "Execution is SUCCEEDED and cannot be redriven";
            put("RedriveStatusReason", reason.into());
        } else {
            put("RedriveStatus", "REDRIVABLE".into());
        }
        match end {
            End::Succeeded(output) => {
                put("Output", data(output.text()));
                put("OutputDetails", json!({ "Included": true }));
                return Ok(Value::Object(result).into());
            }
            End::Failed { error, cause } | End::Aborted { error, cause } => {
                for (name, value) in [("Error", error), ("Cause", cause)] {
                    if let Some(value) = value {
                        put(name, value.clone().into());
                    }
                }
            }
            End::TimedOut => {}
        }
        let cause = Some(Value::Object(result).to_string());
        Err(Failed { error: "States.TaskFailed".to_owned(), cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_and_its_cause_are_carried_each_where_it_is_there() {
        for (error, cause) in [(Some("E"), Some("C")), (Some("E"), None), (None, None)] {
            let (error, cause) = (error.map(str::to_owned), cause.map(str::to_owned));
            let failure = failure(FailureKind::Handler, error.as_deref(), cause.as_deref());
            assert_eq!(carried(&failure), (error, cause));
        }
        let other = Failure::new(FailureKind::Platform, "no room");
        let expected = (Some("Fermata.platform-error".to_owned()), Some("no room".to_owned()));
        assert_eq!(carried(&other), expected);
    }

    #[test]
    fn what_is_no_json_is_a_text() {
        assert_eq!(value_of(b"{\"a\": 1}"), json!({"a": 1}));
        assert_eq!(value_of(b"plain"), json!("plain"));
        assert_eq!(value_of(b""), Value::Null);
    }
}
