//! Executions: one thread that owns those of this node.
//!
//! Load, decide, commit, act: an input is a step of `engine`, each step is committed with its
//! history and outbox ([`committer`]), and only then are its effects done ([`act`]) and whoever sent
//! the input told. Steps of many executions share a commit; one execution has at most one commit
//! under way, and what comes meanwhile waits in order.
//!
//! The store is the truth. An execution that waits and has nothing under way may be forgotten here
//! and is read again when something happens to it.

mod act;
mod committer;
mod explicit;
mod handle;
mod interpret;

mod payloads;
mod recover;
mod runs;
mod services;
mod slot;
pub mod states;
mod steps;
mod tenure;
mod threads;
mod timers;
mod types;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use engine::{Effect, Input, Outcome, Verdict};
use model::{ExecutionId, InvocationId, Timestamp, limits};
use store::Lease;
use tokio::sync::oneshot;

pub(crate) use committer::Commit;
pub(crate) use handle::{Order, stopped};
pub use interpret::{Interpreter, Interpreters, Source};
pub use runs::{Run, RunEvent, RunFilter, TokenTaken};
pub(crate) use services::Desk;
pub use services::{NewChild, News, ServiceCall, ServiceEnd, ServiceReply, Services};
pub(crate) use slot::{StartResult, Started, What};
pub(crate) use threads::{Inboxes, Threads};
pub use types::{
    Awaited, Begun, ExecutionCost, ExecutionFilter, ExecutionInfo, ExecutionPrices,
    ExecutionStatus, HistoryEntry, IfExists, NewExecution, TokenAnswer, Which,
};

use crate::control;
use crate::error::Error;
use crate::inner::Inner;
use crate::record::to_record;
use crate::settings::Observer;
use crate::writer::{Write, observed};
use slot::Slot;
use tenure::Tenure;
use timers::Timers;

/// Messages taken before what they led to is sent to the committer.
const MESSAGES_MAX: usize = 512;
/// Entries that a follower of a history may lag behind before it is let go.
const FOLLOW_LAG_MAX: usize = 1_024;
/// Wait before a step whose commit failed is tried again.
const COMMIT_RETRY: Duration = Duration::from_millis(200);

/// Told what became of an input, after its commit.
pub(crate) type Ack = Box<dyn FnOnce(Result<Verdict, Error>) + Send>;

/// What the executions' thread is told.
pub(crate) enum Message {
    /// Begin an execution.
    Start(Box<Start>),
    /// Something happens to one.
    Happens(ExecutionId, What, Option<Ack>),
    /// An invocation that it asked for has ended; with the receipt.
    Ended(ExecutionId, Box<Input>, Box<control::Ended>),
    /// These were read; those that are not there are missing.
    Loaded(Vec<ExecutionId>, Result<Vec<store::Execution>, Arc<store::Error>>),
    /// A commit is over.
    Written(committer::Written),
    /// Timers that the store has; with a time, all up to that time have been told by that reading.
    Due(timers::Reading, Vec<(Timestamp, ExecutionId)>, Option<Timestamp>),
    /// Tell when this one ends. Answered at once where it has ended.
    Watch(ExecutionId, oneshot::Sender<Outcome>),
    /// Send each history record that is committed from now on.
    Follow(ExecutionId, tokio::sync::mpsc::Sender<HistoryEntry>),
    /// An effect could not be done for now; do it again if it is still wanted.
    Retry(ExecutionId, Effect),
    /// A call was handed on, to whoever makes it: from now on it can be found there.
    Handed(InvocationId),
    /// Memory is scarce: keep no execution of this class that only waits, and count those. They are
    /// in the store.
    Shrink(String, Arc<AtomicU64>),
    /// Another node says that something happens to an execution of this one.
    Arrives(ExecutionId, What, Ack),
    /// The leases of this node are these from now on, and hold until then.
    Leases(Arc<[Lease]>, Option<Instant>),
    /// Let go of these partitions, as soon as they are quiet.
    Yield(Vec<u32>),
    /// What the outbox of a partition holds that was gained.
    Recovered(u32, u64, BTreeMap<ExecutionId, Vec<Effect>>),
    Stop,
}

/// An execution to be begun.
pub(crate) struct Start {
    pub(crate) birth: engine::Birth,
    pub(crate) row: store::ExecutionRow,
    pub(crate) entry: Arc<crate::catalog::Entry>,
    /// Runs its turns, where they are interpreted.
    pub(crate) orchestrator: Option<Arc<dyn engine::Orchestrator>>,
    /// One that has ended and gives up its name.
    pub(crate) replace: Option<(ExecutionId, store::Revision)>,
    pub(crate) reply: Started,
}

/// What the thread is made of.
pub(crate) struct Executions {
    inner: Arc<Inner>,
    /// Hears of each attempt that ended.
    observer: Option<Observer>,
    tokio: tokio::runtime::Handle,
    committer: Sender<Commit>,
    loader: Sender<Vec<ExecutionId>>,
    tenure: Tenure,
    slots: HashMap<ExecutionId, Slot>,
    /// Slots that may be forgotten, the longest untouched first; some are out of date.
    idle: VecDeque<(u64, ExecutionId)>,
    ticks: u64,
    timers: Timers,
    watchers: HashMap<ExecutionId, Vec<oneshot::Sender<Outcome>>>,
    followers: HashMap<ExecutionId, Vec<tokio::sync::mpsc::Sender<HistoryEntry>>>,
    batch: Vec<store::ExecutionCommit>,
    /// Steps on their way to the store.
    committing: usize,
    to_load: Vec<ExecutionId>,
    /// Those that something waits for.
    to_step: Vec<ExecutionId>,
    /// Steps to be tried again.
    again: VecDeque<(Timestamp, ExecutionId, What)>,
    /// Calls on their way to whoever makes them, and who wants to cancel them there.
    handing: HashMap<InvocationId, Option<(ExecutionId, Effect)>>,
}

impl Executions {
    pub(crate) fn new(
        inner: Arc<Inner>,
        tokio: tokio::runtime::Handle,
        committer: Sender<Commit>,
        loader: Sender<Vec<ExecutionId>>,
    ) -> Self {
        Self {
            inner,
            observer: None,
            tokio,
            committer,
            loader,
            tenure: Tenure::default(),
            slots: HashMap::new(),
            idle: VecDeque::new(),
            ticks: 0,
            timers: Timers::default(),
            watchers: HashMap::new(),
            followers: HashMap::new(),
            batch: Vec::new(),
            committing: 0,
            to_load: Vec::new(),
            to_step: Vec::new(),
            again: VecDeque::new(),
            handing: HashMap::new(),
        }
    }

    /// Runs until [`Message::Stop`], or until nobody can send any more.
    pub(crate) fn run(mut self, inbox: &Receiver<Message>) {
        loop {
            let now = self.inner.clock.now();
            self.mind_tenure(now);
            self.fire_timers(now);
            self.step_all(now);
            self.send();
            self.forget();
            let again = self.again.front().map(|(at, ..)| *at);
            let deadline = self.timers.next().into_iter().chain(again).min();
            let wait = deadline.map(|at| at.since(self.inner.clock.now()));
            let tenure = self.tenure.next();
            let tenure = tenure.map(|at| at.saturating_duration_since(Instant::now()));
            let first = match wait.into_iter().chain(tenure).min() {
                Some(wait) => match inbox.recv_timeout(wait) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return,
                },
                None => match inbox.recv() {
                    Ok(message) => message,
                    Err(_) => return,
                },
            };
            let now = self.inner.clock.now();
            let mut next = Some(first);
            for _ in 0..MESSAGES_MAX {
                let Some(message) = next else { break };
                if matches!(message, Message::Stop) {
                    return self.stop(now);
                }
                self.take(now, message);
                next = inbox.try_recv().ok();
            }
            if let Some(message) = next {
                if matches!(message, Message::Stop) {
                    return self.stop(now);
                }
                self.take(now, message);
            }
        }
    }

    fn stop(&mut self, now: Timestamp) {
        self.step_all(now);
        self.send();
        let _ = self.committer.send(Commit::Stop);
    }

    fn take(&mut self, now: Timestamp, message: Message) {
        match message {
            Message::Start(start) => self.start(now, *start),
            Message::Happens(id, what, ack) => self.happens(id, what, ack),
            Message::Ended(id, input, ended) => {
                if let Some(observer) = &self.observer {
                    observer(observed(&ended));
                }
                let record = Box::new(to_record(*ended, &self.inner.prices));
                self.happens(id, What::Recorded(input, record), None);
            }
            Message::Loaded(ids, read) => self.loaded(now, &ids, read),
            Message::Written(written) => {
                self.committing -= written.len();
                self.written(now, written);
            }
            Message::Due(reading, due, until) => self.timers.refill(reading, due, until),
            Message::Watch(id, reply) => {
                let watchers = self.watchers.entry(id).or_default();
                watchers.retain(|watcher| !watcher.is_closed());
                watchers.push(reply);
            }
            Message::Follow(id, entries) => {
                let followers = self.followers.entry(id).or_default();
                followers.retain(|follower| !follower.is_closed());
                followers.push(entries);
            }
            Message::Retry(id, effect) => {
                let recover = What::Recover(vec![effect]);
                self.happens(id, recover, None);
            }
            Message::Handed(call) => {
                if let Some((id, cancel)) = self.handing.remove(&call).flatten() {
                    self.happens(id, What::Recover(vec![cancel]), None);
                }
            }
            Message::Arrives(id, what, ack) => self.arrives(id, what, ack),
            Message::Leases(leases, until) => self.leased(now, &leases, until),
            Message::Yield(partitions) => self.leave(partitions),
            Message::Recovered(partition, gain, left) => {
                self.recovered(now, partition, gain, left);
            }
            Message::Shrink(class, freed) => self.shrink(&class, &freed),
            Message::Stop => {}
        }
    }

    /// Receipts without a step that they could be committed with.
    fn keep_receipts(&self, records: Vec<store::InvocationRecord>) {
        if records.is_empty() {
            return;
        }
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        self.inner.receipts_pending.fetch_add(count, Ordering::Relaxed);
        let _ = self.inner.writer.send(Write::Records(records));
    }

    /// The same of what will not be done.
    fn keep_receipts_of(&self, all: impl IntoIterator<Item = What>) {
        let record = |what| match what {
            What::Recorded(_, record) => Some(*record),
            What::Input(_) | What::Recover(_) | What::Purge => None,
        };
        self.keep_receipts(all.into_iter().filter_map(record).collect());
    }

    /// Sends what the messages so far led to.
    fn send(&mut self) {
        if !self.to_load.is_empty() {
            let _ = self.loader.send(std::mem::take(&mut self.to_load));
        }
        if self.batch.is_empty() {
            return;
        }
        let items = std::mem::take(&mut self.batch);
        // Where nothing else goes on, a single step is written here: two threads need not wake for it.
        // Not to a store across a network, which may be silent for longer than the leases last.
        if self.committing == 0 && items.len() == 1 && !self.inner.nodes.shared {
            let written = committer::write(&*self.inner.store, &self.tenure.leases, &items);
            self.committing = written.len();
            let _ = self.inner.executions.send(Message::Written(written));
            return;
        }
        self.committing += items.len();
        let _ = self.committer.send(Commit::Steps(items, Arc::clone(&self.tenure.leases)));
    }

    fn fire_timers(&mut self, now: Timestamp) {
        while let Some(id) = self.timers.pop(now) {
            if let Some(Slot::Hot(hot)) = self.slots.get_mut(&id) {
                hot.armed = None;
            }
            self.happens(id, What::Input(Box::new(Input::TimerDue)), None);
        }
        while self.again.front().is_some_and(|(at, ..)| *at <= now) {
            let (_, id, what) = self.again.pop_front().expect("seen above");
            self.happens(id, what, None);
        }
        self.read_timers(now);
    }

    pub(super) fn read_timers(&mut self, now: Timestamp) {
        if let Some((reading, until)) = self.timers.wants(now) {
            let leases = &self.tenure.leases;
            recover::read_timers(&self.inner, &self.tokio, leases, (reading, until));
        }
    }

    fn shrink(&mut self, class: &str, freed: &AtomicU64) {
        let before = self.slots.len();
        self.slots.retain(|_, slot| match slot {
            Slot::Hot(hot) => !hot.is_idle() || hot.row.class != class,
            Slot::Loading(_) => true,
        });
        let forgotten = before - self.slots.len();
        freed.fetch_add(forgotten as u64, Ordering::Relaxed);
        tracing::debug!(class, forgotten, "executions that wait are forgotten for their memory");
    }

    fn touch(&mut self, id: ExecutionId) {
        self.ticks += 1;
        if let Some(Slot::Hot(hot)) = self.slots.get_mut(&id) {
            hot.touched = self.ticks;
            if hot.is_idle() {
                self.idle.push_back((self.ticks, id));
            }
        }
    }

    /// Forgets executions that ended, and of those that wait the longest untouched.
    fn forget(&mut self) {
        const HOT_MAX: usize = limits::EXECUTIONS_HOT_MAX;
        while self.slots.len() > HOT_MAX || self.idle.len() > 4 * HOT_MAX {
            let Some((tick, id)) = self.idle.pop_front() else { return };
            let forgettable = match self.slots.get(&id) {
                Some(Slot::Hot(hot)) => hot.touched == tick && hot.is_idle(),
                Some(Slot::Loading(_)) | None => false,
            };
            if forgettable {
                self.slots.remove(&id);
            }
        }
    }
}
