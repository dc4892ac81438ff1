//! Which partitions of executions this node has: what it takes over, gives away, and lost.
//!
//! A partition that was taken is first recovered: what its last owner left in the outbox is done
//! before anything else happens there, so that nothing is begun twice here. One that is given away is
//! first quiet: nothing of it is under way any more, so that nothing is begun a second time there.
//! One that was lost is dropped at once; a step of it that is still being written is refused by the
//! store, or was in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Effect, Verdict};
use model::{ExecutionId, Timestamp, limits};
use store::Lease;

use super::slot::{Slot, Waiting, What};
use super::{Ack, Executions, Message, Start, StartResult, recover};
use crate::error::{Error, ErrorKind};
use crate::nodes::{Delivered, Hop, Keep, QUEUE_PARTITION, increment};
use crate::queue::QueueEvent;

/// How long a partition that is to be given away may take to become quiet. New effects wait
/// meanwhile, so it is short.
const QUIET_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Wait before what is just moving is tried again.
pub(super) const MOVING: Duration = Duration::from_millis(50);

/// What this node has.
pub(crate) struct Tenure {
    pub(super) leases: Arc<[Lease]>,
    /// When they run out unless they are renewed; never, where the store is this node's alone.
    until: Option<Instant>,
    places: Vec<Place>,
    /// Counted by their clones: effects under way, by partition.
    under_way: Vec<Arc<()>>,
    /// Leases that were let go and must not come back with news that is on its way.
    let_go: BTreeMap<u32, u64>,
    /// Counts what was gained, so that what was read for an earlier tenure is not taken.
    gained: u64,
}

/// How a partition is.
enum Place {
    Elsewhere,
    /// Taken; what its last owner left is read before anything else.
    Recovering(Recovering),
    Here,
    Leaving(Leaving),
}

struct Recovering {
    /// Which gain it is, once it is being read.
    reading: Option<u64>,
    /// What came meanwhile, in order.
    held_back: Vec<Message>,
}

struct Leaving {
    until: Instant,
    /// Effects that are left to the next owner.
    undone: Vec<(ExecutionId, Effect)>,
    /// What came after it was quiet.
    held_back: Vec<Message>,
    quiet: bool,
}

impl Default for Tenure {
    fn default() -> Self {
        let all = usize::try_from(limits::PARTITIONS).expect("a few fit");
        Self {
            leases: Arc::from([]),
            until: None,
            places: (0..all).map(|_| Place::Elsewhere).collect(),
            under_way: (0..all).map(|_| Arc::default()).collect(),
            let_go: BTreeMap::new(),
            gained: 0,
        }
    }
}

impl Tenure {
    fn place(&self, partition: u32) -> &Place {
        &self.places[index(partition)]
    }

    fn place_mut(&mut self, partition: u32) -> &mut Place {
        &mut self.places[index(partition)]
    }

    /// Whether an execution is this node's.
    pub(super) fn holds(&self, id: ExecutionId) -> bool {
        !matches!(self.place(id.partition()), Place::Elsewhere)
    }

    /// Shown to be under way as long as the clone lives.
    pub(super) fn under_way(&self, id: ExecutionId) -> Arc<()> {
        Arc::clone(&self.under_way[index(id.partition())])
    }

    /// The effect, where it is to be done now and here.
    pub(super) fn may_act(&mut self, id: ExecutionId, effect: Effect) -> Option<Effect> {
        match self.place_mut(id.partition()) {
            Place::Here => Some(effect),
            Place::Leaving(leaving) => {
                leaving.undone.push((id, effect));
                None
            }
            // It is in the outbox.
            Place::Elsewhere | Place::Recovering(_) => None,
        }
    }

    /// The message, where it need not wait for its partition.
    fn admit(&mut self, partition: u32, message: Message) -> Option<Message> {
        match self.place_mut(partition) {
            Place::Recovering(Recovering { held_back, .. })
            | Place::Leaving(Leaving { held_back, quiet: true, .. }) => {
                held_back.push(message);
                None
            }
            Place::Here | Place::Leaving(_) | Place::Elsewhere => Some(message),
        }
    }

    /// When it is to be looked at again.
    pub(super) fn next(&self) -> Option<Instant> {
        let soon = self.places.iter().any(|place| match place {
            Place::Leaving(_) | Place::Recovering(Recovering { reading: None, .. }) => true,
            Place::Elsewhere | Place::Here | Place::Recovering(_) => false,
        });
        self.until.into_iter().chain(soon.then(|| Instant::now() + LOOK_EVERY)).min()
    }

    fn partitions(&self, is: impl Fn(&Place) -> bool) -> Vec<u32> {
        (0..limits::PARTITIONS).filter(|partition| is(self.place(*partition))).collect()
    }
}

impl Executions {
    /// What happens to an execution of this node that need not wait. All else goes where it belongs.
    pub(super) fn admit(
        &mut self,
        id: ExecutionId,
        what: What,
        ack: Option<Ack>,
    ) -> Option<(What, Option<Ack>)> {
        match self.tenure.place(id.partition()) {
            Place::Here => return Some((what, ack)),
            Place::Elsewhere => {
                self.elsewhere(id, what, ack);
                return None;
            }
            Place::Recovering(_) | Place::Leaving(_) => {}
        }
        match self.tenure.admit(id.partition(), Message::Happens(id, what, ack))? {
            Message::Happens(_, what, ack) => Some((what, ack)),
            _ => None,
        }
    }

    /// The same for one that is to begin.
    pub(super) fn admit_start(&mut self, start: Start) -> Option<Start> {
        let partition = start.birth.id.partition();
        match self.tenure.place(partition) {
            Place::Here => return Some(start),
            // Whoever starts one has other partitions, or tries again.
            Place::Elsewhere | Place::Leaving(_) => {
                (start.reply)(StartResult::Moved);
                return None;
            }
            Place::Recovering(_) => {}
        }
        match self.tenure.admit(partition, Message::Start(Box::new(start)))? {
            Message::Start(start) => Some(*start),
            _ => None,
        }
    }

    /// Something of another node happens to an execution. It is not passed on.
    pub(super) fn arrives(&mut self, id: ExecutionId, what: What, ack: Ack) {
        if self.tenure.holds(id) {
            self.happens(id, what, Some(ack));
        } else {
            ack(Err(moves(id)));
        }
    }

    /// Brings what happens to an execution of another node there. What nobody waits for is dropped:
    /// it answers an effect, which the new owner does again from the outbox.
    fn elsewhere(&self, id: ExecutionId, what: What, ack: Option<Ack>) {
        let Some(ack) = ack else { return self.keep_receipts_of([what]) };
        let Some(hop) = Hop::of(id, &what) else {
            ack(Err(moves(id)));
            return;
        };
        let (nodes, thread) = (Arc::clone(&self.inner.nodes), self.inner.executions.clone());
        self.tokio.spawn(async move {
            match nodes.deliver(id.partition(), &hop).await {
                Ok(Delivered::Answer(answer)) => ack(answer.verdict()),
                Ok(Delivered::Mine) => {
                    tokio::time::sleep(MOVING).await;
                    let _ = thread.send(Message::Happens(id, what, Some(ack)));
                }
                Err(error) => ack(Err(error)),
            }
        });
    }

    /// The keeper says what this node has from now on.
    pub(super) fn leased(&mut self, now: Timestamp, leases: &[Lease], until: Option<Instant>) {
        if until.is_some_and(|until| until <= Instant::now()) {
            return;
        }
        let let_go = &mut self.tenure.let_go;
        let_go.retain(|partition, epoch| {
            leases.iter().any(|lease| (lease.partition, lease.epoch) == (*partition, *epoch))
        });
        let leases: Vec<Lease> =
            leases.iter().filter(|lease| !let_go.contains_key(&lease.partition)).cloned().collect();
        let before = Arc::clone(&self.tenure.leases);
        let same = |a: &Lease, b: &Lease| (a.partition, a.epoch) == (b.partition, b.epoch);
        let lost = before.iter().filter(|old| !leases.iter().any(|new| same(old, new)));
        let lost: Vec<u32> = lost.map(|lease| lease.partition).collect();
        let gained = leases.iter().filter(|new| !before.iter().any(|old| same(old, new)));
        let gained: Vec<u32> = gained.map(|lease| lease.partition).collect();
        self.tenure.until = until;
        self.tenure.leases = leases.into();
        self.drop_partitions(now, &lost);
        for partition in &gained {
            *self.tenure.place_mut(*partition) =
                Place::Recovering(Recovering { reading: None, held_back: Vec::new() });
        }
        if !gained.is_empty() {
            // At once: what is armed from now on may not be in what is read.
            self.timers.read_anew();
            self.read_timers(now);
            if gained.contains(&QUEUE_PARTITION) {
                let _ = self.inner.queue.blocking_send(QueueEvent::Own);
            }
            self.mind_tenure(now);
        }
    }

    /// The store refused a step: another node has the partition, whatever this one thought.
    pub(super) fn fenced(&mut self, now: Timestamp, id: ExecutionId) {
        let partition = id.partition();
        increment(&self.inner.nodes.counts().fenced);
        if !self.tenure.holds(id) {
            return;
        }
        tracing::warn!(partition, "another node has this partition of executions now");
        let kept = self.tenure.leases.iter().filter(|lease| lease.partition != partition);
        self.tenure.leases = kept.cloned().collect();
        self.drop_partitions(now, &[partition]);
        self.inner.nodes.tell(Keep::Doubt);
    }

    /// Forgets what is another's now. What somebody waits for goes there.
    fn drop_partitions(&mut self, now: Timestamp, lost: &[u32]) {
        if lost.is_empty() {
            return;
        }
        let mut held_back = Vec::new();
        for partition in lost {
            match std::mem::replace(self.tenure.place_mut(*partition), Place::Elsewhere) {
                Place::Recovering(Recovering { held_back: held, .. })
                | Place::Leaving(Leaving { held_back: held, .. }) => held_back.extend(held),
                Place::Elsewhere | Place::Here => {}
            }
        }
        let is_lost = |id: &ExecutionId| lost.contains(&id.partition());
        let slots: Vec<ExecutionId> = self.slots.keys().copied().filter(is_lost).collect();
        for id in slots {
            let waiting = match self.slots.get_mut(&id) {
                Some(Slot::Hot(hot)) if hot.writing.is_some() => {
                    // The store says what became of it.
                    hot.lost = true;
                    std::mem::take(&mut hot.waiting)
                }
                _ => match self.slots.remove(&id) {
                    Some(Slot::Hot(hot)) => hot.waiting,
                    Some(Slot::Loading(waiting)) => waiting,
                    None => continue,
                },
            };
            for Waiting { what, ack } in waiting {
                self.elsewhere(id, what, ack);
            }
        }
        self.timers.keep(|id| !is_lost(&id));
        // Whoever waits looks for the new owner.
        self.watchers.retain(|id, _| !is_lost(id));
        self.followers.retain(|id, _| !is_lost(id));
        if lost.contains(&QUEUE_PARTITION) {
            let _ = self.inner.queue.blocking_send(QueueEvent::Lost);
        }
        held_back.into_iter().for_each(|message| self.take(now, message));
    }

    /// The keeper wants to give partitions back.
    pub(super) fn leave(&mut self, partitions: Vec<u32>) {
        for partition in partitions {
            let place = self.tenure.place_mut(partition);
            if matches!(place, Place::Here) {
                *place = Place::Leaving(Leaving {
                    until: Instant::now() + QUIET_WITHIN,
                    undone: Vec::new(),
                    held_back: Vec::new(),
                    quiet: false,
                });
            } else {
                self.inner.nodes.tell(Keep::Busy(partition));
            }
        }
    }

    /// Sees to what time brings: leases that ran out, partitions that are quiet, or can be recovered.
    pub(super) fn mind_tenure(&mut self, now: Timestamp) {
        if self.tenure.until.is_some_and(|until| until <= Instant::now()) {
            self.lapse(now);
        }
        let recovering =
            |place: &Place| matches!(place, Place::Recovering(Recovering { reading: None, .. }));
        for partition in self.tenure.partitions(recovering) {
            // A step of an earlier tenure may still bring effects.
            if !self.is_writing(partition) {
                self.recover_partition(partition);
            }
        }
        for partition in self.tenure.partitions(|place| matches!(place, Place::Leaving(_))) {
            self.mind_leaving(now, partition);
        }
    }

    fn mind_leaving(&mut self, now: Timestamp, partition: u32) {
        let under_way = Arc::strong_count(&self.tenure.under_way[index(partition)]) > 1;
        let busy = under_way || self.is_loading_or_writing(partition);
        let Place::Leaving(leaving) = self.tenure.place_mut(partition) else { return };
        leaving.quiet |= !under_way;
        let late = leaving.until <= Instant::now();
        if !busy {
            if let Some(lease) =
                self.tenure.leases.iter().find(|lease| lease.partition == partition)
            {
                self.tenure.let_go.insert(partition, lease.epoch);
            }
            let kept = self.tenure.leases.iter().filter(|lease| lease.partition != partition);
            self.tenure.leases = kept.cloned().collect();
            // First: what is passed on then waits for the new owner.
            self.inner.nodes.tell(Keep::Yielded(partition));
            self.drop_partitions(now, &[partition]);
        } else if late {
            let Leaving { undone, held_back, .. } =
                match std::mem::replace(self.tenure.place_mut(partition), Place::Here) {
                    Place::Leaving(leaving) => leaving,
                    Place::Elsewhere | Place::Here | Place::Recovering(_) => return,
                };
            self.inner.nodes.tell(Keep::Busy(partition));
            for (id, effect) in undone {
                self.happens(id, What::Recover(vec![effect]), None);
            }
            held_back.into_iter().for_each(|message| self.take(now, message));
        }
    }

    /// Nothing was heard of the store for as long as a lease holds.
    fn lapse(&mut self, now: Timestamp) {
        let lost: Vec<u32> = self.tenure.leases.iter().map(|lease| lease.partition).collect();
        self.tenure.until = None;
        self.tenure.leases = Arc::from([]);
        if lost.is_empty() {
            return;
        }
        tracing::warn!(
            partitions = lost.len(),
            "the leases ran out: executions rest here until the store is reached again"
        );
        lost.iter().for_each(|_| increment(&self.inner.nodes.counts().lost));
        self.inner.nodes.lapsed();
        self.drop_partitions(now, &lost);
    }

    fn is_writing(&self, partition: u32) -> bool {
        self.slots.iter().any(|(id, slot)| match slot {
            Slot::Hot(hot) => id.partition() == partition && hot.writing.is_some(),
            Slot::Loading(_) => false,
        })
    }

    fn is_loading_or_writing(&self, partition: u32) -> bool {
        self.slots.iter().any(|(id, slot)| {
            id.partition() == partition
                && match slot {
                    Slot::Hot(hot) => !hot.is_idle(),
                    Slot::Loading(_) => true,
                }
        })
    }

    fn recover_partition(&mut self, partition: u32) {
        self.tenure.gained += 1;
        let gain = self.tenure.gained;
        if let Place::Recovering(recovering) = self.tenure.place_mut(partition) {
            recovering.reading = Some(gain);
            recover::read_outbox(&self.inner, &self.tokio, partition, gain);
        }
    }

    /// What the last owner of a partition left half-done is known.
    pub(super) fn recovered(
        &mut self,
        now: Timestamp,
        partition: u32,
        gain: u64,
        left: BTreeMap<ExecutionId, Vec<Effect>>,
    ) {
        let place = self.tenure.place_mut(partition);
        let held_back = match place {
            Place::Recovering(recovering) if recovering.reading == Some(gain) => {
                std::mem::take(&mut recovering.held_back)
            }
            // It was lost meanwhile.
            Place::Recovering(_) | Place::Elsewhere | Place::Here | Place::Leaving(_) => return,
        };
        *place = Place::Here;
        if !left.is_empty() {
            let count = left.len();
            tracing::info!(partition, count, "executions go on from where they were left");
        }
        for (id, effects) in left {
            self.happens(id, What::Recover(effects), None);
        }
        held_back.into_iter().for_each(|message| self.take(now, message));
    }

    /// A step of a partition that was lost meanwhile is over.
    pub(super) fn written_late(&mut self, id: ExecutionId) {
        if !matches!(self.slots.get(&id), Some(Slot::Hot(hot)) if hot.lost) {
            return;
        }
        let Some(Slot::Hot(hot)) = self.slots.remove(&id) else { return };
        for Waiting { what, ack } in hot.waiting {
            self.happens(id, what, ack);
        }
    }
}

fn index(partition: u32) -> usize {
    usize::try_from(partition).expect("a few fit")
}

/// To whoever asked while an execution moves.
pub(super) fn moves(id: ExecutionId) -> Error {
    let message = format!("{id} is just moving to another node");
    Error::new(ErrorKind::OwnerAway, message).retry_after(Duration::from_secs(1))
}

/// What may be sent again after it met an execution that moves: it was not taken then.
pub(crate) fn met_a_move(taken: &Result<Verdict, Error>) -> bool {
    taken.as_ref().is_err_and(|error| error.kind == ErrorKind::OwnerAway)
}
