//! The machines of the baselines: who of those on a machine has a core.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use model::{ClassId, InvocationId, MachineId, PriceList, Timestamp};

use crate::scheduler::{Cluster, Output, Submission};
use crate::workload::TICK_NS;

/// Time after which a least-attained function gives way to one that had less, or a sliced one leaves
/// the first queue. Kairos sets it to about a tenth of a mean run; so do we.
const QUANTUM_NS: u64 = 30_000_000;
/// The slice of `sfs`: about the median run of the paper's workload.
const SLICE_NS: u64 = 2 * TICK_NS;
/// The deadline of a class with price 1.0 µ¢, after arrival.
const DEADLINE_NS: u64 = 2 * TICK_NS;

/// Where a class stands in a key: above 2⁵⁶ ns, more than two years of CPU time.
const CLASS_SHIFT: u32 = 56;

/// Who goes first on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// First come first served, to its end.
    FirstCome,
    /// All at once.
    Share,
    /// The least remaining time first, preemptive.
    ShortestRemaining,
    /// The least CPU time had first; looked at each quantum.
    LeastAttained,
    /// The highest class first, preemptive; in a class as [`Rule::LeastAttained`].
    ClassLeastAttained,
    /// The earliest deadline first, preemptive.
    Deadline,
    /// First come first served up to a slice of CPU time; who had more waits behind the others and
    /// takes turns.
    Slice,
}

/// Lower goes first.
type Key = (u64, Timestamp, InvocationId);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Running,
    Blocked,
}

#[derive(Clone, Copy, Debug)]
struct Book {
    id: InvocationId,
    arrived: Timestamp,
    cpu_ns: u64,
    class: ClassId,
    deadline_ns: u64,
    had_ns: u64,
    since: Timestamp,
    state: State,
    /// Its key while it is ready.
    key: Key,
    /// CPU time had when its turn began.
    turn_ns: u64,
}

#[derive(Clone, Debug, Default)]
struct Local {
    ready: BTreeSet<(Key, usize)>,
    running: Vec<usize>,
    functions: usize,
    /// The next look at quanta.
    check: u64,
}

/// All machines under one rule.
#[derive(Debug)]
pub struct Locals {
    rule: Rule,
    cores: usize,
    prices: PriceList,
    machines: Vec<Local>,
    books: Vec<Option<Book>>,
    checks: BinaryHeap<Reverse<(u64, u32)>>,
}

fn index(id: u32) -> usize {
    usize::try_from(id).expect("an index fits")
}

/// Where the world keeps that invocation: ids hold their slot in the lower half.
pub(super) const fn slot(id: InvocationId) -> usize {
    (id.0 & 0xffff_ffff) as usize
}

impl Locals {
    /// Empty machines.
    #[must_use]
    pub fn new(rule: Rule, cluster: &Cluster) -> Self {
        Self {
            rule,
            cores: cluster.cores,
            prices: cluster.prices.clone(),
            machines: vec![Local::default(); index(cluster.machines)],
            books: Vec::new(),
            checks: BinaryHeap::new(),
        }
    }

    /// Functions on a machine, blocked ones included.
    #[must_use]
    pub fn functions(&self, machine: u32) -> usize {
        self.machines[index(machine)].functions
    }

    /// Whether that invocation is on some machine.
    #[must_use]
    pub fn has(&self, id: InvocationId) -> bool {
        self.books.get(slot(id)).is_some_and(|book| book.is_some_and(|book| book.id == id))
    }

    fn book(&mut self, at: usize) -> &mut Book {
        self.books[at].as_mut().expect("it is on a machine")
    }

    pub(super) fn place(
        &mut self,
        now: Timestamp,
        machine: MachineId,
        submission: &Submission,
        out: &mut Vec<Output>,
    ) {
        let job = submission.job;
        let at = slot(job.id);
        if self.books.len() <= at {
            self.books.resize(at + 1, None);
        }
        let price = self.prices.get(job.class).price.0.max(1);
        let after_ns = DEADLINE_NS * model::amount::PICO_PER_MICRO / price;
        self.books[at] = Some(Book {
            id: job.id,
            arrived: job.arrived,
            cpu_ns: submission.cpu_ns,
            class: job.class,
            deadline_ns: job.arrived.0 + after_ns,
            had_ns: 0,
            since: now,
            state: State::Blocked,
            key: (0, Timestamp(0), InvocationId(0)),
            turn_ns: 0,
        });
        self.machines[index(machine.0)].functions += 1;
        self.want(now, machine, at, out);
    }

    /// The function wants a core.
    fn want(&mut self, now: Timestamp, machine: MachineId, at: usize, out: &mut Vec<Output>) {
        if self.rule == Rule::Share {
            let book = self.book(at);
            book.state = State::Running;
            let id = book.id;
            out.push(Output::Share(machine, id));
            return;
        }
        let key = self.key(now, at);
        let book = self.book(at);
        book.state = State::Ready;
        book.key = key;
        self.machines[index(machine.0)].ready.insert((key, at));
        self.schedule(now, machine, out);
    }

    pub(super) fn finished(
        &mut self,
        now: Timestamp,
        machine: MachineId,
        id: InvocationId,
        out: &mut Vec<Output>,
    ) {
        if self.has(id) {
            self.leave_core(now, machine, slot(id));
            self.books[slot(id)] = None;
            self.machines[index(machine.0)].functions -= 1;
            self.schedule(now, machine, out);
        }
    }

    pub(super) fn blocked(
        &mut self,
        now: Timestamp,
        machine: MachineId,
        id: InvocationId,
        out: &mut Vec<Output>,
    ) {
        if self.has(id) {
            self.leave_core(now, machine, slot(id));
            self.book(slot(id)).state = State::Blocked;
            self.schedule(now, machine, out);
        }
    }

    pub(super) fn unblocked(
        &mut self,
        now: Timestamp,
        machine: MachineId,
        id: InvocationId,
        out: &mut Vec<Output>,
    ) {
        if self.has(id) && self.book(slot(id)).state == State::Blocked {
            self.want(now, machine, slot(id), out);
        }
    }

    /// Forgets all that was on a machine.
    pub(super) fn lost(&mut self, machine: MachineId) {
        let local = std::mem::take(&mut self.machines[index(machine.0)]);
        for (_, at) in local.ready {
            self.books[at] = None;
        }
        for at in local.running {
            self.books[at] = None;
        }
    }

    fn leave_core(&mut self, now: Timestamp, machine: MachineId, at: usize) {
        let book = self.book(at);
        let (state, key) = (book.state, book.key);
        if state == State::Running {
            book.had_ns += now.0 - book.since.0;
        }
        let local = &mut self.machines[index(machine.0)];
        match state {
            State::Ready => {
                local.ready.remove(&(key, at));
            }
            State::Running => local.running.retain(|other| *other != at),
            State::Blocked => {}
        }
    }

    /// What the function's place depends on, now.
    fn key(&self, now: Timestamp, at: usize) -> Key {
        let book = self.books[at].as_ref().expect("it is on a machine");
        let running = book.state == State::Running;
        let had_ns = book.had_ns + if running { now.0 - book.since.0 } else { 0 };
        let first = match self.rule {
            Rule::FirstCome | Rule::Share => 0,
            Rule::ShortestRemaining => book.cpu_ns.saturating_sub(had_ns),
            Rule::LeastAttained => had_ns,
            Rule::ClassLeastAttained => (u64::from(u8::MAX - book.class.0) << CLASS_SHIFT) | had_ns,
            Rule::Deadline => book.deadline_ns,
            // Behind the first queue turns are taken: who had fewer goes first.
            Rule::Slice => had_ns.saturating_sub(SLICE_NS - 1).div_ceil(SLICE_NS),
        };
        (first, book.arrived, book.id)
    }

    fn schedule(&mut self, now: Timestamp, machine: MachineId, out: &mut Vec<Output>) {
        if self.rule == Rule::Share {
            return;
        }
        let at = index(machine.0);
        while self.machines[at].running.len() < self.cores {
            let Some((_, first)) = self.machines[at].ready.pop_first() else { break };
            self.run(now, machine, first, out);
        }
        while let Some(&(key, first)) = self.machines[at].ready.first() {
            let running = self.machines[at].running.iter();
            let Some((last, victim)) = running.map(|&other| (self.key(now, other), other)).max()
            else {
                break;
            };
            if !self.displaces(key, last, victim, now) {
                break;
            }
            self.machines[at].ready.pop_first();
            self.leave_core(now, machine, victim);
            let book = self.book(victim);
            book.state = State::Ready;
            let id = book.id;
            let key = self.key(now, victim);
            self.book(victim).key = key;
            self.machines[at].ready.insert((key, victim));
            out.push(Output::Preempt(machine, id));
            self.run(now, machine, first, out);
        }
        self.plan_check(now, machine);
    }

    /// Whether a ready function takes the core of a running one.
    fn displaces(&self, ready: Key, running: Key, victim: usize, now: Timestamp) -> bool {
        match self.rule {
            Rule::FirstCome | Rule::Share => false,
            Rule::ShortestRemaining | Rule::Deadline | Rule::Slice => ready.0 < running.0,
            // A turn lasts a quantum, unless the other had less by more than that; a higher class
            // always has.
            Rule::LeastAttained | Rule::ClassLeastAttained => {
                let book = self.books[victim].as_ref().expect("it runs");
                let turn = book.had_ns + (now.0 - book.since.0) - book.turn_ns;
                ready.0 < running.0 && (turn >= QUANTUM_NS || ready.0 + QUANTUM_NS <= running.0)
            }
        }
    }

    fn run(&mut self, now: Timestamp, machine: MachineId, at: usize, out: &mut Vec<Output>) {
        let book = self.book(at);
        book.state = State::Running;
        book.since = now;
        book.turn_ns = book.had_ns;
        let id = book.id;
        self.machines[index(machine.0)].running.push(at);
        out.push(Output::Run(machine, id));
    }

    /// Arranges the next look at those whose place changes as they run.
    fn plan_check(&mut self, now: Timestamp, machine: MachineId) {
        let length_ns = match self.rule {
            Rule::LeastAttained | Rule::ClassLeastAttained => QUANTUM_NS,
            Rule::Slice => SLICE_NS,
            Rule::FirstCome | Rule::Share | Rule::ShortestRemaining | Rule::Deadline => return,
        };
        let local = &self.machines[index(machine.0)];
        if local.ready.is_empty() {
            return;
        }
        let left_ns = local.running.iter().filter_map(|&at| {
            let book = self.books[at].as_ref()?;
            let turn = book.had_ns + (now.0 - book.since.0)
                - if self.rule == Rule::Slice { 0 } else { book.turn_ns };
            // A full slice leads to the next full one.
            Some(length_ns - turn % length_ns)
        });
        let Some(left_ns) = left_ns.min() else { return };
        let at_ns = now.0 + left_ns;
        let local = &mut self.machines[index(machine.0)];
        if local.check <= now.0 || at_ns < local.check {
            local.check = at_ns;
            self.checks.push(Reverse((at_ns, machine.0)));
        }
    }

    /// Looks at the machines whose time has come.
    pub(super) fn wake(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        while let Some(&Reverse((due, machine))) = self.checks.peek() {
            if due > now.0 {
                return;
            }
            self.checks.pop();
            if self.machines[index(machine)].check == due {
                self.schedule(now, MachineId(machine), out);
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.checks.peek().map(|Reverse((due, _))| Timestamp(*due))
    }
}
