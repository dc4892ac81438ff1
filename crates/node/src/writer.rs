//! The one writer of receipts and of the queue: many changes, one commit.
//!
//! Receipts may wait a moment for company; what somebody waits for is committed at once, with
//! everything else that has come in meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use model::{InvocationId, PriceList, Timestamp, limits};
use store::{AsyncCall, Batch, Mode, QueueChange, Store};
use tokio::sync::oneshot;

use crate::control::Ended;
use crate::record::{note, to_record};
use crate::settings::{Observed, Observer};

/// How long a receipt waits for company.
const LINGER: Duration = Duration::from_millis(20);
/// Changes in one commit.
const BATCH_MAX: usize = 1_000;
/// Wait after a failed commit; it doubles.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait between two tries of a commit.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What the writer is told.
pub(crate) enum Write {
    Ended(Vec<Ended>),
    /// Receipts that are none of a step.
    Records(Vec<store::InvocationRecord>),
    Enqueue(Box<AsyncCall>, oneshot::Sender<Result<(), store::Error>>),
    /// A queued call that could not even be started.
    Settle(Box<QueueChange>),
    /// Answer when everything said before is in the store.
    Flush(oneshot::Sender<()>),
    Stop,
}

/// What the writer is made of.
pub(crate) struct Writer {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) prices: PriceList,
    /// Receipts taken and not yet in the store.
    pub(crate) pending: Arc<AtomicU64>,
    /// Hears of each queued call that was settled, after the commit.
    pub(crate) settled: Box<dyn Fn(QueueChange) + Send>,
    /// Hears of each attempt that ended.
    pub(crate) observer: Option<Observer>,
}

#[derive(Default)]
struct Pending {
    batch: Batch,
    enqueued: Vec<(AsyncCall, oneshot::Sender<Result<(), store::Error>>)>,
    flushed: VecDeque<oneshot::Sender<()>>,
    urgent: bool,
    stop: bool,
}

impl Writer {
    /// Runs until [`Write::Stop`], or until nobody can send any more; then commits what is left.
    pub(crate) fn run(self, inbox: &Receiver<Write>) {
        let mut pending = Pending::default();
        while !pending.stop {
            self.gather(inbox, &mut pending);
            self.commit(&mut pending);
        }
    }

    fn gather(&self, inbox: &Receiver<Write>, pending: &mut Pending) {
        match inbox.recv() {
            Ok(write) => self.take(write, pending),
            Err(_) => pending.stop = true,
        }
        let until = Instant::now() + LINGER;
        while pending.len() < BATCH_MAX && !pending.stop {
            let left =
                if pending.urgent { Duration::ZERO } else { until - Instant::now().min(until) };
            match inbox.recv_timeout(left) {
                Ok(write) => self.take(write, pending),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => pending.stop = true,
            }
        }
    }

    fn take(&self, write: Write, pending: &mut Pending) {
        match write {
            Write::Ended(all) => {
                for ended in all {
                    if let Some(observer) = &self.observer {
                        observer(observed(&ended));
                    }
                    if ended.flight.work.mode == Mode::Async {
                        pending.batch.queue.push(settle(&ended));
                        pending.urgent = true;
                    }
                    pending.batch.records.push(to_record(ended, &self.prices));
                }
            }
            Write::Records(records) => pending.batch.records.extend(records),
            Write::Enqueue(call, reply) => {
                pending.enqueued.push((*call, reply));
                pending.urgent = true;
            }
            Write::Settle(change) => {
                pending.batch.queue.push(*change);
                pending.urgent = true;
            }
            Write::Flush(reply) => {
                pending.flushed.push_back(reply);
                pending.urgent = true;
            }
            Write::Stop => pending.stop = true,
        }
    }

    /// Commits until it succeeds: a receipt is never dropped. Whoever enqueues hears of a failure
    /// at once instead.
    fn commit(&self, pending: &mut Pending) {
        let records = u64::try_from(pending.batch.records.len()).unwrap_or(u64::MAX);
        let calls = pending.enqueued.iter().map(|(call, _)| QueueChange::Enqueue(call.clone()));
        let mut whole = std::mem::take(&mut pending.batch);
        let settled = whole.queue.clone();
        whole.queue.extend(calls);
        let mut backoff = BACKOFF_FIRST;
        let mut result = self.try_commit(&whole);
        if let Err(error) = result {
            whole.queue.truncate(settled.len());
            for (_, reply) in pending.enqueued.drain(..) {
                let reason = error.to_string();
                let _ = reply.send(Err(store::Error::Transient { reason }));
            }
            tracing::warn!(%error, records, "receipts wait: the store cannot write");
            loop {
                std::thread::sleep(backoff);
                result = self.try_commit(&whole);
                if result.is_ok() {
                    tracing::info!(records, "the store writes again");
                    break;
                }
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
        self.pending.fetch_sub(records, Ordering::Relaxed);
        for (_, reply) in pending.enqueued.drain(..) {
            let _ = reply.send(Ok(()));
        }
        for change in settled {
            (self.settled)(change);
        }
        for reply in pending.flushed.drain(..) {
            let _ = reply.send(());
        }
        pending.urgent = false;
    }

    fn try_commit(&self, batch: &Batch) -> Result<(), store::Error> {
        if batch.is_empty() { Ok(()) } else { self.store.commit(batch) }
    }
}

impl Pending {
    fn len(&self) -> usize {
        self.batch.records.len() + self.batch.queue.len() + self.enqueued.len()
    }
}

pub(crate) fn observed(ended: &Ended) -> Observed {
    let work = &ended.flight.work;
    Observed {
        tenant: work.code.tenant.clone(),
        function: work.code.function.clone(),
        class: ended.receipt.class,
        arrived: work.arrived,
        started: ended.flight.started,
        finished: ended.finished,
        cpu: ended.receipt.cpu,
        memory: ended.receipt.memory,
    }
}

/// What becomes of a queued call after this attempt.
fn settle(ended: &Ended) -> QueueChange {
    let work = &ended.flight.work;
    match &ended.outcome {
        Ok(_) => QueueChange::Complete(work.id),
        Err(failure) => {
            let made = work.attempt + 1 - work.first_attempt;
            retry_or_bury(work.id, work.attempt, made, ended.finished, note(failure.clone()))
        }
    }
}

/// The next attempt after a wait that doubles, or the dead-letter list after the last one.
pub(crate) fn retry_or_bury(
    id: InvocationId,
    attempt: u32,
    made: u32,
    now: Timestamp,
    failure: store::FailureNote,
) -> QueueChange {
    if made >= limits::ASYNC_ATTEMPTS_MAX {
        return QueueChange::Bury { id, at: now, failure };
    }
    let wait = limits::ASYNC_BACKOFF_FIRST.saturating_mul(1 << made.saturating_sub(1).min(16));
    let not_before = now + wait.min(limits::ASYNC_BACKOFF_MAX);
    QueueChange::Retry { id, attempt: attempt + 1, not_before, failure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::FailureKind;

    #[test]
    fn retries_wait_twice_as_long_each_time_and_end_in_the_dead_letter_list() {
        let note = || store::FailureNote { kind: FailureKind::Handler, message: "no".into() };
        let id = InvocationId(7);
        let check = |made: u32, expected: Option<u64>| match retry_or_bury(
            id,
            made,
            made,
            Timestamp(0),
            note(),
        ) {
            QueueChange::Retry { not_before, attempt, .. } => {
                assert_eq!(Some(not_before.as_millis()), expected);
                assert_eq!(attempt, made + 1);
            }
            QueueChange::Bury { .. } => assert_eq!(expected, None),
            other => panic!("{other:?}"),
        };
        check(1, Some(1_000));
        check(2, Some(2_000));
        check(3, None);
        check(4_000_000_000, None);
    }
}
