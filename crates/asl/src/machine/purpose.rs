//! What an open ask is for, to whoever carries it out.

use model::suspend::OpId;

use super::branch::{BranchId, Phase};
use super::{Machine, Op, Role};
use crate::definition::{Kind, Resource};

/// What something that was asked for is to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose<'m> {
    /// A timer.
    Timer,
    /// The timer of the next sign of life of that task.
    Heartbeat(OpId),
    /// The work of a Task state.
    Task(&'m Resource),
    /// Items to be read.
    Read,
    /// A child execution.
    Child,
    /// Results to be written.
    Write,
}

impl Machine {
    /// What an ask is for; none where nothing waits for it any more.
    #[must_use]
    pub fn purpose(&self, op: OpId) -> Option<Purpose<'_>> {
        let Op { branch, role } = *self.ops.get(&op)?;
        Some(match role {
            Role::Deadline | Role::Continue | Role::Wait | Role::Backoff | Role::TaskTimeout => {
                Purpose::Timer
            }
            Role::TaskHeartbeat => match branch.map(|id| &self.branch(id).phase) {
                Some(Phase::Task(task)) => Purpose::Heartbeat(task.op),
                _ => Purpose::Timer,
            },
            Role::Task => Purpose::Task(self.work_of(branch?)?),
            Role::Read => Purpose::Read,
            Role::Child(_) => Purpose::Child,
            Role::Write => Purpose::Write,
        })
    }

    /// The timer of the next sign of life of a task.
    #[must_use]
    pub fn heartbeat(&self, task: OpId) -> Option<OpId> {
        let Op { branch, role: Role::Task } = *self.ops.get(&task)? else { return None };
        let Phase::Task(phase) = &self.branch(branch?).phase else { return None };
        phase.heartbeat.map(|heartbeat| heartbeat.timer)
    }

    fn work_of(&self, id: BranchId) -> Option<&Resource> {
        let branch = self.branch(id);
        match &self.definition.state(branch.chart, branch.state).kind {
            Kind::Task(task) => Some(&task.resource),
            _ => None,
        }
    }
}
