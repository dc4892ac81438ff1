//! The work of Task states: functions of this tenant, activities and other state machines.

use asl::Document;
use asl::answer;
use asl::ask::{Failed, Input, TaskAsk};
use asl::definition::{Integration, Pattern, Resource, Sdk};
use model::FunctionName;
use model::suspend::OpId;
use node::{ErrorKind, Invoke};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::error::AwsError;
use super::runs::Offer;
use super::{Ctx, events, executions};
use crate::outside::{Call, Way, refused};

/// Where the end of a task is told, and the token that can end it.
pub(super) struct Order {
    pub(super) op: OpId,
    pub(super) token: String,
    pub(super) inbox: mpsc::UnboundedSender<Input>,
    /// The execution and its machine.
    pub(super) by: Vec<String>,
}

/// Does the work of a task that is part of an execution.
pub(super) async fn perform(ctx: &Ctx, ask: TaskAsk, order: Order) {
    let op = order.op;
    let waits = ask.resource.pattern() == Pattern::Callback;
    let input = match &ask.resource.integration {
        Integration::Activity { name } => {
            let tenant = &ctx.who.tenant;
            if ctx.api.runs.has_room(tenant, name) {
                let offer = offer(ctx, ask.input.text(), &order);
                return ctx.api.runs.offer(tenant, name, offer);
            }
            let cause = format!("too many tasks wait for a worker of {name}");
            let error = "States.TaskFailed".to_owned();
            Input::TaskEnded(op, Err(Failed { error, cause: Some(cause) }))
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

/// Work of an activity of an execution of this process.
fn offer(ctx: &Ctx, input: &str, order: &Order) -> Offer {
    let Order { op, token, inbox, by: _ } = order;
    let (op, inbox, api) = (*op, inbox.clone(), std::sync::Arc::clone(&ctx.api));
    let waits = token.clone();
    Offer {
        id: None,
        token: token.clone(),
        input: input.to_owned(),
        take: Box::new(move |worker, told| {
            let started = Input::TaskStarted(op, worker);
            let _ = told.send(api.runs.waits(&waits) && inbox.send(started).is_ok());
        }),
    }
}

/// Calls what a Task state names and waits for its answer.
pub(super) async fn run(
    ctx: &Ctx,
    order: Option<&Order>,
    ask: &TaskAsk,
) -> Result<Document, Failed> {
    let roles = &ctx.api.roles;
    let role = roles.of_task(&ctx.who.tenant, &ask.role, ask.credentials.as_ref())?;
    permit(ctx, role, &ask.resource, ask.input.value())?;
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
            match pattern {
                Pattern::RequestResponse | Pattern::Callback => {
                    executions::start_nested(ctx, ask.input.value(), None).await.map(Document::new)
                }
                Pattern::Sync | Pattern::Sync2 => {
                    let submitted = |started| {
                        if let Some(order) = order {
                            let _ = order.inbox.send(Input::TaskSubmitted(order.op, started));
                        }
                    };
                    executions::run_nested(ctx, ask.input.value(), submitted, *pattern).await
                }
            }
        }
        Integration::Service { service, action, sdk: Sdk::Plain, .. } if service == "sfn" => {
            own_action(ctx, action, ask.input.value()).await
        }
        Integration::Activity { .. } | Integration::Service { .. } => {
            let by = order.map_or(&[][..], |order| &order.by);
            outside(ctx, role, &ask.resource, ask.input.value(), by).await.map(Document::new)
        }
    }
}

/// Whether who has the role may do it.
pub(super) fn permit(
    ctx: &Ctx,
    role: &str,
    resource: &Resource,
    parameters: &Value,
) -> Result<(), Failed> {
    let permitted = ctx.api.roles.permit(&ctx.who.tenant, role, resource, parameters);
    permitted.map_err(|why| denied(resource, why))
}

/// A role may not do what a state wants.
fn denied(resource: &Resource, why: String) -> Failed {
    const CODE: &str = "AccessDeniedException";
    if resource.is_function() {
        return answer::denied_function(&why, &super::registry::uuid().unwrap_or_default());
    }
    match &resource.integration {
        Integration::Service { service, action, sdk: Sdk::Optimized, .. }
            if service == "states" && action == "startExecution" =>
        {
            refused_start(&AwsError::new(CODE, why))
        }
        Integration::Service { service, sdk: Sdk::Plain, .. } if service == "sfn" => {
            refused_action(&AwsError::new(CODE, why))
        }
        Integration::Service { service, sdk, .. } if service != "http" => {
            refused(service, way(*sdk), CODE, &why)
        }
        Integration::Function { .. }
        | Integration::Activity { .. }
        | Integration::Service { .. } => {
            Failed { error: "States.TaskFailed".to_owned(), cause: Some(why) }
        }
    }
}

const fn way(sdk: Sdk) -> Way {
    match sdk {
        Sdk::Optimized => Way::Optimized,
        Sdk::Plain => Way::Plain,
    }
}

/// Calls a service outside of this server.
pub(super) async fn outside(
    ctx: &Ctx,
    role: &str,
    resource: &Resource,
    parameters: &Value,
    by: &[String],
) -> Result<Value, Failed> {
    let Integration::Service { service, action, pattern, sdk } = &resource.integration else {
        let cause = format!("nobody does what {} names", resource.arn);
        return Err(Failed { error: "States.Runtime".to_owned(), cause: Some(cause) });
    };
    if service == "http" && *sdk == Sdk::Optimized {
        return ctx.api.outside.invoke_http(parameters).await;
    }
    if matches!(pattern, Pattern::Sync | Pattern::Sync2) {
        let cause = format!("jobs of {service} cannot be waited for here: {}", resource.arn);
        return Err(Failed { error: "States.Runtime".to_owned(), cause: Some(cause) });
    }
    let way = way(*sdk);
    if matches!(service.as_str(), "events" | "eventbridge")
        && action == "putEvents"
        && events::are_here(ctx)
    {
        return events::put(ctx, way, parameters, by).await;
    }
    ctx.api.outside.acting_as(role).call(&Call { service, action, way, parameters, by }).await
}

/// `aws-sdk:sfn:…`: an action of this API, its fields named as that client names them.
pub(super) async fn own_action(
    ctx: &Ctx,
    action: &str,
    parameters: &Value,
) -> Result<Document, Failed> {
    let first = |text: &str, to: fn(&char) -> char| {
        let mut chars = text.chars();
        chars.next().map_or_else(String::new, |first| to(&first).to_string() + chars.as_str())
    };
    let fields = parameters.as_object().cloned().unwrap_or_default();
    // What the API has as a text with JSON in it may be given as JSON.
    let text = |name: &str, value: Value| match (name, &value) {
        ("input" | "output" | "definition", Value::Object(_) | Value::Array(_)) => {
            Value::from(value.to_string())
        }
        _ => value,
    };
    let fields = fields.into_iter().map(|(name, value)| {
        let name = first(&name, char::to_ascii_lowercase);
        let value = text(&name, value);
        (name, value)
    });
    let target = first(action, char::to_ascii_uppercase);
    match super::act(ctx, &target, fields.collect()).await {
        Ok(answer) => {
            let answer = answer
                .into_iter()
                .map(|(name, value)| (first(&name, char::to_ascii_uppercase), value));
            Ok(Value::Object(answer.collect()).into())
        }
        Err(error) => Err(refused_action(&error)),
    }
}

/// Why an action of this API was not done for a state.
fn refused_action(error: &AwsError) -> Failed {
    Failed {
        error: format!("Sfn.{}Exception", error.code().trim_end_matches("Exception")),
        cause: Some(format!(
            "{} (Service: Sfn, Status Code: 400, Request ID: {})",
            error.message(),
            super::registry::uuid().unwrap_or_default(),
        )),
    }
}

/// `lambda:invoke`: the function's answer among what else Lambda tells.
async fn lambda_invoke(ctx: &Ctx, parameters: &Value) -> Result<Document, Failed> {
    let name = parameters.get("FunctionName").and_then(Value::as_str).unwrap_or_default();
    let answer = invoke(ctx, name, &answer::lambda_payload(parameters)).await?;
    let request = super::registry::uuid().unwrap_or_default();
    Ok(answer::lambda_invoked(answer, &request))
}

/// Why an execution was not started for a state.
pub(super) fn refused_start(error: &AwsError) -> Failed {
    Failed {
        error: format!("StepFunctions.{}Exception", error.code().trim_end_matches("Exception")),
        cause: Some(format!(
            "{} (Service: AWSStepFunctions; Status Code: 400; Error Code: {}; Request ID: {}; Proxy: null)",
            error.message(),
            error.code(),
            super::registry::uuid().unwrap_or_default(),
        )),
    }
}

/// What a state sees of an execution that it started.
pub(super) fn started(arn: &str, at: model::Timestamp) -> Value {
    let started = json!({ "ExecutionArn": arn, "StartDate": asl::time::render(at) });
    super::services::with_metadata(started)
}

/// Calls a function by its name or ARN.
async fn invoke(ctx: &Ctx, function: &str, payload: &str) -> Result<Value, Failed> {
    let name = answer::function_name(function);
    let missing = || {
        let request = super::registry::uuid().unwrap_or_default();
        answer::no_function(&ctx.api.place.function(name), &request)
    };
    let function: FunctionName = name.parse().map_err(|_| missing())?;
    let order = Invoke {
        function,
        version: None,
        class: ctx.class.clone(),
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
        Ok(answer) => Ok(answer::value_of(&answer)),
        Err(failure) => Err(answer::failed(&failure)),
    }
}
