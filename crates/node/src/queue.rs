//! The queue of asynchronous calls: the store is the truth, this task decides when each is tried.
//!
//! Each class has its own window of calls under way, so that a flood of one class does not stand
//! before the calls of another.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{ClassId, InvocationId, Timestamp};
use store::{AsyncCall, Mode, QueueChange, Store};
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
    Stop,
}

/// The queue's task.
pub(crate) struct Queue {
    inner: Arc<Inner>,
    calls: HashMap<InvocationId, AsyncCall>,
    waiting: BTreeSet<(Timestamp, InvocationId)>,
    ready: BTreeMap<ClassId, VecDeque<InvocationId>>,
    running: HashMap<InvocationId, ClassId>,
}

/// Every call that an earlier run of the node left behind.
pub(crate) fn load(store: &dyn Store) -> Result<Vec<AsyncCall>, store::Error> {
    let mut calls = Vec::new();
    let mut known = BTreeSet::new();
    loop {
        let due = store.due(Timestamp(u64::MAX), &known, PAGE)?;
        if due.calls.is_empty() {
            return Ok(calls);
        }
        known.extend(due.calls.iter().map(|call| call.id));
        calls.extend(due.calls);
    }
}

impl Queue {
    pub(crate) fn new(inner: Arc<Inner>, left: Vec<AsyncCall>) -> Self {
        let mut queue = Self {
            inner,
            calls: HashMap::new(),
            waiting: BTreeSet::new(),
            ready: BTreeMap::new(),
            running: HashMap::new(),
        };
        for call in left {
            queue.accept(call);
        }
        queue
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
                Some(QueueEvent::Accepted(call)) => self.accept(*call),
                Some(QueueEvent::Settled(change)) => self.settled(*change),
                Some(QueueEvent::Stop) | None => return,
            }
        }
    }

    fn accept(&mut self, call: AsyncCall) {
        self.waiting.insert((call.not_before, call.id));
        self.calls.insert(call.id, call);
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
