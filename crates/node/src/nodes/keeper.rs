//! The keeper: one thread that takes leases, renews them, and gives them back.
//!
//! Everything by the store's clock, so that clocks of nodes may differ. The executions' thread hears
//! of each change, and until when it may rely on what it has by its own, monotonic clock: time that
//! passed on the way to the store counts against it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use model::{Timestamp, limits};
use store::{Claim, Lease};

use super::view::{SEATS, View};
use super::{Nodes, increment};
use crate::executions::Message;
use crate::inner::Inner;

/// Wait after the store could not be asked.
const TRY_AGAIN: Duration = Duration::from_millis(300);
/// Wait before a partition that was busy is offered again.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// The same while the node shuts down.
const LEAVING_WAIT: Duration = Duration::from_millis(200);
/// After a lease ran out it is looked at again so much later.
const END_MARGIN: Duration = Duration::from_millis(20);
/// The partition whose owner runs the queue of asynchronous calls. It moves only with its node.
pub(crate) const QUEUE_PARTITION: u32 = 0;

/// Partitions with their epochs, and until when.
type Told = (Vec<(u32, u64)>, Option<Instant>);

/// What the keeper is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep {
    /// Leases may have changed.
    Look,
    /// A step was refused because another node has the partition.
    Doubt,
    /// The executions' thread has let go of a partition: it may be given back.
    Yielded(u32),
    /// It could not do so now.
    Busy(u32),
    /// The node shuts down: give everything back as soon as it is quiet.
    Leave,
    /// Give back what is left, and end.
    Stop,
}

/// The thread's state.
pub(crate) struct Keeper {
    inner: Arc<Inner>,
    held: Vec<Lease>,
    seat: Option<Lease>,
    /// Asked to let go.
    yielding: BTreeSet<u32>,
    /// Nothing is offered before.
    offer_after: Instant,
    renewed: Option<Instant>,
    /// What the executions' thread was told last.
    told: Option<Told>,
    /// Another process has this node's name.
    displaced: bool,
    leaving: bool,
    failing: bool,
    /// A partition that could not be taken is soon free.
    retake: bool,
}

impl Keeper {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            held: Vec::new(),
            seat: None,
            yielding: BTreeSet::new(),
            offer_after: Instant::now(),
            renewed: None,
            told: None,
            displaced: false,
            leaving: false,
            failing: false,
            retake: false,
        }
    }

    /// Takes what can be had, before anything else begins.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn begin(&mut self) -> Result<(), store::Error> {
        self.round().map(drop)
    }

    /// Runs until [`Keep::Stop`].
    pub(crate) fn run(mut self, inbox: &Receiver<Keep>) {
        let mut wait = Duration::ZERO;
        loop {
            match inbox.recv_timeout(wait) {
                Ok(Keep::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(told) => self.take(told),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // What comes together is looked at once.
            while let Ok(told) = inbox.try_recv() {
                if matches!(told, Keep::Stop) {
                    return self.end();
                }
                self.take(told);
            }
            wait = match self.round() {
                Ok(wait) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("leases are renewed again");
                    }
                    wait
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(%error, "leases cannot be renewed; trying again");
                    }
                    TRY_AGAIN
                }
            };
        }
        self.end();
    }

    fn end(self) {
        let leases: Vec<Lease> = self.held.into_iter().chain(self.seat).collect();
        if let Err(error) = self.inner.store.release_leases(&leases) {
            tracing::warn!(%error, "leases were not given up; they run out by themselves");
        }
    }

    fn take(&mut self, told: Keep) {
        match told {
            Keep::Look | Keep::Stop => {}
            Keep::Doubt => self.renewed = None,
            Keep::Yielded(partition) => self.give(partition),
            Keep::Busy(partition) => {
                self.yielding.remove(&partition);
                self.offer_after =
                    Instant::now() + if self.leaving { LEAVING_WAIT } else { BUSY_WAIT };
            }
            Keep::Leave => self.leaving = self.inner.nodes.shared,
        }
    }

    fn give(&mut self, partition: u32) {
        self.yielding.remove(&partition);
        let Some(index) = self.held.iter().position(|lease| lease.partition == partition) else {
            return;
        };
        let lease = self.held.swap_remove(index);
        match self.inner.store.release_leases(std::slice::from_ref(&lease)) {
            Ok(()) => tracing::info!(partition, "gave a partition of executions to another node"),
            // It is renewed no more and so runs out.
            Err(error) => tracing::warn!(%error, partition, "a lease runs out by itself"),
        }
    }

    fn claim(&self) -> Result<Claim, store::Error> {
        let nodes = &self.inner.nodes;
        let now = self.inner.store.clock()?.unwrap_or_else(|| self.inner.clock.now());
        Ok(Claim { node: nodes.me.clone(), address: nodes.address.clone(), now, ttl: nodes.lease })
    }

    /// Renews, looks, takes and offers. Returns when to do so again.
    fn round(&mut self) -> Result<Duration, store::Error> {
        let begun = Instant::now();
        let claim = self.claim()?;
        let every = self.inner.nodes.lease / 3;
        if self.renewed.is_none_or(|renewed| begun >= renewed + every) {
            self.renew(&claim)?;
            self.renewed = Some(begun);
        }
        let mut view = self.look(claim.now)?;
        if !self.displaced {
            let mut taken = self.seat.is_none() && self.take_seat(&claim, &view)?;
            if taken {
                view = self.look(claim.now)?;
            }
            taken = self.take_share(&claim, &view)?;
            if taken {
                view = self.look(claim.now)?;
            }
            self.offer(&view);
        }
        let until = self.renewed.map(|renewed| renewed + self.inner.nodes.lease);
        self.tell(view, until);
        Ok(self.wait(claim.now, begun))
    }

    fn renew(&mut self, claim: &Claim) -> Result<(), store::Error> {
        let all: Vec<Lease> = self.held.iter().chain(&self.seat).cloned().collect();
        if all.is_empty() {
            return Ok(());
        }
        let kept = self.inner.store.renew_leases(claim, &all)?;
        let (seat, held): (Vec<Lease>, Vec<Lease>) =
            kept.into_iter().partition(|lease| lease.partition >= SEATS);
        let lost: Vec<u32> = self
            .held
            .iter()
            .map(|lease| lease.partition)
            .filter(|partition| held.iter().all(|lease| lease.partition != *partition))
            .collect();
        if !lost.is_empty() {
            tracing::warn!(?lost, "other nodes took partitions of executions from this one");
            lost.iter().for_each(|_| increment(&self.inner.nodes.counts().lost));
        }
        let had_seat = self.seat.take();
        self.held = held;
        self.seat = seat.into_iter().next();
        if let (Some(had), None) = (had_seat, &self.seat) {
            self.seat_lost(&had, claim.now)?;
        }
        Ok(())
    }

    /// The seat is another's. Where that one has this node's name, this node stands back: two of a
    /// name would take each other's partitions for ever.
    fn seat_lost(&mut self, had: &Lease, now: Timestamp) -> Result<(), store::Error> {
        let leases = self.inner.store.leases()?;
        let same = |lease: &&Lease| {
            lease.partition == had.partition && lease.node == had.node && lease.until > now
        };
        if let Some(other) = leases.iter().find(same) {
            self.displaced = true;
            tracing::error!(
                node = %had.node, address = %other.address,
                "another server runs under this node's name and has its executions now; \
                 give each its own with --node"
            );
        }
        Ok(())
    }

    fn look(&mut self, now: Timestamp) -> Result<View, store::Error> {
        let view = View::new(self.inner.store.leases()?, now);
        let me = &self.inner.nodes.me;
        if self.displaced && view.seated().iter().all(|other| other.lease.node != *me) {
            tracing::info!("the other server of this node's name is gone");
            self.displaced = false;
        }
        Ok(view)
    }

    fn take_seat(&mut self, claim: &Claim, view: &View) -> Result<bool, store::Error> {
        for seat in view.free_seats(&claim.node) {
            let taken = self.inner.store.acquire_leases(claim, &[seat])?;
            if let Some(lease) = taken.into_iter().next() {
                self.seat = Some(lease);
                return Ok(true);
            }
        }
        tracing::warn!(most = limits::NODES_MAX, "too many nodes: this one owns no executions");
        Ok(false)
    }

    /// Takes partitions that nobody has, up to this node's share.
    fn take_share(&mut self, claim: &Claim, view: &View) -> Result<bool, store::Error> {
        let share = if self.leaving { 0 } else { view.share(&claim.node) };
        let mut free = view.free(&claim.node, &self.held);
        // Nodes begin at different ones, so that they seldom want the same.
        let rank = view.seated().iter().position(|other| other.lease.node == claim.node);
        let start = free.len() * rank.unwrap_or(0) / view.seated().len().max(1);
        free.rotate_left(start);
        let had = self.held.len();
        while self.held.len() < share && !free.is_empty() {
            let wanted: Vec<u32> = free.drain(..free.len().min(share - self.held.len())).collect();
            match self.inner.store.acquire_leases(claim, &wanted) {
                Ok(leases) => self.held.extend(leases),
                // The last owner of one is in the middle of a commit; the others are taken.
                Err(error) if error.is_transient() => self.take_each(claim, &wanted)?,
                Err(error) => return Err(error),
            }
        }
        let taken: Vec<u32> = self.held[had..].iter().map(|lease| lease.partition).collect();
        if !taken.is_empty() && self.inner.nodes.shared {
            tracing::info!(?taken, "this node took over partitions of executions");
        }
        taken.iter().for_each(|_| increment(&self.inner.nodes.counts().taken));
        Ok(!taken.is_empty())
    }

    /// Takes those that can be had at once. The others are free once the server ends the
    /// transaction that their last owner left open.
    fn take_each(&mut self, claim: &Claim, wanted: &[u32]) -> Result<(), store::Error> {
        let mut busy = None;
        for partition in wanted {
            match self.inner.store.acquire_leases(claim, &[*partition]) {
                Ok(leases) => self.held.extend(leases),
                Err(error) if error.is_transient() => busy = Some(error),
                Err(error) => return Err(error),
            }
            // What it has must be renewed in time, come what may.
            if self.renewed.is_none_or(|renewed| renewed.elapsed() > claim.ttl / 2) {
                break;
            }
        }
        if let Some(error) = busy {
            tracing::info!(%error, "a partition is not free yet");
            self.retake = true;
        }
        Ok(())
    }

    /// Offers what is beyond this node's share.
    fn offer(&mut self, view: &View) {
        let me = &self.inner.nodes.me;
        let share = if self.leaving { 0 } else { view.share(me) };
        let alone = view.seated().iter().all(|other| other.lease.node == *me);
        if Instant::now() < self.offer_after || (alone && !self.leaving) {
            return;
        }
        let excess = self.held.len().saturating_sub(share).saturating_sub(self.yielding.len());
        let mut offered: Vec<u32> = self
            .held
            .iter()
            .map(|lease| lease.partition)
            .filter(|partition| !self.yielding.contains(partition))
            .filter(|partition| self.leaving || *partition != QUEUE_PARTITION)
            .collect();
        offered.sort_unstable_by_key(|partition| std::cmp::Reverse(*partition));
        offered.truncate(excess);
        if !offered.is_empty() {
            self.yielding.extend(offered.iter().copied());
            let _ = self.inner.executions.send(Message::Yield(offered));
        }
    }

    /// Tells the executions' thread, then everybody.
    fn tell(&mut self, mut view: View, until: Option<Instant>) {
        let shared = self.inner.nodes.shared;
        let until = until.filter(|_| shared);
        let names = self.held.iter().map(|lease| (lease.partition, lease.epoch)).collect();
        let news = (names, until);
        if self.told.as_ref() != Some(&news) {
            let leases: Arc<[Lease]> = self.held.clone().into();
            let _ = self.inner.executions.send(Message::Leases(leases, until));
            self.told = Some(news);
        }
        view.mine = self.held.iter().map(|lease| lease.partition).collect();
        let kept = view.mine.iter().copied();
        view.own = kept.filter(|partition| !self.yielding.contains(partition)).collect();
        self.inner.nodes.publish(view);
    }

    /// Until the next renewal, or until a lease of another node runs out.
    fn wait(&mut self, now: Timestamp, begun: Instant) -> Duration {
        if std::mem::take(&mut self.retake) {
            return TRY_AGAIN;
        }
        let nodes: &Nodes = &self.inner.nodes;
        let renew_at = self.renewed.unwrap_or(begun) + nodes.lease / 3;
        let renew = renew_at.saturating_duration_since(Instant::now());
        let view = nodes.view();
        let end = view.next_end(&nodes.me).map(|end| end.since(now) + END_MARGIN);
        let offer = (!self.leaving || !self.held.is_empty())
            .then(|| self.offer_after.saturating_duration_since(Instant::now()))
            .filter(|wait| !wait.is_zero());
        [Some(renew), end, offer].into_iter().flatten().min().unwrap_or(renew)
    }
}
