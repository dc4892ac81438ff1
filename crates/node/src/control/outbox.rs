//! Receipts on their way to the writer, in company: handing each over alone would wake the writer
//! for every call.

use std::sync::mpsc::Sender;
use std::time::Duration;

use model::Timestamp;
use store::Mode;

use super::Ended;
use crate::writer::Write;

/// The longest that a receipt waits here.
const LINGER: Duration = Duration::from_millis(5);
/// Receipts that go together at most.
const BATCH_MAX: usize = 64;

pub(crate) struct Outbox {
    writer: Sender<Write>,
    ended: Vec<Ended>,
    due: Option<Timestamp>,
}

impl Outbox {
    pub(crate) fn new(writer: Sender<Write>) -> Self {
        Self { writer, ended: Vec::new(), due: None }
    }

    /// Takes a receipt. That of a queued call goes at once, since the queue waits for it.
    pub(crate) fn put(&mut self, now: Timestamp, ended: Ended) {
        let urgent = ended.flight.work.mode == Mode::Async;
        self.ended.push(ended);
        self.due.get_or_insert(now + LINGER);
        if urgent || self.ended.len() >= BATCH_MAX {
            self.send();
        }
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.due
    }

    /// Sends what has waited long enough.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        if self.due.is_some_and(|due| due <= now) {
            self.send();
        }
    }

    /// Sends everything.
    pub(crate) fn send(&mut self) {
        self.due = None;
        if self.ended.is_empty() {
            return;
        }
        let ended = std::mem::take(&mut self.ended);
        let count = ended.len();
        if self.writer.send(Write::Ended(ended)).is_err() {
            tracing::error!(count, "the writer of receipts is gone; receipts are lost");
        }
    }

    /// Sends everything, then this.
    pub(crate) fn send_with(&mut self, write: Write) {
        self.send();
        let _ = self.writer.send(write);
    }
}
