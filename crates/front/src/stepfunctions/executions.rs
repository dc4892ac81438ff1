//! Executions: start, stop, look.

use std::sync::Arc;
use std::time::Duration;

use asl::Document;
use asl::ask::{End, Failed, Input};
use asl::definition::MachineType;
use asl::machine::Facts;
use model::{ExecutionId, FailureKind, FunctionName, InvocationId, Timestamp, Version};
use node::states::Origin;
use node::{
    ErrorKind, ExecutionStatus, IfExists, NewExecution, RunFilter, TokenAnswer, TokenTaken, Which,
};
use serde_json::{Map, Value, json};

use super::arn::{self, MachineArn, Qualifier};
use super::error::AwsError;
use super::machines::{self, Found, listed, sort_of};
use super::page::{cursor, next_cursor, page};
use super::params::check_name;
use super::registry::Revision;
use super::runs::{Begin, Last, Run};
use super::view::{Kept, View};
use super::{Answer, Call, Ctx, redrives, registry, seconds, tasks};

/// How long GetActivityTask waits for work.
const POLL: Duration = Duration::from_secs(60);

/// What is to be started.
pub(super) struct Wanted {
    arn: String,
    name: Option<String>,
    input: Option<String>,
    /// The call that starts it, where a state does.
    by: Option<InvocationId>,
    /// The trace that it is part of.
    trace: Option<String>,
}

/// An execution that can begin.
pub(super) struct Ready {
    pub(super) machine_name: String,
    pub(super) name: String,
    pub(super) sort: MachineType,
    pub(super) input: Document,
    pub(super) function: FunctionName,
    pub(super) function_version: Version,
    revision: Revision,
    version: Option<u32>,
    alias: Option<String>,
    trace: Option<String>,
    /// The test case whose answers it is to have.
    case: Option<String>,
    /// When the machine was made: executions of an earlier one gave up their names.
    machine_made: Timestamp,
}

impl Wanted {
    fn read(call: &Call<'_>) -> Result<Self, AwsError> {
        Ok(Self {
            arn: call.params.required("stateMachineArn")?.to_owned(),
            name: call.params.text("name")?.map(str::to_owned),
            input: call.params.text("input")?.map(str::to_owned),
            by: None,
            trace: call.params.text("traceHeader")?.map(str::to_owned),
        })
    }

    /// What a Task state starts.
    pub(super) fn nested(parameters: &Value, by: InvocationId) -> Self {
        let text = |name: &str| parameters.get(name).and_then(Value::as_str).map(str::to_owned);
        let input = parameters.get("Input").filter(|input| !input.is_null());
        let input = input.map(|input| match input {
            Value::String(text) if serde_json::from_str::<Value>(text).is_ok() => text.clone(),
            other => other.to_string(),
        });
        let arn = text("StateMachineArn").unwrap_or_default();
        Self { arn, name: text("Name"), input, by: Some(by), trace: text("TraceHeader") }
    }
}

impl Ready {
    /// Whether one of this name is of an earlier machine and has ended.
    pub(super) fn has_given_up(&self, other: &node::Run) -> bool {
        other.info.finished.is_some() && other.info.created < self.machine_made
    }

    /// The name under which the node keeps it.
    pub(super) fn row_name(&self) -> String {
        format!("{}:{}", self.machine_name, self.name)
    }

    pub(super) fn origin(&self) -> Origin {
        Origin {
            name: Some(self.name.clone()),
            machine: Some(self.machine_name.clone()),
            alias: self.alias.clone(),
            version: self.version,
            trace: self.trace.clone(),
            case: self.case.clone(),
            ..Origin::default()
        }
    }
}

/// Finds the machine and makes an execution of it ready.
pub(super) async fn ready(ctx: &Ctx, wanted: &Wanted) -> Result<Ready, AwsError> {
    let (arn, case) = match wanted.arn.split_once('#') {
        Some((arn, case)) if !ctx.api.mocks.is_empty() => (arn, Some(case)),
        _ => (&*wanted.arn, None),
    };
    let MachineArn { name: machine_name, qualifier } = arn::machine(arn)?;
    if let Some(case) = case.filter(|case| !ctx.api.mocks.has(&machine_name, case)) {
        let message = format!(
            "Invalid test case '{case}': the file of --states-mocks has none of that name for the state machine \
             '{machine_name}'"
        );
        return Err(AwsError::validation(message));
    }
    let Found { machine, revision, version, .. } = machines::find_in(ctx, arn).await?;
    let sort = sort_of(&machine);
    let name = match &wanted.name {
        Some(name) => {
            check_name(name)?;
            name.clone()
        }
        // A repeat of the same call is to have the same name.
        None => match wanted.by {
            Some(by) => name_of(by),
            None => registry::uuid()?,
        },
    };
    let text = wanted.input.as_deref().unwrap_or("{}");
    let input = Document::parse(text).map_err(|error| {
        let message = format!("Invalid State Machine Execution Input: '{error}'");
        AwsError::new("InvalidExecutionInput", message)
    })?;
    let (function, function_version) = machines::pinned(ctx, &machine, &revision).await?;
    let alias = match qualifier {
        Some(Qualifier::Alias(alias)) => Some(alias),
        Some(Qualifier::Version(_)) | None => None,
    };
    Ok(Ready {
        machine_name,
        name,
        sort,
        input,
        function,
        function_version,
        revision,
        version,
        alias,
        trace: wanted.trace.clone(),
        case: case.map(str::to_owned),
        machine_made: Timestamp::from_millis(machine.created),
    })
}

/// A name for an execution that a state starts without one.
fn name_of(by: InvocationId) -> String {
    let hex = format!("{:032x}", by.0);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Begins an execution, or gives the one of that name.
async fn begin(ctx: &Ctx, wanted: &Wanted) -> Result<View, AwsError> {
    let ready = ready(ctx, wanted).await?;
    match ready.sort {
        MachineType::Express => begin_here(ctx, ready).map(|run| View::here(&run)),
        MachineType::Standard => begin_kept(ctx, wanted, ready).await,
    }
}

/// Begins an EXPRESS execution.
fn begin_here(ctx: &Ctx, ready: Ready) -> Result<Arc<Run>, AwsError> {
    let Ready { machine_name, name, sort, input, revision, version, alias, case, .. } = ready;
    let definition = ctx.api.definitions.read(&revision.definition, sort)?;
    let place = &ctx.api.place;
    let execution_arn = place.express(&machine_name, &format!("{name}:{}", registry::uuid()?));
    let facts = Facts {
        execution_arn,
        execution_name: name,
        role_arn: revision.role.clone(),
        started: ctx.handle.now(),
        redrive_count: None,
        machine_arn: place.machine(&machine_name),
        machine_name,
    };
    let begin = Begin { facts, sort, revision, definition, input, version, alias, case };
    ctx.api.runs.begin(ctx, begin).or_else(Ok)
}

/// Begins an execution that the node keeps.
async fn begin_kept(ctx: &Ctx, wanted: &Wanted, ready: Ready) -> Result<View, AwsError> {
    let received = ctx.handle.now();
    let row_name = ready.row_name();
    let by = wanted.by.map(|by| by.to_string());
    let origin = Origin { by: by.clone(), ..ready.origin() };
    let new = NewExecution {
        function: ready.function.clone(),
        version: Some(ready.function_version),
        class: ctx.class.clone(),
        name: Some(row_name.clone()),
        if_exists: IfExists::Refuse,
        payload: ready.input.text().to_owned().into(),
        received,
        origin: origin.to_bytes(),
    };
    let mut started = ctx.handle.start_execution(&ctx.who, new.clone()).await;
    if started.as_ref().is_err_and(|error| error.kind == ErrorKind::Conflict)
        && named(ctx, &ready).await?.is_some_and(|run| ready.has_given_up(&run))
    {
        let new = NewExecution { if_exists: IfExists::Replace, ..new };
        started = ctx.handle.start_execution(&ctx.who, new).await;
    }
    match started {
        Ok(begun) => Ok(View {
            arn: ctx.api.place.execution(&ready.machine_name, &ready.name),
            name: ready.name,
            machine_name: ready.machine_name,
            started: received,
            input: ready.input.text().to_owned(),
            end: None,
            version: ready.version,
            alias: ready.alias,
            trace: ready.trace,
            redrives: 0,
            begun_again: None,
            map_run: None,
            index: None,
            kept: Kept::Node(begun.id, ready.function, ready.function_version),
            by,
            standing: Value::Null,
        }),
        Err(error) if error.kind == ErrorKind::Conflict => {
            let run = ctx.handle.run(&ctx.who, &Which::Name(row_name)).await?;
            let view = View::of_node(&ctx.api.place, run);
            let is_own = by.is_some() && view.by == by;
            // The same request again has the same answer, while it runs.
            if is_own || view.end.is_none() && view.input == ready.input.text() {
                return Ok(view);
            }
            let message = format!("Execution Already Exists: '{}'", view.arn);
            Err(AwsError::new("ExecutionAlreadyExists", message))
        }
        Err(error) => Err(error.into()),
    }
}

/// The execution that has this one's name.
pub(super) async fn named(ctx: &Ctx, ready: &Ready) -> Result<Option<node::Run>, AwsError> {
    match ctx.handle.run(&ctx.who, &Which::Name(ready.row_name())).await {
        Ok(run) => Ok(Some(run)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn start(call: &Call<'_>) -> Answer {
    let wanted = Wanted::read(call)?;
    let view = begin(&call.ctx(), &wanted).await?;
    let mut answer = Map::new();
    answer.insert("executionArn".to_owned(), view.arn.into());
    answer.insert("startDate".to_owned(), seconds(view.started));
    Ok(answer)
}

pub(super) async fn start_sync(call: &Call<'_>) -> Answer {
    let wanted = Wanted::read(call)?;
    let ctx = call.ctx();
    let ready = ready(&ctx, &wanted).await?;
    if ready.sort != MachineType::Express {
        return Err(unsupported());
    }
    let run = begin_here(&ctx, ready)?;
    run.wait().await;
    let mut answer = View::here(&run).described(call.place);
    for field in ["redriveCount", "redriveStatus", "redriveStatusReason"] {
        answer.remove(field);
    }
    answer.entry("outputDetails").or_insert_with(|| json!({ "included": true }));
    if let Some(trace) = wanted.trace {
        answer.insert("traceHeader".to_owned(), trace.into());
    }
    if call.params.only_metadata() {
        leave_data_out(&mut answer);
    }
    let took = run.end().map_or(Duration::ZERO, |(at, _)| at.since(run.facts.started));
    let billed = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).div_ceil(100) * 100;
    answer.insert(
        "billingDetails".to_owned(),
        json!({ "billedMemoryUsedInMB": 64, "billedDurationInMilliseconds": billed.max(100) }),
    );
    Ok(answer)
}

pub(super) fn unsupported() -> AwsError {
    let message = "This operation is not supported by this type of state machine";
    AwsError::new("StateMachineTypeNotSupported", message)
}

/// The execution of an ARN.
pub(super) async fn find(ctx: &Ctx, arn: &str) -> Result<View, AwsError> {
    let missing =
        || AwsError::new("ExecutionDoesNotExist", format!("Execution Does Not Exist: '{arn}'"));
    let rest = arn::execution(arn)?;
    if let Some(run) = ctx.api.runs.find(ctx, arn) {
        return Ok(View::here(&run));
    }
    let named = ctx.handle.run(&ctx.who, &Which::Name(rest.to_owned())).await;
    let found = match named {
        Err(error) if error.kind == ErrorKind::NotFound => {
            // One that was started as a function is named by its id.
            let (machine, id) = rest.split_once(':').ok_or_else(missing)?;
            let id: ExecutionId = id.parse().map_err(|_| missing())?;
            let run = ctx.handle.run(&ctx.who, &Which::Id(id)).await;
            run.ok().filter(|run| run.info.function.as_str() == machine).ok_or_else(missing)?
        }
        other => other?,
    };
    Ok(View::of_node(&ctx.api.place, found))
}

/// The STANDARD execution that a request names.
pub(super) async fn find_kept(call: &Call<'_>) -> Result<View, AwsError> {
    let arn = call.params.required("executionArn")?;
    arn::kept_execution(arn)?;
    find(&call.ctx(), arn).await
}

pub(super) async fn describe(call: &Call<'_>) -> Answer {
    let view = find_kept(call).await?;
    let mut answer = view.described(call.place);
    let (word, reason) = redrives::status(&view, call.handle.now(), call.api.quotas);
    answer.insert("redriveStatus".to_owned(), word.into());
    if let Some(reason) = reason {
        answer.insert("redriveStatusReason".to_owned(), reason.into());
    }
    if let Some(at) = view.redriven_at(&call.ctx()).await? {
        answer.insert("redriveDate".to_owned(), at);
    }
    if call.params.only_metadata() {
        leave_data_out(&mut answer);
    }
    Ok(answer)
}

/// Takes input and output out of what is told of an execution.
fn leave_data_out(answer: &mut Map<String, Value>) {
    for (data, details) in [("input", "inputDetails"), ("output", "outputDetails")] {
        if answer.remove(data).is_some() {
            answer.insert(details.to_owned(), json!({ "included": false }));
        }
    }
}

pub(super) async fn describe_machine(call: &Call<'_>) -> Answer {
    let ctx = call.ctx();
    let view = find_kept(call).await?;
    let name = view.machine_name.split('/').next().unwrap_or_default().to_owned();
    let (arn, missing) = (call.place.machine(&name), call.place.machine(&name));
    let machine = call
        .registry
        .with(call.who, move |resources| machines::known(resources, &name, &missing).cloned())
        .await?;
    let revision = match &view.kept {
        Kept::Here(run) => run.revision.clone(),
        Kept::Node(_, function, version) => {
            machines::revision_of(&ctx, &machine, function, *version).await?
        }
    };
    let mut answer = machines::described(&machine, &revision, machines::told_of(call));
    answer.insert("stateMachineArn".to_owned(), arn.into());
    answer.insert("updateDate".to_owned(), seconds(Timestamp::from_millis(machine.updated)));
    if let Some(id) = &revision.id {
        answer.insert("revisionId".to_owned(), id.clone().into());
    }
    if let Some(map_run) = view.map_run {
        answer.insert("mapRunArn".to_owned(), map_run.into());
        let label = view.machine_name.split_once('/').map(|(_, label)| label);
        answer.insert("label".to_owned(), label.into());
    }
    Ok(answer)
}

pub(super) async fn list(call: &Call<'_>) -> Answer {
    let (size, after) = cursor(&call.params)?;
    let before = match after {
        None => None,
        Some(id) => {
            let invalid = |_| AwsError::new("InvalidToken", "Invalid Token: 'Invalid token'");
            Some(id.parse::<ExecutionId>().map_err(invalid)?)
        }
    };
    let ctx = call.ctx();
    check_listed(call)?;
    if let Some(arn) = call.params.text("mapRunArn")? {
        return super::map_runs::children(call, &ctx, arn, size, before).await;
    }
    let arn = call.params.required("stateMachineArn")?;
    let MachineArn { name, qualifier } = arn::machine(arn)?;
    let found = machines::find_in(&ctx, arn).await?;
    if sort_of(&found.machine) == MachineType::Express {
        return Err(unsupported());
    }
    let wanted = call.params.text("statusFilter")?;
    let (function, _) = machines::pinned(&ctx, &found.machine, &found.revision).await?;
    let filter = RunFilter {
        function: Some(function),
        open: wanted == Some("RUNNING"),
        status: match wanted {
            Some("SUCCEEDED") => Some(ExecutionStatus::Succeeded),
            Some("FAILED" | "TIMED_OUT") => Some(ExecutionStatus::Failed),
            Some("ABORTED") => Some(ExecutionStatus::Cancelled),
            _ => None,
        },
        // One of the same name may have been deleted before this one was made.
        from: Some(Timestamp::from_millis(found.machine.created)),
        before,
        ..RunFilter::default()
    };
    let fits = |view: &View| {
        let is_of = match &qualifier {
            None => true,
            Some(Qualifier::Version(version)) => view.version == Some(*version),
            Some(Qualifier::Alias(alias)) => view.alias.as_ref() == Some(alias),
        };
        is_of && view.machine_name == name && wanted.is_none_or(|wanted| view.status() == wanted)
    };
    let (views, next) = views(&ctx, filter, size, fits).await?;
    let mut shown = Vec::with_capacity(views.len());
    for view in &views {
        let mut summary = view.summary(call.place);
        if let Some(at) = view.redriven_at(&ctx).await? {
            summary.insert("redriveDate".to_owned(), at);
        }
        shown.push(Value::Object(summary));
    }
    Ok(listed("executions", shown, next))
}

/// Executions are those of a machine or of a map run, and what is about redrives of children is asked of a
/// map run only.
fn check_listed(call: &Call<'_>) -> Result<(), AwsError> {
    let has = |name: &str| call.params.has(name);
    if has("stateMachineArn") == has("mapRunArn") {
        let message = "Exactly one of stateMachineArn and mapRunArn must be specified";
        return Err(AwsError::validation(message));
    }
    let pending = call.params.text("statusFilter")? == Some("PENDING_REDRIVE");
    if !has("mapRunArn") && (pending || has("redriveFilter")) {
        let what = if pending { "The statusFilter PENDING_REDRIVE" } else { "A redriveFilter" };
        return Err(AwsError::validation(format!("{what} can only be used with a mapRunArn")));
    }
    Ok(())
}

/// A page of executions that fit, and the token of the next one.
pub(super) async fn views(
    ctx: &Ctx,
    mut filter: RunFilter,
    size: usize,
    fits: impl Fn(&View) -> bool,
) -> Result<(Vec<View>, Option<String>), AwsError> {
    let mut shown: Vec<View> = Vec::new();
    loop {
        filter.limit = (size + 1 - shown.len()).clamp(1, model::limits::PAGE_MAX - 1);
        let page = ctx.handle.runs(&ctx.who, filter.clone()).await?;
        filter.before = page.items.last().map(|run| run.info.id);
        let views = page.items.into_iter().map(|run| View::of_node(&ctx.api.place, run));
        for view in views.filter(&fits) {
            if shown.len() == size {
                let Some(Kept::Node(last, ..)) = shown.last().map(|view| &view.kept) else {
                    return Ok((shown, None));
                };
                let next = next_cursor(&last.to_string());
                return Ok((shown, Some(next)));
            }
            shown.push(view);
        }
        if !page.more {
            return Ok((shown, None));
        }
    }
}

pub(super) async fn history(call: &Call<'_>) -> Answer {
    let view = find_kept(call).await?;
    let data = call.params.get("includeExecutionData").and_then(Value::as_bool).unwrap_or(true);
    let mut events = view.history(&call.ctx()).await?;
    if !data {
        events.iter_mut().for_each(strip);
    }
    if call.params.flag("reverseOrder") {
        events.reverse();
    }
    let (events, next) = page(&call.params, events)?;
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
    let ctx = call.ctx();
    let view = find_kept(call).await?;
    let Kept::Node(id, ..) = view.kept else { return Err(unsupported()) };
    let text = |name: &str| call.params.text(name).map(|text| text.map(str::to_owned));
    let (error, cause) = (text("error")?, text("cause")?);
    let reason = json!({ "error": error, "cause": cause }).to_string();
    match ctx.handle.cancel_execution(&ctx.who, &Which::Id(id), reason).await {
        Err(error) if error.kind != ErrorKind::ExecutionEnded => return Err(error.into()),
        _ => {}
    }
    let arn = &view.arn;
    let ended = find(&ctx, arn).await?.end.map(|(at, _)| at);
    let mut answer = Map::new();
    answer.insert("stopDate".to_owned(), seconds(ended.unwrap_or_else(|| call.handle.now())));
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
    if let Some((token, input)) = ctx.api.runs.take_offer(&ctx, &name, worker, POLL).await {
        answer.insert("taskToken".to_owned(), token.into());
        answer.insert("input".to_owned(), input.into());
    }
    Ok(answer)
}

pub(super) async fn task_success(call: &Call<'_>) -> Answer {
    let output = call.params.required("output")?;
    let output = Document::parse(output)
        .map_err(|error| AwsError::new("InvalidOutput", format!("Invalid Output: '{error}'")))?;
    let answer = TokenAnswer::Success(output.text().to_owned().into());
    answer_token(call, answer, |op| Input::TaskEnded(op, Ok(output)), Last::Yes).await
}

pub(super) async fn task_failure(call: &Call<'_>) -> Answer {
    let text = |name: &str| call.params.text(name).map(|text| text.map(str::to_owned));
    let failed = Failed { error: text("error")?.unwrap_or_default(), cause: text("cause")? };
    let failure =
        asl::answer::failure(FailureKind::Handler, Some(&failed.error), failed.cause.as_deref());
    let answer = TokenAnswer::Failure(failure);
    answer_token(call, answer, |op| Input::TaskEnded(op, Err(failed)), Last::Yes).await
}

pub(super) async fn task_heartbeat(call: &Call<'_>) -> Answer {
    answer_token(call, TokenAnswer::Heartbeat, Input::TaskHeartbeat, Last::No).await
}

/// Hands an answer to who waits for that token: an execution of this process, or of the node.
async fn answer_token(
    call: &Call<'_>,
    answer: TokenAnswer,
    here: impl FnOnce(model::suspend::OpId) -> Input,
    last: Last,
) -> Answer {
    let token = call.params.required("taskToken")?;
    if call.ctx().api.runs.answer(token, here, last) {
        return Ok(Map::new());
    }
    let taken = match registry::is_token(token) {
        true => TokenTaken::TooLate,
        false => call.handle.end_token(call.who, token, answer).await?,
    };
    match taken {
        TokenTaken::Yes => Ok(Map::new()),
        TokenTaken::TooLate => {
            let message = "Task Timed Out: 'Provided task does not exist anymore'";
            Err(AwsError::new("TaskTimedOut", message))
        }
        TokenTaken::Never => Err(AwsError::new("InvalidToken", "Invalid Token: 'Invalid token'")),
    }
}

/// `states:startExecution` of a Task state that does not wait for the end.
pub(super) async fn start_nested(
    ctx: &Ctx,
    parameters: &Value,
    by: Option<InvocationId>,
) -> Result<Value, Failed> {
    let by = by.unwrap_or_else(|| InvocationId(u128::from(registry::seed())));
    let wanted = Wanted::nested(parameters, by);
    let beginning: std::pin::Pin<Box<dyn Future<Output = _> + Send + '_>> =
        Box::pin(begin(ctx, &wanted));
    let view = beginning.await.map_err(|error| tasks::refused_start(&error))?;
    Ok(tasks::started(&view.arn, view.started))
}

/// `states:startExecution.sync` of an EXPRESS execution.
pub(super) async fn run_nested(
    ctx: &Ctx,
    parameters: &Value,
    submitted: impl FnOnce(Document) + Send,
    pattern: asl::definition::Pattern,
) -> Result<Document, Failed> {
    let by = InvocationId(u128::from(registry::seed()) << 64 | u128::from(registry::seed()));
    let wanted = Wanted::nested(parameters, by);
    let beginning: std::pin::Pin<Box<dyn Future<Output = _> + Send + '_>> =
        Box::pin(begin(ctx, &wanted));
    let view = beginning.await.map_err(|error| tasks::refused_start(&error))?;
    submitted(tasks::started(&view.arn, view.started).into());
    let internal = |error: &dyn std::fmt::Display| Failed {
        error: "States.Runtime".to_owned(),
        cause: Some(error.to_string()),
    };
    match &view.kept {
        Kept::Here(run) => run.wait().await,
        Kept::Node(id, ..) => {
            let ended = ctx.handle.run_ended(&ctx.who, &Which::Id(*id)).await;
            ended.map_err(|error| internal(&error))?;
        }
    }
    let ended = find(ctx, &view.arn).await.map_err(|error| internal(&error.message()))?;
    let nested = asl::answer::Nested {
        execution_arn: view.arn,
        name: view.name,
        machine_arn: ctx.api.place.machine(&view.machine_name),
        input: view.input,
        started: view.started,
    };
    let (at, end) = ended.end.unwrap_or((view.started, End::TimedOut));
    nested.ended(at, &end, pattern)
}
