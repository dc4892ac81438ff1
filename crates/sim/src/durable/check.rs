//! What must never be, and what must be in the end.
//!
//! The checker keeps its own books from what was committed, told and done.

use std::collections::{BTreeMap, BTreeSet};

use engine::{Call, Event, Execution, Outcome, Output, Payload, Totals, Verdict};
use model::suspend::{Ask, InvokeMode, OpId, Resolution};
use model::{ExecutionId, InvocationId, Timestamp};

use super::program::Seen;
use super::store::{Change, Row};
use super::{DurableReport, Reply, World};

#[derive(Debug, Default)]
pub(super) struct Checker {
    books: BTreeMap<ExecutionId, Book>,
    /// Whose call an id is, and the receipt of its first run.
    calls: BTreeMap<InvocationId, Known>,
    /// Payloads of calls that ran, with the first id.
    first_of: BTreeMap<Vec<u8>, InvocationId>,
    durable: BTreeSet<(usize, u64)>,
    tokens: BTreeSet<String>,
}

#[derive(Debug)]
struct Known {
    execution: ExecutionId,
    op: OpId,
    mode: InvokeMode,
    is_leaf: bool,
    receipt: Option<Totals>,
}

/// The books of one execution.
#[derive(Debug, Default)]
struct Book {
    records: u64,
    timers: BTreeMap<OpId, Timestamp>,
    /// Asked and not resolved.
    open: BTreeSet<OpId>,
    call_ids: BTreeSet<InvocationId>,
    turn: u64,
    outcomes: Vec<Outcome>,
    has_ended: bool,
    held: Option<(Timestamp, u64)>,
    byte_nanos: u128,
}

impl Checker {
    /// A change was committed.
    pub(super) fn committed(&mut self, change: &Change, row: &Row) {
        let book = self.books.entry(change.id).or_default();
        for (at, bytes) in &change.held {
            let (until, before) = book.held.unwrap_or((*at, 0));
            book.byte_nanos += u128::from(before) * u128::from(at.0.saturating_sub(until.0));
            book.held = Some((until.max(*at), *bytes));
        }
        for output in &change.outputs {
            if let Output::History(record) = output {
                book.records += 1;
                let (seq, at) = (record.seq, record.at);
                assert_eq!(seq, book.records, "check failed: {} lost a record", change.id);
                book.enter(change.id, at, &record.event);
            }
        }
        assert_eq!(
            row.history.len() as u64 + row.forgotten,
            book.records,
            "check failed: {} has another history",
            change.id
        );
    }

    pub(super) fn durable(&mut self, _to: ExecutionId, reply: Reply, _: Option<&Verdict>) {
        if let Reply::Client { client, request } = reply {
            self.durable.insert((client, request));
        }
    }

    /// A client is about to hear what became of its request.
    pub(super) fn tells(&self, client: usize, request: u64) {
        let is_durable = self.durable.contains(&(client, request));
        assert!(is_durable, "check failed: client {client} is told before the commit");
    }

    /// Somebody outside is told the outcome.
    pub(super) fn told(&self, id: ExecutionId, outcome: &Outcome) {
        let known = self.books.get(&id).is_some_and(|book| book.outcomes.contains(outcome));
        assert!(known, "check failed: {id} tells an outcome that was not committed");
    }

    /// A call is made, maybe again.
    pub(super) fn called(&mut self, execution: ExecutionId, call: &Call) {
        let book = self.books.get(&execution).expect("it was committed");
        let asked = book.call_ids.contains(&call.id);
        assert!(asked, "check failed: {execution} calls {} without having asked", call.id);
        let known = self.calls.entry(call.id).or_insert_with(|| Known {
            execution,
            op: call.op,
            mode: call.mode,
            is_leaf: call.function != "flow" && call.function != "missing",
            receipt: None,
        });
        let same = (known.execution, known.op) == (execution, call.op);
        assert!(same, "check failed: {} is two calls", call.id);
    }

    pub(super) fn ran(&mut self, _: ExecutionId, call: &Call, used: Totals) {
        let known = self.calls.get_mut(&call.id).expect("it was called");
        known.receipt.get_or_insert(used);
        if let Payload::Inline(payload) = &call.payload {
            self.first_of.entry(payload.clone()).or_insert(call.id);
        }
    }

    pub(super) fn is_first_of(&self, call: &Call) -> bool {
        let Payload::Inline(payload) = &call.payload else { return false };
        self.first_of.get(payload) == Some(&call.id)
    }

    pub(super) fn is_leaf(&self, id: InvocationId) -> bool {
        self.calls.get(&id).is_some_and(|known| known.is_leaf)
    }

    pub(super) fn receipt(&self, id: InvocationId) -> Totals {
        self.calls.get(&id).and_then(|known| known.receipt).unwrap_or_default()
    }

    pub(super) fn knows_token(&mut self, text: &str) -> bool {
        !self.tokens.insert(text.to_owned())
    }
}

impl Book {
    fn enter(&mut self, id: ExecutionId, at: Timestamp, event: &Event) {
        match event {
            Event::Asked { op, ask, id: call } => {
                self.open.insert(*op);
                self.call_ids.extend(*call);
                if let Ask::Timer { at } = ask {
                    self.timers.insert(*op, *at);
                }
            }
            Event::Resolved { op, .. } => {
                assert!(self.open.remove(op), "check failed: {id} #{} ended twice", op.0);
                let early = self.timers.get(op).is_some_and(|due| *due > at);
                assert!(!early, "check failed: {id} #{} fired early", op.0);
            }
            Event::Suspended { turn, .. } => {
                assert!(*turn > self.turn, "check failed: {id} ended turn {turn} again");
                self.turn = *turn;
            }
            Event::Again { .. } => {
                self.open.clear();
                self.timers.clear();
            }
            Event::Ended { outcome } => {
                assert!(!self.has_ended, "check failed: {id} ended twice");
                self.has_ended = true;
                self.outcomes.push(outcome.clone());
            }
            Event::Redriven { .. } => {
                assert!(self.has_ended, "check failed: {id} was redriven while open");
                self.has_ended = false;
            }
            Event::Started { .. }
            | Event::TurnLost { .. }
            | Event::Dropped { .. }
            | Event::Stopped { .. }
            | Event::Kept { .. }
            | Event::TokenKept { .. }
            | Event::Late { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Cancelled { .. }
            | Event::Note(_) => {}
        }
    }
}

impl World {
    pub(super) fn who_is_stuck(&self) -> String {
        let mut who = String::from("not all has come to its end:");
        for (id, row) in &self.store.rows {
            if !self.is_settled(*id) {
                let execution = Execution::decode(&row.state).expect("as it was encoded");
                let (status, waits) = (execution.status().code(), execution.waits());
                who += &format!(" {id} is {status}, waits for {waits}, {:?};", row.outbox.keys());
            }
        }
        for client in self.clients.iter().filter(|client| !client.is_done()) {
            who += &format!(" {client:?};");
        }
        who
    }

    /// Looks over everything after the last event.
    pub(super) fn finish(mut self) -> DurableReport {
        let is_at_rest = self.is_at_rest();
        assert!(is_at_rest, "check failed: {}", self.who_is_stuck());
        self.report.executions = self.store.rows.len() as u64;
        for (id, row) in &self.store.rows {
            let execution = Execution::decode(&row.state).expect("as it was encoded");
            assert_eq!(row.timer, None, "check failed: {id} has a timer");
            self.check_money(*id, &execution);
            self.check_seen(*id, &execution);
            self.check_parent(*id, &execution);
        }
        self.report
    }

    /// Every receipt is in the books of exactly the one who waited for it, storage to the
    /// byte-nanosecond.
    fn check_money(&self, id: ExecutionId, execution: &Execution) {
        let book = &self.checker.books[&id];
        let own = execution.account().own;
        assert_eq!(own.stored_byte_nanos, book.byte_nanos, "check failed: storage of {id}");
        let awaited = |(call, known): (&InvocationId, &Known)| {
            if known.execution != id || known.mode != InvokeMode::Wait {
                return None;
            }
            let child = engine::child_id(*call);
            let below = self.store.rows.get(&child).map(|row| {
                let child = Execution::decode(&row.state).expect("as it was encoded");
                child.account().total()
            });
            below.or(known.receipt)
        };
        let expected = self.checker.calls.iter().filter_map(awaited);
        let expected = expected.fold(Totals::default(), Totals::plus);
        let below = execution.account().below;
        assert_eq!(below, expected, "check failed: what {id} spent below it");
    }

    /// Signals are seen once, in order; all of them where the execution succeeded.
    fn check_seen(&self, id: ExecutionId, execution: &Execution) {
        let Some((_, Ok(Payload::Inline(answer)))) = execution.outcome() else { return };
        let seen: Seen = serde_json::from_slice(answer).expect("our own answer");
        let Some(client) = self.clients.iter().find(|client| client.execution == id) else {
            return;
        };
        assert_eq!(seen.signals, client.acknowledged, "check failed: signals of {id}");
    }

    /// A parent that waited was told the child's outcome and no other.
    fn check_parent(&self, id: ExecutionId, execution: &Execution) {
        let Some(parent) = execution.birth().parent else { return };
        let outcomes = &self.checker.books[&id].outcomes;
        assert_eq!(outcomes.len(), 1, "check failed: {id} has {} outcomes", outcomes.len());
        // Another call may have had the same number, in another attempt or generation.
        let mut is_this_call = false;
        let told = self.store.rows[&parent.execution].history.iter().filter_map(|record| {
            match &record.event {
                Event::Asked { op, id: call, .. } if *op == parent.op => {
                    is_this_call = *call == Some(parent.id);
                    None
                }
                Event::Resolved { op, resolution } if *op == parent.op && is_this_call => {
                    Some(resolution)
                }
                _ => None,
            }
        });
        for resolution in told {
            let same = match (resolution, &outcomes[0]) {
                (Resolution::Ok(told), Ok(answer)) => told == answer,
                (Resolution::Failed(told), Err(failure)) => told == failure,
                _ => false,
            };
            assert!(same, "check failed: the parent of {id} heard {resolution:?}");
        }
    }
}
