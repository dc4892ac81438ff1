//! One step of one execution: what comes in, what is committed, what follows.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::{Effect, Execution, Input, Output, Verdict};
use model::{ExecutionId, Timestamp};
use store::{Committed, ExecutionCommit, HistoryRow, Revision, RowChange};

use super::payloads::StepPayloads;
use super::slot::{Hot, Slot, StartResult, Waiting, What, Writing};
use super::tenure::moves;
use super::{Ack, COMMIT_RETRY, Executions, FOLLOW_LAG_MAX, News, Start, committer, types};
use crate::error::{Error, ErrorKind};
use crate::inner::storage;

/// Inputs of one execution that share a commit.
const STEPS_MAX: usize = 256;

/// What one or more steps led to.
struct Stepped {
    writing: Writing,
    outputs: Vec<Output>,
    commit: ExecutionCommit,
    /// Effects of an earlier run of a node that may have to be done again.
    recovered: Vec<Effect>,
}

impl Stepped {
    fn new(commit: ExecutionCommit) -> Self {
        let (writing, outputs, recovered) = (Writing::default(), Vec::new(), Vec::new());
        Self { writing, outputs, commit, recovered }
    }
}

impl Executions {
    /// Begins an execution that is not in the store yet.
    pub(super) fn start(&mut self, now: Timestamp, start: Start) {
        let Some(start) = self.admit_start(start) else { return };
        let Start { birth, row, entry, orchestrator, replace, reply } = start;
        let id = birth.id;
        match self.slots.get(&id) {
            None => {}
            Some(Slot::Hot(_)) => return reply(StartResult::Exists(id)),
            Some(Slot::Loading(_)) => {
                // Only then it is known whether the store has it.
                let message = format!("{id} is being read; try again");
                let error = Error::new(ErrorKind::Storage, message).retry_after(COMMIT_RETRY);
                return reply(StartResult::Failed(error));
            }
        }
        let mut outputs = Vec::new();
        let mut payloads = StepPayloads::new(&*self.inner.store);
        let birth = payloads.birth(birth);
        let mut execution = Execution::start(now, birth, &mut outputs);
        if let Some(orchestrator) = &orchestrator {
            let turned = engine::run_turns(
                &mut execution,
                &**orchestrator,
                &mut payloads,
                now,
                &mut outputs,
            );
            if let Err(error) = turned {
                reply(StartResult::Failed(storage(error)));
                return;
            }
        }
        let mut commit = ExecutionCommit::new(id, Revision(0));
        commit.blobs = payloads.into_made();
        if let Some((ended, revision)) = replace {
            let mut free = ExecutionCommit::new(ended, revision);
            free.free_name = true;
            self.batch.push(free);
        }
        let mut hot = Box::new(Hot {
            execution,
            row,
            entry,
            orchestrator,
            revision: Revision(0),
            writing: None,
            waiting: VecDeque::new(),
            touched: 0,
            armed: None,
            lost: false,
        });
        let mut stepped = Stepped { outputs, ..Stepped::new(commit) };
        stepped.writing.started = Some(reply);
        self.write(now, id, &mut hot, stepped);
        self.slots.insert(id, Slot::Hot(hot));
    }

    /// Something happens to an execution.
    pub(super) fn happens(&mut self, id: ExecutionId, what: What, ack: Option<Ack>) {
        let Some((what, ack)) = self.admit(id, what, ack) else { return };
        let waiting = Waiting { what, ack };
        match self.slots.get_mut(&id) {
            Some(Slot::Loading(queue)) => queue.push_back(waiting),
            Some(Slot::Hot(hot)) => {
                hot.waiting.push_back(waiting);
                self.to_step.push(id);
            }
            None => {
                self.slots.insert(id, Slot::Loading(VecDeque::from([waiting])));
                self.to_load.push(id);
            }
        }
    }

    /// Executions came from the store.
    pub(super) fn loaded(
        &mut self,
        now: Timestamp,
        ids: &[ExecutionId],
        read: Result<Vec<store::Execution>, Arc<store::Error>>,
    ) {
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, count = ids.len(), "executions cannot be read; trying again");
                for id in ids {
                    self.unload(now, *id, &|| storage_unavailable(&error));
                }
                return;
            }
        };
        let mut missing: std::collections::BTreeSet<ExecutionId> = ids.iter().copied().collect();
        for found in read {
            missing.remove(&found.id);
            let id = found.id;
            let Some(Slot::Loading(queue)) = self.slots.remove(&id) else { continue };
            match self.hot(found) {
                Ok(mut hot) => {
                    hot.waiting = queue;
                    self.slots.insert(id, Slot::Hot(hot));
                    self.to_step.push(id);
                }
                Err(error) => {
                    tracing::error!(%id, error = %error.message, "an execution cannot be loaded");
                    self.drop_waiting(queue, &|| Error::new(error.kind, error.message.clone()));
                }
            }
        }
        for id in missing {
            let Some(Slot::Loading(queue)) = self.slots.remove(&id) else { continue };
            let none = || Error::new(ErrorKind::NotFound, format!("no execution {id}"));
            self.drop_waiting(queue, &none);
        }
    }

    /// What waits for an execution that is not there. What was used is billed nevertheless.
    fn drop_waiting(&self, queue: VecDeque<Waiting>, why: &dyn Fn() -> Error) {
        for Waiting { what, ack } in queue {
            self.keep_receipts_of([what]);
            if let Some(ack) = ack {
                ack(Err(why()));
            }
        }
    }

    /// An execution as it is in the store, made ready for steps.
    fn hot(&self, found: store::Execution) -> Result<Box<Hot>, Error> {
        let store::Execution { id, revision, mut row } = found;
        let state = std::mem::take(&mut row.state);
        let execution = Execution::decode(&state).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("the state of {id} is damaged: {error}"))
        })?;
        let entry = self.inner.find(&row.tenant, &row.function, Some(row.version))?;
        let orchestrator = self.inner.orchestrator(&entry)?;
        let (armed, waiting, writing) = (row.wake, VecDeque::new(), None);
        let touched = 0;
        Ok(Box::new(Hot {
            execution,
            row,
            entry,
            orchestrator,
            revision,
            writing,
            waiting,
            touched,
            armed,
            lost: false,
        }))
    }

    /// Steps each execution that something waits for: once all messages of the moment are taken, so
    /// that what came for one execution goes into one turn and one commit.
    pub(super) fn step_all(&mut self, now: Timestamp) {
        while !self.to_step.is_empty() {
            for id in std::mem::take(&mut self.to_step) {
                self.step(now, id);
            }
        }
    }

    /// Steps an execution by everything that waits for it, up to one commit.
    fn step(&mut self, now: Timestamp, id: ExecutionId) {
        let Some(Slot::Hot(hot)) = self.slots.get(&id) else { return };
        if hot.writing.is_some() || hot.waiting.is_empty() {
            return;
        }
        let Some(Slot::Hot(mut hot)) = self.slots.remove(&id) else { return };
        let mut payloads = StepPayloads::new(&*self.inner.store);
        let mut stepped = Stepped::new(ExecutionCommit::new(id, hot.revision));
        if let Err(error) = take_waiting(&mut hot, now, &mut payloads, &mut stepped) {
            self.slots.insert(id, Slot::Hot(hot));
            self.broken(now, id, stepped.writing, &error);
            return;
        }
        stepped.commit.blobs = payloads.into_made();
        let recovered = std::mem::take(&mut stepped.recovered);
        self.write(now, id, &mut hot, stepped);
        let outstanding: Vec<Effect> =
            recovered.into_iter().filter(|effect| hot.execution.is_wanted(effect)).collect();
        for effect in outstanding {
            self.act(id, &hot, effect);
        }
        if hot.writing.is_none() && !hot.waiting.is_empty() {
            self.to_step.push(id);
        }
        self.slots.insert(id, Slot::Hot(hot));
        self.touch(id);
    }

    /// Hands a step to the committer, or ends it at once where nothing is to be written.
    fn write(&mut self, now: Timestamp, id: ExecutionId, hot: &mut Hot, stepped: Stepped) {
        let Stepped { mut writing, outputs, mut commit, recovered: _ } = stepped;
        if outputs.is_empty() && !writing.purged {
            self.keep_receipts(commit.records);
            for (ack, verdict) in writing.acks {
                ack(verdict);
            }
            return;
        }
        for output in outputs {
            self.note(id, hot, &mut writing, &mut commit, output);
        }
        if !writing.purged {
            types::fill_row(&mut hot.row, &hot.execution, &self.inner.execution_prices, now);
            if hot.execution.may_purge().is_ok() {
                hot.row.wake = hot.row.finished.map(|at| at + self.inner.keep_executions);
            }
            self.arm(id, hot, hot.row.wake);
            let state = std::mem::take(&mut hot.row.state);
            let mut row = hot.row.clone();
            row.state = state;
            commit.row = RowChange::Put(Box::new(row));
        }
        hot.writing = Some(writing);
        self.batch.push(commit);
    }

    fn note(
        &mut self,
        id: ExecutionId,
        hot: &mut Hot,
        writing: &mut Writing,
        commit: &mut ExecutionCommit,
        output: Output,
    ) {
        match output {
            Output::Effect(effect) => {
                let key = effect.key();
                commit.outbox_done.retain(|done| *done != key);
                commit.outbox_put.retain(|(other, _)| *other != key);
                writing.effects.retain(|other| other.key() != key);
                commit.outbox_put.push((key, effect.encode()));
                writing.effects.push(effect);
            }
            Output::Settled(key) => {
                commit.outbox_put.retain(|(other, _)| *other != key);
                writing.effects.retain(|other| other.key() != key);
                commit.outbox_done.push(key);
            }
            Output::History(record) => {
                let blobs = record.blobs();
                let blobs = blobs.into_iter().map(store::BlobHash).collect();
                let (seq, at) = (record.seq, record.at);
                commit.history.push(HistoryRow { seq, at, bytes: record.encode(), blobs });
                // Kept for whoever begins to follow before the commit is over, too.
                writing.history.push(record);
            }
            Output::ForgetHistory { before } => commit.forget_history_before = Some(before),
            Output::Ended { outcome } => writing.ended = Some(outcome),
            // The row tells when it is to be woken.
            Output::Arm(_) | Output::Disarm | Output::Touched => {}
            Output::Closed { receipt, used } => {
                let prices = &self.inner.execution_prices;
                commit.records.extend(types::receipt(id, hot, (receipt, used), prices));
            }
        }
    }

    fn arm(&mut self, id: ExecutionId, hot: &mut Hot, at: Option<Timestamp>) {
        if hot.armed == at {
            return;
        }
        if let Some(before) = hot.armed {
            self.timers.disarm(before, id);
        }
        if let Some(at) = at {
            self.timers.arm(at, id);
        }
        hot.armed = at;
    }

    /// A commit is over: act, tell, and go on with what came meanwhile.
    pub(super) fn written(&mut self, now: Timestamp, written: committer::Written) {
        for (id, result) in written {
            let Some(Slot::Hot(hot)) = self.slots.get_mut(&id) else { continue };
            let Some(writing) = hot.writing.take() else { continue };
            let lost = hot.lost;
            match result {
                Ok(Committed::Applied(revision)) => {
                    hot.revision = revision;
                    self.applied(id, writing);
                    self.to_step.push(id);
                    self.touch(id);
                }
                Ok(refused) => self.refused(now, id, writing, refused),
                Err(error) => self.unwritten(now, id, writing, &error),
            }
            if lost {
                self.written_late(id);
            }
        }
    }

    fn applied(&mut self, id: ExecutionId, writing: Writing) {
        if writing.purged {
            self.slots.remove(&id);
        }
        if let Some(started) = writing.started {
            started(StartResult::New);
        }
        for (ack, verdict) in writing.acks {
            ack(verdict);
        }
        if let Some(outcome) = writing.ended {
            for watcher in self.watchers.remove(&id).unwrap_or_default() {
                let _ = watcher.send(outcome.clone());
            }
        }
        if !writing.history.is_empty()
            && let Some(followers) = self.followers.get_mut(&id)
        {
            let entries: Vec<_> = writing.history.iter().map(types::entry).collect();
            // Who does not keep up is let go, and may ask again from where it is.
            followers.retain(|follower| {
                entries.iter().all(|entry| follower.try_send(entry.clone()).is_ok())
            });
            debug_assert!(followers.iter().all(|f| f.max_capacity() <= FOLLOW_LAG_MAX));
            if followers.is_empty() {
                self.followers.remove(&id);
            }
        }
        if let Some(Slot::Hot(hot)) = self.slots.remove(&id) {
            if let Some(first) = writing.history.first()
                && hot.orchestrator.as_ref().is_some_and(|machine| machine.is_followed())
            {
                let tenant = hot.execution.birth().tenant.clone();
                self.inner.services.happened(News { execution: id, tenant, first: first.seq });
            }
            for effect in writing.effects {
                self.act(id, &hot, effect);
            }
            self.slots.insert(id, Slot::Hot(hot));
        }
    }

    /// The store did not take a step: somebody else has the execution, or its name.
    fn refused(&mut self, now: Timestamp, id: ExecutionId, writing: Writing, why: Committed) {
        let waiting = match self.slots.remove(&id) {
            Some(Slot::Hot(mut hot)) => {
                if let Some(at) = hot.armed {
                    self.timers.disarm(at, id);
                }
                std::mem::take(&mut hot.waiting)
            }
            Some(Slot::Loading(_)) | None => VecDeque::new(),
        };
        if let Some(started) = writing.started {
            started(match why {
                Committed::NameTaken(other) => StartResult::Exists(other),
                Committed::Conflict { .. } => StartResult::Exists(id),
                Committed::Fenced => StartResult::Moved,
                Committed::Applied(_) | Committed::BlobMissing(_) => {
                    let message = format!("the store did not take {id}: {why:?}");
                    StartResult::Failed(Error::new(ErrorKind::Storage, message))
                }
            });
            if why == Committed::Fenced {
                self.fenced(now, id);
            }
            return;
        }
        if why == Committed::Fenced {
            self.fenced(now, id);
            self.keep_receipts_of(writing.inputs);
            writing.acks.into_iter().for_each(|(ack, _)| ack(Err(moves(id))));
            // It is another's now: they go there.
            for Waiting { what, ack } in waiting {
                self.happens(id, what, ack);
            }
            return;
        }
        tracing::warn!(%id, ?why, "a step was not taken; loading the execution again");
        for (ack, _) in writing.acks {
            let message = format!("{id} changed at the same time; try again");
            ack(Err(Error::new(ErrorKind::Storage, message).retry_after(COMMIT_RETRY)));
        }
        for what in writing.inputs {
            self.happens(id, what, None);
        }
        for Waiting { what, ack } in waiting {
            self.happens(id, what, ack);
        }
    }

    /// The store could not write. Whoever waits hears of it; the rest is tried again, since nobody
    /// else would repeat it.
    fn unwritten(
        &mut self,
        now: Timestamp,
        id: ExecutionId,
        writing: Writing,
        error: &Arc<store::Error>,
    ) {
        tracing::warn!(%id, %error, "a step waits: the store cannot write");
        let at = now + COMMIT_RETRY;
        let unavailable = || storage_unavailable(error);
        if let Some(started) = writing.started {
            // The store does not have it, so nothing is to be read of it for its timer.
            if let Some(Slot::Hot(hot)) = self.slots.get_mut(&id)
                && let Some(at) = hot.armed.take()
            {
                self.timers.disarm(at, id);
            }
            started(StartResult::Failed(unavailable()));
        }
        for (ack, _) in writing.acks {
            ack(Err(unavailable()));
        }
        self.again.extend(writing.inputs.into_iter().map(|what| (at, id, what)));
        self.unload(now, id, &unavailable);
    }

    /// Forgets an execution whose state here is no longer what the store has. What waits for it is
    /// tried again, where nobody can be told.
    fn unload(&mut self, now: Timestamp, id: ExecutionId, why: &dyn Fn() -> Error) {
        let waiting = match self.slots.remove(&id) {
            Some(Slot::Hot(hot)) => {
                if let Some(at) = hot.armed {
                    self.timers.disarm(at, id);
                    // Read again with the execution, or with the next look at the timers.
                    self.again.push_back((
                        now + COMMIT_RETRY,
                        id,
                        What::Input(Box::new(Input::TimerDue)),
                    ));
                }
                hot.waiting
            }
            Some(Slot::Loading(queue)) => queue,
            None => return,
        };
        for Waiting { what, ack } in waiting {
            match ack {
                Some(ack) => ack(Err(why())),
                None => self.again.push_back((now + COMMIT_RETRY, id, what)),
            }
        }
    }

    /// A payload could not be read or kept, so the execution in memory is half-way.
    fn broken(&mut self, now: Timestamp, id: ExecutionId, writing: Writing, error: &store::Error) {
        tracing::warn!(%id, %error, "a payload cannot be read; trying again");
        let unavailable =
            || Error::new(ErrorKind::Storage, format!("a payload cannot be read: {error}"));
        for ack in writing.acks.into_iter().map(|(ack, _)| ack) {
            ack(Err(unavailable()));
        }
        let at = now + COMMIT_RETRY;
        self.again.extend(writing.inputs.into_iter().map(|what| (at, id, what)));
        self.unload(now, id, &unavailable);
    }
}

/// Takes what waits for an execution. Where it fails, the execution is half-way.
fn take_waiting(
    hot: &mut Hot,
    now: Timestamp,
    payloads: &mut StepPayloads<'_>,
    stepped: &mut Stepped,
) -> store::Result<()> {
    let Stepped { writing, outputs, commit, recovered } = stepped;
    for left in (0..STEPS_MAX).rev() {
        let Some(Waiting { what, ack }) = hot.waiting.pop_front() else { break };
        let next = hot.waiting.front().filter(|_| left > 0);
        let shares_turn =
            what.is_end_of_ask() && next.is_some_and(|next| next.what.is_end_of_ask());
        let (input, record) = match end_of_retention(what, hot, now) {
            What::Input(input) => (input, None),
            What::Recorded(input, record) => (input, Some(record)),
            What::Recover(effects) => {
                recovered.extend(effects);
                continue;
            }
            What::Purge => {
                let verdict = purge(hot, commit);
                writing.purged = verdict == Verdict::Applied;
                writing.acks.extend(ack.map(|ack| (ack, Ok(verdict))));
                if writing.purged {
                    break;
                }
                continue;
            }
        };
        if ack.is_none() {
            writing.inputs.push(match record.clone() {
                Some(record) => What::Recorded(input.clone(), record),
                None => What::Input(input.clone()),
            });
        }
        commit.records.extend(record.map(|record| *record));
        let input = payloads.carry(*input, &hot.execution);
        let verdict = input.map(|input| hot.execution.step(now, input, outputs));
        let verdict = verdict.and_then(|verdict| match &hot.orchestrator {
            Some(orchestrator) if !shares_turn => {
                engine::run_turns(&mut hot.execution, &**orchestrator, payloads, now, outputs)?;
                Ok(verdict)
            }
            Some(_) | None => Ok(verdict),
        });
        match verdict {
            Ok(verdict) => writing.acks.extend(ack.map(|ack| (ack, Ok(verdict)))),
            Err(error) => {
                writing.acks.extend(ack.map(|ack| (ack, Ok(Verdict::Duplicate))));
                return Err(error);
            }
        }
    }
    Ok(())
}

/// What has ended is woken when it was kept for long enough.
fn end_of_retention(what: What, hot: &Hot, now: Timestamp) -> What {
    let is_over = hot.row.finished.is_some() && hot.row.wake.is_some_and(|wake| wake <= now);
    match what {
        What::Input(input) if is_over && matches!(*input, Input::TimerDue) => What::Purge,
        other => other,
    }
}

/// Only what has ended and was told to its parent can be forgotten.
fn purge(hot: &Hot, commit: &mut ExecutionCommit) -> Verdict {
    match hot.execution.may_purge() {
        Ok(()) => {
            commit.row = RowChange::Purge;
            Verdict::Applied
        }
        Err(refusal) => Verdict::Refused(refusal),
    }
}

fn storage_unavailable(error: &Arc<store::Error>) -> Error {
    let message = format!("the store cannot be used now: {error}");
    Error::new(ErrorKind::Storage, message).retry_after(COMMIT_RETRY)
}
