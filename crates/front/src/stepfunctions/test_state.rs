//! TestState: one state, tried alone, with a mock in place of what it calls.

use std::sync::Arc;

use asl::Document;
use asl::ask::{Ask, Failed, Input};
use asl::definition::{ChartId, Definition, MachineType, parse, summary};
use asl::machine::{Facts, Inspection, Machine, Settings, Start, Turn, World};
use model::suspend::OpId;
use serde_json::{Map, Value, json};

use super::error::AwsError;
use super::registry::uuid;
use super::tasks;
use super::{Answer, Call};

/// The name of a state that is given without one.
const NAME: &str = "StateName";
/// Fields that a state has whatever it does in between.
const FRAME: [&str; 13] = [
    "Comment",
    "QueryLanguage",
    "InputPath",
    "OutputPath",
    "ResultPath",
    "ResultSelector",
    "Arguments",
    "Assign",
    "Output",
    "Retry",
    "Catch",
    "Next",
    "End",
];
const RETRIES_MAX: u64 = 1_000;

/// The state under test.
struct Tested {
    name: String,
    sort: String,
    state: Map<String, Value>,
}

/// What stands in for the work of the state.
enum Mock {
    Result(String),
    Error { error: String, cause: Option<String> },
}

pub(super) async fn run(call: &Call<'_>) -> Answer {
    let tested = tested(call)?;
    let mock = mock(call, &tested)?;
    check_role(call, &tested, mock.is_some())?;
    let context = context(call, &tested)?;
    let input = match call.params.text("input")? {
        None => Document::new(json!({})),
        Some(text) => Document::parse(text).map_err(|error| {
            AwsError::new(
                "InvalidExecutionInput",
                format!("Invalid State Machine Execution Input: '{error}'"),
            )
        })?,
    };
    let composite = matches!(tested.sort.as_str(), "Map" | "Parallel");
    if composite && mock.is_none() {
        return Err(AwsError::new(
            "InvalidDefinition",
            "TestState API does not support Map or Parallel states. Supported state types include: [Task, Wait, \
             Pass, Succeed, Fail, Choice]",
        ));
    }
    let begun = Trial::begin(call, &tested.state, &tested, &input, &context)?;
    let Some(mock) = mock.as_ref().filter(|_| composite && begun.reached_its_work()) else {
        return begun.work(call, mock.as_ref()).await;
    };
    // The mock is the result of all of its branches: what remains of the state is the frame around them.
    let seen = begun.machine.inspection().cloned().unwrap_or_default();
    let beyond = tolerated(call, &seen, mock)?;
    let mock = beyond.as_ref().unwrap_or(mock);
    let mut frame = Map::new();
    for field in FRAME {
        if let Some(value) = tested.state.get(field) {
            frame.insert(field.to_owned(), value.clone());
        }
    }
    frame.insert("Type".to_owned(), "Task".into());
    frame.insert(
        "Resource".to_owned(),
        "arn:aws:lambda:us-east-1:000000000000:function:mock".into(),
    );
    let mut framed = Trial::begin(call, &frame, &tested, &input, &context)?;
    framed.around = Some(seen);
    framed.work(call, Some(mock)).await
}

fn tested(call: &Call<'_>) -> Result<Tested, AwsError> {
    let text = call.params.required("definition")?;
    let wanted = call.params.text("stateName")?;
    let invalid = |problem: String| AwsError::new("InvalidDefinition", problem);
    let Ok(Value::Object(mut state)) = serde_json::from_str::<Value>(text) else {
        let problems = parse(text, MachineType::Standard).problems;
        return Err(invalid(summary(&problems)));
    };
    let mut name = NAME.to_owned();
    if let Some(wanted) = wanted {
        let language = state.get("QueryLanguage").cloned();
        let found = find(&Value::Object(state), wanted)
            .ok_or_else(|| AwsError::validation("State not found in definition"))?;
        wanted.clone_into(&mut name);
        state = found;
        if let Some(language) = language
            && !state.contains_key("QueryLanguage")
        {
            state.insert("QueryLanguage".to_owned(), language);
        }
    }
    let sort = state.get("Type").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Tested { name, sort, state })
}

/// A state of that name, anywhere in a machine.
fn find(value: &Value, name: &str) -> Option<Map<String, Value>> {
    match value {
        Value::Object(object) => {
            if let Some(Value::Object(state)) =
                object.get("States").and_then(|states| states.get(name))
            {
                return Some(state.clone());
            }
            object.values().find_map(|value| find(value, name))
        }
        Value::Array(items) => items.iter().find_map(|item| find(item, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn mock(call: &Call<'_>, tested: &Tested) -> Result<Option<Mock>, AwsError> {
    let configured = call.params.get("stateConfiguration");
    let failures = configured.and_then(|configured| configured.get("mapIterationFailureCount"));
    let Some(mock) = call.params.get("mock") else {
        if failures.is_some() {
            let message =
                "TestState does not support MapIterationFailureCount when a mock is not specified.";
            return Err(AwsError::validation(message));
        }
        return Ok(None);
    };
    let result = mock.get("result").and_then(Value::as_str);
    let error = mock.get("errorOutput").filter(|error| !error.is_null());
    if result.is_some() && error.is_some() {
        let message =
            "A test mock should have only one of the following fields: [result, errorOutput].";
        return Err(AwsError::validation(message));
    }
    if !matches!(tested.sort.as_str(), "Task" | "Map" | "Parallel") && !tested.sort.is_empty() {
        let message =
            format!("State type '{}' is not supported when a mock is specified", tested.sort);
        return Err(AwsError::validation(message));
    }
    if let Some(error) = error {
        let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
        return Ok(Some(Mock::Error {
            error: text("error").unwrap_or_default(),
            cause: text("cause"),
        }));
    }
    let Some(result) = result else { return Ok(None) };
    let value: Value = serde_json::from_str(result)
        .map_err(|_| AwsError::validation("Mocked result must be a valid JSON"))?;
    match tested.sort.as_str() {
        "Map" if tested.state.contains_key("ResultWriter") && value.is_object() => {}
        "Map" if tested.state.contains_key("ResultWriter") => {
            return Err(AwsError::validation("Mocked result must be a JSON object."));
        }
        "Map" | "Parallel" if !value.is_array() => {
            return Err(AwsError::validation("Mocked result must be an array."));
        }
        "Parallel" => {
            let branches =
                tested.state.get("Branches").and_then(Value::as_array).map_or(0, Vec::len);
            if branches > 0 && value.as_array().map_or(0, Vec::len) != branches {
                let message = "Mocked result must contain the same number of items as number of Parallel branches.";
                return Err(AwsError::validation(message));
            }
        }
        "Task" => {
            let resource = tested.state.get("Resource").and_then(Value::as_str).unwrap_or_default();
            if resource.starts_with("arn:aws:states:::") && !value.is_object() {
                return Err(AwsError::validation("Mocked result must be a JSON object."));
            }
            let mode = mock.get("fieldValidationMode").and_then(Value::as_str).unwrap_or("STRICT");
            super::mock_schema::check(resource, &value, mode)?;
        }
        _ => {}
    }
    Ok(Some(Mock::Result(result.to_owned())))
}

fn check_role(call: &Call<'_>, tested: &Tested, mocked: bool) -> Result<(), AwsError> {
    if tested.sort == "Task" && !mocked && !call.params.has("roleArn") {
        return Err(AwsError::validation("RoleArn must be specified when testing a Task state"));
    }
    call.params.text("roleArn")?.map_or(Ok(()), |role| call.check_role(role))
}

/// What the caller wants the context object to hold.
fn context(call: &Call<'_>, tested: &Tested) -> Result<Map<String, Value>, AwsError> {
    let refuse =
        |why: String| Err(AwsError::validation(format!("Invalid Context object provided: {why}")));
    let Some(text) = call.params.text("context")? else { return Ok(Map::new()) };
    let Ok(Value::Object(context)) = serde_json::from_str(text) else {
        return refuse("it is not a JSON object".to_owned());
    };
    for field in context.keys() {
        match field.as_str() {
            "Execution" | "State" | "StateMachine" => {}
            "Map" => {
                return refuse(
                    "'Map' field is not supported when mocking a Context object".to_owned(),
                );
            }
            "Task" => {
                let resource =
                    tested.state.get("Resource").and_then(Value::as_str).unwrap_or_default();
                if !resource.contains(".sync") && !resource.ends_with(".waitForTaskToken") {
                    return refuse(
                        "Context object contains 'Task' when state is not a Task state with a '.sync' or \
                         '.waitForTaskToken' service integration pattern"
                            .to_owned(),
                    );
                }
            }
            other => return refuse(format!("Field '{other}' is not allowed")),
        }
    }
    Ok(context)
}

/// The failure that so many failed iterations are, where they are too many.
fn tolerated(call: &Call<'_>, seen: &Inspection, mock: &Mock) -> Result<Option<Mock>, AwsError> {
    let configured = call.params.get("stateConfiguration");
    let failures = configured
        .and_then(|configured| configured.get("mapIterationFailureCount"))
        .and_then(Value::as_u64)
        .unwrap_or(0);
    let Mock::Result(result) = mock else { return Ok(None) };
    let items = serde_json::from_str::<Vec<Value>>(result).map_or(0, |items| items.len());
    if failures > items as u64 {
        let message = "Map iteration failure count must be less than or equal to the number of Map iterations";
        return Err(AwsError::validation(message));
    }
    #[expect(clippy::cast_precision_loss, reason = "a share of a list")]
    let percentage = if items == 0 { 0.0 } else { failures as f64 * 100.0 / items as f64 };
    let beyond = match (seen.tolerated_failure_count, seen.tolerated_failure_percentage) {
        (None, None) => failures > 0,
        (count, share) => {
            count.is_some_and(|count| failures > count)
                || share.is_some_and(|share| percentage > share)
        }
    };
    Ok(beyond.then(|| Mock::Error {
        error: "States.ExceedToleratedFailureThreshold".to_owned(),
        cause: Some("The specified tolerated failure threshold was exceeded".to_owned()),
    }))
}

/// A machine of one state, begun.
struct Trial {
    name: String,
    sort: String,
    input: Document,
    has_result: bool,
    /// Whether a whole machine was given and the state named.
    is_picked: bool,
    machine: Machine,
    turn: Turn,
    token: String,
    /// What was seen of the state whose frame this is.
    around: Option<Inspection>,
}

impl Trial {
    fn begin(
        call: &Call<'_>,
        state: &Map<String, Value>,
        tested: &Tested,
        input: &Document,
        context: &Map<String, Value>,
    ) -> Result<Self, AwsError> {
        let name = &tested.name;
        let definition = Arc::new(definition(state, name)?);
        let text = |pointer: &[&str]| -> Option<String> {
            let mut value = context.get(pointer[0])?;
            for step in &pointer[1..] {
                value = value.get(*step)?;
            }
            value.as_str().map(str::to_owned)
        };
        let (machine_name, execution_name) = (uuid()?, uuid()?);
        let role = call.params.text("roleArn")?.unwrap_or_default();
        let facts = Facts {
            execution_arn: text(&["Execution", "Id"])
                .unwrap_or_else(|| call.place.express(&machine_name, &execution_name)),
            execution_name: text(&["Execution", "Name"]).unwrap_or(execution_name),
            role_arn: text(&["Execution", "RoleArn"]).unwrap_or_else(|| role.to_owned()),
            started: call.handle.now(),
            redrive_count: None,
            machine_arn: text(&["StateMachine", "Id"])
                .unwrap_or_else(|| call.place.machine(&machine_name)),
            machine_name: text(&["StateMachine", "Name"]).unwrap_or(machine_name),
        };
        let token = match text(&["Task", "Token"]) {
            Some(token) => token,
            None => uuid()?,
        };
        // A context that is given is the whole of it.
        let given = call.params.has("context").then(|| context.clone());
        let variables = variables(call)?;
        let settings = Settings { inspect: true, context: given, variables, ..Settings::default() };
        let seed = call.handle.now().as_millis();
        let start = Start { facts, input: input.clone(), chart: ChartId(0), seed };
        let mint = |_: OpId| token.clone();
        let world = World { now: call.handle.now(), token: &mint };
        let (machine, turn) = Machine::start(definition, settings, start, &world);
        let has_result = state.contains_key("Result");
        let (name, sort) = (name.clone(), tested.sort.clone());
        let input = input.clone();
        let is_picked = call.params.has("stateName");
        let around = None;
        let mut trial =
            Self { name, sort, input, has_result, is_picked, machine, turn, token, around };
        trial.read(call);
        Ok(trial)
    }

    /// Takes what is given as a file's content for the items that the state wants to read.
    fn read(&mut self, call: &Call<'_>) {
        let configured = call.params.get("stateConfiguration");
        let Some(data) =
            configured.and_then(|configured| configured.get("mapItemReaderData")?.as_str())
        else {
            return;
        };
        let found = self.turn.asks.iter().find_map(|(op, ask)| match ask {
            Ask::Read(read) => Some((*op, asl::items::found(read, data.as_bytes()))),
            Ask::Timer { .. } | Ask::Task(_) | Ask::Child(_) | Ask::Write(_) => None,
        });
        if let Some((op, found)) = found {
            self.step(call, Input::ItemsRead(op, found));
        }
    }

    /// Whether a state of branches came so far as to begin them. Those of a Map state are not begun, so it
    /// fails by its own fields only.
    fn reached_its_work(&self) -> bool {
        let broke = self.sort == "Map" && (self.turn.end.is_some() || self.backoff().is_some());
        !broke
            && self.turn.events.iter().any(|event| {
                matches!(
                    event.kind.name(),
                    "MapStateStarted" | "MapRunStarted" | "ParallelStateStarted"
                )
            })
    }

    /// Does the state's work, or what stands in for it, and tells what came of it.
    async fn work(mut self, call: &Call<'_>, mock: Option<&Mock>) -> Answer {
        let configured = call.params.get("stateConfiguration");
        let retried = configured
            .and_then(|configured| configured.get("retrierRetryCount"))
            .and_then(Value::as_u64)
            .unwrap_or(0)
            .min(RETRIES_MAX);
        // A Wait state is not waited for.
        if self.sort == "Wait"
            && let Some(timer) = self.timer()
        {
            self.step(call, Input::Fired(timer));
        }
        for _ in 0..=retried {
            let Some((op, ask)) = self.task() else { break };
            let outcome = match mock {
                Some(Mock::Result(text)) => {
                    Ok(Document::parse(text).unwrap_or_else(|_| Value::Null.into()))
                }
                Some(Mock::Error { error, cause }) => {
                    Err(Failed { error: error.clone(), cause: cause.clone() })
                }
                None => tasks::run(&call.ctx(), None, &ask).await,
            };
            self.step(call, Input::TaskEnded(op, outcome));
            if let Some(timer) = self.backoff()
                && self.retries_left(retried)
            {
                self.step(call, Input::Fired(timer));
            }
        }
        Ok(self.told(call))
    }

    fn retries_left(&self, retried: u64) -> bool {
        let done =
            self.turn.events.iter().filter(|event| event.kind.name().ends_with("Failed")).count();
        (done as u64) <= retried
    }

    fn step(&mut self, call: &Call<'_>, input: Input) {
        let token = self.token.clone();
        let mint = move |_: OpId| token.clone();
        let world = World { now: call.handle.now(), token: &mint };
        let turn = self.machine.step([input], &world);
        self.turn.events.extend(turn.events);
        self.turn.asks = turn.asks;
        self.turn.end = turn.end;
    }

    fn task(&self) -> Option<(OpId, Box<asl::ask::TaskAsk>)> {
        self.turn.asks.iter().find_map(|(op, ask)| match ask {
            Ask::Task(task) => Some((*op, task.clone())),
            Ask::Timer { .. } | Ask::Read(_) | Ask::Child(_) | Ask::Write(_) => None,
        })
    }

    /// The timer before a retry.
    fn backoff(&self) -> Option<OpId> {
        if self.turn.end.is_some() || self.machine.inspection()?.retry_index.is_none() {
            return None;
        }
        self.timer()
    }

    fn timer(&self) -> Option<OpId> {
        self.turn.asks.iter().find_map(|(op, ask)| matches!(ask, Ask::Timer { .. }).then_some(*op))
    }

    fn told(&self, call: &Call<'_>) -> Map<String, Value> {
        let mut answer = Map::new();
        let level = call.params.text("inspectionLevel").ok().flatten().unwrap_or("INFO");
        let seen = self.machine.inspection().cloned().unwrap_or_default();
        let event = |suffix: &str, own: bool| {
            self.turn.events.iter().find(|event| {
                let name = event.details.get("name").and_then(Value::as_str);
                event.kind.name().ends_with(suffix)
                    && name.is_some_and(|name| (name == self.name) == own)
            })
        };
        let exited = event("StateExited", true).and_then(|event| event.details.get("output"));
        let next = event("StateEntered", false).and_then(|event| event.details.get("name"));
        let failure = self.turn.events.iter().rev().find_map(|event| {
            let failed =
                event.kind.name().ends_with("Failed") && event.details.contains_key("error");
            failed
                .then(|| (event.details.get("error").cloned(), event.details.get("cause").cloned()))
        });
        let waits = self.turn.end.is_none() && seen.retry_index.is_some();
        let left = exited.is_some();
        let status = match &self.turn.end {
            Some(_) if left && seen.catch_index.is_some() => "CAUGHT_ERROR",
            Some(_) if left => "SUCCEEDED",
            None if waits => "RETRIABLE",
            None => "SUCCEEDED",
            Some(_) => "FAILED",
        };
        answer.insert("status".to_owned(), status.into());
        if let Some(output) = exited {
            answer.insert("output".to_owned(), output.clone());
        } else if self.turn.end.is_none()
            && !waits
            && let Some(input) = seen.after_input_path.as_ref().or(seen.input.as_ref())
        {
            answer.insert("output".to_owned(), input.text().into());
        }
        if let Some(next) = next {
            answer.insert("nextState".to_owned(), next.clone());
        }
        if status != "SUCCEEDED" {
            let (error, cause) = failure.unwrap_or_default();
            let cause = seen.cause.clone().map(Value::from).or(cause);
            for (name, value) in [("error", error), ("cause", cause)] {
                if let Some(value) = value.filter(|value| !value.is_null()) {
                    answer.insert(name.to_owned(), value);
                }
            }
        }
        if level != "INFO" {
            answer.insert("inspectionData".to_owned(), self.inspected(&seen, waits));
        }
        answer
    }

    fn inspected(&self, seen: &Inspection, waits: bool) -> Value {
        let mut shown = Map::new();
        let mut put = |name: &str, document: &Option<Document>| {
            if let Some(document) = document {
                shown.insert(name.to_owned(), document.text().into());
            }
        };
        let around = self.around.as_ref();
        if self.sort == "Fail" {
            put("input", &Some(self.input.clone()));
            // AWS leaves it out where the state was picked from a machine.
            if !self.is_picked {
                put("afterInputPath", &Some(self.input.clone()));
            }
        }
        put("input", &seen.input);
        if around.is_none() && !self.has_result {
            put("afterInputPath", &seen.after_input_path);
            put("afterParameters", &seen.after_parameters);
            put("afterArguments", &seen.after_arguments);
        }
        if around.is_none() && (self.sort != "Pass" || self.has_result) {
            put("result", &seen.result);
        }
        put("afterResultSelector", &seen.after_result_selector);
        put("afterResultPath", &seen.after_result_path);
        put("variables", &seen.variables);
        if let Some(around) = around {
            if self.sort == "Map" {
                put("afterInputPath", &around.after_input_path);
            }
            put("afterItemsPath", &around.after_items_path);
            put("afterItemSelector", &around.after_item_selector);
            put("afterItemBatcher", &around.after_item_batcher);
            put("afterItemsPointer", &around.after_items_pointer);
            let mut number = |name: &str, value: Option<Value>| {
                if let Some(value) = value {
                    shown.insert(name.to_owned(), value);
                }
            };
            number("maxConcurrency", around.max_concurrency.map(Value::from));
            number("toleratedFailureCount", around.tolerated_failure_count.map(Value::from));
            number(
                "toleratedFailurePercentage",
                around.tolerated_failure_percentage.map(Value::from),
            );
        }
        let mut details = Map::new();
        if let Some(index) = seen.catch_index {
            details.insert("catchIndex".to_owned(), index.into());
        }
        if let Some(index) = seen.retry_index {
            details.insert("retryIndex".to_owned(), index.into());
            if let Some(delay) = seen.retry_backoff_seconds.filter(|_| waits) {
                details.insert("retryBackoffIntervalSeconds".to_owned(), delay.into());
            }
        }
        if !details.is_empty() {
            shown.insert("errorDetails".to_owned(), Value::Object(details));
        }
        Value::Object(shown)
    }
}

/// The variables that the state is to find.
fn variables(call: &Call<'_>) -> Result<Map<String, Value>, AwsError> {
    let Some(text) = call.params.text("variables")? else { return Ok(Map::new()) };
    match serde_json::from_str(text) {
        Ok(Value::Object(variables)) => Ok(variables),
        Ok(_) | Err(_) => {
            let message = "Invalid variables provided: they are not a JSON object";
            Err(AwsError::validation(message))
        }
    }
}

/// A machine of that state, with an end wherever it leads.
fn definition(state: &Map<String, Value>, name: &str) -> Result<Definition, AwsError> {
    let mut states = Map::new();
    states.insert(name.to_owned(), Value::Object(state.clone()));
    let mut targets = Vec::new();
    for field in ["Next", "Default"] {
        targets.extend(state.get(field).and_then(Value::as_str));
    }
    for list in ["Choices", "Catch"] {
        let rules = state.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        targets.extend(rules.iter().filter_map(|rule| rule.get("Next").and_then(Value::as_str)));
    }
    for target in targets {
        states.entry(target.to_owned()).or_insert_with(|| json!({ "Type": "Fail" }));
    }
    let text = json!({ "StartAt": name, "States": states }).to_string();
    let parsed = parse(&text, MachineType::Standard);
    let problems = parsed.problems;
    parsed.definition.ok_or_else(|| AwsError::new("InvalidDefinition", summary(&problems)))
}
