//! The work of Task states: functions of this tenant, activities and other state machines.

use asl::Document;
use asl::ask::{Failed, Input, TaskAsk};
use asl::definition::{Integration, Pattern, Sdk};
use model::suspend::OpId;
use model::{Failure, FunctionName};
use node::{ErrorKind, Invoke};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Ctx, executions};
use crate::lambda::error_body;

/// Where the end of a task is told, and the token that can end it.
pub(super) struct Order {
    pub(super) op: OpId,
    pub(super) token: String,
    pub(super) inbox: mpsc::UnboundedSender<Input>,
}

/// Does the work of a task that is part of an execution.
pub(super) async fn perform(ctx: &Ctx, ask: TaskAsk, order: Order) {
    let op = order.op;
    let waits = ask.resource.pattern() == Pattern::Callback;
    let input = match &ask.resource.integration {
        Integration::Activity { name } => {
            match ctx.api.runs.offer(name, ask.input.text(), &order) {
                Ok(()) => return,
                Err(failed) => Input::TaskEnded(op, Err(failed)),
            }
        }
        Integration::Function { .. } | Integration::Service { .. } => {
            match run(ctx, Some(&order), &ask).await {
                // The request was taken; the token ends the task.
                Ok(answer) if waits => Input::TaskSubmitted(op, answer),
                outcome => Input::TaskEnded(op, outcome),
            }
        }
    };
    // An execution that ended does not hear it.
    let _ = order.inbox.send(input);
}

/// Calls what a Task state names and waits for its answer.
pub(super) async fn run(
    ctx: &Ctx,
    order: Option<&Order>,
    ask: &TaskAsk,
) -> Result<Document, Failed> {
    match &ask.resource.integration {
        Integration::Function { name } => {
            invoke(ctx, name, ask.input.text()).await.map(Document::new)
        }
        Integration::Service { service, action, .. }
            if service == "lambda" && action == "invoke" =>
        {
            lambda_invoke(ctx, ask.input.value()).await
        }
        Integration::Service { service, action, pattern, .. }
            if service == "states" && action == "startExecution" =>
        {
            executions::start_nested(ctx, order, ask.input.value(), *pattern).await
        }
        Integration::Service { service, action, sdk: Sdk::Plain, .. } if service == "sfn" => {
            own_action(ctx, action, ask.input.value()).await
        }
        Integration::Activity { .. } | Integration::Service { .. } => Err(Failed {
            error: "States.Runtime".to_owned(),
            cause: Some(format!("no endpoint is configured for {}", ask.resource.arn)),
        }),
    }
}

/// `aws-sdk:sfn:…`: an action of this API, its fields named as that client names them.
async fn own_action(ctx: &Ctx, action: &str, parameters: &Value) -> Result<Document, Failed> {
    let first = |text: &str, to: fn(&char) -> char| {
        let mut chars = text.chars();
        chars.next().map_or_else(String::new, |first| to(&first).to_string() + chars.as_str())
    };
    let fields = parameters.as_object().cloned().unwrap_or_default();
    let fields =
        fields.into_iter().map(|(name, value)| (first(&name, char::to_ascii_lowercase), value));
    let target = first(action, char::to_ascii_uppercase);
    match super::act(ctx, &target, fields.collect()).await {
        Ok(answer) => {
            let answer = answer
                .into_iter()
                .map(|(name, value)| (first(&name, char::to_ascii_uppercase), value));
            Ok(Value::Object(answer.collect()).into())
        }
        Err(error) => Err(Failed {
            error: format!("Sfn.{}Exception", error.code().trim_end_matches("Exception")),
            cause: Some(format!(
                "{} (Service: Sfn, Status Code: 400, Request ID: {})",
                error.message(),
                super::registry::uuid().unwrap_or_default(),
            )),
        }),
    }
}

/// `lambda:invoke`: the function's answer among what else Lambda tells.
async fn lambda_invoke(ctx: &Ctx, parameters: &Value) -> Result<Document, Failed> {
    let name = parameters.get("FunctionName").and_then(Value::as_str).unwrap_or_default();
    // A payload is bytes to the service: a text with JSON in it is that JSON.
    let payload = match parameters.get("Payload") {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) if serde_json::from_str::<Value>(text).is_ok() => text.clone(),
        Some(other) => other.to_string(),
    };
    let answer = invoke(ctx, name, &payload).await?;
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
    Ok(json!({
        "ExecutedVersion": "$LATEST",
        "Payload": answer,
        "SdkHttpMetadata": { "HttpHeaders": headers, "HttpStatusCode": 200 },
        "SdkResponseMetadata": { "RequestId": super::registry::uuid().unwrap_or_default() },
        "StatusCode": 200,
    })
    .into())
}

/// Calls a function by its name or ARN.
async fn invoke(ctx: &Ctx, function: &str, payload: &str) -> Result<Value, Failed> {
    let name = function.split_once("function:").map_or(function, |(_, rest)| rest);
    let name = name.split(':').next().unwrap_or_default();
    let missing = || Failed {
        error: "Lambda.ResourceNotFoundException".to_owned(),
        cause: Some(format!(
            "Function not found: {}:$LATEST (Service: AWSLambda; Status Code: 404; Error Code: \
             ResourceNotFoundException; Request ID: {}; Proxy: null)",
            ctx.api.place.function(name),
            super::registry::uuid().unwrap_or_default(),
        )),
    };
    let function: FunctionName = name.parse().map_err(|_| missing())?;
    let order = Invoke {
        function,
        version: None,
        class: None,
        payload: payload.to_owned().into(),
        traceparent: None,
        received: ctx.handle.now(),
    };
    let invoked = ctx.handle.invoke(&ctx.who, order).await.map_err(|error| match error.kind {
        ErrorKind::UnknownFunction => missing(),
        ErrorKind::OverBudget | ErrorKind::Overloaded => Failed {
            error: "Lambda.TooManyRequestsException".to_owned(),
            cause: Some(error.to_string()),
        },
        _ => {
            Failed { error: "Lambda.AWSLambdaException".to_owned(), cause: Some(error.to_string()) }
        }
    })?;
    match invoked.outcome {
        Ok(answer) => Ok(serde_json::from_slice(&answer).unwrap_or(Value::Null)),
        Err(failure) => Err(failed(&failure)),
    }
}

/// A function's failure as a state sees it.
fn failed(failure: &Failure) -> Failed {
    let body = error_body(failure);
    let error =
        body.get("errorType").and_then(Value::as_str).unwrap_or("Lambda.Unknown").to_owned();
    Failed { error, cause: Some(body.to_string()) }
}
