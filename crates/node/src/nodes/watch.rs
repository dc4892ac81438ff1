//! Waiting for what happens to an execution, wherever it is.

use std::time::Duration;

use engine::Outcome;
use model::{ExecutionId, TenantName};
use store::Store;
use tokio::sync::{mpsc, oneshot};

use super::hop::{Answer, Delivered, Hop};
use crate::error::{Error, ErrorKind};
use crate::executions::{HistoryEntry, Message};
use crate::inner::Inner;

/// Wait before an execution that is just moving is looked for again.
const MOVING: Duration = Duration::from_millis(20);

/// Where the end is heard of.
enum End {
    Here(oneshot::Receiver<Outcome>),
    Elsewhere,
}

impl Inner {
    /// The execution once it has ended.
    ///
    /// # Errors
    /// `NotFound`, `Draining`, `OwnerAway`, `Storage`.
    pub(crate) async fn until_ended(
        &self,
        tenant: &TenantName,
        id: ExecutionId,
    ) -> Result<store::Execution, Error> {
        let owner = tenant.clone();
        let read = move |store: &dyn Store| store.execution(&owner, id);
        loop {
            let end = self.watch_end(id)?;
            // It may have ended before the watch began.
            let found = self.store_read(read.clone()).await?;
            if found.row.finished.is_some() {
                return Ok(found);
            }
            match end {
                End::Here(ended) => {
                    if ended.await.is_err() {
                        self.check_running()?;
                        tokio::time::sleep(MOVING).await;
                    }
                }
                End::Elsewhere => self.changed_elsewhere(id, None).await?,
            }
        }
    }

    fn watch_end(&self, id: ExecutionId) -> Result<End, Error> {
        if !self.nodes.is_mine(id.partition()) {
            return Ok(End::Elsewhere);
        }
        let (reply, ended) = oneshot::channel();
        let sent = self.executions.send(Message::Watch(id, reply));
        sent.map_err(|_| crate::executions::stopped())?;
        Ok(End::Here(ended))
    }

    /// Each history record that is committed from now on, where this node has the execution. Ends
    /// where it moves, and for a reader that lags behind too far.
    pub(crate) fn follow(
        &self,
        id: ExecutionId,
        lag_max: usize,
    ) -> Option<mpsc::Receiver<HistoryEntry>> {
        if !self.nodes.is_mine(id.partition()) {
            return None;
        }
        let (news, comes) = mpsc::channel(lag_max);
        self.executions.send(Message::Follow(id, news)).ok()?;
        Some(comes)
    }

    /// Returns when an execution of another node may have ended or, with `after`, may have history
    /// after that record.
    ///
    /// # Errors
    /// `OwnerAway`, `Draining`.
    pub(crate) async fn changed_elsewhere(
        &self,
        id: ExecutionId,
        after: Option<u64>,
    ) -> Result<(), Error> {
        self.check_running()?;
        match self.nodes.deliver(id.partition(), &Hop::watch(id, after)).await {
            Ok(Delivered::Answer(Answer::Look)) => return Ok(()),
            Ok(Delivered::Mine | Delivered::Answer(_)) => {}
            // Whoever waits for days waits for the next owner, too.
            Err(error) if error.kind == ErrorKind::OwnerAway => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(MOVING).await;
        Ok(())
    }

    /// # Errors
    /// `Draining` where the node's threads end.
    pub(crate) fn check_running(&self) -> Result<(), Error> {
        let running = !self.draining.load(std::sync::atomic::Ordering::Relaxed);
        if running { Ok(()) } else { Err(crate::executions::stopped()) }
    }
}
