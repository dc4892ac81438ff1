//! The committer: one thread that writes steps of many executions, one commit at a time. What comes
//! in while the disk works goes together into the next commit.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};

use model::limits;
use store::{Committed, ExecutionCommit, Lease, Store};

use super::Message;

/// What the committer is told.
pub(crate) enum Commit {
    /// Write these, under the leases as they are now.
    Steps(Vec<ExecutionCommit>, Arc<[Lease]>),
    /// Write what was said before, then stop.
    Stop,
}

/// What became of a commit's items, in their order.
pub(crate) type Written = Vec<(model::ExecutionId, Result<Committed, Arc<store::Error>>)>;

/// Runs until [`Commit::Stop`], or until nobody can send any more.
pub(crate) fn run(store: &dyn Store, inbox: &Receiver<Commit>, done: &Sender<Message>) {
    let mut stop = false;
    while !stop {
        let Ok(Commit::Steps(mut items, mut leases)) = inbox.recv() else { return };
        while items.len() < limits::COMMIT_ITEMS_MAX {
            match inbox.try_recv() {
                Ok(Commit::Steps(more, newer)) => {
                    items.extend(more);
                    leases = newer;
                }
                Ok(Commit::Stop) | Err(TryRecvError::Disconnected) => {
                    stop = true;
                    break;
                }
                Err(TryRecvError::Empty) => break,
            }
        }
        if done.send(Message::Written(write(store, &leases, &items))).is_err() {
            return;
        }
    }
}

/// Writes these in one commit, under the leases as they are now.
pub(crate) fn write(store: &dyn Store, leases: &[Lease], items: &[ExecutionCommit]) -> Written {
    let ids = items.iter().map(|item| item.id);
    match store.commit_executions(leases, items) {
        Ok(all) => ids.zip(all.into_iter().map(Ok)).collect(),
        Err(error) => {
            let error = Arc::new(error);
            ids.map(|id| (id, Err(Arc::clone(&error)))).collect()
        }
    }
}
