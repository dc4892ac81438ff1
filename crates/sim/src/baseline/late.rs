//! Late binding: one queue for the cluster; an invocation leaves it when a core is free for it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use model::{ClassId, InvocationId, MachineId, Timestamp};

use super::local::{Locals, Rule};
use super::{Transit, deliver};
use crate::scheduler::{Cluster, Input, Output, Scheduler, Submission};
use crate::workload::TICK_NS;

/// Who may leave the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The head of the highest class, when any core is free.
    ByClass,
    /// The head of each class, while its class runs on less than its part of all cores. The parts
    /// are the classes' shares of the paper's weights.
    Reserved,
    /// As reserved with half the part, and beyond it from what is kept for nobody.
    Provisioned,
    /// The head of one queue, while there are more pods than running functions.
    Pods,
}

/// How often the autoscaler looks (Knative: 2 s), shortened with the run: 5 ticks.
const SCALE_EVERY_NS: u64 = 5 * TICK_NS;
/// Time from the decision for a pod to its first request.
const POD_START_NS: u64 = 10 * TICK_NS;
/// Looks that are averaged: Knative's stable window is 30 times its period.
const WINDOW: usize = 30;
/// Looks of the panic window, a tenth of the stable one.
const PANIC_WINDOW: usize = 3;
/// Requests in work that a pod is to have on average: Knative's target of 70 % of its bound, 1.
const TARGET: f64 = 0.7;
/// The weights of the paper's classes, by which a provider who knew them would reserve.
const WEIGHTS: [u32; 5] = [35, 25, 2, 15, 23];

#[derive(Debug)]
struct Autoscaler {
    pods: usize,
    /// When pods become ready, and how many.
    starting: VecDeque<(u64, usize)>,
    seen: VecDeque<usize>,
    next_ns: u64,
}

/// A central queue.
#[derive(Debug)]
pub struct Late {
    gate: Gate,
    capacity: usize,
    cores: usize,
    /// By class, first come first.
    queues: Vec<VecDeque<Submission>>,
    /// Cores taken, by class, those under way included.
    taken: Vec<usize>,
    /// Cores kept for each class.
    parts: Vec<usize>,
    /// Machines with free cores, one entry a core.
    free: Vec<u32>,
    lost: Vec<bool>,
    locals: Locals,
    transit: Transit,
    placed: BTreeMap<InvocationId, (ClassId, u32)>,
    scaler: Autoscaler,
    messages: u64,
}

fn index(id: u32) -> usize {
    usize::try_from(id).expect("an index fits")
}

impl Late {
    /// An empty cluster.
    #[must_use]
    pub fn new(gate: Gate, cluster: &Cluster) -> Self {
        let machines = cluster.machines;
        let capacity = index(machines) * cluster.cores;
        let classes = cluster.prices.len();
        let weight = |class: usize| WEIGHTS.get(class).map_or(1, |weight| *weight) as usize;
        let total: usize = (0..classes).map(weight).sum();
        let part = |class: usize| match gate {
            Gate::Reserved => (capacity * weight(class)).div_ceil(total),
            Gate::Provisioned => capacity * weight(class) / total / 2,
            Gate::ByClass | Gate::Pods => 0,
        };
        // Free cores are taken from the end: round robin over the machines.
        let free = (0..cluster.cores).flat_map(|_| (0..machines).rev()).collect();
        let scaler = Autoscaler {
            // It begins scaled to the load that a provider would keep warm: half.
            pods: capacity / 2,
            starting: VecDeque::new(),
            seen: VecDeque::new(),
            next_ns: if gate == Gate::Pods { SCALE_EVERY_NS } else { u64::MAX },
        };
        Self {
            gate,
            capacity,
            cores: cluster.cores,
            queues: vec![VecDeque::new(); classes],
            taken: vec![0; classes],
            parts: (0..classes).map(part).collect(),
            free,
            lost: vec![false; index(machines)],
            locals: Locals::new(Rule::FirstCome, cluster),
            transit: Transit::new(cluster.delay_ns),
            placed: BTreeMap::new(),
            scaler,
            messages: 0,
        }
    }

    /// The class whose head may leave the queue now.
    fn next_class(&self) -> Option<usize> {
        let mut waiting = (0..self.queues.len()).filter(|&class| !self.queues[class].is_empty());
        let oldest = |class: &usize| self.queues[*class].front().map(|s| (s.job.arrived, s.job.id));
        match self.gate {
            Gate::ByClass => waiting.next_back(),
            Gate::Reserved => {
                waiting.filter(|&class| self.taken[class] < self.parts[class]).min_by_key(oldest)
            }
            Gate::Provisioned => {
                let kept: usize = self.parts.iter().sum();
                let shared: usize = (0..self.taken.len())
                    .map(|class| self.taken[class].saturating_sub(self.parts[class]))
                    .sum();
                let more = shared < self.capacity - kept;
                let may = |class: &usize| self.taken[*class] < self.parts[*class] || more;
                waiting.filter(may).min_by_key(oldest)
            }
            Gate::Pods => {
                let running: usize = self.taken.iter().sum();
                if running < self.scaler.pods { waiting.min_by_key(oldest) } else { None }
            }
        }
    }

    fn dispatch(&mut self, now: Timestamp) {
        while let (Some(&machine), Some(class)) = (self.free.last(), self.next_class()) {
            self.free.pop();
            if self.lost[index(machine)] {
                continue;
            }
            let submission = self.queues[class].pop_front().expect("its head may leave");
            self.taken[class] += 1;
            self.messages += 2;
            self.placed.insert(submission.job.id, (submission.job.class, machine));
            self.transit.send(now, submission, MachineId(machine), 2);
        }
    }

    fn ended(&mut self, id: InvocationId) {
        if let Some((class, machine)) = self.placed.remove(&id) {
            self.taken[usize::from(class.0)] -= 1;
            if !self.lost[index(machine)] {
                self.free.push(machine);
            }
        }
    }

    fn lost(&mut self, machine: MachineId) {
        self.lost[index(machine.0)] = true;
        self.free.retain(|free| *free != machine.0);
        self.locals.lost(machine);
        let there: Vec<InvocationId> =
            self.placed.iter().filter(|(_, at)| at.1 == machine.0).map(|(id, _)| *id).collect();
        for id in there {
            self.ended(id);
        }
        let under_way = std::mem::take(&mut self.transit.under_way).into_sorted_vec();
        for Reverse((due, number, parcel)) in under_way.into_iter().rev() {
            if parcel.machine == machine {
                self.enqueue(parcel.submission);
            } else {
                self.transit.under_way.push(Reverse((due, number, parcel)));
            }
        }
    }

    /// Puts it at its place by first arrival.
    fn enqueue(&mut self, submission: Submission) {
        let queue = &mut self.queues[usize::from(submission.job.class.0)];
        let order = |s: &Submission| (s.job.arrived, s.job.id);
        let at = queue.partition_point(|other| order(other) < order(&submission));
        queue.insert(at, submission);
    }

    fn scale(&mut self, now: Timestamp) {
        while let Some(&(ready_ns, pods)) = self.scaler.starting.front() {
            if ready_ns > now.0 {
                break;
            }
            self.scaler.starting.pop_front();
            self.scaler.pods = (self.scaler.pods + pods).min(self.capacity);
        }
        if self.scaler.next_ns > now.0 {
            return;
        }
        self.scaler.next_ns = now.0 + SCALE_EVERY_NS;
        let in_work =
            self.taken.iter().sum::<usize>() + self.queues.iter().map(VecDeque::len).sum::<usize>();
        let scaler = &mut self.scaler;
        scaler.seen.push_back(in_work);
        if scaler.seen.len() > WINDOW {
            scaler.seen.pop_front();
        }
        let mean = |window: usize| {
            let count = scaler.seen.len().min(window);
            scaler.seen.iter().rev().take(window).sum::<usize>() as f64 / count as f64
        };
        let stable = (mean(WINDOW) / TARGET).ceil();
        let panic = (mean(PANIC_WINDOW) / TARGET).ceil();
        let planned = scaler.pods + scaler.starting.iter().map(|(_, pods)| pods).sum::<usize>();
        // In panic (twice the pods are wanted) it never scales down.
        let wanted = if panic >= 2.0 * scaler.pods as f64 { panic.max(stable) } else { stable };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number, cut at the capacity"
        )]
        let wanted = (wanted as usize).clamp(1, self.capacity);
        if wanted > planned {
            scaler.starting.push_back((now.0 + POD_START_NS, wanted - planned));
        } else if scaler.starting.is_empty() {
            scaler.pods = wanted;
        }
    }
}

impl Scheduler for Late {
    fn step(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Arrive(submission) => self.enqueue(submission),
            Input::Finished(machine, id) => {
                self.locals.finished(now, machine, id, out);
                self.ended(id);
            }
            Input::Blocked(machine, id) => self.locals.blocked(now, machine, id, out),
            Input::Unblocked(machine, id) => self.locals.unblocked(now, machine, id, out),
            Input::Lost(machine) => self.lost(machine),
            Input::Joined(machine) => {
                self.lost[index(machine.0)] = false;
                self.free.extend(std::iter::repeat_n(machine.0, self.cores));
            }
            Input::Memory(..) => {}
            Input::Wake => self.locals.wake(now, out),
        }
        if self.gate == Gate::Pods {
            self.scale(now);
        }
        self.dispatch(now);
        deliver(now, &mut self.transit, &mut self.locals, out);
    }

    fn deadline(&self) -> Option<Timestamp> {
        let scale = match self.gate {
            Gate::Pods => {
                let starting = self.scaler.starting.front().map_or(u64::MAX, |(at, _)| *at);
                Some(Timestamp(self.scaler.next_ns.min(starting)))
            }
            Gate::ByClass | Gate::Reserved | Gate::Provisioned => None,
        };
        self.transit.deadline().into_iter().chain(scale).min()
    }

    fn held(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum::<usize>() + self.transit.len()
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}
