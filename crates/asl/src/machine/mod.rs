//! Interprets a state machine, purely: what happened goes in, what is wanted comes out.
//!
//! A [`Machine`] consists of *branches*: one that runs the machine's own chart, and one for each branch
//! of a Parallel and each iteration of a Map state under way. A branch stands in one state. One call of
//! [`Machine::step`] goes as far as it can: through Pass and Choice states, until everything waits.
//!
//! - [`branch`]: what a branch knows; [`turn`]: how branches enter and leave states;
//! - [`flow`]: input and output of a state; [`recover`]: Retry and Catch;
//! - one module for each type of state that does more than that;
//! - [`codec`]: the state of a machine as bytes.

mod branch;
mod choice;
mod codec;
mod fields;
mod flow;
mod map;
mod map_run;
mod parallel;
mod purpose;
mod recover;
mod redrive;
mod results;
mod task;
mod turn;
mod wait;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::Timestamp;
use model::suspend::OpId;

use crate::ask::{Ask, End, Input};
use crate::definition::{ChartId, Definition};
use crate::document::Document;
use crate::env::Random;
use crate::history::{Details, Event, EventKind};
use branch::{Branch, BranchId};
pub use choice::matches_pattern;
pub use codec::{DecodeError, Encoded, Parts};
pub use flow::Inspection;
pub use map_run::{MapRunProgress, RunChange};
pub use purpose::Purpose;
pub use redrive::Redrive;

/// Limits and habits that are not part of a definition.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of an input, output or result; above, `States.DataLimitExceeded`.
    pub data_bytes_max: usize,
    /// Bytes of all variables together; above, `States.DataLimitExceeded`. One of them, and what a state
    /// assigns, is held to `data_bytes_max`.
    pub variables_bytes_max: usize,
    /// Events of one execution; above, it fails.
    pub events_max: u64,
    /// States entered in one step; what is left goes on in the next one.
    pub transitions_per_step: u32,
    /// Iterations of an inline Map state that run at the same time.
    pub inline_concurrency_max: usize,
    /// Child executions of a distributed Map state that run at the same time.
    pub distributed_concurrency_max: usize,
    /// Seconds that an execution may take, whatever its `TimeoutSeconds` says.
    pub seconds_max: Option<u64>,
    /// `region` of the events about tasks.
    pub region: String,
    /// Whether to collect what TestState shows.
    pub inspect: bool,
    /// The context object in place of the machine's own, but for the item of a Map iteration.
    pub context: Option<serde_json::Map<String, serde_json::Value>>,
    /// Variables that are there at the beginning.
    pub variables: serde_json::Map<String, serde_json::Value>,
}

impl Default for Settings {
    fn default() -> Self {
        use model::limits;
        Self {
            data_bytes_max: limits::ASL_DATA_BYTES_DEFAULT,
            variables_bytes_max: limits::ASL_VARIABLES_BYTES_MAX,
            events_max: limits::ASL_EVENTS_DEFAULT,
            transitions_per_step: limits::ASL_TRANSITIONS_PER_STEP,
            inline_concurrency_max: limits::ASL_INLINE_CONCURRENCY_MAX,
            distributed_concurrency_max: limits::ASL_DISTRIBUTED_CONCURRENCY_MAX,
            seconds_max: None,
            region: "us-east-1".to_owned(),
            inspect: false,
            context: None,
            variables: serde_json::Map::new(),
        }
    }
}

/// What the context object tells of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `Execution.Id`.
    pub execution_arn: String,
    /// `Execution.Name`.
    pub execution_name: String,
    /// `Execution.RoleArn`.
    pub role_arn: String,
    /// `Execution.StartTime`.
    pub started: Timestamp,
    /// `Execution.RedriveCount`; none is not shown, as in TestState and express executions.
    pub redrive_count: Option<u32>,
    /// `StateMachine.Id`.
    pub machine_arn: String,
    /// `StateMachine.Name`.
    pub machine_name: String,
}

/// How an execution begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// What the context object tells.
    pub facts: Facts,
    /// Its input.
    pub input: Document,
    /// What it runs: 0, or the processor of a distributed Map state.
    pub chart: ChartId,
    /// Seeds all its draws.
    pub seed: u64,
}

/// What a step may use of the world.
#[derive(Clone, Copy)]
pub struct World<'w> {
    /// The time.
    pub now: Timestamp,
    /// The callback token of an ask.
    pub token: &'w dyn Fn(OpId) -> String,
}

/// What came of a step.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// What is wanted, in order.
    pub asks: Vec<(OpId, Ask)>,
    /// What is no longer wanted.
    pub drops: Vec<OpId>,
    /// What happened.
    pub events: Vec<Event>,
    /// How it ended, where it did.
    pub end: Option<End>,
}

/// A state machine under way.
#[derive(Debug)]
pub struct Machine {
    definition: Arc<Definition>,
    settings: Settings,
    facts: Facts,
    input: Document,
    chart: ChartId,
    branches: BTreeMap<BranchId, Branch>,
    ops: BTreeMap<OpId, Op>,
    next_branch: u64,
    next_op: u64,
    last_event: u64,
    next_part: u64,
    random: Random,
    end: Option<End>,
    /// When it was redriven, the last time.
    redriven: Option<Timestamp>,
    // Of the step under way only.
    now: Timestamp,
    ready: VecDeque<BranchId>,
    timed_out: Vec<(BranchId, recover::Failure)>,
    transitions: u32,
    turn: Turn,
    inspection: Option<Box<Inspection>>,
}

/// Something asked for and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Op {
    /// The branch that waits for it; none is the execution as a whole.
    branch: Option<BranchId>,
    role: Role,
}

/// What an ask is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// `TimeoutSeconds` of the machine.
    Deadline,
    /// To go on after a long step.
    Continue,
    /// A Wait state.
    Wait,
    /// The delay before a retry.
    Backoff,
    /// The work of a Task state.
    Task,
    /// Its `TimeoutSeconds`.
    TaskTimeout,
    /// Its `HeartbeatSeconds`.
    TaskHeartbeat,
    /// The items of a distributed Map state.
    Read,
    /// A child execution.
    Child(u32),
    /// The results of a distributed Map state.
    Write,
}

impl Machine {
    /// Begins an execution; what it wants first is in the turn.
    #[must_use]
    pub fn start(
        definition: Arc<Definition>,
        settings: Settings,
        start: Start,
        world: &World<'_>,
    ) -> (Self, Turn) {
        let inspection = settings.inspect.then(Box::default);
        let mut machine = Self {
            definition,
            settings,
            facts: start.facts,
            input: start.input,
            chart: start.chart,
            branches: BTreeMap::new(),
            ops: BTreeMap::new(),
            next_branch: 0,
            next_op: 1,
            last_event: 0,
            next_part: 1,
            random: Random::new(start.seed),
            end: None,
            redriven: None,
            now: world.now,
            ready: VecDeque::new(),
            timed_out: Vec::new(),
            transitions: 0,
            turn: Turn::default(),
            inspection,
        };
        let details = Details::new()
            .data("input", &machine.input)
            .with("roleArn", machine.facts.role_arn.clone());
        machine.record(0, EventKind::ExecutionStarted, details);
        machine.set_deadline();
        let chart = machine.chart;
        let input = machine.input.clone();
        let first = machine.add_branch(None, chart, input, 0);
        let given = machine.settings.variables.clone().into_iter();
        let given = given.map(|(name, value)| (name, Document::new(value))).collect();
        machine.branch_mut(first).variables = given;
        machine.run(world);
        let turn = machine.finish();
        (machine, turn)
    }

    /// Begins the time that the whole may take. A child of a map run has none of its own in a definition.
    fn set_deadline(&mut self) {
        let own = self.definition.timeout_seconds.filter(|_| self.chart == ChartId(0));
        if let Some(seconds) = own.into_iter().chain(self.settings.seconds_max).min() {
            let at = self.now + std::time::Duration::from_secs(seconds);
            self.timer(None, Role::Deadline, at);
        }
    }

    /// Takes what happened and goes as far as it can.
    pub fn step(&mut self, inputs: impl IntoIterator<Item = Input>, world: &World<'_>) -> Turn {
        self.now = world.now;
        self.transitions = 0;
        for input in inputs {
            if self.end.is_some() {
                break;
            }
            self.take(input);
        }
        // What timed out at the same time did so before the first of them has consequences.
        for (branch, failure) in std::mem::take(&mut self.timed_out) {
            if self.branches.contains_key(&branch) {
                self.failed(branch, failure);
            }
        }
        self.run(world);
        self.finish()
    }

    /// How it ended, where it did.
    #[must_use]
    pub const fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Its definition.
    #[must_use]
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// What it waits for.
    pub fn open(&self) -> impl Iterator<Item = OpId> + '_ {
        self.ops.keys().copied()
    }

    /// What it was started with.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The names of the states that its branches stand in, for a person.
    pub fn standing(&self) -> impl Iterator<Item = &str> + '_ {
        self.branches
            .values()
            .map(|branch| self.definition.state(branch.chart, branch.state).name.as_str())
    }

    fn finish(&mut self) -> Turn {
        let mut turn = std::mem::take(&mut self.turn);
        turn.end = self.end.clone();
        turn
    }

    fn take(&mut self, input: Input) {
        let Some(op) = input.op() else {
            if let Input::Abort { error, cause } = input {
                self.stop(End::Aborted { error, cause });
            }
            return;
        };
        // What is not known any more was dropped: it comes too late.
        let Some(Op { branch, role }) = self.ops.get(&op).copied() else { return };
        let Some(branch) = branch else {
            self.ops.remove(&op);
            match role {
                Role::Deadline => self.stop(End::TimedOut),
                _ => self.find_ready(),
            }
            return;
        };
        match (role, input) {
            (Role::Wait, Input::Fired(_)) => {
                self.ops.remove(&op);
                self.waited(branch);
            }
            (Role::Backoff, Input::Fired(_)) => {
                self.ops.remove(&op);
                self.retry(branch);
            }
            (Role::TaskTimeout, Input::Fired(_)) => {
                self.ops.remove(&op);
                self.task_timed_out(branch, task::Limit::Timeout);
            }
            (Role::TaskHeartbeat, Input::Fired(_)) => {
                self.ops.remove(&op);
                self.task_timed_out(branch, task::Limit::Heartbeat);
            }
            (Role::Task, Input::TaskStarted(_, worker)) => self.task_started(branch, worker),
            (Role::Task, Input::TaskSubmitted(_, output)) => self.task_submitted(branch, &output),
            (Role::Task, Input::TaskHeartbeat(_)) => self.task_alive(branch),
            (Role::Task, Input::TaskEnded(_, outcome)) => self.task_ended(branch, outcome),
            (Role::Read, Input::ItemsRead(_, items)) => {
                self.ops.remove(&op);
                self.items_read(branch, items);
            }
            (Role::Child(index), Input::ChildEnded(_, outcome)) => {
                self.ops.remove(&op);
                self.child_ended(branch, op, index, outcome);
            }
            (Role::Write, Input::ResultsWritten(_, outcome)) => {
                self.ops.remove(&op);
                self.results_written(branch, outcome);
            }
            // An answer that does not fit what was asked is none.
            _ => {}
        }
    }

    /// The end of the whole execution: nothing that is under way is wanted any more.
    fn stop(&mut self, end: End) {
        // By AWS, an abort follows no event.
        let previous = if matches!(end, End::Aborted { .. }) { 0 } else { self.last_event };
        let (kind, details) = match &end {
            End::Succeeded(output) => {
                (EventKind::ExecutionSucceeded, Details::new().data("output", output))
            }
            End::Failed { error, cause } => (
                EventKind::ExecutionFailed,
                Details::new().maybe("error", error.clone()).maybe("cause", cause.clone()),
            ),
            End::TimedOut => (EventKind::ExecutionTimedOut, Details::new()),
            End::Aborted { error, cause } => (
                EventKind::ExecutionAborted,
                Details::new().maybe("error", error.clone()).maybe("cause", cause.clone()),
            ),
        };
        self.end_with(end, previous, kind, details);
    }

    fn end_with(&mut self, end: End, previous: u64, kind: EventKind, details: Details) {
        self.record(previous, kind, details);
        self.turn.asks.retain(|(op, _)| !self.ops.contains_key(op));
        self.turn.drops.extend(self.ops.keys());
        self.ops.clear();
        self.branches.clear();
        self.ready.clear();
        self.end = Some(end);
    }

    fn record(&mut self, previous: u64, kind: EventKind, details: Details) -> u64 {
        self.last_event += 1;
        let id = self.last_event;
        self.turn.events.push(Event::new(id, previous, self.now, kind, details));
        id
    }

    fn ask(&mut self, branch: Option<BranchId>, role: Role, ask: Ask) -> OpId {
        let op = self.reserve();
        self.ask_as(op, branch, role, ask);
        op
    }

    /// The number of an ask that will follow, for its token; or of one that is not the machine's.
    pub const fn reserve(&mut self) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        op
    }

    fn ask_as(&mut self, op: OpId, branch: Option<BranchId>, role: Role, ask: Ask) {
        self.ops.insert(op, Op { branch, role });
        self.turn.asks.push((op, ask));
    }

    fn timer(&mut self, branch: Option<BranchId>, role: Role, at: Timestamp) -> OpId {
        self.ask(branch, role, Ask::Timer { at })
    }

    fn drop_op(&mut self, op: OpId) {
        if self.ops.remove(&op).is_some() {
            let asked_now = self.turn.asks.len();
            self.turn.asks.retain(|(asked, _)| *asked != op);
            if self.turn.asks.len() == asked_now {
                self.turn.drops.push(op);
            }
        }
    }

    fn drop_ops_of(&mut self, branches: &BTreeSet<BranchId>) {
        let gone: Vec<OpId> = self
            .ops
            .iter()
            .filter(|(_, op)| op.branch.is_some_and(|branch| branches.contains(&branch)))
            .map(|(op, _)| *op)
            .collect();
        for op in gone {
            self.drop_op(op);
        }
    }
}
