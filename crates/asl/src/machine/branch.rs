//! What a branch knows.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use model::Timestamp;
use model::suspend::OpId;
use serde_json::{Map as Object, Value, json};

use super::map::{Item, MapPhase, STATE_DATA, Source};
use super::map_run::MapRunPhase;
use super::parallel::ParallelPhase;
use super::task::TaskPhase;
use super::{Facts, Machine};
use crate::definition::{ChartId, StateId};
use crate::document::Document;
use crate::env::{Context, Variables};
use crate::time;

/// The number of a branch within its execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BranchId(pub(super) u64);

/// Where a branch stands.
#[derive(Debug)]
pub(super) struct Branch {
    /// The branch whose Parallel or Map state it belongs to, and which part of that it is.
    pub(super) parent: Option<(BranchId, u32)>,
    pub(super) chart: ChartId,
    pub(super) state: StateId,
    pub(super) phase: Phase,
    /// The input of the state, as it came in.
    pub(super) input: Document,
    /// The last event of this branch.
    pub(super) previous: u64,
    /// The event before the state's entry.
    pub(super) before: u64,
    /// The event of the state's entry.
    pub(super) entered: u64,
    pub(super) entered_at: Timestamp,
    /// Times each retrier was used since the state was entered.
    pub(super) retries: Vec<u32>,
    /// All of them together.
    pub(super) retry_count: u32,
    pub(super) variables: BTreeMap<String, Document>,
    /// The item of a Map iteration: its index and value.
    pub(super) item: Option<(u32, Document)>,
}

/// What the state of a branch is about.
#[derive(Debug)]
pub(super) enum Phase {
    /// To be entered.
    Entering,
    /// Entered, and to be tried again.
    Retrying,
    /// Waits for a timer of its own: Wait states and delays of retriers.
    Waiting,
    Task(Box<TaskPhase>),
    Parallel(Box<ParallelPhase>),
    Map(Box<MapPhase>),
    MapRun(Box<MapRunPhase>),
}

impl Branch {
    pub(super) fn new(
        parent: Option<(BranchId, u32)>,
        chart: ChartId,
        state: StateId,
        input: Document,
        previous: u64,
    ) -> Self {
        Self {
            parent,
            chart,
            state,
            phase: Phase::Entering,
            input,
            previous,
            before: 0,
            entered: 0,
            entered_at: Timestamp::default(),
            retries: Vec::new(),
            retry_count: 0,
            variables: BTreeMap::new(),
            item: None,
        }
    }
}

impl Machine {
    pub(super) fn branch(&self, id: BranchId) -> &Branch {
        self.branches.get(&id).expect("a branch that is referred to is there")
    }

    pub(super) fn branch_mut(&mut self, id: BranchId) -> &mut Branch {
        self.branches.get_mut(&id).expect("a branch that is referred to is there")
    }

    pub(super) fn add_branch(
        &mut self,
        parent: Option<(BranchId, u32)>,
        chart: ChartId,
        input: Document,
        previous: u64,
    ) -> BranchId {
        let id = BranchId(self.next_branch);
        self.next_branch += 1;
        let start = self.definition.chart(chart).start;
        self.branches.insert(id, Branch::new(parent, chart, start, input, previous));
        self.ready.push_back(id);
        id
    }

    /// The branch and all below it.
    pub(super) fn with_descendants(&self, roots: &[BranchId]) -> BTreeSet<BranchId> {
        let mut all: BTreeSet<BranchId> = roots.iter().copied().collect();
        // Children are younger than their parents.
        for (id, branch) in &self.branches {
            if branch.parent.is_some_and(|(parent, _)| all.contains(&parent)) {
                all.insert(*id);
            }
        }
        all
    }

    /// The variables that a branch sees.
    pub(super) const fn scope(&self, branch: BranchId) -> Scope<'_> {
        Scope { branches: &self.branches, branch }
    }

    /// The context object. `token` is that of a task that waits for one.
    pub(super) fn context(
        &self,
        id: BranchId,
        item: Option<Item<'_>>,
        token: Option<&str>,
    ) -> Value {
        let mut context = match &self.settings.context {
            Some(given) => given.clone(),
            None => self.own_context(id),
        };
        if let Some(item) = item.or_else(|| self.item_of(id)) {
            let mut shown = Object::new();
            shown.insert("Index".to_owned(), item.index.into());
            if let Some(key) = item.key() {
                shown.insert("Key".to_owned(), key.clone());
            }
            shown.insert("Value".to_owned(), item.value().clone());
            shown.insert("Source".to_owned(), item.place.into());
            context.insert("Map".to_owned(), json!({ "Item": shown }));
        }
        if let Some(token) = token
            && self.settings.context.is_none()
        {
            context.insert("Task".to_owned(), json!({ "Token": token }));
        }
        Value::Object(context)
    }

    fn own_context(&self, id: BranchId) -> Object<String, Value> {
        let branch = self.branch(id);
        let state = self.definition.state(branch.chart, branch.state);
        let mut context = facts(&self.facts, &self.input, self.redriven);
        let mut about =
            json!({ "Name": state.name, "EnteredTime": time::render(branch.entered_at) });
        if state.kind.recovery().is_some() {
            about["RetryCount"] = branch.retry_count.into();
        }
        context.insert("State".to_owned(), about);
        context
    }

    /// The item of the innermost Map iteration around a branch.
    fn item_of(&self, mut id: BranchId) -> Option<Item<'_>> {
        loop {
            let branch = self.branch(id);
            if let Some((index, value)) = &branch.item {
                let (whole, of) = (value.value(), Source::Array);
                return Some(Item { index: *index, whole, of, place: STATE_DATA });
            }
            id = branch.parent?.0;
        }
    }
}

fn facts(facts: &Facts, input: &Document, redriven: Option<Timestamp>) -> Object<String, Value> {
    let mut execution = json!({
        "Id": facts.execution_arn,
        "Input": input.value(),
        "StartTime": time::render(facts.started),
        "Name": facts.execution_name,
        "RoleArn": facts.role_arn,
    });
    if let Some(count) = facts.redrive_count {
        execution["RedriveCount"] = count.into();
    }
    if let Some(at) = redriven {
        execution["RedriveTime"] = time::render(at).into();
    }
    let machine = json!({ "Id": facts.machine_arn, "Name": facts.machine_name });
    let mut context = Object::new();
    context.insert("Execution".to_owned(), execution);
    context.insert("StateMachine".to_owned(), machine);
    context
}

/// The context object, made when something reads it: it has a copy of the whole input.
pub(super) struct Wanted<F> {
    make: F,
    made: OnceCell<Value>,
}

impl<F: Fn() -> Value> Wanted<F> {
    pub(super) const fn new(make: F) -> Self {
        Self { make, made: OnceCell::new() }
    }
}

impl<F: Fn() -> Value> Context for Wanted<F> {
    fn value(&self) -> &Value {
        self.made.get_or_init(&self.make)
    }
}

/// The variables that a branch sees: its own, and those of the branches around it.
pub(super) struct Scope<'b> {
    branches: &'b BTreeMap<BranchId, Branch>,
    branch: BranchId,
}

impl Scope<'_> {
    fn outwards(&self) -> impl Iterator<Item = &Branch> {
        let first = self.branches.get(&self.branch);
        std::iter::successors(first, |branch| {
            branch.parent.and_then(|(parent, _)| self.branches.get(&parent))
        })
    }
}

impl Variables for Scope<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.outwards().find_map(|branch| branch.variables.get(name)).map(Document::value)
    }

    fn for_each(&self, each: &mut dyn FnMut(&str, &Value)) {
        let mut seen = BTreeSet::new();
        for branch in self.outwards() {
            for (name, value) in &branch.variables {
                if seen.insert(name.as_str()) {
                    each(name, value.value());
                }
            }
        }
    }
}

/// Timers of a phase that end with it.
pub(super) fn timers(phase: &Phase) -> Vec<OpId> {
    match phase {
        Phase::Task(task) => task.timers(),
        Phase::Entering
        | Phase::Retrying
        | Phase::Waiting
        | Phase::Parallel(_)
        | Phase::Map(_)
        | Phase::MapRun(_) => Vec::new(),
    }
}
