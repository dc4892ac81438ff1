//! What other nodes change: tenants, keys and functions are read again when the store says so, and
//! what a tenant has spent elsewhere is read from time to time.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use store::{Month, Subscription, Wake};
use tokio::sync::oneshot;

use super::{Keep, QUEUE_PARTITION, increment};
use crate::control;
use crate::error::Error;
use crate::inner::Inner;
use crate::queue::QueueEvent;

/// Between two looks at what tenants with a budget have spent at other nodes.
const SPENT_EVERY: Duration = Duration::from_secs(10);
/// Wait before a catalog that could not be read is read again.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// What the reloader is told.
pub(crate) enum Reload {
    Catalog,
    /// The same, and tell when it is done.
    Ask(oneshot::Sender<()>),
    Stop,
}

/// The thread's state.
pub(crate) struct Reloader {
    inner: Arc<Inner>,
}

impl Reloader {
    pub(crate) const fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Hears of what other nodes write. None where there are no others.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn subscribe(
        inner: &Arc<Inner>,
    ) -> Result<Option<Box<dyn Subscription>>, store::Error> {
        let (reload, queue) = (inner.reload.clone(), inner.queue.clone());
        let nodes = Arc::clone(&inner.nodes);
        inner.store.subscribe(Box::new(move |wake| {
            let is = |one| wake == one || wake == Wake::Anything;
            if is(Wake::Catalog) {
                increment(&nodes.counts().changes);
                let _ = reload.send(Reload::Catalog);
            }
            if is(Wake::Queue) {
                // A queue that has so much to do looks by itself.
                let _ = queue.try_send(QueueEvent::Look);
            }
            if is(Wake::Leases) {
                nodes.tell(Keep::Look);
            }
        }))
    }

    /// Runs until [`Reload::Stop`].
    pub(crate) fn run(self, inbox: &Receiver<Reload>) {
        let mut asked: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            let mut stale = false;
            match inbox.recv_timeout(SPENT_EVERY) {
                Ok(told) => {
                    let mut next = Some(told);
                    while let Some(told) = next {
                        match told {
                            Reload::Catalog => stale = true,
                            Reload::Ask(reply) => {
                                stale = true;
                                asked.push(reply);
                            }
                            Reload::Stop => return,
                        }
                        next = inbox.try_recv().ok();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.spent(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while stale {
                match self.catalog() {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::warn!(%error, "what other nodes changed cannot be read; trying again");
                        match inbox.recv_timeout(TRY_AGAIN) {
                            Ok(Reload::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                            Ok(Reload::Ask(reply)) => asked.push(reply),
                            Ok(Reload::Catalog) | Err(RecvTimeoutError::Timeout) => {}
                        }
                    }
                }
                stale = true;
            }
            for reply in asked.drain(..) {
                let _ = reply.send(());
            }
        }
    }

    fn catalog(&self) -> Result<(), store::Error> {
        let inner = &self.inner;
        let changed = inner.catalog.reload(&*inner.store)?;
        for tenant in changed.tenants {
            let spent = inner.store.month_spent(&tenant.name, Month::of(inner.clock.now()))?;
            self.budget(tenant, spent);
        }
        for (tenant, function) in changed.removed {
            for executor in inner.executors.wasm.iter().chain(&inner.executors.process) {
                executor.reclaim(runtime::Reclaim::Function(&tenant, &function));
            }
        }
        Ok(())
    }

    /// What others spent of a budget counts here, some seconds late.
    fn spent(&self) {
        let inner = &self.inner;
        if inner.nodes.view().seated().len() < 2 {
            return;
        }
        let month = Month::of(inner.clock.now());
        for tenant in inner.catalog.tenants() {
            if tenant.monthly_budget.is_some() {
                match inner.store.month_spent(&tenant.name, month) {
                    Ok(spent) => self.budget(tenant, spent),
                    Err(error) => tracing::debug!(%error, "spending cannot be read"),
                }
            }
        }
    }

    fn budget(&self, tenant: store::Tenant, spent: model::Amount) {
        let _ = self.inner.control.send(control::Message::Budget {
            tenant: tenant.name,
            monthly: tenant.monthly_budget,
            spent: Some(spent),
        });
    }
}

impl Inner {
    /// Reads what other nodes changed, before going on.
    pub(crate) async fn reload_catalog(&self) {
        let (reply, done) = oneshot::channel();
        if self.nodes.shared && self.reload.send(Reload::Ask(reply)).is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(5), done).await;
        }
    }

    /// How many asynchronous calls are queued where another node runs the queue; counted now and
    /// then.
    pub(crate) async fn queued_elsewhere(&self) -> Result<u64, Error> {
        const COUNT_EVERY: Duration = Duration::from_secs(2);
        if self.nodes.is_mine(QUEUE_PARTITION) {
            return Ok(0);
        }
        let mut counted = self.nodes.queued.lock().await;
        if let Some((at, count)) = *counted
            && at.elapsed() < COUNT_EVERY
        {
            return Ok(count);
        }
        let backlog = self.store_read(|store| store.backlog()).await?;
        let count = backlog.iter().map(|tenant| tenant.queued).sum();
        *counted = Some((Instant::now(), count));
        Ok(count)
    }
}
