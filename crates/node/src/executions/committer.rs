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
        let ids: Vec<_> = items.iter().map(|item| item.id).collect();
        let written: Written = match store.commit_executions(&leases, &items) {
            Ok(all) => ids.into_iter().zip(all.into_iter().map(Ok)).collect(),
            Err(error) => {
                let error = Arc::new(error);
                ids.into_iter().map(|id| (id, Err(Arc::clone(&error)))).collect()
            }
        };
        if done.send(Message::Written(written)).is_err() {
            return;
        }
    }
}
