//! Going on after a failure: what ran out of time is done again, what a worker said had failed, and what gave
//! an answer that could not be used.

use model::Timestamp;
use model::suspend::OpId;

use super::branch::{BranchId, Phase};
use super::recover::Failure;
use super::task::limited_name;
use super::{Machine, Op, Role, Turn, World};
use crate::definition::Kind;
use crate::document::Document;
use crate::env::Random;
use crate::history::{Details, EventKind};

/// What is known of a redrive.
#[derive(Clone, Debug, Default)]
pub struct Redrive {
    /// Which one it is, from 1.
    pub count: u32,
    /// The work of tasks that it gave out again, and when.
    pub made_again: Vec<(OpId, Timestamp)>,
}

impl Machine {
    /// Whether an answer fails its task for good: the state can make nothing of it, and nobody catches that.
    pub fn is_wasted(&mut self, task: OpId, answer: &Document) -> bool {
        let Some(Op { branch: Some(id), role: Role::Task }) = self.ops.get(&task).copied() else {
            return false;
        };
        let seed = self.random.seed();
        let failure = self.misfit(id, answer);
        self.random = Random::new(seed);
        failure.is_some_and(|failure| !self.is_caught(id, &failure))
    }

    fn misfit(&mut self, id: BranchId, answer: &Document) -> Option<Failure> {
        if answer.text().len() > self.settings.data_bytes_max {
            return Some(Failure::data_limit(&limited_name(&self.resource(id))));
        }
        let definition = std::sync::Arc::clone(&self.definition);
        let branch = self.branch(id);
        match self.output(id, definition.state(branch.chart, branch.state), answer.clone()) {
            Ok(left) => self.excess(id, &left),
            Err(error) => Some(Failure::of(error.name, error.cause)),
        }
    }

    /// Whether the state of the branch, or one around it, has a catcher for it.
    fn is_caught(&self, mut id: BranchId, failure: &Failure) -> bool {
        loop {
            let branch = self.branch(id);
            let state = self.definition.state(branch.chart, branch.state);
            let catchers = state.kind.recovery().map_or(&[][..], |recovery| &recovery.catchers);
            if catchers.iter().any(|catcher| failure.matches(&catcher.errors)) {
                return true;
            }
            let Some((around, _)) = branch.parent else { return false };
            id = around;
        }
    }

    /// Before a turn that failed is taken again: of tasks whose time limit or work is among `fired`, those
    /// that wait for a token are tried from their beginning, and the limits of others, whose calls are made
    /// again, begin anew. So does the limit of the whole, and retries are counted from 0. What is left of
    /// `fired` is still to be told. The context object tells of the redrive.
    pub fn redrive(&mut self, redrive: &Redrive, fired: &mut Vec<OpId>, world: &World<'_>) -> Turn {
        self.now = world.now;
        self.transitions = 0;
        if let Some(shown) = &mut self.facts.redrive_count {
            *shown = redrive.count;
            self.redriven = Some(self.now);
        }
        let begun_again: Vec<(OpId, Op)> = fired
            .iter()
            .filter_map(|op| Some((*op, *self.ops.get(op)?)))
            .filter(|(_, op)| {
                let of_task = [Role::Task, Role::TaskTimeout, Role::TaskHeartbeat];
                of_task.contains(&op.role) || op.role == Role::Deadline
            })
            .collect();
        fired.retain(|op| begun_again.iter().all(|(begun, _)| begun != op));
        let deadline = self.ops.iter().find(|(_, op)| op.role == Role::Deadline).map(|(op, _)| *op);
        if let Some(deadline) = deadline {
            self.drop_op(deadline);
            self.set_deadline();
        }
        self.note_runs_redriven(redrive.count);
        for (op, at) in &redrive.made_again {
            self.note_made_again(*op, *at, world);
        }
        for branch in self.branches.values_mut() {
            branch.retry_count = 0;
            branch.retries.fill(0);
        }
        for (_, Op { branch, role }) in begun_again {
            let Some(id) = branch else { continue };
            let Phase::Task(task) = &self.branch(id).phase else { continue };
            let (work, timers) = (task.op, task.timers());
            for timer in timers {
                self.drop_op(timer);
            }
            if role != Role::Task && !self.resource(id).waits_for_token() {
                self.limit_again(id);
                continue;
            }
            self.drop_op(work);
            self.branch_mut(id).phase = Phase::Retrying;
            self.ready.push_back(id);
        }
        self.run(world);
        self.finish()
    }

    /// The work of a task was given out again, as it was. What is told of it is computed anew, and nothing is told
    /// where that fails, since the work goes on all the same.
    fn note_made_again(&mut self, op: OpId, at: Timestamp, world: &World<'_>) {
        let Some(Op { branch: Some(id), role: Role::Task }) = self.ops.get(&op).copied() else {
            return;
        };
        let definition = std::sync::Arc::clone(&self.definition);
        let branch = self.branch(id);
        let state = definition.state(branch.chart, branch.state);
        let Kind::Task(task) = &state.kind else { return };
        let seed = self.random.seed();
        let ask = self.prepare_task(id, state, task, op, world);
        self.random = Random::new(seed);
        if let Ok(ask) = ask {
            let branch = self.branch_mut(id);
            branch.previous = branch.entered;
            self.now = at;
            self.note_scheduled(id, &ask);
            self.now = world.now;
        }
    }

    /// Map runs under way go on: what they do then follows this, and this the start of their state.
    fn note_runs_redriven(&mut self, count: u32) {
        let runs: Vec<(BranchId, String)> = self
            .branches
            .iter()
            .filter_map(|(id, branch)| match &branch.phase {
                Phase::MapRun(run) => Some((*id, run.arn.clone())),
                _ => None,
            })
            .collect();
        for (id, arn) in runs {
            let branch = self.branch_mut(id);
            if branch.retry_count == 0 {
                branch.previous = branch.entered + 1;
            }
            let details = Details::new().with("mapRunArn", arn).with("redriveCount", count);
            self.note(id, EventKind::MapRunRedriven, details);
        }
    }
}
