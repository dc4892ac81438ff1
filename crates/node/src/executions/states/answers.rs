//! What an execution's asks ended with, as inputs of its machine.

use asl::Document;
use asl::answer::{self, Nested};
use asl::ask::{End, Failed, Input, ItemsFound};
use asl::definition::{Integration, Pattern, Resource};
use asl::machine::{Purpose, Redrive, RunChange, World};
use model::suspend::{OpId, Resolution};
use model::{Failure, FailureKind, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::asks::{FUNCTION, QUEUED};
use super::map_runs::MAP_RUN;
use super::turn::{Slot, Under};
use super::work::MapRunChange;

/// An execution that was begun for a state, as its signal tells and as it is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begun {
    /// Its ARN.
    pub execution_arn: String,
    /// Its name.
    pub name: String,
    /// The ARN of its machine.
    pub machine_arn: String,
    /// Its input.
    pub input: String,
    /// When it began, in nanoseconds of the epoch.
    pub started: u64,
    /// What the state sees of it.
    pub shown: Value,
}

impl Under<'_> {
    /// What was resolved, in its order, as inputs of the machine. All of them belong to one instant.
    pub(super) fn inputs(&mut self, world: &World<'_>) -> Vec<Input> {
        let resolved = self.turn.resolved;
        if self.run.redrives == self.turn.redrives {
            let mut inputs = Vec::with_capacity(resolved.len());
            for (op, resolution) in resolved {
                inputs.extend(self.change_run(*op, resolution, world));
                inputs.extend(self.job_begun(*op, resolution));
                inputs.extend(self.input(*op, resolution));
            }
            return inputs;
        }
        // What ran out of time before a redrive is done again, and not told a second time; so is what the
        // holder of its token said had failed, and what gave an answer that was of no use.
        let mut fired: Vec<OpId> = Vec::new();
        for (op, resolution) in resolved.iter().filter(|(op, _)| !self.turn.dealt.contains(op)) {
            if let Some((op, slot)) = Slot::read(*op)
                && self.begins_again(op, slot, resolution)
            {
                fired.push(op);
            }
        }
        let asked = fired.clone();
        let work = |(op, at): &(OpId, Timestamp)| match Slot::read(*op)? {
            (op, Slot::Work) => Some((op, *at)),
            _ => None,
        };
        let redrive = Redrive {
            count: self.turn.redrives,
            made_again: self.turn.made_again.iter().filter_map(work).collect(),
        };
        let turn = self.run.machine.redrive(&redrive, &mut fired, world);
        let mut inputs = self.note(turn);
        self.await_jobs();
        for (op, resolution) in resolved {
            let again =
                Slot::read(*op).is_some_and(|(op, _)| asked.contains(&op) && !fired.contains(&op));
            if !again {
                inputs.extend(self.change_run(*op, resolution, world));
                inputs.extend(self.job_begun(*op, resolution));
                if !self.put_off(*op, resolution) {
                    inputs.extend(self.input(*op, resolution));
                }
            }
        }
        inputs
    }

    /// Whether a redrive begins the work of a task anew.
    fn begins_again(&mut self, op: OpId, slot: Slot, resolution: &Resolution) -> bool {
        let resource = match (slot, self.run.machine.purpose(op)) {
            (Slot::Work, Some(Purpose::Timer | Purpose::Heartbeat(_))) => return true,
            (Slot::Work | Slot::Token, Some(Purpose::Task(resource))) => resource.clone(),
            _ => return false,
        };
        let answer = match (slot, resolution) {
            (Slot::Token, Resolution::Failed(_)) => return true,
            (Slot::Token, Resolution::Ok(_)) => Some(told(resolution)),
            // A call of that sort is only begun by its answer.
            (Slot::Work, Resolution::Ok(_)) if !resource.waits_for_token() => {
                self.task_outcome(op, &resource, resolution)
            }
            _ => None,
        };
        answer.and_then(Result::ok).is_some_and(|answer| self.run.machine.is_wasted(op, &answer))
    }

    /// Gives a map run other limits, where that is what an ask waited for.
    fn change_run(&mut self, op: OpId, resolution: &Resolution, world: &World<'_>) -> Vec<Input> {
        let Some((op, Slot::Work)) = Slot::read(op) else { return Vec::new() };
        let watched = self.run.beside.get(&op.0).and_then(|beside| beside.get(MAP_RUN)?.as_str());
        let Some(arn) = watched.map(str::to_owned) else { return Vec::new() };
        // The next change has an ask of its own.
        self.run.beside.remove(&op.0);
        let Resolution::Ok(change) = resolution else { return Vec::new() };
        let Ok(change) = serde_json::from_slice::<MapRunChange>(change) else { return Vec::new() };
        let change = RunChange {
            max_concurrency: change.max_concurrency,
            tolerated_count: change.tolerated_failure_count,
            tolerated_percentage: change.tolerated_failure_percentage,
        };
        let turn = self.run.machine.change_run(&arn, change, world);
        self.note(turn)
    }

    fn input(&mut self, op: OpId, resolution: &Resolution) -> Option<Input> {
        let (op, slot) = Slot::read(op)?;
        // What the machine no longer knows was dropped.
        let purpose = self.run.machine.purpose(op)?;
        match (slot, purpose) {
            (Slot::Work, Purpose::Timer | Purpose::Heartbeat(_)) => Some(Input::Fired(op)),
            (Slot::Work, Purpose::Task(resource)) => {
                let resource = resource.clone();
                self.task_answered(op, &resource, resolution)
            }
            (Slot::Work, Purpose::Read) => {
                Some(Input::ItemsRead(op, told(resolution).map(ItemsFound::from)))
            }
            (Slot::Work, Purpose::Child) => Some(Input::ChildEnded(op, told(resolution))),
            (Slot::Work, Purpose::Write) => Some(Input::ResultsWritten(op, told(resolution))),
            (Slot::Token, _) => self.token_answered(op, resolution),
            (Slot::Submitted, _) => self.submitted(op, resolution),
        }
    }

    fn token_answered(&mut self, op: OpId, resolution: &Resolution) -> Option<Input> {
        if let Resolution::Failed(failure) = resolution
            && failure.kind == FailureKind::TimedOut
            && failure.detail.is_none()
            && let Some(heartbeat) = self.run.machine.heartbeat(op)
        {
            self.drop_op(op);
            return Some(Input::Fired(heartbeat));
        }
        self.drop_op(op);
        Some(Input::TaskEnded(op, told(resolution)))
    }

    pub(super) fn submitted(&mut self, op: OpId, resolution: &Resolution) -> Option<Input> {
        let Resolution::Ok(bytes) = resolution else { return None };
        let begun: Begun = serde_json::from_slice(bytes).ok()?;
        let shown = Document::new(begun.shown.clone());
        let begun = serde_json::to_value(begun).expect("it came from JSON");
        self.run.beside.insert(op.0, begun);
        Some(Input::TaskSubmitted(op, shown))
    }

    fn task_answered(
        &mut self,
        op: OpId,
        resource: &Resource,
        resolution: &Resolution,
    ) -> Option<Input> {
        // A worker took it: its answer comes by the token.
        if let (Integration::Activity { .. }, Resolution::Ok(worker)) =
            (&resource.integration, resolution)
        {
            let worker = (!worker.is_empty()).then(|| String::from_utf8_lossy(worker).into_owned());
            return Some(Input::TaskStarted(op, worker));
        }
        match self.task_outcome(op, resource, resolution)? {
            // The request was taken; the token ends the task.
            Ok(answer) if resource.pattern() == Pattern::Callback => {
                Some(Input::TaskSubmitted(op, answer))
            }
            outcome => {
                self.drop_op(op);
                Some(Input::TaskEnded(op, outcome))
            }
        }
    }

    /// What a call gave, as its state sees it.
    fn task_outcome(
        &mut self,
        op: OpId,
        resource: &Resource,
        resolution: &Resolution,
    ) -> Option<Result<Document, Failed>> {
        let pattern = resource.pattern();
        Some(match &resource.integration {
            Integration::Activity { .. } => told(resolution),
            Integration::Function { name } => self.function_answered(name, resolution),
            Integration::Service { service, action, .. }
                if service == "lambda" && action == "invoke" =>
            {
                let beside = self.run.beside.get(&op.0).cloned().unwrap_or_default();
                let name = beside[FUNCTION].as_str().unwrap_or_default();
                let request = self.random.uuid();
                self.function_answered(name, resolution).map(|answer| {
                    if beside[QUEUED] == true {
                        answer::lambda_queued(&request)
                    } else {
                        answer::lambda_invoked(answer.value().clone(), &request)
                    }
                })
            }
            Integration::Service { .. } => match self.run.beside.get(&op.0) {
                Some(begun) if matches!(pattern, Pattern::Sync | Pattern::Sync2) => {
                    let begun = serde_json::from_value(begun.clone()).ok()?;
                    match resolution {
                        Resolution::Ok(answer) => {
                            self.job_ended(&begun, &End::Succeeded(document(answer)), pattern)
                        }
                        Resolution::Failed(failure) => {
                            self.job_ended(&begun, &end_of(failure), pattern)
                        }
                        Resolution::Refused { .. } => told(resolution),
                    }
                }
                _ => told(resolution),
            },
        })
    }

    fn function_answered(&self, name: &str, resolution: &Resolution) -> Result<Document, Failed> {
        match resolution {
            Resolution::Ok(answer) => Ok(Document::new(answer::value_of(answer))),
            Resolution::Failed(failure) => Err(answer::failed(failure)),
            Resolution::Refused { code, .. } if code == "unknown-function" => {
                Err(self.no_function(answer::function_name(name)))
            }
            Resolution::Refused { message, .. } => Err(Failed {
                error: "Lambda.AWSLambdaException".to_owned(),
                cause: Some(message.clone()),
            }),
        }
    }

    pub(super) fn job_ended(
        &self,
        begun: &Begun,
        end: &End,
        pattern: Pattern,
    ) -> Result<Document, Failed> {
        let nested = Nested {
            execution_arn: begun.execution_arn.clone(),
            name: begun.name.clone(),
            machine_arn: begun.machine_arn.clone(),
            input: begun.input.clone(),
            started: Timestamp(begun.started),
        };
        nested.ended(self.turn.now, end, pattern)
    }
}

/// How an execution of a state machine ended that failed so.
#[must_use]
pub fn end_of(failure: &Failure) -> End {
    match failure.kind {
        FailureKind::TimedOut => End::TimedOut,
        FailureKind::Cancelled => {
            let (error, cause) = match failure.detail {
                Some(_) => answer::carried(failure),
                None => stopped(&failure.message),
            };
            End::Aborted { error, cause }
        }
        _ => {
            let (error, cause) = answer::carried(failure);
            End::Failed { error, cause }
        }
    }
}

/// The error and cause with which somebody stopped an execution.
#[must_use]
pub fn stopped(reason: &str) -> (Option<String>, Option<String>) {
    #[derive(Deserialize)]
    struct Stop {
        error: Option<String>,
        cause: Option<String>,
    }
    match serde_json::from_str::<Stop>(reason) {
        Ok(Stop { error, cause }) => (error, cause),
        Err(_) => (None, (!reason.is_empty()).then(|| reason.to_owned())),
    }
}

/// The answer of a service or of the holder of a token: JSON, or an error with its cause.
fn told(resolution: &Resolution) -> Result<Document, Failed> {
    match resolution {
        Resolution::Ok(answer) => Ok(document(answer)),
        Resolution::Failed(failure) => {
            let (error, cause) = answer::carried(failure);
            let error = error.unwrap_or_default();
            Err(Failed { error, cause })
        }
        Resolution::Refused { code, message } => Err(Failed {
            error: "States.Runtime".to_owned(),
            cause: Some(format!("{code}: {message}")),
        }),
    }
}

/// JSON as it was written, a text where it is none.
pub(super) fn document(answer: &[u8]) -> Document {
    if answer.is_empty() {
        return Document::new(Value::Null);
    }
    let text = String::from_utf8_lossy(answer);
    Document::parse(&text).unwrap_or_else(|_| Document::new(Value::String(text.into_owned())))
}
