//! Who progresses: cores given and taken, milestones reached.

use model::{InvocationId, MachineId};

use super::events::Event;
use super::jobs::{Entry, State};
use super::ram::Room;
use super::{Completion, IoConfig, Keep, World, index};
use crate::memory::GROWTH_STEPS;
use crate::scheduler::Input;

impl World {
    pub(super) fn give_core(&mut self, machine: MachineId, id: InvocationId) {
        let Some(slot) = self.ready_to_run(machine, id) else { return };
        let milestone_ns = self.next_milestone(self.jobs.get(slot));
        let now_ns = self.now_ns;
        let job = self.jobs.get_mut(slot);
        job.milestone_ns = milestone_ns;
        job.state = State::Running { since_ns: now_ns };
        let at_ns = now_ns + (milestone_ns - job.progress_ns);
        let generation = job.generation;
        self.agenda.plan(at_ns, Event::Milestone { slot, generation });
        let busy = self.machines[index(machine.0)].busy + 1;
        self.set_busy(machine.0, busy);
    }

    pub(super) fn give_share(&mut self, machine: MachineId, id: InvocationId) {
        let Some(slot) = self.ready_to_run(machine, id) else { return };
        self.shares[index(machine.0)].advance(self.now_ns);
        self.join_share(slot);
        self.replan_shares(machine.0);
    }

    /// The slot of an invocation that may execute now: it wants a core and has its memory.
    fn ready_to_run(&mut self, machine: MachineId, id: InvocationId) -> Option<u32> {
        let slot = self.jobs.find(id)?;
        // One that the world has just blocked is not ready; the scheduler is about to hear of it.
        if self.jobs.get(slot).state != State::Ready {
            return None;
        }
        if self.jobs.get(slot).machine != machine.0 {
            self.release_memory(slot);
            self.jobs.get_mut(slot).machine = machine.0;
        }
        match self.get_memory(slot) {
            Room::Has => Some(slot),
            Room::Waits => {
                self.jobs.get_mut(slot).state = State::Memory;
                self.block(slot);
                None
            }
            Room::Killed => None,
        }
    }

    /// Takes its core or share away; it keeps its progress.
    pub(super) fn stop(&mut self, slot: u32, state: State) {
        let job = *self.jobs.get(slot);
        let entry = self.jobs.get_mut(slot);
        entry.generation = entry.generation.wrapping_add(1);
        entry.state = state;
        match job.state {
            State::Running { since_ns } => {
                entry.progress_ns += self.now_ns - since_ns;
                let busy = self.machines[index(job.machine)].busy - 1;
                self.set_busy(job.machine, busy);
            }
            State::Shared { since } => {
                let group = self.share_group[usize::from(job.class.0)];
                let shares = &mut self.shares[index(job.machine)];
                shares.advance(self.now_ns);
                let had = shares.had_ns(group, since);
                shares.leave(group);
                let entry = self.jobs.get_mut(slot);
                entry.progress_ns = (entry.progress_ns + had).min(entry.milestone_ns);
                self.replan_shares(job.machine);
            }
            State::Held | State::Ready | State::Io | State::Memory => {}
        }
    }

    fn join_share(&mut self, slot: u32) {
        let milestone_ns = self.next_milestone(self.jobs.get(slot));
        let job = self.jobs.get_mut(slot);
        job.milestone_ns = milestone_ns;
        let group = self.share_group[usize::from(job.class.0)];
        let shares = &mut self.shares[index(job.machine)];
        let needed_ns = milestone_ns - job.progress_ns;
        let since = shares.join(group, needed_ns, slot, job.generation);
        job.state = State::Shared { since };
    }

    /// Plans the next milestone of a machine that shares its cores, after any change there.
    fn replan_shares(&mut self, machine: u32) {
        let jobs = &self.jobs;
        let shares = &mut self.shares[index(machine)];
        shares.rebalance();
        shares.generation = shares.generation.wrapping_add(1);
        let generation = shares.generation;
        if let Some(at_ns) = shares.next_ns(|slot, of| jobs.is_current(slot, of)) {
            self.agenda.plan(at_ns, Event::SharedMilestone { machine, generation });
        }
        let members = usize::try_from(shares.members()).expect("jobs on one machine");
        self.set_busy(machine, members.min(self.config.cores));
    }

    pub(super) fn reach_milestone(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let job = self.jobs.get_mut(slot);
        job.progress_ns = job.milestone_ns;
        job.state = State::Running { since_ns: now_ns };
        if self.pass_milestone(slot) {
            let milestone_ns = self.next_milestone(self.jobs.get(slot));
            let job = self.jobs.get_mut(slot);
            job.milestone_ns = milestone_ns;
            let at_ns = now_ns + (milestone_ns - job.progress_ns);
            let generation = job.generation;
            self.agenda.plan(at_ns, Event::Milestone { slot, generation });
        }
    }

    pub(super) fn reach_shared_milestones(&mut self, machine: u32) {
        self.shares[index(machine)].advance(self.now_ns);
        loop {
            let jobs = &self.jobs;
            let shares = &mut self.shares[index(machine)];
            let Some(slot) = shares.take_due(|slot, of| jobs.is_current(slot, of)) else { break };
            let job = self.jobs.get_mut(slot);
            let group = self.share_group[usize::from(job.class.0)];
            job.progress_ns = job.milestone_ns;
            job.state = State::Shared { since: shares.time(group) };
            if self.pass_milestone(slot) {
                self.shares[index(machine)].leave(group);
                self.join_share(slot);
            }
        }
        self.replan_shares(machine);
    }

    /// Does what is due at this job's progress. True where it goes on executing.
    fn pass_milestone(&mut self, slot: u32) -> bool {
        let job = *self.jobs.get(slot);
        if job.progress_ns >= job.cpu_ns {
            self.complete(slot);
            return false;
        }
        while self.is_growing(self.jobs.get(slot)) {
            self.jobs.get_mut(slot).level += 1;
            match self.get_memory(slot) {
                Room::Has => {}
                Room::Waits => {
                    // To make room for another it may have been stopped already.
                    if self.jobs.get(slot).is_executing() {
                        self.stop(slot, State::Memory);
                        self.block(slot);
                    }
                    return false;
                }
                Room::Killed => return false,
            }
        }
        if let Some(io) = self.io_of(&job)
            && job.io_done < io.waits
            && io_point(&job, io) <= job.progress_ns
        {
            self.jobs.get_mut(slot).io_done += 1;
            self.stop(slot, State::Io);
            let generation = self.jobs.get(slot).generation;
            self.agenda.plan(self.now_ns + io.length_ns, Event::IoDone { slot, generation });
            self.block(slot);
            return false;
        }
        true
    }

    /// The progress at which the job needs something else than its core.
    fn next_milestone(&self, job: &Entry) -> u64 {
        let mut next = job.cpu_ns;
        if let Some(ram) = &self.ram
            && job.level < GROWTH_STEPS
        {
            next = next.min(ram.config.growth.step_ns(job.level + 1, job.cpu_ns));
        }
        if let Some(io) = self.io_of(job)
            && job.io_done < io.waits
        {
            next = next.min(io_point(job, io));
        }
        next.max(job.progress_ns)
    }

    fn io_of(&self, job: &Entry) -> Option<IoConfig> {
        self.config.io.filter(|io| job.class <= io.up_to)
    }

    fn is_growing(&self, job: &Entry) -> bool {
        self.ram.as_ref().is_some_and(|ram| {
            job.level < GROWTH_STEPS
                && ram.config.growth.step_ns(job.level + 1, job.cpu_ns) <= job.progress_ns
        })
    }

    fn complete(&mut self, slot: u32) {
        self.stop(slot, State::Ready);
        let job = *self.jobs.get(slot);
        let waits_ns = self.io_of(&job).map_or(0, |io| u64::from(io.waits) * io.length_ns);
        if let Some(checker) = &mut self.checker {
            checker.finished(job.id);
        }
        self.counts.completed += 1;
        if self.config.keep == Keep::Completions {
            self.completions.push(Completion {
                arrived_ns: job.arrived_ns,
                finished_ns: self.now_ns,
                alone_ns: job.cpu_ns + waits_ns,
                class: job.class,
                restarts: job.restarts,
            });
        }
        self.retire(slot);
        self.inputs.push_back(Input::Finished(MachineId(job.machine), job.id));
    }
}

/// The progress at which the job's next wait outside begins: they lie evenly over its run, or over
/// what is left of it after its first part.
fn io_point(job: &Entry, io: IoConfig) -> u64 {
    let before = u128::from(job.cpu_ns) * u128::from(io.after_percent) / 100;
    let rest = u128::from(job.cpu_ns) - before;
    let at = before + rest * u128::from(job.io_done + 1) / u128::from(io.waits + 1);
    u64::try_from(at).expect("a part of a u64")
}
