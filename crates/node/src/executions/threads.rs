//! The threads of executions: who owns them, who writes them, who reads them.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use super::{Executions, Message, committer, recover};
use crate::inner::Inner;
use crate::nodes::{Keep, Keeper};
use crate::settings::Observer;
use crate::start::StartError;

/// The threads, for whoever takes the node down.
pub(crate) struct Threads {
    owner: JoinHandle<()>,
    committer: JoinHandle<()>,
    loader: JoinHandle<()>,
    keeper: JoinHandle<()>,
}

/// What the threads are told by.
pub(crate) struct Inboxes {
    pub(crate) executions: Receiver<Message>,
    pub(crate) keeper: Receiver<Keep>,
}

/// Starts a named thread.
pub(crate) type Spawn = fn(&str, Box<dyn FnOnce() + Send>) -> Result<JoinHandle<()>, StartError>;

impl Threads {
    /// Takes the leases, starts the threads, and does again what an earlier run left half-done.
    pub(crate) fn start(
        inner: &Arc<Inner>,
        inboxes: Inboxes,
        observer: Option<Observer>,
        spawn: Spawn,
    ) -> Result<Self, StartError> {
        let Inboxes { executions: inbox, keeper: to_keep } = inboxes;
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
        let mut keeper = Keeper::new(Arc::clone(inner));
        keeper.begin()?;
        let keeper = spawn("fermata-leases", Box::new(move || keeper.run(&to_keep)))?;
        Ok(Self { owner, committer, loader, keeper })
    }

    /// Writes down what is under way and stops. Leases are given back after the last write, so that
    /// another node need not wait until they run out.
    pub(crate) fn stop(self, inner: &Inner, join: impl Fn(JoinHandle<()>)) {
        let _ = inner.executions.send(Message::Stop);
        join(self.owner);
        join(self.committer);
        inner.nodes.tell(Keep::Stop);
        join(self.keeper);
        join(self.loader);
    }
}
