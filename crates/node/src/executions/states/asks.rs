//! What a machine asks for, as asks of its execution.

use asl::Document;
use asl::ask::{Ask as Wanted, ChildAsk, ChildResult, Failed, Input, ReadAsk, TaskAsk, WriteAsk};
use asl::definition::{Integration, MachineType, Pattern};
use asl::machine::Purpose;
use model::suspend::{Ask, InvokeMode, OpId};
use model::{FunctionName, limits};
use serde::Serialize;
use serde_json::{Value, json};

use super::Origin;
use super::turn::{Slot, Under};
use super::work::{Child, Read, Work, Write, WriteItem};
use crate::executions::services;

/// What stands beside an ask of `lambda:invoke`: which function, and whether its end is waited for.
pub(super) const FUNCTION: &str = "function";
pub(super) const QUEUED: &str = "queued";

impl Under<'_> {
    /// Asks for it; gives what comes of it, where that is known at once.
    pub(super) fn ask(&mut self, op: OpId, wanted: Wanted) -> Vec<Input> {
        match wanted {
            Wanted::Timer { at } => {
                // A worker's signs of life are watched with its token.
                let watched = match self.run.machine.purpose(op) {
                    Some(Purpose::Heartbeat(task)) => self.waits_for_token(task),
                    _ => false,
                };
                if !watched {
                    self.asks.push((Slot::Work.of(op), Ask::Timer { at }));
                }
            }
            Wanted::Task(task) => {
                return match self.mocked(&task) {
                    Some(reply) => of_mock(op, &task, reply),
                    None => self.task(op, &task).into_iter().collect(),
                };
            }
            Wanted::Child(child) => self.child(op, *child),
            Wanted::Read(read) => self.service(op, "read", &read_of(*read)),
            Wanted::Write(write) => self.service(op, "write", &write_of(*write)),
        }
        Vec::new()
    }

    /// What stands in for the work of a task, in the test case that the execution has.
    fn mocked(&self, task: &TaskAsk) -> Option<Result<Document, Failed>> {
        let case = self.case()?;
        let machine = &self.run.machine.facts().machine_name;
        self.of.mocks.reply(machine, &case, &task.state, task.attempt)
    }

    fn case(&self) -> Option<String> {
        if self.of.mocks.is_empty() {
            return None;
        }
        Origin::read(&self.turn.birth.origin).case
    }

    fn waits_for_token(&self, task: OpId) -> bool {
        match self.run.machine.purpose(task) {
            Some(Purpose::Task(resource)) => resource.waits_for_token(),
            _ => false,
        }
    }

    fn task(&mut self, op: OpId, task: &TaskAsk) -> Option<Input> {
        let role = match self.role_of(task) {
            Ok(role) => role,
            Err(failed) => return Some(Input::TaskEnded(op, Err(failed))),
        };
        let pattern = task.resource.pattern();
        let is_job = matches!(pattern, Pattern::Sync | Pattern::Sync2);
        let waits = self.waits_for_token(op);
        let token = (waits || is_job).then(|| self.turn.mint.token(Slot::Token.of(op)));
        let token = token.filter(|token| waits || task.input.text().contains(token));
        if token.is_some() {
            let heartbeat = task.heartbeat.filter(|_| waits);
            self.asks.push((Slot::Token.of(op), Ask::Token { heartbeat }));
        }
        match &task.resource.integration {
            Integration::Function { name } => {
                return self.function(op, name, task.input.text(), InvokeMode::Wait);
            }
            Integration::Service { service, action, .. }
                if service == "lambda" && action == "invoke" =>
            {
                let parameters = task.input.value();
                let text = |name: &str| parameters.get(name).and_then(Value::as_str);
                let payload = asl::answer::lambda_payload(parameters);
                let mode = match text("InvocationType") {
                    Some("Event") => InvokeMode::Detach,
                    Some(_) | None => InvokeMode::Wait,
                };
                let name = text("FunctionName").unwrap_or_default();
                let beside = json!({ FUNCTION: name, QUEUED: mode == InvokeMode::Detach });
                self.run.beside.insert(op.0, beside);
                return self.function(op, name, &payload, mode);
            }
            Integration::Activity { .. } | Integration::Service { .. } => {}
        }
        let submitted = is_job.then(|| {
            let name = submitted_signal(op);
            self.asks.push((Slot::Submitted.of(op), Ask::Signal { name: name.clone() }));
            name
        });
        let by = match &task.resource.integration {
            Integration::Service { service, .. } if service == "events" => {
                let facts = self.run.machine.facts();
                vec![facts.execution_arn.clone(), facts.machine_arn.clone()]
            }
            _ => Vec::new(),
        };
        let work = Work {
            resource: task.resource.arn.clone(),
            input: task.input.text().to_owned(),
            token,
            role,
            submitted,
            by,
        };
        let label = match &task.resource.integration {
            Integration::Activity { name } => format!("activity:{name}"),
            _ => format!("{}:{}", task.resource.event_type(), task.resource.event_resource()),
        };
        self.service(op, &label, &work);
        None
    }

    /// The role that a task runs with. What it may do there is known here of functions alone.
    fn role_of(&self, task: &TaskAsk) -> Result<String, Failed> {
        let (roles, tenant) = (&self.of.roles, &self.turn.birth.tenant);
        let role = roles.of_task(tenant, &task.role, task.credentials.as_ref())?;
        if task.resource.is_function() {
            roles
                .permit(tenant, role, &task.resource, task.input.value())
                .map_err(|why| asl::answer::denied_function(&why, &self.random.uuid()))?;
        }
        Ok(role.to_owned())
    }

    /// Calls a function by its name or ARN.
    fn function(&mut self, op: OpId, name: &str, payload: &str, mode: InvokeMode) -> Option<Input> {
        let name = asl::answer::function_name(name);
        let Ok(function) = name.parse::<FunctionName>() else {
            let failed = self.no_function(name);
            return Some(Input::TaskEnded(op, Err(failed)));
        };
        let function = function.to_string();
        let payload = payload.as_bytes().to_vec();
        let ask = Ask::Invoke { function, class: None, payload, mode };
        self.asks.push((Slot::Work.of(op), ask));
        None
    }

    pub(super) fn no_function(&self, name: &str) -> Failed {
        let arn = self.of.place.function(name);
        asl::answer::no_function(&arn, &self.random.uuid())
    }

    fn child(&mut self, op: OpId, child: ChildAsk) {
        let ChildAsk { map_run, label, index, chart, machine_type: _, input } = child;
        let child = Child {
            map_run,
            machine: format!("{}/{label}", self.of.name),
            name: self.random.uuid(),
            chart: chart.0,
            index: Some(index),
            case: self.case(),
            input: input.text().to_owned(),
        };
        self.service(op, services::CHILD, &child);
    }

    /// Hands work to a service.
    fn service(&mut self, op: OpId, label: &str, work: &impl Serialize) {
        let mut function = format!("{}{label}", services::PREFIX);
        let mut end = function.len().min(limits::NAME_BYTES_MAX);
        while !function.is_char_boundary(end) {
            end -= 1;
        }
        function.truncate(end);
        let payload = serde_json::to_vec(work).expect("texts and numbers are JSON");
        let ask = Ask::Invoke { function, class: None, payload, mode: InvokeMode::Wait };
        self.asks.push((Slot::Work.of(op), ask));
    }
}

/// What a state hears where an answer stands in for its work.
fn of_mock(op: OpId, task: &TaskAsk, reply: Result<Document, Failed>) -> Vec<Input> {
    let mut heard = Vec::new();
    if let (Ok(answer), Pattern::Sync | Pattern::Sync2 | Pattern::Callback) =
        (&reply, task.resource.pattern())
    {
        heard.push(Input::TaskSubmitted(op, answer.clone()));
    }
    heard.push(Input::TaskEnded(op, reply));
    heard
}

fn read_of(read: ReadAsk) -> Read {
    let ReadAsk {
        role,
        resource,
        arguments,
        format,
        csv_headers,
        csv_delimiter,
        max_items,
        items_pointer,
        manifest_type,
        transformation,
    } = read;
    Read {
        role,
        resource: resource.arn,
        arguments,
        format: format.map(|format| format.as_str().to_owned()),
        csv_headers,
        csv_delimiter,
        max_items,
        items_pointer,
        manifest_type,
        transformation,
    }
}

fn write_of(write: WriteAsk) -> Write {
    let WriteAsk { role, map_run, arguments, transformation, output_type, machine_type, results } =
        write;
    let results = results.into_iter().map(|ChildResult { input, outcome }| match outcome {
        Ok(output) => WriteItem { input, output: Some(output), error: None, cause: None },
        Err(Failed { error, cause }) => {
            WriteItem { input, output: None, error: Some(error), cause }
        }
    });
    let results = results.collect();
    let is_express = machine_type == MachineType::Express;
    Write { role, map_run, arguments, transformation, output_type, is_express, results }
}

/// By what an execution says which it is that a task waits for.
pub(super) fn submitted_signal(op: OpId) -> String {
    format!("submitted #{}", op.0)
}
