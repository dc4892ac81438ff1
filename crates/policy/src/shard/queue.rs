//! The multi-queue: one first-come-first-served queue a class (paper XX, section 3.2, "Global
//! Scheduler Shards").

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use model::{ClassId, InvocationId, PriceList, Timestamp};

use crate::message::Job;
use crate::options::QueueRule;
use crate::order::Order;

/// A job in the queue, and since when this shard has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub(super) job: Job,
    pub(super) since: Timestamp,
}

#[derive(Debug)]
pub(super) struct Queue {
    rule: QueueRule,
    epsilon: Duration,
    /// By class: its price and its jobs.
    classes: Vec<(u64, BTreeMap<Order, Queued>)>,
    /// Where each job stands.
    places: BTreeMap<InvocationId, (ClassId, Order)>,
}

impl Queue {
    pub(super) fn new(rule: QueueRule, epsilon: Duration, prices: &PriceList) -> Self {
        let classes = prices.iter().map(|(_, class)| (class.price.0, BTreeMap::new())).collect();
        Self { rule, epsilon, classes, places: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn contains(&self, id: InvocationId) -> bool {
        self.places.contains_key(&id)
    }

    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> {
        self.classes.iter().map(|(_, jobs)| jobs.len())
    }

    /// Adds a job at its place by first arrival: a new one comes last, one that was refused comes
    /// back to where it was.
    pub(super) fn push(&mut self, queued: Queued) {
        let order = Order::of(&queued.job);
        let before = self.places.insert(queued.job.id, (queued.job.class, order));
        assert!(before.is_none(), "{} is queued twice", queued.job.id);
        self.jobs_mut(queued.job.class).insert(order, queued);
    }

    pub(super) fn remove(&mut self, id: InvocationId) -> Option<Queued> {
        let (class, order) = self.places.remove(&id)?;
        self.jobs_mut(class).remove(&order)
    }

    /// Takes the job that is to be placed next.
    pub(super) fn pop_next(&mut self, now: Timestamp) -> Option<Queued> {
        let id = self.next(now)?;
        self.remove(id)
    }

    /// The job that has to go when the queue is full: the youngest of the lowest class, where that
    /// class is lower than `newcomer`. Under the class-blind rule the newcomer has to go.
    pub(super) fn displaced_by(&self, newcomer: ClassId) -> Option<InvocationId> {
        if self.rule == QueueRule::FirstCome {
            return None;
        }
        let lower = &self.classes[..usize::from(newcomer.0)];
        let lowest = lower.iter().find(|(_, jobs)| !jobs.is_empty())?;
        lowest.1.last_key_value().map(|(order, _)| order.id)
    }

    fn next(&self, now: Timestamp) -> Option<InvocationId> {
        let heads = self.classes.iter().filter_map(|(price, jobs)| {
            let (order, _) = jobs.first_key_value()?;
            Some((*price, order))
        });
        let weighted = |order: &Order| (now.since(order.arrived) + self.epsilon).as_nanos();
        let head = match self.rule {
            // The last of equal maxima is taken: the higher class.
            QueueRule::PriceTimesWait => {
                heads.max_by_key(|(price, order)| u128::from(*price) * weighted(order))
            }
            // a/b > c/d as a·d > c·b: no division, nothing rounded.
            QueueRule::PriceOverWait => heads.max_by(|(price, order), (other_price, other)| {
                let mine = u128::from(*price) * weighted(other);
                mine.cmp(&(u128::from(*other_price) * weighted(order)))
            }),
            QueueRule::FirstCome => heads.min_by_key(|(_, order)| *order),
        };
        head.map(|(_, order)| order.id)
    }

    fn jobs_mut(&mut self, class: ClassId) -> &mut BTreeMap<Order, Queued> {
        &mut self.classes[usize::from(class.0)].1
    }
}
