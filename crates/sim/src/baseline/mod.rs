//! Schedulers to compare with that have no live form here: they see the whole cluster at once, know
//! run times, or bind late.
//!
//! [`early`] places each invocation on a machine at once; the machine's [`local::Rule`] orders what is
//! there. [`late`] keeps invocations in a central queue until a core is free. [`sparrow`] lets
//! machines queue for invocations. [`oracle`] is the bound.
//!
//! A message between shard and machine takes the cluster's delay here too: a placement one, a late
//! binding two, during which the core is kept free.

pub mod early;
pub mod late;
pub mod local;
pub mod oracle;
pub mod sparrow;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use model::{MachineId, Timestamp};

use crate::policies::{Entry, Sharing};
use crate::scheduler::{Output, Submission};
use early::{Early, Placement};
use late::{Gate, Late};
use local::{Locals, Rule};
use oracle::Oracle;
use sparrow::Sparrow;

/// Functions under way to their machine: placements that take effect later.
#[derive(Debug, Default)]
struct Transit {
    delay_ns: u64,
    /// When, which in order, what, where.
    under_way: BinaryHeap<Reverse<(u64, u64, Parcel)>>,
    sent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parcel {
    submission: Submission,
    machine: MachineId,
}

impl Ord for Parcel {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.submission.job.id.cmp(&other.submission.job.id)
    }
}

impl PartialOrd for Parcel {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Transit {
    fn new(delay_ns: u64) -> Self {
        Self { delay_ns, ..Self::default() }
    }

    /// Sends a function to its machine over so many hops.
    fn send(&mut self, now: Timestamp, submission: Submission, machine: MachineId, hops: u64) {
        self.sent += 1;
        let parcel = Parcel { submission, machine };
        self.under_way.push(Reverse((now.0 + hops * self.delay_ns, self.sent, parcel)));
    }

    /// Takes what has come to its machine by now.
    fn receive(&mut self, now: Timestamp) -> Option<Parcel> {
        let &Reverse((due, _, parcel)) = self.under_way.peek()?;
        if due > now.0 {
            return None;
        }
        self.under_way.pop();
        Some(parcel)
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.under_way.peek().map(|Reverse((due, ..))| Timestamp(*due))
    }

    fn len(&self) -> usize {
        self.under_way.len()
    }
}

/// Puts those that arrived on their machines and gives out the cores there.
fn deliver(now: Timestamp, transit: &mut Transit, locals: &mut Locals, out: &mut Vec<Output>) {
    while let Some(parcel) = transit.receive(now) {
        out.push(Output::Placed(parcel.machine, parcel.submission.job.id));
        locals.place(now, parcel.machine, &parcel.submission, out);
    }
}

/// One baseline that places early, with its rule on the machine.
fn early_entry(name: &str, about: &str, placement: Placement, rule: Rule) -> Entry {
    Entry::new(name, about, move |cluster| Box::new(Early::new(placement, rule, cluster)))
}

/// One baseline with a central queue.
fn late_entry(name: &str, about: &str, gate: Gate) -> Entry {
    Entry::new(name, about, move |cluster| Box::new(Late::new(gate, &cluster)))
}

/// Baselines that bind early: name, what they do, placement, rule.
fn early_entries(k: usize) -> Vec<Entry> {
    let least = Placement::LeastOf(k);
    [
        (
            "hermod-full",
            "fullest machine with a free core, else least loaded; processor sharing (Hermod, SoCC 2022)",
            Placement::Pack,
            Rule::Share,
        ),
        (
            "openwhisk",
            "home machine by hash, on by steps to a free core, else a random machine's queue \
             (OpenWhisk's sharding balancer)",
            Placement::Home,
            Rule::FirstCome,
        ),
        (
            "kairos",
            "least loaded of k, preemptive least attained service with a quantum (Kairos, SoCC 2018)",
            least,
            Rule::LeastAttained,
        ),
        (
            "class-las",
            "least loaded of k, strict by class, in a class least attained service with a quantum",
            least,
            Rule::ClassLeastAttained,
        ),
        (
            "sfs",
            "least loaded of k, first come first served up to a slice, then behind all others in \
             turns (SFS, SC 2022)",
            least,
            Rule::Slice,
        ),
        (
            "srtf",
            "least loaded of k, preemptive shortest remaining time; knows run times",
            least,
            Rule::ShortestRemaining,
        ),
        (
            "edf",
            "least loaded of k, preemptive earliest deadline, which is 200 ms / price after arrival",
            least,
            Rule::Deadline,
        ),
        ("random", "a random machine, processor sharing", Placement::Random, Rule::Share),
    ]
    .into_iter()
    .map(|(name, about, placement, rule)| early_entry(name, about, placement, rule))
    .chain(std::iter::once(
        early_entry(
            "wfq",
            "least loaded of k, cores shared in proportion to price (weighted fair sharing, GPS)",
            least,
            Rule::Share,
        )
        .sharing(Sharing::ByPrice),
    ))
    .collect()
}

/// Baselines with a central queue: name, what they do, who may leave the queue.
const LATE: [(&str, &str, Gate); 4] = [
    (
        "knative",
        "central queue, one request a pod, pods started by a delayed autoscaler (Knative Serving)",
        Gate::Pods,
    ),
    (
        "dispatch-priority",
        "central queue by class, a free core takes the head; no preemption",
        Gate::ByClass,
    ),
    (
        "reserved",
        "each class has a fixed part of all cores and no more (reserved concurrency)",
        Gate::Reserved,
    ),
    (
        "provisioned",
        "each class has half its part kept for it, the rest goes to whoever comes first \
         (provisioned concurrency)",
        Gate::Provisioned,
    ),
];

/// All baselines, `k` machines polled where one polls.
#[must_use]
pub fn entries(k: usize) -> Vec<Entry> {
    let mut all = early_entries(k);
    all.extend(LATE.map(|(name, about, gate)| late_entry(name, about, gate)));
    all.push(Entry::new(
        "sparrow",
        "machines queue for invocations, k probes each, the first free core takes it (SOSP 2013)",
        move |cluster| Box::new(Sparrow::new(k, &cluster)),
    ));
    all.push(Entry::new(
        "oracle",
        "one queue for the whole cluster, strict by class, preemptive, moving functions for \
         nothing: the bound",
        |cluster| Box::new(Oracle::new(&cluster)),
    ));
    all
}
