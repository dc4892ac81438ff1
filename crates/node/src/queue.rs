//! The queue of asynchronous calls: the store is the truth, this task decides when each is tried.
//!
//! Each class has its own window of calls under way, so that a flood of one class does not stand
//! before the calls of another.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{ClassId, InvocationId, Timestamp};
use store::{AsyncCall, Mode, QueueChange};
use tokio::sync::mpsc;

use crate::control::RecordedBy;
use crate::error::{Error, ErrorKind};
use crate::inner::{Attempt, Inner, Wanted, not_started};
use crate::writer::{Write, retry_or_bury};

/// Calls of one class handed to the schedulers and not settled.
const WINDOW: usize = 256;
/// Wait before a call that was refused for load or budget is offered again.
const REFUSED_WAIT: Duration = Duration::from_secs(1);
/// Rows asked of the store at a time.
const PAGE: usize = 500;

/// What the queue's task is told.
pub(crate) enum QueueEvent {
    /// A call that is in the store.
    Accepted(Box<AsyncCall>),
    /// What became of one, after the commit.
    Settled(Box<QueueChange>),
    /// This node runs the queue from now on: everything in the store is its to do.
    Own,
    /// Another node does.
    Lost,
    /// Other nodes may have queued calls.
    Look,
    /// What the store has, and whether that is all.
    Read(Vec<AsyncCall>, bool),
    Stop,
}

/// The queue's task.
pub(crate) struct Queue {
    inner: Arc<Inner>,
    /// Whether this node runs the queue.
    owns: bool,
    /// Whether the store is being read, and shall be once more.
    reading: Option<bool>,
    /// Calls that ended meanwhile: what is read may still have them.
    ended: BTreeSet<InvocationId>,
    calls: HashMap<InvocationId, AsyncCall>,
    waiting: BTreeSet<(Timestamp, InvocationId)>,
    ready: BTreeMap<ClassId, VecDeque<InvocationId>>,
    running: HashMap<InvocationId, ClassId>,
}

impl Queue {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            owns: false,
            reading: None,
            ended: BTreeSet::new(),
            calls: HashMap::new(),
            waiting: BTreeSet::new(),
            ready: BTreeMap::new(),
            running: HashMap::new(),
        }
    }

    /// Runs until [`QueueEvent::Stop`]. What is not settled then is found again at the next start.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<QueueEvent>) {
        loop {
            self.start_due();
            let next = self.waiting.first().map(|(at, _)| at.since(self.inner.clock.now()));
            let event = match next {
                Some(wait) => match tokio::time::timeout(wait, inbox.recv()).await {
                    Ok(event) => event,
                    Err(_) => continue,
                },
                None => inbox.recv().await,
            };
            match event {
                Some(QueueEvent::Accepted(call)) => self.accepted(*call),
                Some(QueueEvent::Settled(change)) => self.settled(*change),
                Some(QueueEvent::Own) => {
                    self.owns = true;
                    self.look();
                }
                Some(QueueEvent::Lost) => self.lost(),
                Some(QueueEvent::Look) => self.look(),
                Some(QueueEvent::Read(calls, is_all)) => self.read(calls, is_all),
                Some(QueueEvent::Stop) | None => return,
            }
        }
    }

    /// A call that this node put into the store, and counted.
    fn accepted(&mut self, call: AsyncCall) {
        if !self.owns || self.calls.contains_key(&call.id) {
            // Whoever runs the queue hears of it by the store; or it was read there before.
            self.inner.async_pending.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.accept(call);
        }
    }

    fn accept(&mut self, call: AsyncCall) {
        self.waiting.insert((call.not_before, call.id));
        self.calls.insert(call.id, call);
    }

    /// Reads what the store has and this task has not.
    fn look(&mut self) {
        if !self.owns {
            return;
        }
        if let Some(again) = &mut self.reading {
            *again = true;
            return;
        }
        self.reading = Some(false);
        let known = self.calls.keys().copied().collect();
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || read_store(&inner, known));
    }

    fn read(&mut self, calls: Vec<AsyncCall>, is_all: bool) {
        for call in calls {
            let id = call.id;
            if !self.owns || self.calls.contains_key(&id) || self.ended.contains(&id) {
                continue;
            }
            self.inner.async_pending.fetch_add(1, Ordering::Relaxed);
            if self.running.contains_key(&id) {
                // It runs here since before the queue went away and came back.
                self.calls.insert(id, call);
            } else {
                self.accept(call);
            }
        }
        if is_all {
            self.ended.clear();
            if self.reading.take() == Some(true) {
                self.look();
            }
        }
    }

    /// Another node runs the queue. What runs here ends here; its end is in the store.
    fn lost(&mut self) {
        self.owns = false;
        let count = u64::try_from(self.calls.len()).unwrap_or(u64::MAX);
        self.inner.async_pending.fetch_sub(count, Ordering::Relaxed);
        self.calls.clear();
        self.waiting.clear();
        self.ready.clear();
    }

    fn settled(&mut self, change: QueueChange) {
        let id = change.id();
        self.running.remove(&id);
        match change {
            QueueChange::Retry { attempt, not_before, failure, .. } => {
                let Some(call) = self.calls.get_mut(&id) else { return };
                call.attempt = attempt;
                call.not_before = not_before;
                call.last_failure = Some(failure);
                self.waiting.insert((not_before, id));
            }
            QueueChange::Complete(_) | QueueChange::Bury { .. } | QueueChange::Enqueue(_) => {
                if self.reading.is_some() {
                    self.ended.insert(id);
                }
                if self.calls.remove(&id).is_some() {
                    self.inner.async_pending.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn start_due(&mut self) {
        let now = self.inner.clock.now();
        while let Some((_, id)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            let (at, _) = self.waiting.pop_first().expect("seen above");
            debug_assert!(at <= now);
            if let Some(call) = self.calls.get(&id) {
                self.ready.entry(class_of(&self.inner, call)).or_default().push_back(id);
            }
        }
        for (class, ready) in self.ready.iter_mut().rev() {
            let running = self.running.values().filter(|other| *other == class).count();
            for id in ready.drain(..ready.len().min(WINDOW.saturating_sub(running))) {
                let Some(call) = self.calls.get(&id) else { continue };
                self.running.insert(id, *class);
                tokio::spawn(attempt(Arc::clone(&self.inner), call.clone(), *class));
            }
        }
    }
}

/// Sends the queue's task every call of the store that is not known, page by page.
fn read_store(inner: &Inner, mut known: BTreeSet<InvocationId>) {
    loop {
        let (calls, is_all) = match inner.store.due(Timestamp(u64::MAX), &known, PAGE) {
            Ok(due) => {
                known.extend(due.calls.iter().map(|call| call.id));
                let is_all = due.calls.len() < PAGE;
                (due.calls, is_all)
            }
            Err(error) => {
                tracing::warn!(%error, "queued calls cannot be read; trying again");
                std::thread::sleep(REFUSED_WAIT);
                if inner.draining.load(Ordering::Relaxed) {
                    return;
                }
                continue;
            }
        };
        if inner.queue.blocking_send(QueueEvent::Read(calls, is_all)).is_err() || is_all {
            return;
        }
    }
}

/// The class on today's price list; the lowest where the call's class is no longer there.
fn class_of(inner: &Inner, call: &AsyncCall) -> ClassId {
    inner.prices.find(&call.class).unwrap_or_else(|| inner.prices.lowest())
}

/// Makes one attempt. Its end is settled by the writer, together with its receipt; only what
/// could not be started is settled here.
async fn attempt(inner: Arc<Inner>, call: AsyncCall, class: ClassId) {
    let wanted = Wanted {
        tenant: call.tenant,
        function: call.function,
        version: call.version,
        class,
        max_class: inner.prices.find(&call.max_class).unwrap_or(class).max(class),
        payload: call.payload.into(),
        traceparent: call.traceparent,
        caller: call.caller,
        depth: call.depth,
        arrived: call.arrived,
    };
    let which = Attempt {
        id: call.id,
        attempt: call.attempt,
        first_attempt: call.first_attempt,
        mode: Mode::Async,
        recorded_by: RecordedBy::Writer,
    };
    let refused = {
        let inner = Arc::clone(&inner);
        Box::new(move |result: Result<_, Error>| {
            if let Err(error) = result {
                settle_refused(&inner, which, &error);
            }
        })
    };
    if let Err(error) = inner.submit(wanted, which, refused).await {
        settle_refused(&inner, which, &error);
    }
}

/// A call refused for load, budget or shut-down waits and costs no attempt; any other refusal is a
/// failed attempt.
fn settle_refused(inner: &Inner, which: Attempt, error: &Error) {
    let now = inner.clock.now();
    let failure = not_started(error);
    let change = match error.kind {
        ErrorKind::OverBudget
        | ErrorKind::Overloaded
        | ErrorKind::Draining
        | ErrorKind::Storage => {
            let not_before = now + error.retry_after.unwrap_or(REFUSED_WAIT);
            QueueChange::Retry { id: which.id, attempt: which.attempt, not_before, failure }
        }
        _ => {
            let made = which.attempt + 1 - which.first_attempt;
            retry_or_bury(which.id, which.attempt, made, now, failure)
        }
    };
    let _ = inner.writer.send(Write::Settle(Box::new(change)));
}
