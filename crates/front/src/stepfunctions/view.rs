//! An execution as the API shows it, whether the node keeps it or this process.

use std::collections::HashMap;
use std::sync::Arc;

use asl::ask::End;
use asl::history::{self, Event, EventKind};
use model::{ExecutionId, Timestamp, Version};
use node::states::{Origin, end_of, stopped};
use node::{ExecutionStatus, RunEvent, Which};
use serde_json::{Map, Value, json};

use super::arn::Place;
use super::error::AwsError;
use super::runs::Run;
use super::{Ctx, seconds};

/// One execution.
pub(super) struct View {
    pub(super) arn: String,
    pub(super) name: String,
    pub(super) machine_name: String,
    pub(super) started: Timestamp,
    /// Empty in a list.
    pub(super) input: String,
    pub(super) end: Option<(Timestamp, End)>,
    pub(super) version: Option<u32>,
    pub(super) alias: Option<String>,
    /// The trace that it is part of.
    pub(super) trace: Option<String>,
    pub(super) redrives: u32,
    /// When it began anew in place of one that had failed.
    pub(super) begun_again: Option<Timestamp>,
    pub(super) map_run: Option<String>,
    /// Which of the map run's children it is.
    pub(super) index: Option<u64>,
    pub(super) kept: Kept,
    /// The call that began it, where one did.
    pub(super) by: Option<String>,
    /// Where it stands, as the node tells people; empty in a list.
    pub(super) standing: Value,
}

/// Where an execution is kept.
pub(super) enum Kept {
    /// In the store, by the node.
    Node(ExecutionId, model::FunctionName, Version),
    /// Here: an EXPRESS one.
    Here(Arc<Run>),
}

impl View {
    /// One that the node keeps.
    pub(super) fn of_node(place: &Place, run: node::Run) -> Self {
        let node::Run { info, origin, redrives, revision: _, input } = run;
        let origin = Origin::read(&origin);
        // A child in whose place another one began has lost its name to that.
        let map_run = origin.map_run.filter(|_| info.name.is_some());
        let machine_name = origin.machine.unwrap_or_else(|| info.function.to_string());
        let name = origin.name.unwrap_or_else(|| info.id.to_string());
        let end = info.outcome.map(|outcome| match outcome {
            Ok(answer) => End::Succeeded(asl::Document::new(asl::answer::value_of(&answer))),
            Err(failure) => end_of(&failure),
        });
        let end = info.finished.filter(|_| is_ended(info.status)).zip(end);
        let standing = info.custom_status.as_deref().map(serde_json::from_slice);
        let standing = standing.and_then(Result::ok).unwrap_or_default();
        Self {
            arn: place.execution(&machine_name, &name),
            name,
            machine_name,
            started: origin.first_began.map_or(info.created, Timestamp),
            input: String::from_utf8_lossy(&input).into_owned(),
            end,
            version: origin.version,
            alias: origin.alias,
            trace: origin.trace,
            redrives: redrives + origin.begun_again,
            begun_again: (origin.begun_again > 0).then_some(info.created),
            map_run,
            index: origin.index,
            kept: Kept::Node(info.id, info.function, info.version),
            by: origin.by,
            standing,
        }
    }

    /// One that this process keeps.
    pub(super) fn here(run: &Arc<Run>) -> Self {
        Self {
            arn: run.facts.execution_arn.clone(),
            name: run.facts.execution_name.clone(),
            machine_name: run.facts.machine_name.clone(),
            started: run.facts.started,
            input: run.input.clone(),
            end: run.end(),
            version: run.version,
            alias: run.alias.clone(),
            trace: None,
            redrives: 0,
            begun_again: None,
            map_run: None,
            index: None,
            kept: Kept::Here(Arc::clone(run)),
            by: None,
            standing: Value::Null,
        }
    }

    pub(super) fn status(&self) -> &'static str {
        self.end.as_ref().map_or("RUNNING", |(_, end)| end.status())
    }

    /// What a list shows.
    pub(super) fn summary(&self, place: &Place) -> Map<String, Value> {
        let mut shown = Map::new();
        let machine = &self.machine_name;
        shown.insert("executionArn".to_owned(), self.arn.clone().into());
        shown.insert("stateMachineArn".to_owned(), place.machine(machine).into());
        shown.insert("name".to_owned(), self.name.clone().into());
        shown.insert("startDate".to_owned(), seconds(self.started));
        shown.insert("redriveCount".to_owned(), self.redrives.into());
        if let Some(version) = self.version {
            let arn = place.version(machine, version);
            shown.insert("stateMachineVersionArn".to_owned(), arn.into());
        }
        if let Some(alias) = &self.alias {
            let arn = place.alias(machine, alias);
            shown.insert("stateMachineAliasArn".to_owned(), arn.into());
        }
        if let Some(map_run) = &self.map_run {
            shown.insert("mapRunArn".to_owned(), map_run.clone().into());
        }
        shown.insert("status".to_owned(), self.status().into());
        if let Some((at, _)) = &self.end {
            shown.insert("stopDate".to_owned(), seconds(*at));
        }
        shown
    }

    /// What is told of one execution.
    pub(super) fn described(&self, place: &Place) -> Map<String, Value> {
        let mut answer = self.summary(place);
        answer.insert("input".to_owned(), self.input.clone().into());
        answer.insert("inputDetails".to_owned(), json!({ "included": true }));
        if let Some(trace) = &self.trace {
            answer.insert("traceHeader".to_owned(), trace.clone().into());
        }
        match self.end.as_ref().map(|(_, end)| end) {
            Some(End::Succeeded(output)) => {
                answer.insert("output".to_owned(), output.text().into());
                answer.insert("outputDetails".to_owned(), json!({ "included": true }));
            }
            Some(End::Failed { error, cause } | End::Aborted { error, cause }) => {
                for (name, value) in [("error", error), ("cause", cause)] {
                    if let Some(value) = value {
                        answer.insert(name.to_owned(), value.clone().into());
                    }
                }
            }
            Some(End::TimedOut) | None => {}
        }
        answer
    }

    /// When it was redriven the last time.
    pub(super) async fn redriven_at(&self, ctx: &Ctx) -> Result<Option<Value>, AwsError> {
        if self.redrives == 0 || self.begun_again.is_some() {
            return Ok(self.begun_again.map(seconds));
        }
        let events = self.history(ctx).await?;
        let last = events.iter().rfind(|event| event["type"] == "ExecutionRedriven");
        Ok(last.map(|event| event["timestamp"].clone()))
    }

    /// What happened, in order.
    pub(super) async fn history(&self, ctx: &Ctx) -> Result<Vec<Value>, AwsError> {
        match &self.kept {
            Kept::Here(run) => Ok(run.progress().events.iter().map(Event::render).collect()),
            Kept::Node(id, ..) => {
                let events = ctx.handle.run_events(&ctx.who, &Which::Id(*id)).await?;
                let mut story = Story::default();
                let told = events.into_iter().flat_map(|event| story.tell(event));
                Ok(told.map(|event| event.render()).collect())
            }
        }
    }
}

const fn is_ended(status: ExecutionStatus) -> bool {
    match status {
        ExecutionStatus::Succeeded | ExecutionStatus::Failed | ExecutionStatus::Cancelled => true,
        ExecutionStatus::Running | ExecutionStatus::Suspended | ExecutionStatus::Paused => false,
    }
}

/// The history of an execution from what the node knows of it. Events that the machine itself could
/// not tell are put in: that somebody stopped or redrove it. After a redrive the machine goes on
/// from its last suspension, so its numbers begin again there.
#[derive(Default)]
pub(super) struct Story {
    told: u64,
    /// By the machine's numbers, where those are others.
    numbers: HashMap<u64, u64>,
    last: Option<EventKind>,
    pub(super) redrives: u32,
}

impl Story {
    /// What one entry has to tell.
    pub(super) fn tell(&mut self, event: RunEvent) -> Vec<Event> {
        match event {
            RunEvent::Note(note) => {
                let events = history::decode(&note).into_iter();
                return events.map(|event| self.numbered(event)).collect();
            }
            RunEvent::Cancelled { at, reason } => {
                let (error, cause) = stopped(&reason);
                let details = details(error, cause);
                // As by AWS, it follows no event.
                let aborted = self.aside(at, EventKind::ExecutionAborted, details);
                return vec![Event { previous: 0, ..aborted }];
            }
            RunEvent::Redriven { at } => {
                self.redrives += 1;
                let count = self.redrives.into();
                let details = Map::from_iter([("redriveCount".to_owned(), count)]);
                return vec![self.aside(at, EventKind::ExecutionRedriven, details)];
            }
            RunEvent::Ended { at, failure: Some(failure) } if !self.has_ended() => {
                let (error, cause) = asl::answer::carried(&failure);
                return vec![self.aside(at, EventKind::ExecutionFailed, details(error, cause))];
            }
            RunEvent::Ended { .. } => {}
        }
        Vec::new()
    }

    /// Whether the last event that was told is an end.
    pub(super) fn has_ended(&self) -> bool {
        self.last.is_some_and(is_last)
    }

    fn numbered(&mut self, event: Event) -> Event {
        self.told += 1;
        if event.id != self.told {
            self.numbers.insert(event.id, self.told);
        }
        self.last = Some(event.kind);
        let previous = self.numbers.get(&event.previous).copied().unwrap_or(event.previous);
        Event { id: self.told, previous, ..event }
    }

    fn aside(&mut self, at: Timestamp, kind: EventKind, details: Map<String, Value>) -> Event {
        self.told += 1;
        self.last = Some(kind);
        Event { id: self.told, previous: self.told - 1, at, kind, details }
    }
}

fn details(error: Option<String>, cause: Option<String>) -> Map<String, Value> {
    let both = [("error", error), ("cause", cause)];
    both.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
}

const fn is_last(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::ExecutionAborted
            | EventKind::ExecutionFailed
            | EventKind::ExecutionSucceeded
            | EventKind::ExecutionTimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(ids: &[(u64, u64, EventKind)]) -> RunEvent {
        let events = ids.iter().map(|(id, previous, kind)| {
            let (id, previous, kind) = (*id, *previous, *kind);
            Event { id, previous, at: Timestamp(0), kind, details: Map::new() }
        });
        let note = history::encode(&events.collect::<Vec<_>>());
        RunEvent::Note(note.expect("there are some").into())
    }

    #[test]
    fn a_redriven_execution_has_one_history() {
        use EventKind::{
            ExecutionFailed, ExecutionStarted, TaskFailed, TaskScheduled, TaskSucceeded,
        };
        let failure = asl::answer::failure(model::FailureKind::Handler, Some("E"), None);
        let events = vec![
            note(&[(1, 0, ExecutionStarted), (2, 1, TaskScheduled)]),
            note(&[(3, 2, TaskFailed), (4, 3, ExecutionFailed)]),
            RunEvent::Ended { at: Timestamp(0), failure: Some(failure) },
            RunEvent::Redriven { at: Timestamp(0) },
            note(&[(3, 2, TaskSucceeded)]),
            RunEvent::Cancelled { at: Timestamp(0), reason: r#"{"error":"X"}"#.to_owned() },
        ];
        let mut story = Story::default();
        let shown: Vec<Event> = events.into_iter().flat_map(|event| story.tell(event)).collect();
        let kinds: Vec<&str> = shown.iter().map(|event| event.kind.name()).collect();
        let expected = [
            "ExecutionStarted",
            "TaskScheduled",
            "TaskFailed",
            "ExecutionFailed",
            "ExecutionRedriven",
            "TaskSucceeded",
            "ExecutionAborted",
        ];
        assert_eq!(kinds, expected);
        assert!(shown.iter().zip(1..).all(|(event, number)| event.id == number));
        assert_eq!(shown[5].previous, 2, "it follows what it followed before");
        assert!(story.has_ended() && story.redrives == 1);
    }
}
