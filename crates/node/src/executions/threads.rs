//! The threads of executions: who owns them, who writes them, who reads them.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use model::limits;
use store::{Claim, Lease, NodeName};

use super::{Executions, Message, committer, recover};
use crate::inner::Inner;
use crate::settings::Observer;
use crate::start::StartError;

/// How long a lease holds after it was taken or renewed.
const LEASE: Duration = Duration::from_secs(10);
/// Between two renewals.
const RENEW_EVERY: Duration = Duration::from_secs(3);

/// The threads, for whoever takes the node down.
pub(crate) struct Threads {
    owner: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
    keeper_stop: Sender<()>,
}

/// Starts a named thread.
pub(crate) type Spawn = fn(&str, Box<dyn FnOnce() + Send>) -> Result<JoinHandle<()>, StartError>;

impl Threads {
    /// Takes the leases, starts the threads, and does again what an earlier run left half-done.
    pub(crate) fn start(
        inner: &Arc<Inner>,
        inbox: Receiver<Message>,
        observer: Option<Observer>,
        spawn: Spawn,
    ) -> Result<Self, StartError> {
        let claim = Claims::new(inner);
        let leases: Arc<[Lease]> = claim.take()?.into();
        let (commits, to_commit) = mpsc::channel();
        let (loads, to_load) = mpsc::channel();
        let tokio = tokio::runtime::Handle::current();
        let mut owner = Executions::new(Arc::clone(inner), tokio, commits, loads);
        owner.observer = observer;
        let owner = spawn("fermata-executions", Box::new(move || owner.run(&inbox)))?;
        let (store, back) = (Arc::clone(&inner.store), inner.executions.clone());
        let commit = move || committer::run(&*store, &to_commit, &back);
        let committer = spawn("fermata-committer", Box::new(commit))?;
        let (store, back) = (Arc::clone(&inner.store), inner.executions.clone());
        let load = move || recover::load(&*store, &to_load, &back);
        let loader = spawn("fermata-loader", Box::new(load))?;
        let partitions: Vec<u32> = leases.iter().map(|lease| lease.partition).collect();
        let _ = inner.executions.send(Message::Leases(Arc::clone(&leases)));
        let count = recover::recover(&*inner.store, &partitions, &inner.executions)?;
        if count > 0 {
            tracing::info!(count, "executions go on from where an earlier run left them");
        }
        let (keeper_stop, stop) = mpsc::channel();
        let keep = move || claim.keep(leases.to_vec(), &stop);
        let keeper = spawn("fermata-leases", Box::new(keep))?;
        Ok(Self { owner, others: vec![committer, loader, keeper], keeper_stop })
    }

    /// Writes down what is under way and stops. Returns what is to be joined.
    pub(crate) fn stop(self, inner: &Inner) -> Vec<JoinHandle<()>> {
        let _ = inner.executions.send(Message::Stop);
        let _ = self.keeper_stop.send(());
        let mut all = vec![self.owner];
        all.extend(self.others);
        all
    }
}

/// Who this node is among those that share a store.
struct Claims {
    inner: Arc<Inner>,
    node: NodeName,
}

impl Claims {
    fn new(inner: &Arc<Inner>) -> Self {
        Self { inner: Arc::clone(inner), node: inner.node.clone() }
    }

    fn claim(&self) -> Result<Claim, store::Error> {
        let now = self.inner.store.clock()?.unwrap_or_else(|| self.inner.clock.now());
        let address = self.inner.address.clone();
        Ok(Claim { node: self.node.clone(), address, now, ttl: LEASE })
    }

    /// Every partition that nobody else holds.
    fn take(&self) -> Result<Vec<Lease>, store::Error> {
        let partitions: Vec<u32> = (0..limits::PARTITIONS).collect();
        self.inner.store.acquire_leases(&self.claim()?, &partitions)
    }

    /// Renews the leases, and takes those that others let go, until the node stops.
    fn keep(&self, mut held: Vec<Lease>, stop: &Receiver<()>) {
        while stop.recv_timeout(RENEW_EVERY) == Err(RecvTimeoutError::Timeout) {
            match self.renew(&held) {
                Ok((now, gained)) => {
                    if held != now {
                        held.clone_from(&now);
                        let _ = self.inner.executions.send(Message::Leases(now.into()));
                    }
                    if !gained.is_empty() {
                        tracing::info!(?gained, "this node took over partitions of executions");
                        let to = &self.inner.executions;
                        if let Err(error) = recover::recover(&*self.inner.store, &gained, to) {
                            tracing::error!(%error, "what another node left cannot be read");
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "leases cannot be renewed; trying again"),
            }
        }
        if let Err(error) = self.inner.store.release_leases(&held) {
            tracing::warn!(%error, "leases were not given up; they run out by themselves");
        }
    }

    fn renew(&self, held: &[Lease]) -> Result<(Vec<Lease>, Vec<u32>), store::Error> {
        let claim = self.claim()?;
        let mut now = self.inner.store.renew_leases(&claim, held)?;
        let missing: Vec<u32> = (0..limits::PARTITIONS)
            .filter(|partition| now.iter().all(|lease| lease.partition != *partition))
            .collect();
        let mut gained = Vec::new();
        if !missing.is_empty() {
            let taken = self.inner.store.acquire_leases(&claim, &missing)?;
            gained.extend(taken.iter().map(|lease| lease.partition));
            now.extend(taken);
        }
        Ok((now, gained))
    }
}
