//! The shell: load, decide, commit, act. It forgets everything in a crash.

use std::collections::{BTreeMap, VecDeque};

use engine::{Effect, Execution, Input, Output, Verdict};
use model::{ExecutionId, Timestamp};

use super::store::Change;
use super::{Event, Message, Mutant, Reply, What, World};

/// Messages of one commit.
const BATCH_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Shell {
    pub(super) up: bool,
    /// Counts its lives.
    pub(super) epoch: u64,
    pub(super) clock: u64,
    pub(super) inbox: VecDeque<Message>,
    pub(super) hot: BTreeMap<ExecutionId, (u64, Execution)>,
    batches: u64,
    /// The commit under way.
    pub(super) batch: Option<Batch>,
    pub(super) timers: BTreeMap<ExecutionId, Timestamp>,
}

#[derive(Clone, Debug)]
pub(super) struct Batch {
    number: u64,
    messages: Vec<Message>,
    changes: BTreeMap<ExecutionId, Change>,
    replies: Vec<(ExecutionId, Reply, Option<Verdict>)>,
    is_applied: bool,
}

impl World {
    pub(super) fn begin_batch(&mut self) {
        if self.shell.batch.is_some() || self.shell.inbox.is_empty() {
            return;
        }
        let count = self.shell.inbox.len().min(BATCH_MAX);
        let messages: Vec<Message> = self.shell.inbox.drain(..count).collect();
        self.shell.batches += 1;
        let mut batch = Batch {
            number: self.shell.batches,
            messages: messages.clone(),
            changes: BTreeMap::new(),
            replies: Vec::new(),
            is_applied: false,
        };
        for message in messages {
            self.decide(message, &mut batch);
        }
        let number = batch.number;
        let epoch = self.shell.epoch;
        self.shell.batch = Some(batch);
        let takes = (self.rng.below(4_000) as u64) * 1_000;
        if self.chance(self.config.faults.commit) {
            // It fails: before it was applied, or after.
            if self.rng.below(2) == 0 {
                self.at(takes / 2, Event::Commit { epoch, batch: number });
            }
            return self.at(takes, Event::Committed { epoch, batch: number, ok: false });
        }
        self.at(takes / 2, Event::Commit { epoch, batch: number });
        self.at(takes, Event::Committed { epoch, batch: number, ok: true });
    }

    /// One step of one execution.
    fn decide(&mut self, message: Message, batch: &mut Batch) {
        let now = self.clock();
        let Message { to, what, reply } = message;
        let mut outputs = Vec::new();
        if !self.shell.hot.contains_key(&to)
            && let Some(loaded) = self.store.load(to)
        {
            self.shell.hot.insert(to, loaded);
        }
        let known = self.shell.hot.get_mut(&to);
        let (revision, verdict) = match (known, what) {
            (Some((revision, _)), What::Start(_)) => (*revision, Verdict::Duplicate),
            (None, What::Start(birth)) => {
                let started = Execution::start(now, *birth, &mut outputs);
                self.shell.hot.insert(to, (0, started));
                (0, Verdict::Applied)
            }
            (None, What::Input(_) | What::Redrive) => {
                batch.replies.push((to, reply, None));
                return;
            }
            (Some((revision, execution)), What::Redrive) => {
                let history = &self.store.rows.get(&to).map(|row| row.history.clone());
                let records = history.iter().flatten();
                let asks = records.collect::<Vec<_>>();
                let ops = execution.redrive_asks();
                let asks = engine::history::asks_of(asks.into_iter(), &ops);
                (
                    *revision,
                    execution.step(
                        now,
                        Input::Redrive { reason: String::new(), asks },
                        &mut outputs,
                    ),
                )
            }
            (Some((revision, execution)), What::Input(Input::Signal { ref name, .. }))
                if self.config.mutant == Some(Mutant::DropEarlySignals)
                    && !waits_for(execution, name) =>
            {
                (*revision, Verdict::Applied)
            }
            (Some((revision, execution)), What::Input(input)) => {
                let (now, input) = planted(self.config.mutant, now, input);
                (*revision, execution.step(now, input, &mut outputs))
            }
        };
        batch.replies.push((to, reply, Some(verdict.clone())));
        if self.mutant(Mutant::AckBeforeCommit) {
            self.reply(reply, Some(&verdict));
        }
        if !outputs.is_empty() {
            self.gather(now, to, revision, outputs, batch);
        }
    }

    fn gather(
        &mut self,
        now: Timestamp,
        to: ExecutionId,
        revision: u64,
        mut outputs: Vec<Output>,
        batch: &mut Batch,
    ) {
        let mutant = self.config.mutant;
        outputs.retain(|output| match output {
            Output::History(record) => mutant != Some(Mutant::LoseHistory) || record.seq % 100 != 9,
            Output::Arm(_) => mutant != Some(Mutant::LoseTimers) || revision == 0,
            _ => true,
        });
        if mutant == Some(Mutant::ActBeforeCommit) {
            for output in &outputs {
                if let Output::Effect(effect) = output {
                    self.act(to, effect.clone());
                }
            }
        }
        let (_, execution) = &self.shell.hot[&to];
        let change = batch.changes.entry(to).or_insert_with(|| Change {
            id: to,
            expected: revision,
            state: Vec::new(),
            outputs: Vec::new(),
            held: Vec::new(),
        });
        change.state = execution.encode();
        change.outputs.extend(outputs);
        change.held.push((now, execution.account().bytes));
    }

    /// The store applies the commit that is under way.
    pub(super) fn commit(&mut self, epoch: u64, number: u64) {
        if epoch != self.shell.epoch {
            return;
        }
        let Some(batch) = self.shell.batch.as_mut().filter(|batch| batch.number == number) else {
            return;
        };
        batch.is_applied = true;
        let batch = batch.clone();
        self.apply(&batch);
    }

    fn apply(&mut self, batch: &Batch) {
        for change in batch.changes.values() {
            if self.store.apply(change) {
                self.report.commits += 1;
                self.report.steps += change.held.len() as u64;
                self.report.trace = fold(self.report.trace, &change.state);
                self.checker.committed(change, &self.store.rows[&change.id]);
            }
        }
        for (id, reply, verdict) in &batch.replies {
            self.checker.durable(*id, *reply, verdict.as_ref());
        }
    }

    /// The shell hears how its commit went.
    pub(super) fn committed(&mut self, epoch: u64, number: u64, ok: bool) {
        if epoch != self.shell.epoch {
            return;
        }
        let Some(batch) = self.shell.batch.take_if(|batch| batch.number == number) else { return };
        if !ok {
            // Nobody knows whether it was applied: load again, and do all of it again.
            if !self.mutant(Mutant::KeepAfterFailure) {
                for id in batch.changes.keys() {
                    self.shell.hot.remove(id);
                }
            }
            for message in batch.messages.into_iter().rev() {
                self.shell.inbox.push_front(message);
            }
            return self.begin_batch();
        }
        for (id, change) in batch.changes {
            self.cache(id, change.expected + 1);
            self.act_on(id, change.outputs);
        }
        for (_, reply, verdict) in batch.replies {
            self.reply(reply, verdict.as_ref());
        }
        self.begin_batch();
    }

    /// Keeps an execution hot, or lets it go cold.
    fn cache(&mut self, id: ExecutionId, revision: u64) {
        if self.rng.below(4) == 0 {
            self.shell.hot.remove(&id);
        } else if let Some((known, _)) = self.shell.hot.get_mut(&id) {
            *known = revision;
        }
    }

    fn act_on(&mut self, id: ExecutionId, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Effect(effect) => {
                    // A later step of the same commit may have settled or replaced it.
                    if self.store.holds(id, &effect) {
                        self.act(id, effect);
                    }
                }
                Output::Arm(at) => self.arm(id, at),
                Output::Disarm => {
                    self.shell.timers.remove(&id);
                }
                Output::Ended { outcome } => self.checker.told(id, &outcome),
                Output::Settled(_)
                | Output::History(_)
                | Output::ForgetHistory { .. }
                | Output::Touched
                | Output::Closed { .. } => {}
            }
        }
    }

    pub(super) fn arm(&mut self, execution: ExecutionId, at: Timestamp) {
        self.shell.timers.insert(execution, at);
        let epoch = self.shell.epoch;
        let now = self.clock();
        self.at(at.0.saturating_sub(now.0), Event::TimerDue { epoch, execution });
    }

    pub(super) fn timer_due(&mut self, execution: ExecutionId) {
        let now = self.clock();
        let due = self.shell.timers.get(&execution).is_some_and(|at| *at <= now);
        if due {
            self.local(execution, Input::TimerDue, Reply::Nobody);
        }
    }

    /// From time to time the shell looks after everything that was not answered.
    pub(super) fn sweep(&mut self, epoch: u64) {
        if epoch != self.shell.epoch {
            return;
        }
        self.jump_clock();
        self.do_outbox();
        self.release_orphans();
        let timers: Vec<ExecutionId> = self.shell.timers.keys().copied().collect();
        for id in timers {
            self.timer_due(id);
        }
        self.at(2_000_000_000, Event::Sweep { epoch });
    }

    fn do_outbox(&mut self) {
        let all: Vec<(ExecutionId, Effect)> = self
            .store
            .rows
            .iter()
            .flat_map(|(id, row)| row.outbox.values().map(|bytes| (*id, bytes)))
            .map(|(id, bytes)| (id, Effect::decode(bytes).expect("as it was encoded")))
            .collect();
        for (id, effect) in all {
            self.report.repeats += 1;
            self.act(id, effect);
        }
    }

    /// Executions that go on alone wait for a signal that nobody sends where the one who started
    /// them was cancelled. In the end they get one.
    fn release_orphans(&mut self) {
        if self.now < super::CALM_NS {
            return;
        }
        let is_root = |id: &ExecutionId| self.clients.iter().any(|client| client.execution == *id);
        let orphans: Vec<ExecutionId> = (self.store.rows.keys().copied())
            .filter(|id| !is_root(id) && !self.is_settled(*id))
            .collect();
        for id in orphans {
            let payload = Vec::new().into();
            let input = Input::Signal { name: "s".to_owned(), id: None, payload };
            self.local(id, input, Reply::Nobody);
        }
    }

    pub(super) fn plan_crash(&mut self) {
        let Some(every) = self.config.faults.crash_every else { return };
        let mean = usize::try_from(every.as_millis()).expect("short");
        let delay = self.draw_ms(2 * mean);
        if self.now + delay < super::CALM_NS {
            self.at(delay, Event::Crash);
        }
    }

    pub(super) fn crash(&mut self) {
        self.report.crashes += 1;
        // What was on its way to the disk arrives, or does not.
        if let Some(batch) = self.shell.batch.take().filter(|batch| !batch.is_applied)
            && self.rng.below(2) == 0
        {
            self.apply(&batch);
        }
        let epoch = self.shell.epoch + 1;
        let batches = self.shell.batches;
        self.shell = Shell { epoch, batches, ..Shell::default() };
        self.calls.clear();
        self.jump_clock();
        let delay = self.draw_ms(200);
        self.at(delay, Event::Restart);
    }

    pub(super) fn restart(&mut self) {
        self.shell.up = true;
        let epoch = self.shell.epoch;
        if !self.mutant(Mutant::ForgetTimers) {
            let timers: Vec<_> =
                self.store.rows.iter().filter_map(|(id, row)| Some((*id, row.timer?))).collect();
            for (id, at) in timers {
                self.arm(id, at);
            }
        }
        if !self.mutant(Mutant::ForgetOutbox) {
            self.do_outbox();
            self.at(2_000_000_000, Event::Sweep { epoch });
        }
        self.plan_crash();
    }

    fn jump_clock(&mut self) {
        if self.chance(self.config.faults.clock) {
            let jump = i64::try_from(self.draw_ms(20_000)).expect("short");
            self.clock_offset += if self.rng.below(2) == 0 { jump } else { -jump };
        }
    }

    fn reply(&mut self, reply: Reply, verdict: Option<&Verdict>) {
        match reply {
            Reply::Nobody => {}
            Reply::Client { client, request } => {
                self.tell_client(client, request, verdict);
            }
            Reply::Sender { execution, op, id } => self.signal_arrived(execution, op, id, verdict),
            Reply::Child(child) => {
                self.local(child, Input::Reported, Reply::Nobody);
            }
        }
    }
}

/// Bugs between shell and engine.
fn planted(mutant: Option<Mutant>, now: Timestamp, input: Input) -> (Timestamp, Input) {
    match (mutant, input) {
        (Some(Mutant::EarlyTimers), Input::TimerDue) => {
            (Timestamp(now.0 + 3_600_000_000_000), Input::TimerDue)
        }
        (Some(Mutant::DropSignalIds), Input::Signal { name, payload, .. }) => {
            (now, Input::Signal { name, id: None, payload })
        }
        (_, input) => (now, input),
    }
}

fn fold(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn waits_for(execution: &Execution, name: &str) -> bool {
    let name = format!("signal {name:?}");
    execution.open().any(|open| open.what == name && !open.is_resolved)
}
