//! Going on after a failure: what ran out of time is done again.

use model::suspend::OpId;

use super::branch::Phase;
use super::{Machine, Op, Role, Turn, World};

impl Machine {
    /// Before a turn that failed is taken again: states whose time limit is among `fired` are tried
    /// from their beginning, and the limit of the whole begins anew. What is left of `fired` is still
    /// to be told.
    pub fn redrive(&mut self, fired: &mut Vec<OpId>, world: &World<'_>) -> Turn {
        self.now = world.now;
        self.transitions = 0;
        let limits: Vec<(OpId, Op)> = fired
            .iter()
            .filter_map(|op| Some((*op, *self.ops.get(op)?)))
            .filter(|(_, op)| {
                matches!(op.role, Role::TaskTimeout | Role::TaskHeartbeat | Role::Deadline)
            })
            .collect();
        fired.retain(|op| limits.iter().all(|(limit, _)| limit != op));
        for (op, Op { branch, role }) in limits {
            self.ops.remove(&op);
            let Some(id) = branch else {
                if let (Role::Deadline, Some(seconds)) = (role, self.definition.timeout_seconds) {
                    let at = self.now + std::time::Duration::from_secs(seconds);
                    self.timer(None, Role::Deadline, at);
                }
                continue;
            };
            let Phase::Task(task) = &self.branch(id).phase else { continue };
            let (work, timers) = (task.op, task.timers());
            self.drop_op(work);
            for timer in timers {
                self.drop_op(timer);
            }
            let branch = self.branch_mut(id);
            branch.phase = Phase::Retrying;
            branch.retry_count = 0;
            branch.retries.fill(0);
            self.ready.push_back(id);
        }
        self.run(world);
        self.finish()
    }
}
