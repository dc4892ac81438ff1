//! Executions: start, stop, look.

use std::sync::Arc;
use std::time::Duration;

use asl::Document;
use asl::ask::{End, Failed, Input};
use asl::definition::{MachineType, Pattern, parse, summary};
use asl::machine::Facts;
use model::Timestamp;
use serde_json::{Map, Value, json};

use super::arn::{self, MachineArn, Qualifier};
use super::error::AwsError;
use super::machines::{self, Found, listed, sort_of};
use super::page::page;
use super::params::check_name;
use super::runs::{Begin, Last, Run};
use super::tasks::Order;
use super::{Answer, Call, Ctx, registry, seconds};

const TOKEN_CHARS_MAX: usize = 3_096;
/// How long GetActivityTask waits for work.
const POLL: Duration = Duration::from_secs(60);
/// How long an EXPRESS execution may take.
const EXPRESS_MAX: Duration = Duration::from_secs(300);

/// What is to be started.
struct Wanted {
    arn: String,
    name: Option<String>,
    input: Option<String>,
}

fn wanted(call: &Call<'_>) -> Result<Wanted, AwsError> {
    Ok(Wanted {
        arn: call.params.required("stateMachineArn")?.to_owned(),
        name: call.params.text("name")?.map(str::to_owned),
        input: call.params.text("input")?.map(str::to_owned),
    })
}

/// Finds the machine and begins an execution of it, or gives the one of that name.
async fn begin(ctx: &Ctx, wanted: &Wanted) -> Result<(Arc<Run>, bool), AwsError> {
    let MachineArn { name: machine_name, qualifier } = arn::machine(&wanted.arn)?;
    let found = machines::find_in(ctx, &wanted.arn).await?;
    let sort = sort_of(&found.machine);
    let name = match &wanted.name {
        Some(name) => {
            check_name(name)?;
            name.clone()
        }
        None => registry::uuid()?,
    };
    let text = wanted.input.as_deref().unwrap_or("{}");
    let input = Document::parse(text).map_err(|error| {
        AwsError::new(
            "InvalidExecutionInput",
            format!("Invalid State Machine Execution Input: '{error}'"),
        )
    })?;
    let place = &ctx.api.place;
    let execution_arn = match sort {
        MachineType::Standard => place.execution(&machine_name, &name),
        MachineType::Express => {
            place.express(&machine_name, &format!("{name}:{}", registry::uuid()?))
        }
    };
    let Found { revision, version, .. } = found;
    let definition = parse(&revision.definition, sort)
        .into_result()
        .map_err(|problems| AwsError::new("InvalidDefinition", summary(&problems)))?;
    let facts = Facts {
        execution_arn,
        execution_name: name,
        role_arn: revision.role.clone(),
        started: ctx.handle.now(),
        redrive_count: (sort == MachineType::Standard).then_some(0),
        machine_arn: place.machine(&machine_name),
        machine_name,
    };
    let alias = match qualifier {
        Some(Qualifier::Alias(alias)) => Some(alias),
        Some(Qualifier::Version(_)) | None => None,
    };
    let begin = Begin { facts, sort, revision, definition, input, version, alias };
    match ctx.api.runs.begin(ctx, begin) {
        Ok(run) => Ok((run, true)),
        Err(known) => Ok((known, false)),
    }
}

pub(super) async fn start(call: &Call<'_>) -> Answer {
    let wanted = wanted(call)?;
    let ctx = call.ctx();
    let (run, is_new) = begin(&ctx, &wanted).await?;
    if !is_new && (run.end().is_some() || run.input != wanted.input.as_deref().unwrap_or("{}")) {
        let message = format!("Execution Already Exists: '{}'", run.facts.execution_arn);
        return Err(AwsError::new("ExecutionAlreadyExists", message));
    }
    let mut answer = Map::new();
    answer.insert("executionArn".to_owned(), run.facts.execution_arn.clone().into());
    answer.insert("startDate".to_owned(), seconds(run.facts.started));
    Ok(answer)
}

pub(super) async fn start_sync(call: &Call<'_>) -> Answer {
    let wanted = wanted(call)?;
    let ctx = call.ctx();
    let found = machines::find_in(&ctx, &wanted.arn).await?;
    if sort_of(&found.machine) != MachineType::Express {
        return Err(unsupported());
    }
    let (run, _) = begin(&ctx, &wanted).await?;
    if tokio::time::timeout(EXPRESS_MAX, run.wait()).await.is_err() {
        run.stop(Some("States.Timeout".to_owned()), None);
        run.wait().await;
    }
    let mut answer = described(call, &run);
    for field in ["redriveCount", "redriveStatus", "redriveStatusReason"] {
        answer.remove(field);
    }
    answer.entry("outputDetails").or_insert_with(|| json!({ "included": true }));
    let took = run.end().map_or(Duration::ZERO, |(at, _)| at.since(run.facts.started));
    let billed = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).div_ceil(100) * 100;
    answer.insert(
        "billingDetails".to_owned(),
        json!({ "billedMemoryUsedInMB": 64, "billedDurationInMilliseconds": billed.max(100) }),
    );
    Ok(answer)
}

fn unsupported() -> AwsError {
    let message = "This operation is not supported by this type of state machine";
    AwsError::new("StateMachineTypeNotSupported", message)
}

fn find(call: &Call<'_>) -> Result<Arc<Run>, AwsError> {
    let arn = call.params.required("executionArn")?;
    arn::execution(arn)?;
    call.ctx().api.runs.find(&call.ctx(), arn).ok_or_else(|| {
        AwsError::new("ExecutionDoesNotExist", format!("Execution Does Not Exist: '{arn}'"))
    })
}

fn described(call: &Call<'_>, run: &Run) -> Map<String, Value> {
    let mut answer = summary_of(call, run);
    answer.insert("input".to_owned(), run.input.clone().into());
    answer.insert("inputDetails".to_owned(), json!({ "included": true }));
    let status = answer.get("status").and_then(Value::as_str).unwrap_or_default().to_owned();
    let redrivable = matches!(status.as_str(), "FAILED" | "TIMED_OUT" | "ABORTED");
    answer.insert(
        "redriveStatus".to_owned(),
        if redrivable { "REDRIVABLE" } else { "NOT_REDRIVABLE" }.into(),
    );
    if !redrivable {
        let reason = format!("Execution is {status} and cannot be redriven");
        answer.insert("redriveStatusReason".to_owned(), reason.into());
    }
    match run.end().map(|(_, end)| end) {
        Some(End::Succeeded(output)) => {
            answer.insert("output".to_owned(), output.text().into());
            answer.insert("outputDetails".to_owned(), json!({ "included": true }));
        }
        Some(End::Failed { error, cause } | End::Aborted { error, cause }) => {
            for (name, value) in [("error", error), ("cause", cause)] {
                if let Some(value) = value {
                    answer.insert(name.to_owned(), value.into());
                }
            }
        }
        Some(End::TimedOut) | None => {}
    }
    answer
}

/// One execution of a list.
fn summary_of(call: &Call<'_>, run: &Run) -> Map<String, Value> {
    let mut shown = Map::new();
    let facts = &run.facts;
    shown.insert("executionArn".to_owned(), facts.execution_arn.clone().into());
    shown.insert("stateMachineArn".to_owned(), facts.machine_arn.clone().into());
    shown.insert("name".to_owned(), facts.execution_name.clone().into());
    shown.insert("startDate".to_owned(), seconds(facts.started));
    shown.insert("redriveCount".to_owned(), 0.into());
    if let Some(version) = run.version {
        let arn = call.place.version(&facts.machine_name, version);
        shown.insert("stateMachineVersionArn".to_owned(), arn.into());
    }
    if let Some(alias) = &run.alias {
        let arn = call.place.alias(&facts.machine_name, alias);
        shown.insert("stateMachineAliasArn".to_owned(), arn.into());
    }
    let end = run.end();
    let status = end.as_ref().map_or("RUNNING", |(_, end)| end.status());
    shown.insert("status".to_owned(), status.into());
    if let Some((at, _)) = end {
        shown.insert("stopDate".to_owned(), seconds(at));
    }
    shown
}

#[expect(clippy::unused_async, reason = "as all actions")]
pub(super) async fn describe(call: &Call<'_>) -> Answer {
    let run = find(call)?;
    if run.sort == MachineType::Express {
        return Err(unsupported());
    }
    Ok(described(call, &run))
}

pub(super) async fn describe_machine(call: &Call<'_>) -> Answer {
    let run = find(call)?;
    let name = run.facts.machine_name.clone();
    let arn = run.facts.machine_arn.clone();
    let missing = arn.clone();
    let machine = call
        .registry
        .with(call.who, move |resources| machines::known(resources, &name, &missing).cloned())
        .await?;
    let mut answer = machines::described(&machine, &run.revision);
    answer.insert("stateMachineArn".to_owned(), arn.into());
    answer.insert("updateDate".to_owned(), seconds(Timestamp::from_millis(machine.updated)));
    if let Some(id) = &run.revision.id {
        answer.insert("revisionId".to_owned(), id.clone().into());
    }
    Ok(answer)
}

pub(super) async fn list(call: &Call<'_>) -> Answer {
    page::<()>(&call.params, TOKEN_CHARS_MAX, Vec::new())?;
    let arn = call.params.required("stateMachineArn")?;
    let MachineArn { name, qualifier } = arn::machine(arn)?;
    let ctx = call.ctx();
    let found = machines::find_in(&ctx, arn).await?;
    if sort_of(&found.machine) == MachineType::Express {
        return Err(unsupported());
    }
    let wanted = call.params.text("statusFilter")?;
    let runs = ctx.api.runs.of_machine(&ctx, &call.place.machine(&name));
    // One of the same name may have been deleted before this one was made.
    let since = Timestamp::from_millis(found.machine.created);
    let runs =
        runs.iter().filter(|run| run.facts.started >= since).filter(|run| match &qualifier {
            None => true,
            Some(Qualifier::Version(version)) => run.version == Some(*version),
            Some(Qualifier::Alias(alias)) => run.alias.as_ref() == Some(alias),
        });
    let shown: Vec<Value> = runs
        .map(|run| summary_of(call, run))
        .filter(|shown| {
            wanted.is_none_or(|wanted| shown.get("status").and_then(Value::as_str) == Some(wanted))
        })
        .map(Value::Object)
        .collect();
    let (shown, next) = page(&call.params, TOKEN_CHARS_MAX, shown)?;
    Ok(listed("executions", shown, next))
}

#[expect(clippy::unused_async, reason = "as all actions")]
pub(super) async fn history(call: &Call<'_>) -> Answer {
    let run = find(call)?;
    if run.sort == MachineType::Express {
        return Err(unsupported());
    }
    let data = call.params.get("includeExecutionData").and_then(Value::as_bool).unwrap_or(true);
    let mut events: Vec<Value> =
        run.progress().events.iter().map(asl::history::Event::render).collect();
    if !data {
        events.iter_mut().for_each(strip);
    }
    if call.params.flag("reverseOrder") {
        events.reverse();
    }
    let (events, next) = page(&call.params, TOKEN_CHARS_MAX, events)?;
    Ok(listed("events", events, next))
}

/// Takes inputs and outputs out of an event.
fn strip(event: &mut Value) {
    for (name, details) in event.as_object_mut().into_iter().flatten() {
        if let Some(details) = details.as_object_mut().filter(|_| name.ends_with("EventDetails")) {
            for field in ["input", "output", "inputDetails", "outputDetails"] {
                details.remove(field);
            }
        }
    }
}

pub(super) async fn stop(call: &Call<'_>) -> Answer {
    let run = find(call)?;
    let text = |name: &str| call.params.text(name).map(|text| text.map(str::to_owned));
    run.stop(text("error")?, text("cause")?);
    run.wait().await;
    let at = run.end().map_or_else(|| call.handle.now(), |(at, _)| at);
    let mut answer = Map::new();
    answer.insert("stopDate".to_owned(), seconds(at));
    Ok(answer)
}

pub(super) async fn activity_task(call: &Call<'_>) -> Answer {
    let arn = call.params.required("activityArn")?.to_owned();
    let name = arn::activity(&arn)?.to_owned();
    let key = name.clone();
    call.registry
        .with(call.who, move |resources| {
            if resources.activities().contains_key(&key) {
                return Ok(());
            }
            Err(AwsError::new("ActivityDoesNotExist", format!("Activity Does Not Exist: '{arn}'")))
        })
        .await?;
    let worker = call.params.text("workerName")?.map(str::to_owned);
    let ctx = call.ctx();
    let mut answer = Map::new();
    if let Some(offer) = ctx.api.runs.take_offer(&name, worker, POLL).await {
        answer.insert("taskToken".to_owned(), offer.token.into());
        answer.insert("input".to_owned(), offer.input.into());
    }
    Ok(answer)
}

#[expect(clippy::unused_async, reason = "as all actions")]
pub(super) async fn task_success(call: &Call<'_>) -> Answer {
    let output = call.params.required("output")?;
    let output = Document::parse(output)
        .map_err(|error| AwsError::new("InvalidOutput", format!("Invalid Output: '{error}'")))?;
    answer_token(call, |op| Input::TaskEnded(op, Ok(output)), Last::Yes)
}

#[expect(clippy::unused_async, reason = "as all actions")]
pub(super) async fn task_failure(call: &Call<'_>) -> Answer {
    let text = |name: &str| call.params.text(name).map(|text| text.map(str::to_owned));
    let failed = Failed { error: text("error")?.unwrap_or_default(), cause: text("cause")? };
    answer_token(call, |op| Input::TaskEnded(op, Err(failed)), Last::Yes)
}

#[expect(clippy::unused_async, reason = "as all actions")]
pub(super) async fn task_heartbeat(call: &Call<'_>) -> Answer {
    answer_token(call, Input::TaskHeartbeat, Last::No)
}

fn answer_token(
    call: &Call<'_>,
    input: impl FnOnce(model::suspend::OpId) -> Input,
    last: Last,
) -> Answer {
    let token = call.params.required("taskToken")?;
    if call.ctx().api.runs.answer(token, input, last) {
        return Ok(Map::new());
    }
    if registry::is_token(token) {
        let message = "Task Timed Out: 'Provided task does not exist anymore'";
        return Err(AwsError::new("TaskTimedOut", message));
    }
    Err(AwsError::new("InvalidToken", "Invalid Token: 'Invalid token'"))
}

/// `states:startExecution` of a Task state.
pub(super) async fn start_nested(
    ctx: &Ctx,
    order: Option<&Order>,
    parameters: &Value,
    pattern: Pattern,
) -> Result<Document, Failed> {
    let text = |name: &str| parameters.get(name).and_then(Value::as_str).map(str::to_owned);
    let input = parameters.get("Input").filter(|input| !input.is_null()).map(|input| match input {
        Value::String(text) if serde_json::from_str::<Value>(text).is_ok() => text.clone(),
        other => other.to_string(),
    });
    let wanted =
        Wanted { arn: text("StateMachineArn").unwrap_or_default(), name: text("Name"), input };
    let refused = |error: &AwsError| Failed {
        error: format!("StepFunctions.{}Exception", error.code().trim_end_matches("Exception")),
        cause: Some(format!(
            "{} (Service: AWSStepFunctions; Status Code: 400; Error Code: {}; Request ID: {}; Proxy: null)",
            error.message(),
            error.code(),
            registry::uuid().unwrap_or_default(),
        )),
    };
    let beginning: std::pin::Pin<Box<dyn Future<Output = _> + Send + '_>> =
        Box::pin(begin(ctx, &wanted));
    let (run, is_new) = beginning.await.map_err(|error| refused(&error))?;
    if !is_new && (run.end().is_some() || Some(&run.input) != wanted.input.as_ref()) {
        let message = format!("Execution Already Exists: '{}'", run.facts.execution_arn);
        return Err(refused(&AwsError::new("ExecutionAlreadyExists", message)));
    }
    let started: Document = json!({
        "ExecutionArn": run.facts.execution_arn,
        "StartDate": asl::time::render(run.facts.started),
    })
    .into();
    if matches!(pattern, Pattern::RequestResponse | Pattern::Callback) {
        return Ok(started);
    }
    if let Some(order) = order {
        let _ = order.inbox.send(Input::TaskSubmitted(order.op, started));
    }
    run.wait().await;
    match run.end() {
        Some((at, end)) => nested_end(&run, at, end, pattern),
        None => Ok(Value::Null.into()),
    }
}

/// How a nested execution ended, as the state that waited for it sees it.
fn nested_end(run: &Run, at: Timestamp, end: End, pattern: Pattern) -> Result<Document, Failed> {
    let millis = |at: Timestamp| Value::from(at.as_millis());
    let mut result = Map::new();
    let mut put = |name: &str, value: Value| result.insert(name.to_owned(), value);
    put("ExecutionArn", run.facts.execution_arn.clone().into());
    put("Input", nested_data(&run.input, pattern));
    put("InputDetails", json!({ "Included": true }));
    put("Name", run.facts.execution_name.clone().into());
    put("StartDate", millis(run.facts.started));
    put("StateMachineArn", run.facts.machine_arn.clone().into());
    put("Status", end.status().into());
    put("StopDate", millis(at));
    match end {
        End::Succeeded(output) => {
            put("Output", nested_data(output.text(), pattern));
            put("OutputDetails", json!({ "Included": true }));
            Ok(Value::Object(result).into())
        }
        End::Failed { error, cause } | End::Aborted { error, cause } => {
            for (name, value) in [("Error", error), ("Cause", cause)] {
                if let Some(value) = value {
                    put(name, value.into());
                }
            }
            Err(Failed {
                error: "States.TaskFailed".to_owned(),
                cause: Some(Value::Object(result).to_string()),
            })
        }
        End::TimedOut => Err(Failed {
            error: "States.TaskFailed".to_owned(),
            cause: Some(Value::Object(result).to_string()),
        }),
    }
}

/// Data of a nested execution: `.sync:2` has JSON where `.sync` has text.
fn nested_data(text: &str, pattern: Pattern) -> Value {
    match pattern {
        Pattern::Sync2 => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        Pattern::RequestResponse | Pattern::Sync | Pattern::Callback => text.into(),
    }
}
