//! The bound: one scheduler that sees all cores at once, strict by class, first come first served in
//! a class, preemptive, and moves a preempted function to any machine at no cost and without delay.
//! No scheduler that keeps price classes strictly can serve the highest class better.

use std::collections::{BTreeMap, BTreeSet};

use model::{ClassId, InvocationId, MachineId, Timestamp};
use policy::Job;

use crate::scheduler::{Cluster, Input, Output, Scheduler};

/// Lower first: the highest class, in it the first that came.
type Key = (std::cmp::Reverse<ClassId>, Timestamp, InvocationId);

/// The whole cluster as one machine.
#[derive(Debug)]
pub struct Oracle {
    cores: usize,
    ready: BTreeSet<Key>,
    running: BTreeSet<Key>,
    /// All that is on machines, blocked ones too: where, and whether it is blocked.
    jobs: BTreeMap<InvocationId, (Job, Option<u32>)>,
    free: Vec<u32>,
    lost: Vec<bool>,
    held: usize,
}

const fn key(job: &Job) -> Key {
    (std::cmp::Reverse(job.class), job.arrived, job.id)
}

fn index(id: u32) -> usize {
    usize::try_from(id).expect("an index fits")
}

impl Oracle {
    /// An empty cluster.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        Self {
            cores: cluster.cores,
            ready: BTreeSet::new(),
            running: BTreeSet::new(),
            jobs: BTreeMap::new(),
            free: (0..cluster.cores).flat_map(|_| (0..cluster.machines).rev()).collect(),
            lost: vec![false; index(cluster.machines)],
            held: 0,
        }
    }

    /// Takes it off the cores. Gives the machine that it was on.
    fn leave(&mut self, id: InvocationId) -> Option<u32> {
        let (job, machine) = *self.jobs.get(&id)?;
        self.ready.remove(&key(&job));
        if self.running.remove(&key(&job))
            && let Some(machine) = machine
            && !self.lost[index(machine)]
        {
            self.free.push(machine);
        }
        machine
    }

    fn schedule(&mut self, out: &mut Vec<Output>) {
        while let Some(first) = self.ready.first().copied() {
            let machine = if let Some(machine) = self.free.pop() {
                machine
            } else {
                let Some(last) = self.running.last().copied() else { return };
                if last.0 <= first.0 {
                    return;
                }
                self.running.remove(&last);
                self.ready.insert(last);
                let (_, at) = self.jobs[&last.2];
                let at = at.expect("who runs is on a machine");
                out.push(Output::Preempt(MachineId(at), last.2));
                at
            };
            self.ready.remove(&first);
            self.running.insert(first);
            let (_, at) = self.jobs.get_mut(&first.2).expect("it is ready");
            if at.replace(machine).is_none() {
                self.held -= 1;
                out.push(Output::Placed(MachineId(machine), first.2));
            }
            out.push(Output::Run(MachineId(machine), first.2));
        }
    }
}

impl Scheduler for Oracle {
    fn step(&mut self, _now: Timestamp, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Arrive(submission) => {
                self.held += 1;
                self.leave(submission.job.id);
                self.jobs.insert(submission.job.id, (submission.job, None));
                self.ready.insert(key(&submission.job));
            }
            Input::Finished(_, id) => {
                self.leave(id);
                self.jobs.remove(&id);
            }
            // Where the world has it counts: it does not move one that it has just blocked.
            Input::Blocked(machine, id) => {
                self.leave(id);
                if let Some((_, at)) = self.jobs.get_mut(&id) {
                    *at = Some(machine.0);
                }
            }
            Input::Unblocked(machine, id) => {
                if let Some((job, at)) = self.jobs.get_mut(&id) {
                    *at = Some(machine.0);
                    self.ready.insert(key(job));
                }
            }
            Input::Lost(machine) => {
                self.lost[index(machine.0)] = true;
                self.free.retain(|free| *free != machine.0);
                let there = |at: &Option<u32>| *at == Some(machine.0);
                let gone: Vec<InvocationId> =
                    self.jobs.iter().filter(|(_, (_, at))| there(at)).map(|(id, _)| *id).collect();
                for id in gone {
                    self.leave(id);
                    self.jobs.remove(&id);
                }
            }
            Input::Joined(machine) => {
                self.lost[index(machine.0)] = false;
                self.free.extend(std::iter::repeat_n(machine.0, self.cores));
            }
            Input::Memory(..) | Input::Wake => {}
        }
        self.schedule(out);
    }

    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    fn held(&self) -> usize {
        self.held
    }

    fn messages(&self) -> u64 {
        0
    }
}
