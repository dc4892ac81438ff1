//! Task states.

use std::time::Duration;

use model::suspend::OpId;
use serde_json::json;

use super::branch::{BranchId, Phase};
use super::flow::Sees;
use super::recover::Failure;
use super::{Machine, Role, World};
use crate::ask::{Ask, Failed, TaskAsk};
use crate::definition::{Integration, Kind, Pattern, Resource, State, Task};
use crate::document::Document;
use crate::env::{ErrorName, EvalError};
use crate::history::{Details, EventKind};

/// A task under way.
#[derive(Debug)]
pub(super) struct TaskPhase {
    pub(super) op: OpId,
    pub(super) timeout: Option<OpId>,
    pub(super) heartbeat: Option<Heartbeat>,
}

/// The timer of the next sign of life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heartbeat {
    pub(super) timer: OpId,
    pub(super) seconds: u64,
}

/// Which limit was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Timeout,
    Heartbeat,
}

impl TaskPhase {
    pub(super) fn timers(&self) -> Vec<OpId> {
        self.timeout.into_iter().chain(self.heartbeat.map(|heartbeat| heartbeat.timer)).collect()
    }
}

impl Machine {
    pub(super) fn begin_task(
        &mut self,
        id: BranchId,
        state: &State,
        task: &Task,
        world: &World<'_>,
    ) {
        let op = self.reserve();
        match self.prepare_task(id, state, task, op, world) {
            Ok(ask) if ask.input.text().len() > self.settings.data_bytes_max => {
                self.failed(id, Failure::input_limit(&state.name));
            }
            Ok(ask) => self.schedule_task(id, op, ask),
            Err(error) => self.broke(id, error),
        }
    }

    pub(super) fn prepare_task(
        &mut self,
        id: BranchId,
        state: &State,
        task: &Task,
        op: OpId,
        world: &World<'_>,
    ) -> Result<TaskAsk, EvalError> {
        let effective = self.effective_input(id, state)?;
        // A job may be told the token, too, and who has it then ends the state before the job does.
        let waits = task.resource.pattern() != Pattern::RequestResponse;
        let token = waits.then(|| (world.token)(op));
        let input = self.arguments(id, state, &effective, token.as_deref())?;
        let [timeout, heartbeat] = self.limits(id, task, &effective)?;
        let credentials = match &task.credentials {
            None => None,
            Some(wanted) => {
                let sees = Sees { input: Some(effective.value()), ..Sees::default() };
                let filled = self.fill(id, state.language, wanted, "Credentials", sees)?;
                Some(filled.value().clone())
            }
        };
        Ok(TaskAsk {
            state: state.name.clone(),
            resource: task.resource.clone(),
            input,
            role: self.facts.role_arn.clone(),
            credentials,
            timeout,
            heartbeat,
            attempt: self.branch(id).retry_count,
        })
    }

    /// `TimeoutSeconds` and `HeartbeatSeconds`.
    fn limits(
        &self,
        id: BranchId,
        task: &Task,
        effective: &Document,
    ) -> Result<[Option<Duration>; 2], EvalError> {
        let seconds = |field: &str, dynamic: Option<&_>| -> Result<Option<Duration>, EvalError> {
            let Some(dynamic) = dynamic else { return Ok(None) };
            let seconds = self.count_field(id, field, dynamic, effective.value())?;
            Ok(Some(Duration::from_secs(seconds)))
        };
        let timeout = seconds("TimeoutSeconds", task.timeout.as_ref())?;
        Ok([timeout, seconds("HeartbeatSeconds", task.heartbeat.as_ref())?])
    }

    /// Limits of a task under way, from now on.
    fn limit(&mut self, id: BranchId, op: OpId, [timeout, heartbeat]: [Option<Duration>; 2]) {
        let timeout =
            timeout.map(|limit| self.timer(Some(id), Role::TaskTimeout, self.now + limit));
        let heartbeat = heartbeat.map(|limit| Heartbeat {
            timer: self.timer(Some(id), Role::TaskHeartbeat, self.now + limit),
            seconds: limit.as_secs(),
        });
        self.branch_mut(id).phase = Phase::Task(Box::new(TaskPhase { op, timeout, heartbeat }));
    }

    /// The limits of a task begin anew.
    pub(super) fn limit_again(&mut self, id: BranchId) {
        let definition = std::sync::Arc::clone(&self.definition);
        let branch = self.branch(id);
        let state = definition.state(branch.chart, branch.state);
        let (Phase::Task(phase), Kind::Task(task)) = (&branch.phase, &state.kind) else { return };
        let op = phase.op;
        let limits =
            self.effective_input(id, state).and_then(|effective| self.limits(id, task, &effective));
        // They could be computed when the task began.
        self.limit(id, op, limits.unwrap_or_default());
    }

    fn schedule_task(&mut self, id: BranchId, op: OpId, ask: TaskAsk) {
        self.note_scheduled(id, &ask);
        let limits = [ask.timeout, ask.heartbeat];
        self.ask_as(op, Some(id), Role::Task, Ask::Task(Box::new(ask)));
        self.limit(id, op, limits);
    }

    pub(super) fn note_scheduled(&mut self, id: BranchId, ask: &TaskAsk) {
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs());
        let credentials = ask
            .credentials
            .as_ref()
            .and_then(|credentials| credentials.get("RoleArn"))
            .map(|role| json!({ "roleArn": role }));
        let details = Details::new()
            .maybe("timeoutInSeconds", seconds(ask.timeout))
            .maybe("taskCredentials", credentials);
        match &ask.resource.integration {
            Integration::Function { .. } => {
                let details =
                    details.with("resource", ask.resource.arn.clone()).data("input", &ask.input);
                self.note(id, EventKind::LambdaFunctionScheduled, details);
                self.note(id, EventKind::LambdaFunctionStarted, Details::new());
            }
            Integration::Activity { .. } => {
                let details = details
                    .maybe("heartbeatInSeconds", seconds(ask.heartbeat))
                    .with("resource", ask.resource.arn.clone())
                    .data("input", &ask.input);
                self.note(id, EventKind::ActivityScheduled, details);
            }
            Integration::Service { .. } => {
                let details = of_service(details, &ask.resource)
                    .maybe("heartbeatInSeconds", seconds(ask.heartbeat))
                    .with("region", self.settings.region.clone())
                    .with("parameters", ask.input.text());
                self.note(id, EventKind::TaskScheduled, details);
                let details = of_service(Details::new(), &ask.resource);
                self.note(id, EventKind::TaskStarted, details);
            }
        }
    }

    pub(super) fn task_started(&mut self, id: BranchId, worker: Option<String>) {
        if matches!(self.resource(id).integration, Integration::Activity { .. }) {
            let details = Details::new().maybe("workerName", worker);
            self.note(id, EventKind::ActivityStarted, details);
            self.task_alive(id);
        }
    }

    pub(super) fn task_submitted(&mut self, id: BranchId, output: &Document) {
        let details = of_service(Details::new(), &self.resource(id)).data("output", output);
        self.note(id, EventKind::TaskSubmitted, details);
    }

    pub(super) fn task_alive(&mut self, id: BranchId) {
        let Phase::Task(task) = &self.branch(id).phase else { return };
        let Some(Heartbeat { timer, seconds }) = task.heartbeat else { return };
        self.drop_op(timer);
        let at = self.now + Duration::from_secs(seconds);
        let timer = self.timer(Some(id), Role::TaskHeartbeat, at);
        if let Phase::Task(task) = &mut self.branch_mut(id).phase {
            task.heartbeat = Some(Heartbeat { timer, seconds });
        }
    }

    pub(super) fn task_timed_out(&mut self, id: BranchId, limit: Limit) {
        let Phase::Task(task) = &self.branch(id).phase else { return };
        let (op, timers) = (task.op, task.timers());
        self.drop_op(op);
        for timer in timers {
            self.drop_op(timer);
        }
        let resource = self.resource(id);
        let error = ErrorName::Timeout.as_str();
        let kind = match resource.integration {
            Integration::Function { .. } => EventKind::LambdaFunctionTimedOut,
            Integration::Activity { .. } => EventKind::ActivityTimedOut,
            Integration::Service { .. } => EventKind::TaskTimedOut,
        };
        self.note(id, kind, of_service(Details::new(), &resource).error(error, None));
        // AWS reports both limits under one name, and catches the heartbeat under its own as well.
        let alias = (limit == Limit::Heartbeat).then_some(ErrorName::HeartbeatTimeout);
        self.timed_out.push((id, Failure { error: Some(error.to_owned()), cause: None, alias }));
    }

    pub(super) fn task_ended(&mut self, id: BranchId, outcome: Result<Document, Failed>) {
        let Phase::Task(task) = &self.branch(id).phase else { return };
        let (op, timers) = (task.op, task.timers());
        self.ops.remove(&op);
        for timer in timers {
            self.drop_op(timer);
        }
        let resource = self.resource(id);
        let limit = self.settings.data_bytes_max;
        let outcome = match outcome {
            Ok(output) if output.text().len() > limit => {
                Err(Failure::data_limit(&limited_name(&resource)))
            }
            Ok(output) => Ok(output),
            Err(failed) => Err(Failure::from(failed)),
        };
        match outcome {
            Ok(output) => self.task_succeeded(id, &resource, output),
            Err(failure) => {
                let kind = match resource.integration {
                    Integration::Function { .. } => EventKind::LambdaFunctionFailed,
                    Integration::Activity { .. } => EventKind::ActivityFailed,
                    Integration::Service { .. } => EventKind::TaskFailed,
                };
                let details = of_service(Details::new(), &resource)
                    .maybe("error", failure.error.clone())
                    .maybe("cause", failure.cause.clone());
                self.note(id, kind, details);
                self.failed(id, failure);
            }
        }
    }

    fn task_succeeded(&mut self, id: BranchId, resource: &Resource, output: Document) {
        let kind = match resource.integration {
            Integration::Function { .. } => EventKind::LambdaFunctionSucceeded,
            Integration::Activity { .. } => EventKind::ActivitySucceeded,
            Integration::Service { .. } => EventKind::TaskSucceeded,
        };
        self.note(id, kind, of_service(Details::new(), resource).data("output", &output));
        let definition = std::sync::Arc::clone(&self.definition);
        let branch = self.branch(id);
        let state = definition.state(branch.chart, branch.state);
        match self.output(id, state, output) {
            Ok(left) => self.leave(id, left, state.next),
            Err(error) => self.broke(id, error),
        }
    }

    pub(super) fn resource(&self, id: BranchId) -> Resource {
        let branch = self.branch(id);
        match &self.definition.state(branch.chart, branch.state).kind {
            Kind::Task(task) => task.resource.clone(),
            _ => unreachable!("a task is under way in Task states only"),
        }
    }
}

/// What events about a service say of it.
fn of_service(details: Details, resource: &Resource) -> Details {
    match resource.integration {
        Integration::Function { .. } | Integration::Activity { .. } => details,
        Integration::Service { .. } => details
            .with("resourceType", resource.event_type())
            .with("resource", resource.event_resource()),
    }
}

pub(super) fn limited_name(resource: &Resource) -> String {
    match &resource.integration {
        Integration::Function { .. } | Integration::Activity { .. } => resource.arn.clone(),
        Integration::Service { service, .. } => service.clone(),
    }
}
