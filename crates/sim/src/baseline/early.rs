//! Early binding: each invocation goes to a machine at once.

use std::collections::BTreeSet;

use model::{MachineId, Timestamp};

use super::local::{Locals, Rule};
use super::{Transit, deliver};
use crate::random::{Purpose, Stream};
use crate::scheduler::{Cluster, Input, Output, Scheduler, Submission};

/// How the machine is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Any.
    Random,
    /// The least loaded of so many drawn ones.
    LeastOf(usize),
    /// The fullest that has a free core; where none has, the least loaded.
    Pack,
    /// By the function's hash; where it has no free core, on by steps until one has; where none
    /// has, any.
    Home,
}

/// A placement and a rule on the machines.
#[derive(Debug)]
pub struct Early {
    placement: Placement,
    cluster: Cluster,
    locals: Locals,
    transit: Transit,
    draws: Stream,
    /// Functions placed on each machine and not ended, those under way included.
    counts: Vec<usize>,
    /// The same in order, without the lost ones.
    by_count: BTreeSet<(usize, u32)>,
    up: Vec<u32>,
    /// Those that arrived while every machine was lost.
    stranded: Vec<Submission>,
    messages: u64,
}

fn index(id: u32) -> usize {
    usize::try_from(id).expect("an index fits")
}

impl Early {
    /// An empty cluster.
    #[must_use]
    pub fn new(placement: Placement, rule: Rule, cluster: Cluster) -> Self {
        Self {
            placement,
            locals: Locals::new(rule, &cluster),
            transit: Transit::new(cluster.delay_ns),
            draws: Stream::new(cluster.seed, Purpose::Baseline),
            counts: vec![0; index(cluster.machines)],
            by_count: (0..cluster.machines).map(|machine| (0, machine)).collect(),
            up: (0..cluster.machines).collect(),
            stranded: Vec::new(),
            messages: 0,
            cluster,
        }
    }

    fn choose(&mut self, submission: &Submission) -> u32 {
        let draw = |draws: &mut Stream, up: &[u32]| up[draws.below(up.len())];
        match self.placement {
            Placement::Random => draw(&mut self.draws, &self.up),
            Placement::LeastOf(k) => {
                let mut best = draw(&mut self.draws, &self.up);
                for _ in 1..k {
                    self.messages += 2;
                    let other = draw(&mut self.draws, &self.up);
                    if self.counts[index(other)] < self.counts[index(best)] {
                        best = other;
                    }
                }
                best
            }
            Placement::Pack => {
                let free = self.by_count.range(..(self.cluster.cores, 0)).next_back();
                let choice = free.or_else(|| self.by_count.first());
                choice.expect("some machine is up").1
            }
            Placement::Home => self.home(submission.function),
        }
    }

    fn home(&mut self, function: u32) -> u32 {
        let machines = self.up.len();
        let hash = Stream::new(u64::from(function), Purpose::Function).bits();
        let home = hash % machines as u64;
        // An odd step that shares no factor with the number of machines comes by each of them.
        let mut step = ((hash >> 32) % machines as u64) | 1;
        while gcd(step, machines as u64) != 1 {
            step += 2;
        }
        let any_free = self.by_count.first().is_some_and(|(count, _)| *count < self.cluster.cores);
        if any_free {
            for turn in 0..machines as u64 {
                let at = (home + turn * step) % machines as u64;
                let machine = self.up[usize::try_from(at).expect("an index fits")];
                if self.counts[index(machine)] < self.cluster.cores {
                    return machine;
                }
            }
        }
        self.up[self.draws.below(machines)]
    }

    fn count(&mut self, machine: u32, change: fn(usize, usize) -> usize) {
        let count = &mut self.counts[index(machine)];
        let up = self.by_count.remove(&(*count, machine));
        *count = change(*count, 1);
        if up {
            self.by_count.insert((*count, machine));
        }
    }

    fn arrive(&mut self, now: Timestamp, submission: Submission) {
        if self.up.is_empty() {
            self.stranded.push(submission);
            return;
        }
        let machine = self.choose(&submission);
        self.count(machine, |a, b| a + b);
        self.messages += 1;
        self.transit.send(now, submission, MachineId(machine), 1);
    }

    fn lost(&mut self, now: Timestamp, machine: MachineId) {
        self.locals.lost(machine);
        self.by_count.remove(&(self.counts[index(machine.0)], machine.0));
        self.counts[index(machine.0)] = 0;
        self.up.retain(|up| *up != machine.0);
        // What was under way to it is placed again.
        let under_way = std::mem::take(&mut self.transit.under_way).into_sorted_vec();
        for std::cmp::Reverse((due, number, parcel)) in under_way.into_iter().rev() {
            if parcel.machine == machine {
                self.arrive(now, parcel.submission);
            } else {
                self.transit.under_way.push(std::cmp::Reverse((due, number, parcel)));
            }
        }
    }

    fn joined(&mut self, now: Timestamp, machine: MachineId) {
        self.up.push(machine.0);
        self.up.sort_unstable();
        self.by_count.insert((0, machine.0));
        for submission in std::mem::take(&mut self.stranded) {
            self.arrive(now, submission);
        }
    }
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Scheduler for Early {
    fn step(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Arrive(submission) => self.arrive(now, submission),
            Input::Finished(machine, id) => {
                if self.locals.has(id) {
                    self.count(machine.0, |a, b| a - b);
                    self.locals.finished(now, machine, id, out);
                }
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
        self.transit.deadline().into_iter().chain(self.locals.deadline()).min()
    }

    fn held(&self) -> usize {
        self.transit.len() + self.stranded.len()
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}
