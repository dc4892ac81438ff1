//! Sparrow (Ousterhout, Wendell, Zaharia and Stoica, SOSP 2013) for jobs of one task: batch probing
//! and late binding. Each invocation leaves a reservation with k machines; a machine whose core
//! comes free takes the oldest reservation that nobody has served yet. Price classes are ignored.

use std::collections::{BTreeMap, VecDeque};

use model::{InvocationId, MachineId, Timestamp};

use super::local::{Locals, Rule};
use super::{Transit, deliver};
use crate::random::{Purpose, Stream};
use crate::scheduler::{Cluster, Input, Output, Scheduler, Submission};

/// Reservations on machines.
#[derive(Debug)]
pub struct Sparrow {
    probes: usize,
    cores: usize,
    draws: Stream,
    locals: Locals,
    transit: Transit,
    /// Those that no machine has taken.
    open: BTreeMap<InvocationId, Submission>,
    /// By machine: reservations, served ones included, and cores taken.
    sites: Vec<Site>,
    /// Where those are that a machine has taken.
    taken: BTreeMap<InvocationId, u32>,
    messages: u64,
}

#[derive(Clone, Debug, Default)]
struct Site {
    reserved: VecDeque<InvocationId>,
    busy: usize,
    lost: bool,
}

fn index(id: u32) -> usize {
    usize::try_from(id).expect("an index fits")
}

impl Sparrow {
    /// An empty cluster; so many probes for each invocation.
    #[must_use]
    pub fn new(probes: usize, cluster: &Cluster) -> Self {
        Self {
            probes,
            cores: cluster.cores,
            draws: Stream::new(cluster.seed, Purpose::Baseline),
            locals: Locals::new(Rule::FirstCome, cluster),
            transit: Transit::new(cluster.delay_ns),
            open: BTreeMap::new(),
            sites: vec![Site::default(); index(cluster.machines)],
            taken: BTreeMap::new(),
            messages: 0,
        }
    }

    fn probe(&mut self, now: Timestamp, submission: Submission) {
        let id = submission.job.id;
        self.open.insert(id, submission);
        let up: Vec<usize> = (0..self.sites.len()).filter(|&at| !self.sites[at].lost).collect();
        if up.is_empty() {
            return;
        }
        for _ in 0..self.probes.max(1) {
            let at = up[self.draws.below(up.len())];
            self.messages += 1;
            self.sites[at].reserved.push_back(id);
            self.serve(now, at);
        }
    }

    /// Gives a machine's free cores to its oldest open reservations.
    fn serve(&mut self, now: Timestamp, at: usize) {
        while !self.sites[at].lost && self.sites[at].busy < self.cores {
            let Some(id) = self.sites[at].reserved.pop_front() else { return };
            self.messages += 2;
            if let Some(submission) = self.open.remove(&id) {
                let machine = u32::try_from(at).expect("as many machines as a u32 counts");
                self.sites[at].busy += 1;
                self.taken.insert(id, machine);
                // Probe, request, task: three hops.
                self.transit.send(now, submission, MachineId(machine), 3);
            }
        }
    }

    fn ended(&mut self, now: Timestamp, id: InvocationId) {
        if let Some(machine) = self.taken.remove(&id) {
            self.sites[index(machine)].busy -= 1;
            self.serve(now, index(machine));
        }
    }

    fn lost(&mut self, now: Timestamp, machine: MachineId) {
        let site = &mut self.sites[index(machine.0)];
        site.lost = true;
        let reserved = std::mem::take(&mut site.reserved);
        site.busy = 0;
        self.locals.lost(machine);
        self.taken.retain(|_, at| *at != machine.0);
        let under_way = std::mem::take(&mut self.transit.under_way).into_sorted_vec();
        for std::cmp::Reverse((due, number, parcel)) in under_way.into_iter().rev() {
            if parcel.machine == machine {
                self.probe(now, parcel.submission);
            } else {
                self.transit.under_way.push(std::cmp::Reverse((due, number, parcel)));
            }
        }
        // Their other reservations may have been here too.
        for id in reserved {
            if let Some(submission) = self.open.get(&id).copied() {
                self.probe(now, submission);
            }
        }
    }

    fn joined(&mut self, now: Timestamp, machine: MachineId) {
        self.sites[index(machine.0)].lost = false;
        let nowhere = self.sites.iter().filter(|site| !site.lost).count() == 1;
        if nowhere {
            for submission in self.open.clone().into_values() {
                self.probe(now, submission);
            }
        }
    }
}

impl Scheduler for Sparrow {
    fn step(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Arrive(submission) => self.probe(now, submission),
            Input::Finished(machine, id) => {
                self.locals.finished(now, machine, id, out);
                self.ended(now, id);
            }
            Input::Blocked(machine, id) => self.locals.blocked(now, machine, id, out),
            Input::Unblocked(machine, id) => self.locals.unblocked(now, machine, id, out),
            Input::Lost(machine) => self.lost(now, machine),
            Input::Joined(machine) => self.joined(now, machine),
            Input::Memory(..) => {}
            Input::Wake => self.locals.wake(now, out),
        }
        deliver(now, &mut self.transit, &mut self.locals, out);
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.transit.deadline()
    }

    fn held(&self) -> usize {
        self.open.len() + self.transit.len()
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}
