//! Turns: when one begins, what it is given, and what its end brings about.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use model::suspend::{Ask, OpId, Resolution, Step, Until};
use model::{Failure, FailureKind, Timestamp, limits};

use super::{End, Execution, Op, Phase, Running, Stage, Want};
use crate::history::Event;
use crate::input::{Parts, Refusal, TurnEnd, Turned, Verdict};
use crate::money::Totals;
use crate::output::{Effect, OPS_END, Output, TURN_KEY};
use crate::payload::Payload;

/// The parts of [`Step::Wait`].
struct Wait {
    asks: Vec<(OpId, Ask<Payload>)>,
    drops: Vec<OpId>,
    until: Until,
    status: Option<Vec<u8>>,
}

impl Execution {
    /// Begins a turn where one is due.
    pub(super) fn wake(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let may = matches!(self.phase, Phase::Open) && self.paused.is_none();
        if !may || self.running.is_some() {
            return;
        }
        let Some(ready) = self.ready() else { return };
        assert!(self.fed.is_empty(), "what a turn was given is gone at its end");
        for op in ready {
            let known = self.ops.remove(&op).expect("what is ready is there");
            self.fed.push((op, known));
        }
        self.turn += 1;
        let id = self.derived_id(now, "turn", self.turn, 1);
        self.running = Some(Running { number: self.turn, attempt: 1, id, began: now });
        self.since = now;
        out.push(Output::Effect(Effect::RunTurn { turn: self.turn, attempt: 1, id }));
    }

    /// Gives a turn that has begun, and that nobody runs yet, what ended since.
    pub(crate) fn feed_more(&mut self) {
        if self.turn().is_none() {
            return;
        }
        for op in self.ready().unwrap_or_default() {
            let known = self.ops.remove(&op).expect("what is ready is there");
            self.fed.push((op, known));
        }
    }

    /// What the next turn is to be given, in the order in which it ended, if it may begin.
    fn ready(&self) -> Option<Vec<OpId>> {
        let order = |op: &OpId| match self.ops.get(op)?.stage {
            Stage::Resolved { order, .. } => Some((order, *op)),
            Stage::Open | Stage::Leaving { .. } | Stage::Stopped => None,
        };
        let mut ready: Vec<(u64, OpId)> = match &self.until {
            None => return Some(Vec::new()),
            Some(Until::Any(ops)) => ops.iter().filter_map(order).collect(),
            Some(Until::All(ops)) => {
                let ready = ops.iter().map(order).collect::<Option<Vec<_>>>()?;
                if ready.is_empty() {
                    return Some(Vec::new());
                }
                ready
            }
            Some(Until::Next) => self.ops.keys().filter_map(order).collect(),
        };
        if ready.is_empty() {
            return None;
        }
        ready.sort_unstable();
        ready.dedup();
        Some(ready.into_iter().map(|(_, op)| op).collect())
    }

    pub(super) fn turn_ended(
        &mut self,
        now: Timestamp,
        (turn, attempt): (u64, u32),
        end: TurnEnd,
        used: Totals,
        out: &mut Vec<Output>,
    ) -> Verdict {
        let Some(running) = self.running else { return Verdict::Duplicate };
        if (running.number, running.attempt) != (turn, attempt) {
            return Verdict::Duplicate;
        }
        self.account.own = self.account.own.plus(used);
        if let Some(status) = self.ended_status() {
            // The execution ended over its head: only what it used counts.
            self.running = None;
            out.push(Output::Settled(TURN_KEY));
            return Verdict::Late(Refusal::Ended(status));
        }
        match end {
            TurnEnd::Lost { reason } => self.turn_lost(now, running, reason, out),
            TurnEnd::Failed(failure) => {
                self.leave_turn(1, out);
                self.finish(now, End::Failed, Err(failure), out);
            }
            TurnEnd::Ended(turned) => self.turned(now, running, turned, out),
        }
        Verdict::Applied
    }

    fn turn_lost(
        &mut self,
        now: Timestamp,
        running: Running,
        reason: String,
        out: &mut Vec<Output>,
    ) {
        let Running { number: turn, attempt, id, .. } = running;
        let last = attempt > limits::TURN_RESTARTS_MAX;
        let message = format!("turn {turn} was lost {attempt} times, at last: {reason}");
        self.record(now, Event::TurnLost { turn, attempt, reason }, out);
        if last {
            self.leave_turn(1, out);
            let failure = Failure::new(FailureKind::Platform, message);
            return self.finish(now, End::Failed, Err(failure), out);
        }
        let attempt = attempt + 1;
        self.running = Some(Running { attempt, ..running });
        out.push(Output::Effect(Effect::RunTurn { turn, attempt, id }));
    }

    fn turned(
        &mut self,
        now: Timestamp,
        running: Running,
        turned: Turned<Payload>,
        out: &mut Vec<Output>,
    ) {
        let Turned { state, step, transitions, notes, parts, dealt } = turned;
        self.leave_turn(transitions, out);
        self.dealt.clear();
        for note in notes {
            self.record(now, Event::Note(note), out);
        }
        match step {
            Step::Wait { asks, drops, until, status } => {
                let wait = Wait { asks, drops, until, status };
                match self.check_wait(&wait) {
                    Ok(()) => {
                        self.keep_parts(parts);
                        self.suspend(now, running, state, wait, out);
                    }
                    Err(message) => {
                        let failure = Failure::new(FailureKind::BadResponse, message);
                        self.finish(now, End::Failed, Err(failure), out);
                    }
                }
            }
            Step::Done(answer) => self.finish(now, End::Succeeded, Ok(answer), out),
            Step::Failed(failure) => {
                let fed = |op: &OpId| self.fed.iter().any(|(fed, _)| fed == op);
                self.dealt = dealt.into_iter().filter(fed).collect();
                self.finish(now, End::Failed, Err(failure), out);
            }
            Step::Again(input) => self.leave_for_again(now, input, out),
        }
    }

    fn leave_turn(&mut self, transitions: u64, out: &mut Vec<Output>) {
        self.running = None;
        let counted = &mut self.account.own.transitions;
        *counted = counted.saturating_add(transitions.max(1));
        out.push(Output::Settled(TURN_KEY));
    }

    fn suspend(
        &mut self,
        now: Timestamp,
        running: Running,
        state: Payload,
        wait: Wait,
        out: &mut Vec<Output>,
    ) {
        self.fed.clear();
        self.state = Some(state);
        if wait.status.is_some() {
            self.custom_status = wait.status;
        }
        for op in wait.drops {
            self.drop_op(now, op, out);
        }
        for (op, ask) in wait.asks {
            self.ask(now, op, ask, out);
        }
        self.until = Some(wait.until);
        self.since = now;
        self.drop_early_tokens(now, out);
        let waits = self.waits();
        let Running { number: turn, began, .. } = running;
        self.record(now, Event::Suspended { turn, began, waits }, out);
    }

    /// Parts that are named no longer are gone, new ones are added.
    fn keep_parts(&mut self, parts: Parts<Payload>) {
        let Parts { new, live } = parts;
        self.parts.extend(new);
        self.parts.retain(|number, _| live.contains(number));
    }

    /// Everything that is wrong with a suspension, told to its author; nothing of it is done then.
    fn check_wait(&self, wait: &Wait) -> Result<(), String> {
        let dropped: BTreeSet<OpId> = wait.drops.iter().copied().collect();
        let open = self.ops.len() + wait.asks.len();
        if open > limits::OPEN_OPS_MAX {
            let most = limits::OPEN_OPS_MAX;
            return Err(format!("asks for {open} things at once, the limit is {most}"));
        }
        if wait.status.as_ref().is_some_and(|s| s.len() > limits::CUSTOM_STATUS_BYTES_MAX) {
            let most = limits::CUSTOM_STATUS_BYTES_MAX;
            return Err(format!("the status is longer than {most} bytes"));
        }
        let mut next = self.next_op;
        for (op, ask) in &wait.asks {
            if *op < next || *op >= OPS_END {
                let (op, next) = (op.0, next.0);
                return Err(format!("asks under number {op}: it must be {next} or above"));
            }
            next = OpId(op.0 + 1);
            check_ask(*op, ask)?;
        }
        let asked: BTreeSet<OpId> = wait.asks.iter().map(|(op, _)| *op).collect();
        let is_there = |op: &OpId| {
            let known = self.ops.get(op).is_some_and(Op::may_end);
            asked.contains(op) || known && !dropped.contains(op)
        };
        let gone = |ops: &[OpId]| ops.iter().find(|op| !is_there(op)).copied();
        match &wait.until {
            Until::Any(ops) if ops.is_empty() => Err("waits for any of nothing".into()),
            Until::Any(ops) | Until::All(ops) => match gone(ops) {
                Some(op) => Err(format!("waits for #{}, which is not open", op.0)),
                None => Ok(()),
            },
            Until::Next if asked.is_empty() && !self.ops.keys().any(is_there) => {
                Err("waits for the next event, but asked for nothing".into())
            }
            Until::Next => Ok(()),
        }
    }

    /// Fails an execution whose history is full, before it becomes too long to be of use.
    pub(super) fn end_at_history_limit(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let records = self.history_next - self.history_first;
        if records < limits::HISTORY_RECORDS_MAX || !matches!(self.phase, Phase::Open) {
            return;
        }
        let message = format!("its history has {records} records: let it begin anew before that");
        let failure = Failure::new(FailureKind::BadResponse, message);
        self.finish(now, End::Failed, Err(failure), out);
    }
}

impl Op {
    /// Whether a wait for it can come to an end.
    pub(super) const fn may_end(&self) -> bool {
        match self.stage {
            Stage::Open | Stage::Resolved { .. } => true,
            Stage::Leaving { .. } | Stage::Stopped => false,
        }
    }

    /// Whether an effect of it waits for its answer.
    pub(super) const fn is_under_way(&self) -> bool {
        match self.stage {
            Stage::Open => self.want.id().is_some(),
            Stage::Leaving { .. } => true,
            Stage::Resolved { .. } | Stage::Stopped => false,
        }
    }

    /// Whether it is a call or sending that failed, which a redrive makes again.
    pub(super) const fn has_failed(&self) -> bool {
        match (&self.want, &self.stage) {
            (
                Want::Call { .. } | Want::Send { .. },
                Stage::Resolved {
                    resolution: Resolution::Failed(_) | Resolution::Refused { .. },
                    ..
                },
            ) => true,
            (
                Want::Timer { .. }
                | Want::Signal { .. }
                | Want::Token { .. }
                | Want::Call { .. }
                | Want::Send { .. },
                Stage::Open | Stage::Resolved { .. } | Stage::Leaving { .. } | Stage::Stopped,
            ) => false,
        }
    }
}

fn check_ask(op: OpId, ask: &Ask<Payload>) -> Result<(), String> {
    let op = op.0;
    let name_max = limits::SIGNAL_NAME_BYTES_MAX;
    match ask {
        Ask::Signal { name } | Ask::SendSignal { name, .. } if !is_signal_name(name) => {
            Err(format!("#{op}: a signal's name has 1 to {name_max} bytes"))
        }
        Ask::SendSignal { to, .. } if to.len() > limits::EXECUTION_NAME_BYTES_MAX => {
            Err(format!("#{op}: no execution has so long a name"))
        }
        Ask::Invoke { function, .. } if function.len() > limits::NAME_BYTES_MAX + 11 => {
            Err(format!("#{op}: no function has so long a name"))
        }
        Ask::Invoke { class: Some(class), .. } if class.len() > limits::CLASS_NAME_BYTES_MAX => {
            Err(format!("#{op}: no class has so long a name"))
        }
        Ask::Token { heartbeat: Some(every) } if every.is_zero() => {
            Err(format!("#{op}: a sign of life every 0 s cannot be given"))
        }
        Ask::Timer { .. }
        | Ask::Invoke { .. }
        | Ask::Signal { .. }
        | Ask::Token { .. }
        | Ask::SendSignal { .. } => Ok(()),
    }
}

pub(super) fn is_signal_name(name: &str) -> bool {
    (1..=limits::SIGNAL_NAME_BYTES_MAX).contains(&name.len())
}
