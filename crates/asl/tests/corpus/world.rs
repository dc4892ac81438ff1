//! A world in virtual time: functions, files and child executions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use asl::ask::{Ask, ChildAsk, End, Failed, Input, ReadAsk, TaskAsk};
use asl::definition::{Definition, Integration};
use asl::history::Event;
use asl::machine::{Facts, Machine, Settings, Start, Turn, World as StepWorld};
use asl::{Document, definition::ChartId};
use model::Timestamp;
use model::suspend::OpId;
use serde_json::{Value, json};

/// Steps of all executions of one case.
const STEPS_MAX: usize = 100_000;

pub(crate) struct World<'c> {
    case: &'c Value,
    definition: Arc<Definition>,
    settings: Settings,
    now: Timestamp,
    queue: BinaryHeap<Reverse<(Timestamp, u64)>>,
    inputs: BTreeMap<u64, (usize, Input)>,
    next: u64,
    executions: Vec<Execution>,
    attempts: BTreeMap<String, u32>,
}

struct Execution {
    machine: Machine,
    parts: BTreeMap<u64, Vec<u8>>,
    parent: Option<(usize, OpId)>,
    events: Vec<Event>,
    end: Option<End>,
}

pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) events: Vec<Event>,
}

impl<'c> World<'c> {
    pub(crate) fn new(case: &'c Value, definition: Definition) -> Self {
        Self {
            case,
            definition: Arc::new(definition),
            settings: Settings::default(),
            now: Timestamp::from_millis(1_700_000_000_000),
            queue: BinaryHeap::new(),
            inputs: BTreeMap::new(),
            next: 0,
            executions: Vec::new(),
            attempts: BTreeMap::new(),
        }
    }

    /// Runs an execution to its end; none if it needs what is not in this world.
    pub(crate) fn run(&mut self, facts: Facts, input: Document) -> Option<Outcome> {
        let facts = Facts { started: self.now, ..facts };
        self.start(facts, input, ChartId(0), None)?;
        for _ in 0..STEPS_MAX {
            if let Some(end) = self.executions[0].end.clone() {
                let events = std::mem::take(&mut self.executions[0].events);
                return Some(Outcome { end, events });
            }
            let Reverse((at, number)) = self.queue.pop().expect("somebody waits for something");
            self.now = self.now.max(at);
            let (execution, input) = self.inputs.remove(&number).unwrap();
            let mut inputs = vec![input];
            // What comes to one execution at the same time is one step.
            while let Some(Reverse((next, number))) = self.queue.peek()
                && *next == at
                && self.inputs[number].0 == execution
            {
                inputs.push(self.inputs.remove(number).unwrap().1);
                self.queue.pop();
            }
            self.step(execution, inputs)?;
        }
        panic!("the execution does not end");
    }

    fn start(
        &mut self,
        facts: Facts,
        input: Document,
        chart: ChartId,
        parent: Option<(usize, OpId)>,
    ) -> Option<()> {
        let token = |op: OpId| format!("token-{}", op.0);
        let world = StepWorld { now: self.now, token: &token };
        let start = Start { facts, input, chart, seed: self.executions.len() as u64 + 7 };
        let (machine, turn) =
            Machine::start(Arc::clone(&self.definition), self.settings.clone(), start, &world);
        let number = self.executions.len();
        self.executions.push(Execution {
            machine,
            parts: BTreeMap::new(),
            parent,
            events: Vec::new(),
            end: None,
        });
        self.act(number, turn)
    }

    fn step(&mut self, number: usize, inputs: Vec<Input>) -> Option<()> {
        let token = |op: OpId| format!("token-{}", op.0);
        let world = StepWorld { now: self.now, token: &token };
        let execution = &mut self.executions[number];
        if execution.end.is_some() {
            return Some(());
        }
        let turn = execution.machine.step(inputs, &world);
        self.act(number, turn)
    }

    /// Does what a step asks for; and stores and loads the execution as a crash would.
    fn act(&mut self, number: usize, turn: Turn) -> Option<()> {
        let execution = &mut self.executions[number];
        let encoded = execution.machine.encode();
        execution.parts.extend(encoded.parts);
        execution.parts.retain(|part, _| encoded.live.contains(part));
        let definition = Arc::clone(&self.definition);
        execution.machine =
            Machine::decode(&encoded.state, &execution.parts, definition, self.settings.clone())
                .expect("what was encoded can be decoded");
        execution.events.extend(turn.events);
        execution.end = turn.end;
        for (op, ask) in turn.asks {
            match ask {
                Ask::Timer { at } => self.later(at, number, Input::Fired(op)),
                Ask::Task(task) => self.task(number, op, &task)?,
                Ask::Read(read) => {
                    let items = self.read(&read);
                    self.later(self.now, number, Input::ItemsRead(op, items.map(Into::into)));
                }
                Ask::Child(child) => self.child(number, op, *child)?,
                Ask::Write(write) => {
                    let result = json!({
                        "MapRunArn": write.map_run,
                        "ResultWriterDetails": {
                            "Bucket": write.arguments["Bucket"],
                            "Key": format!("{}/x/manifest.json", write.arguments["Prefix"].as_str().unwrap_or("")),
                        },
                    });
                    self.later(self.now, number, Input::ResultsWritten(op, Ok(result.into())));
                }
            }
        }
        let execution = &self.executions[number];
        if let (Some(end), Some((parent, op))) = (&execution.end, execution.parent) {
            let outcome = match end {
                End::Succeeded(output) => Ok(output.clone()),
                End::Failed { error, cause } => {
                    Err(Failed { error: error.clone().unwrap_or_default(), cause: cause.clone() })
                }
                End::TimedOut | End::Aborted { .. } => {
                    Err(Failed { error: "States.Timeout".to_owned(), cause: None })
                }
            };
            self.later(self.now, parent, Input::ChildEnded(op, outcome));
        }
        Some(())
    }

    fn later(&mut self, at: Timestamp, execution: usize, input: Input) {
        self.next += 1;
        self.queue.push(Reverse((at, self.next)));
        self.inputs.insert(self.next, (execution, input));
    }

    fn child(&mut self, parent: usize, op: OpId, child: ChildAsk) -> Option<()> {
        let name = format!("child-{}", self.executions.len());
        let facts = Facts {
            execution_arn: format!(
                "arn:aws:states:us-east-1:111111111111:execution:machine/{}:{name}",
                child.label
            ),
            execution_name: name,
            role_arn: "arn:aws:iam::111111111111:role/role".to_owned(),
            started: self.now,
            redrive_count: Some(0),
            machine_arn: format!(
                "arn:aws:states:us-east-1:111111111111:stateMachine:machine/{}",
                child.label
            ),
            machine_name: format!("machine/{}", child.label),
        };
        self.start(facts, child.input, child.chart, Some((parent, op)))
    }

    fn task(&mut self, number: usize, op: OpId, task: &TaskAsk) -> Option<()> {
        match &task.resource.integration {
            Integration::Function { name } => {
                let (after, outcome) = self.call(name, task.input.value());
                let outcome = outcome.map(Document::new);
                self.later(self.now + after, number, Input::TaskEnded(op, outcome));
                Some(())
            }
            Integration::Service { service, action, .. }
                if service == "lambda"
                    && action == "invoke"
                    && task.resource.pattern().suffix().is_empty() =>
            {
                let parameters = task.input.value();
                let name = parameters["FunctionName"].as_str()?.to_owned();
                let none = json!({});
                let payload = parameters.get("Payload").unwrap_or(&none);
                // A payload is bytes to the service: a text with JSON in it is that JSON.
                let plain =
                    |value: &Value| value.as_str().and_then(|text| serde_json::from_str(text).ok());
                let (after, outcome) =
                    self.call(&name, &plain(payload).unwrap_or_else(|| payload.clone()));
                let outcome =
                    outcome.map(|payload| plain(&payload).unwrap_or(payload)).map(|payload| {
                        json!({
                            "ExecutedVersion": "$LATEST",
                            "Payload": payload,
                            "SdkHttpMetadata": {},
                            "SdkResponseMetadata": {},
                            "StatusCode": 200,
                        })
                        .into()
                    });
                self.later(self.now + after, number, Input::TaskEnded(op, outcome));
                Some(())
            }
            Integration::Activity { .. } | Integration::Service { .. } => None,
        }
    }

    /// How long a function takes, and what it answers.
    fn call(&mut self, name: &str, event: &Value) -> (Duration, Result<Value, Failed>) {
        let short = name.rsplit("function:").next().unwrap_or(name);
        let found = self.case["lambdas"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|lambda| lambda["name"] == short || lambda["arn"] == name);
        let Some(lambda) = found else {
            let cause = format!(
                "Function not found: arn:aws:lambda:us-east-1:111111111111:function:{short}:$LATEST (Service: \
                 AWSLambda; Status Code: 404; Error Code: ResourceNotFoundException; Request ID: x; Proxy: null)"
            );
            let error = "Lambda.ResourceNotFoundException".to_owned();
            return (Duration::ZERO, Err(Failed { error, cause: Some(cause) }));
        };
        *self.attempts.entry(short.to_owned()).or_default() += 1;
        let behaviour = &lambda["behaviour"];
        let text = |field: &str| behaviour[field].as_str().unwrap_or_default().to_owned();
        let at_once = Duration::ZERO;
        match behaviour["kind"].as_str().unwrap() {
            "echo" => (at_once, Ok(event.clone())),
            "return" => (at_once, Ok(behaviour["value"].clone())),
            "decorate" => (at_once, Ok(format!("{}{}", text("prefix"), python(event)).into())),
            "repeat" => {
                let times = usize::try_from(behaviour["times"].as_u64().unwrap()).unwrap();
                (at_once, Ok(text("char").repeat(times).into()))
            }
            "sleep-echo" => {
                let seconds = behaviour["seconds"].as_u64().unwrap();
                (Duration::from_secs(seconds), Ok(event.clone()))
            }
            "raise" => {
                let cause = json!({
                    "errorMessage": text("errorMessage"),
                    "errorType": text("errorType"),
                    "requestId": "x",
                    "stackTrace": ["x"],
                });
                (at_once, Err(Failed { error: text("errorType"), cause: Some(cause.to_string()) }))
            }
            other => panic!("no such behaviour: {other}"),
        }
    }

    fn read(&self, ask: &ReadAsk) -> Result<Document, Failed> {
        let (bucket, key) = (&ask.arguments["Bucket"], &ask.arguments["Key"]);
        let puts: Vec<&Value> = self.case["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|call| call["call"] == "PutObject" && call["params"]["Bucket"] == *bucket)
            .map(|call| &call["params"])
            .collect();
        if ask.resource.event_resource() == "listObjectsV2" {
            let mut objects: Vec<Value> = puts
                .iter()
                .map(|put| {
                    json!({
                        "Etag": "\"x\"", "Key": put["Key"], "LastModified": 1, "Size": put["Body"].as_str().map_or(0, str::len),
                        "StorageClass": "STANDARD",
                    })
                })
                .collect();
            objects.sort_by(|a, b| a["Key"].as_str().cmp(&b["Key"].as_str()));
            return Ok(Value::Array(objects).into());
        }
        let Some(put) = puts.iter().find(|put| put["Key"] == *key) else {
            return Err(Failed {
                error: "States.ItemReaderFailed".to_owned(),
                cause: Some("The specified key does not exist.".to_owned()),
            });
        };
        asl::items::read(ask, put["Body"].as_str().unwrap_or_default().as_bytes())
    }
}

/// `str(value)` of Python.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(python_inner).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("'{key}': {}", python_inner(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

fn python_inner(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{text}'"),
        other => python(other),
    }
}
