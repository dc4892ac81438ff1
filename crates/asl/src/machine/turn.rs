//! How branches enter and leave states.

use super::branch::{BranchId, Phase};
use super::flow::Left;
use super::recover::Failure;
use super::{Machine, Role, World};
use crate::ask::End;
use crate::definition::{Kind, Language, StateId};
use crate::document::Document;
use crate::env::{ErrorName, EvalError};
use crate::history::{Details, EventKind};

impl Machine {
    /// Runs every branch that can.
    pub(super) fn run(&mut self, world: &World<'_>) {
        while let Some(id) = self.ready.pop_front() {
            if !self.branches.contains_key(&id) {
                continue;
            }
            if self.transitions >= self.settings.transitions_per_step {
                // The rest comes in a step of its own, so that no machine holds up others.
                self.ready.push_front(id);
                self.go_on_later();
                return;
            }
            self.transitions += 1;
            match self.branch(id).phase {
                Phase::Entering => {
                    self.entered(id);
                    if self.last_event >= self.settings.events_max {
                        self.too_long();
                        return;
                    }
                    self.perform(id, world);
                }
                Phase::Retrying => self.perform(id, world),
                Phase::Waiting
                | Phase::Task(_)
                | Phase::Parallel(_)
                | Phase::Map(_)
                | Phase::MapRun(_) => {}
            }
        }
    }

    /// Asks for a step at once. Which branches can go on is seen from their phases.
    fn go_on_later(&mut self) {
        self.ready.clear();
        let asked = self.ops.values().any(|op| op.role == Role::Continue);
        if !asked {
            self.timer(None, Role::Continue, self.now);
        }
    }

    /// Finds the branches that can run, after a long step or a restart.
    pub(super) fn find_ready(&mut self) {
        let can_run = |phase: &Phase| matches!(phase, Phase::Entering | Phase::Retrying);
        self.ready =
            self.branches.iter().filter(|(_, b)| can_run(&b.phase)).map(|(id, _)| *id).collect();
    }

    fn too_long(&mut self) {
        let cause = format!(
            "The execution reached the maximum number of history events ({}).",
            self.settings.events_max
        );
        let error = ErrorName::Runtime.as_str().to_owned();
        self.stop(End::Failed { error: Some(error), cause: Some(cause) });
    }

    /// Writes down that a branch entered its state.
    fn entered(&mut self, id: BranchId) {
        let branch = self.branch(id);
        let state = self.definition.state(branch.chart, branch.state);
        let kind = match &state.kind {
            Kind::Pass { .. } => EventKind::PassStateEntered,
            Kind::Task(_) => EventKind::TaskStateEntered,
            Kind::Choice(_) => EventKind::ChoiceStateEntered,
            Kind::Wait(_) => EventKind::WaitStateEntered,
            Kind::Succeed => EventKind::SucceedStateEntered,
            Kind::Fail(_) => EventKind::FailStateEntered,
            Kind::Parallel(_) => EventKind::ParallelStateEntered,
            Kind::Map(_) => EventKind::MapStateEntered,
        };
        let retriers = state.kind.recovery().map_or(0, |recovery| recovery.retriers.len());
        let details = Details::new().data("input", &branch.input).with("name", state.name.clone());
        let before = branch.previous;
        let event = self.note(id, kind, details);
        let now = self.now;
        let branch = self.branch_mut(id);
        branch.before = before;
        branch.entered = event;
        branch.entered_at = now;
        branch.retries = vec![0; retriers];
        branch.retry_count = 0;
    }

    /// Does what the state of a branch says.
    fn perform(&mut self, id: BranchId, world: &World<'_>) {
        let definition = std::sync::Arc::clone(&self.definition);
        let branch = self.branch(id);
        let state = definition.state(branch.chart, branch.state);
        let done = match &state.kind {
            Kind::Pass { result } => self.pass(id, state, result.as_ref()),
            Kind::Succeed => self.hand_on(id, state),
            Kind::Choice(choice) => return self.choose(id, state, choice),
            Kind::Wait(wait) => return self.wait(id, state, wait),
            Kind::Fail(fail) => return self.perform_fail(id, fail),
            Kind::Task(task) => return self.begin_task(id, state, task, world),
            Kind::Parallel(parallel) => return self.begin_parallel(id, state, parallel),
            Kind::Map(map) => return self.begin_map(id, state, map),
        };
        match done {
            Ok(left) => self.leave(id, left, state.next),
            Err(error) => self.broke(id, error),
        }
    }

    /// An event of a branch: the next one of that branch follows it.
    pub(super) fn note(&mut self, id: BranchId, kind: EventKind, details: Details) -> u64 {
        let previous = self.branch(id).previous;
        let event = self.record(previous, kind, details);
        self.branch_mut(id).previous = event;
        event
    }

    /// An event of a branch that the next one does not follow.
    pub(super) fn note_aside(&mut self, id: BranchId, kind: EventKind, details: Details) -> u64 {
        let previous = self.branch(id).previous;
        self.record(previous, kind, details)
    }

    /// The state of a branch is done: on to the next, or the end of its chart.
    pub(super) fn leave(&mut self, id: BranchId, left: Left, next: Option<StateId>) {
        match self.excess(id, &left) {
            Some(failure) => self.failed(id, failure),
            None => self.hand_over(id, left, next),
        }
    }

    /// What is too large or too deep to be handed on.
    pub(super) fn excess(&self, id: BranchId, left: &Left) -> Option<Failure> {
        let branch = self.branch(id);
        let name = &self.definition.state(branch.chart, branch.state).name;
        if crate::path::is_deeper(left.output.value(), crate::path::DEPTH_MAX) {
            let cause = format!("The output nests deeper than {} levels.", crate::path::DEPTH_MAX);
            return Some(Failure::of(ErrorName::Runtime, cause));
        }
        if left.output.text().len() > self.settings.data_bytes_max {
            return Some(Failure::data_limit(name));
        }
        if left.assigned.is_empty() {
            return None;
        }
        let bytes = |values: &mut dyn Iterator<Item = &Document>| {
            values.map(|value| value.text().len()).sum::<usize>()
        };
        let assigned = bytes(&mut left.assigned.values());
        if assigned > self.settings.data_bytes_max {
            return Some(Failure::assign_limit(name));
        }
        let replaced = left.assigned.keys().filter_map(|name| branch.variables.get(name));
        let all = self.branches.values().flat_map(|branch| branch.variables.values());
        let (all, replaced) = (bytes(&mut { all }), bytes(&mut { replaced }));
        let is_too_much = all - replaced + assigned > self.settings.variables_bytes_max;
        is_too_much.then(|| Failure::variables_limit(name))
    }

    /// Leaves a state with what is fit to be handed on.
    pub(super) fn hand_over(&mut self, id: BranchId, left: Left, next: Option<StateId>) {
        let branch = self.branch(id);
        let state = self.definition.state(branch.chart, branch.state);
        let kind = match &state.kind {
            Kind::Pass { .. } => EventKind::PassStateExited,
            Kind::Task(_) => EventKind::TaskStateExited,
            Kind::Choice(_) => EventKind::ChoiceStateExited,
            Kind::Wait(_) => EventKind::WaitStateExited,
            Kind::Succeed | Kind::Fail(_) => EventKind::SucceedStateExited,
            Kind::Parallel(_) => EventKind::ParallelStateExited,
            Kind::Map(_) => EventKind::MapStateExited,
        };
        let mut details = Details::new().with("name", state.name.clone());
        if !left.assigned.is_empty() {
            let texts: serde_json::Map<String, serde_json::Value> = left
                .assigned
                .iter()
                .map(|(name, value)| (name.clone(), value.text().into()))
                .collect();
            details = details
                .with("assignedVariables", texts)
                .with("assignedVariablesDetails", serde_json::json!({ "truncated": false }));
        }
        self.note(id, kind, details.data("output", &left.output));
        let branch = self.branch_mut(id);
        branch.variables.extend(left.assigned);
        if self.is_tried(id) {
            self.inspect_variables(id);
        }
        let branch = self.branch_mut(id);
        match next {
            Some(next) => {
                branch.state = next;
                branch.phase = Phase::Entering;
                branch.input = left.output;
                self.ready.push_back(id);
            }
            None => self.branch_ended(id, left.output),
        }
    }

    /// Shows the variables that are there after a state that is tried.
    fn inspect_variables(&mut self, id: BranchId) {
        let variables = self.branch(id).variables.iter();
        let variables = variables.map(|(name, value)| (name.clone(), value.value().clone()));
        let variables: serde_json::Map<_, _> = variables.collect();
        if !variables.is_empty() {
            let variables = serde_json::Value::Object(variables).into();
            self.inspect(|seen| seen.variables = Some(variables));
        }
    }

    fn branch_ended(&mut self, id: BranchId, output: Document) {
        let branch = self.branch(id);
        let previous = branch.previous;
        let Some((parent, slot)) = branch.parent else {
            let details = Details::new().data("output", &output);
            let end = End::Succeeded(output);
            self.end_with(end, previous, EventKind::ExecutionSucceeded, details);
            return;
        };
        self.branches.remove(&id);
        match self.branch(parent).phase {
            Phase::Parallel(_) => self.parallel_branch_ended(parent, slot, output, previous),
            Phase::Map(_) => self.iteration_ended(parent, slot, &output, previous),
            Phase::Entering
            | Phase::Retrying
            | Phase::Waiting
            | Phase::Task(_)
            | Phase::MapRun(_) => unreachable!("only Parallel and Map states have branches"),
        }
    }

    /// A branch failed for good.
    pub(super) fn branch_failed(&mut self, id: BranchId, failure: Failure) {
        let branch = self.branch(id);
        let previous = branch.previous;
        let Some((parent, slot)) = branch.parent else {
            let details = Details::new()
                .maybe("error", failure.error.clone())
                .maybe("cause", failure.cause.clone());
            let end = End::Failed { error: failure.error, cause: failure.cause };
            self.end_with(end, previous, EventKind::ExecutionFailed, details);
            return;
        };
        let is_map = matches!(self.branch(parent).phase, Phase::Map(_));
        if is_map {
            self.record(
                previous,
                EventKind::MapIterationFailed,
                self.iteration_details(parent, slot),
            );
        }
        // AWS tells of a state that timed out, or failed without a name, that it was aborted, too.
        let is_aborted = if is_map { failure.is_timeout() } else { !failure.is_named() };
        if is_aborted {
            self.record_aborted(id, previous);
        }
        self.abort_branches(parent, id, previous);
        self.branch_mut(parent).previous = previous;
        self.failed(parent, failure);
    }

    /// Ends all branches of a Parallel or Map state, because one of them failed.
    fn abort_branches(&mut self, parent: BranchId, failed: BranchId, previous: u64) {
        let children: Vec<(BranchId, u32)> = self
            .branches
            .iter()
            .filter_map(|(id, branch)| match branch.parent {
                Some((of, slot)) if of == parent => Some((*id, slot)),
                _ => None,
            })
            .collect();
        let is_map = matches!(self.branch(parent).phase, Phase::Map(_));
        for (child, slot) in &children {
            if *child == failed {
                continue;
            }
            self.record_aborted(*child, previous);
            if is_map {
                let details = self.iteration_details(parent, *slot);
                self.record(previous, EventKind::MapIterationAborted, details);
            }
        }
        let roots: Vec<BranchId> = children.iter().map(|(id, _)| *id).collect();
        let gone = self.with_descendants(&roots);
        self.drop_ops_of(&gone);
        self.branches.retain(|id, _| !gone.contains(id));
    }

    fn record_aborted(&mut self, id: BranchId, previous: u64) {
        let branch = self.branch(id);
        let kind = match (&branch.phase, &self.definition.state(branch.chart, branch.state).kind) {
            (Phase::Entering, _) => return,
            (_, Kind::Task(_)) => EventKind::TaskStateAborted,
            (_, Kind::Wait(_)) => EventKind::WaitStateAborted,
            (_, Kind::Parallel(_)) => EventKind::ParallelStateAborted,
            (_, Kind::Map(_)) => EventKind::MapStateAborted,
            (_, Kind::Pass { .. } | Kind::Choice(_) | Kind::Succeed | Kind::Fail(_)) => return,
        };
        self.record(previous, kind, Details::new());
    }

    /// An expression of a state failed.
    pub(super) fn broke(&mut self, id: BranchId, error: EvalError) {
        let branch = self.branch(id);
        let state = self.definition.state(branch.chart, branch.state);
        let cause = format!(
            "An error occurred while executing the state '{}' (entered at the event id #{}). {}",
            state.name, branch.entered, error.cause
        );
        let error_name = error.name.as_str();
        let is_map = matches!(state.kind, Kind::Map(_));
        let is_wait = matches!(state.kind, Kind::Wait(_));
        if let Some(inspection) = &mut self.inspection {
            inspection.cause = Some(error.cause);
            inspection.location = error.location.clone();
        }
        if state.language == Language::Jsonata && error.name == ErrorName::QueryEvaluationError {
            let details = Details::new()
                .error(error_name, Some(&cause))
                .maybe("location", error.location)
                .with("state", state.name.clone());
            // Before anything else happened in the state, it follows what the state's entry followed.
            let branch = self.branch(id);
            let at_once = branch.previous == branch.entered && !is_wait;
            let previous = if at_once { branch.before } else { branch.previous };
            let event = self.record(previous, EventKind::EvaluationFailed, details);
            self.branch_mut(id).previous = event;
            if matches!(self.branch(id).phase, Phase::Entering) && is_map {
                self.note(id, EventKind::MapStateFailed, Details::new());
            }
        }
        self.failed(id, Failure::of(error.name, cause));
    }
}
