//! Several nodes on one store: who has which executions, and how the others reach them.
//!
//! Each partition of executions has one owner, by a lease in the store that the [`keeper`] takes,
//! renews and gives back. What concerns an execution that another node has goes there in one [`hop`]
//! over HTTP; every other thing any node can do. Nothing here is needed for correctness: a step is
//! committed under its lease's epoch, so one who is wrong about what it has is refused by the store.

mod answer;
mod hop;
mod keeper;
mod reload;
mod view;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use model::{Timestamp, limits};
use store::{Change, NodeName, Store};
use tokio::sync::{Semaphore, watch as channel};

pub(crate) use hop::{Delivered, Hop};
pub(crate) use keeper::{Keep, Keeper, QUEUE_PARTITION};
pub(crate) use reload::{Reload, Reloader};
use view::View;

use crate::error::Error;
use crate::handle::Handle;
use crate::ids;
use crate::types::Principal;

/// The setting that holds what nodes of one store prove themselves to each other with.
const SECRET: &str = "cluster/secret";

/// A node among those that share a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its name.
    pub name: NodeName,
    /// Where others reach it.
    pub address: String,
    /// Partitions of executions that it has.
    pub partitions: Vec<u32>,
    /// For how long its leases hold, unless it renews them.
    pub lease_left: Duration,
    /// How long ago it renewed them, where its time of a lease is the asked node's.
    pub lease_age: Duration,
    /// Whether it is the node that was asked.
    pub is_this: bool,
}

/// What this node has done for others, and others for it, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodesStatus {
    /// Nodes that are there.
    pub nodes: usize,
    /// Partitions that this one has.
    pub partitions: usize,
    /// Times that it took a partition.
    pub taken: u64,
    /// Times that it lost one without giving it away.
    pub lost: u64,
    /// Steps that the store refused because another node had the partition.
    pub fenced: u64,
    /// Requests passed on to other nodes.
    pub hops: u64,
    /// Of those, not answered in time.
    pub hops_failed: u64,
    /// Requests of other nodes.
    pub answered: u64,
}

/// This node among the others.
pub(crate) struct Nodes {
    pub(crate) me: NodeName,
    pub(crate) address: String,
    pub(crate) lease: Duration,
    /// Whether others may be there at all.
    pub(crate) shared: bool,
    store: Arc<dyn Store>,
    secret: RwLock<Option<String>>,
    view: channel::Sender<Arc<View>>,
    keeper: Sender<Keep>,
    client: hop::Client,
    hops: Semaphore,
    waits: Semaphore,
    /// How much was queued, and when that was counted.
    queued: tokio::sync::Mutex<Option<(Instant, u64)>>,
    counts: Counts,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) taken: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) fenced: AtomicU64,
    hops: AtomicU64,
    hops_failed: AtomicU64,
    answered: AtomicU64,
    /// Times that tenants, functions or settings changed in a store that others share.
    pub(crate) changes: AtomicU64,
}

/// What a node needs to be told to be one of several.
pub(crate) struct Naming {
    pub(crate) me: NodeName,
    pub(crate) address: String,
    pub(crate) lease: Duration,
}

impl Nodes {
    /// # Errors
    /// The store's.
    pub(crate) fn new(
        naming: Naming,
        store: Arc<dyn Store>,
        keeper: Sender<Keep>,
    ) -> Result<Self, store::Error> {
        let shared = store.clock()?.is_some();
        let Naming { me, address, lease } = naming;
        let nodes = Self {
            me,
            address,
            lease,
            shared,
            store,
            secret: RwLock::default(),
            view: channel::Sender::new(Arc::default()),
            keeper,
            client: hop::client(),
            hops: Semaphore::new(limits::HOPS_MAX),
            waits: Semaphore::new(limits::HOP_WAITS_MAX),
            queued: tokio::sync::Mutex::default(),
            counts: Counts::default(),
        };
        if shared {
            nodes.read_secret()?;
        }
        Ok(nodes)
    }

    /// Reads what nodes prove themselves with, and makes it where there is none. Of two that make
    /// one at a time the later one stays, and the other node reads it when it is refused.
    fn read_secret(&self) -> Result<(), store::Error> {
        let found = self.store.setting(SECRET)?;
        if found.is_none() {
            let value = ids::secret().into_bytes();
            self.store.apply(&Change::PutSetting { name: SECRET.to_owned(), value })?;
        }
        let found = if found.is_none() { self.store.setting(SECRET)? } else { found };
        let text = found.and_then(|bytes| String::from_utf8(bytes).ok());
        *self.secret.write().unwrap_or_else(PoisonError::into_inner) = text;
        Ok(())
    }

    fn secret(&self) -> Option<String> {
        self.secret.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Tells who waits for it where something has another owner.
    pub(crate) fn publish(&self, view: View) {
        self.view.send_if_modified(|known| {
            let changed = !known.has_owners_of(&view);
            *known = Arc::new(view);
            changed
        });
    }

    /// This node's leases ran out unrenewed.
    pub(crate) fn lapsed(&self) {
        self.view.send_modify(|view| *view = Arc::new(view.without(&self.me)));
        self.look();
    }

    /// Has the leases looked at, sooner than else.
    pub(crate) fn look(&self) {
        self.tell(Keep::Look);
    }

    pub(crate) fn tell(&self, what: Keep) {
        let _ = self.keeper.send(what);
    }

    /// Whether this node has a partition, as far as it knows.
    pub(crate) fn is_mine(&self, partition: u32) -> bool {
        !self.shared || self.view.borrow().mine.contains(&partition)
    }

    /// Moves an id into a partition of this node, so that what it names need not be started
    /// elsewhere. `draw` is any number.
    pub(crate) fn near(&self, id: u128, draw: usize) -> u128 {
        if !self.shared {
            return id;
        }
        let view = self.view.borrow();
        match view.own.as_slice() {
            [] => id,
            own => into_partition(id, own[draw % own.len()]),
        }
    }

    pub(crate) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How long a request may wait for an execution whose node is gone.
    pub(crate) fn patience(&self) -> Duration {
        self.lease + limits::HOP_PATIENCE
    }

    pub(crate) fn status(&self) -> NodesStatus {
        let view = self.view();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        NodesStatus {
            nodes: view.seated().len().max(1),
            partitions: view.mine.len(),
            taken: count(&self.counts.taken),
            lost: count(&self.counts.lost),
            fenced: count(&self.counts.fenced),
            hops: count(&self.counts.hops),
            hops_failed: count(&self.counts.hops_failed),
            answered: count(&self.counts.answered),
        }
    }

    fn infos(&self, leases: Vec<store::Lease>, now: Timestamp) -> Vec<NodeInfo> {
        let info = |seated: view::Seated| {
            let lease_left = seated.lease.until.since(now);
            NodeInfo {
                is_this: seated.lease.node == self.me,
                name: seated.lease.node,
                address: seated.lease.address,
                partitions: seated.partitions,
                lease_left,
                lease_age: self.lease.saturating_sub(lease_left),
            }
        };
        View::new(leases, now).seated().into_iter().map(info).collect()
    }
}

/// The id with its partition exchanged.
pub(crate) fn into_partition(id: u128, partition: u32) -> u128 {
    let all = u128::from(limits::PARTITIONS);
    id - id % all + u128::from(partition)
}

pub(crate) fn increment(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Handle {
    /// Rises when another node may have changed what [`Handle::setting`] reads.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.inner.nodes.counts().changes.load(Ordering::Relaxed)
    }

    /// The nodes that share the store, by name, as the store has them at this moment.
    ///
    /// # Errors
    /// `Forbidden` but for admins, `Storage`.
    pub async fn nodes(&self, who: &Principal) -> Result<Vec<NodeInfo>, Error> {
        self.check_admin(who)?;
        let here = self.now();
        let (now, leases) =
            self.read(move |store| Ok((store.clock()?.unwrap_or(here), store.leases()?))).await?;
        Ok(self.inner.nodes.infos(leases, now))
    }
}
