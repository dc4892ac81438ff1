//! Machines that are lost and come back, and functions that begin anew.

use model::MachineId;

use super::events::Event;
use super::jobs::State;
use super::{LossConfig, World, index};
use crate::scheduler::Input;

impl World {
    pub(super) fn plan_loss(&mut self, machine: u32, loss: &LossConfig) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive time, cut where it exceeds what can be counted"
        )]
        let up = (self.loss.exponential() * loss.mean_up_ns as f64) as u64;
        self.agenda.plan(self.now_ns.saturating_add(up), Event::Lose { machine });
    }

    pub(super) fn lose(&mut self, machine: u32) {
        let Some(loss) = self.config.loss else { return };
        if self.arrivals_over {
            // The drain has machines enough; losing them for ever could keep it from ending.
            return;
        }
        self.machines[index(machine)].up = false;
        self.inputs.push_back(Input::Lost(MachineId(machine)));
        for slot in self.jobs.slots() {
            let job = self.jobs.get(slot);
            if job.machine == machine && job.state != State::Held {
                self.counts.lost += 1;
                self.begin_anew(slot);
            }
        }
        self.agenda.plan(self.now_ns.saturating_add(loss.away_ns), Event::Join { machine });
    }

    pub(super) fn join(&mut self, machine: u32) {
        let Some(loss) = self.config.loss else { return };
        self.machines[index(machine)].up = true;
        self.inputs.push_back(Input::Joined(MachineId(machine)));
        self.tell_memory(machine);
        self.plan_loss(machine, &loss);
    }

    /// Takes all progress and memory away and lets the invocation arrive again.
    pub(super) fn begin_anew(&mut self, slot: u32) {
        if self.jobs.get(slot).is_executing() {
            self.stop(slot, State::Ready);
        }
        self.release_memory(slot);
        let job = self.jobs.get_mut(slot);
        job.generation = job.generation.wrapping_add(1);
        job.state = State::Held;
        job.progress_ns = 0;
        job.io_done = 0;
        job.level = 0;
        job.restarts += 1;
        let submission = job.submission();
        if let Some(checker) = &mut self.checker {
            checker.begun_anew(&submission.job);
        }
        self.inputs.push_back(Input::Arrive(submission));
    }
}
