//! Outcomes: completion, failure, cancel, a new beginning, and going on after a failure.

use alloc::string::String;
use alloc::vec::Vec;

use model::suspend::{Ask, OpId, Resolution};
use model::{Failure, FailureKind, Timestamp, limits};

use super::asks::Again;
use super::{Close, End, Execution, Op, Phase, Running, Stage, Want};
use crate::history::Event;
use crate::input::{Refusal, Verdict};
use crate::output::{Effect, Output, REPORT_KEY};
use crate::payload::Payload;

impl Execution {
    pub(super) fn cancel(
        &mut self,
        now: Timestamp,
        reason: String,
        out: &mut Vec<Output>,
    ) -> Verdict {
        if let Phase::Ended { end, .. } = self.phase {
            return match end {
                End::Cancelled => Verdict::Duplicate,
                End::Succeeded | End::Failed => Verdict::Refused(Refusal::Ended(end.into())),
            };
        }
        if reason.len() > limits::REASON_BYTES_MAX {
            return Verdict::Refused(Refusal::Malformed);
        }
        self.record(now, Event::Cancelled { reason: reason.clone() }, out);
        let failure = Failure::new(FailureKind::Cancelled, reason);
        self.finish(now, End::Cancelled, Err(failure), out);
        Verdict::Applied
    }

    /// Decides the outcome, and begins to stop everything that is under way.
    pub(super) fn finish(
        &mut self,
        now: Timestamp,
        end: End,
        outcome: Result<Payload, Failure>,
        out: &mut Vec<Output>,
    ) {
        // What can be redriven keeps all that it had; only its calls are stopped.
        let keep = match end {
            End::Succeeded => Again::No,
            End::Failed | End::Cancelled => Again::Yes,
        };
        if let Phase::Again { input } = &mut self.phase {
            self.birth.input = core::mem::replace(input, Payload::empty());
        }
        if let Some(running) = self.running {
            let Running { number: turn, attempt, id, .. } = running;
            out.push(Output::Effect(Effect::CancelTurn { turn, attempt, id }));
        }
        self.stop_ops(now, keep, out);
        if keep == Again::No {
            self.parts.clear();
            self.state = None;
            self.until = None;
            self.fed.clear();
            self.signals.clear();
            self.drop_early_tokens(now, out);
        }
        self.paused = None;
        self.since = now;
        self.record(now, Event::Ended { outcome: outcome.clone() }, out);
        out.push(Output::Ended { outcome: outcome.clone() });
        self.phase = Phase::Ended { end, at: now, outcome, close: Close::Waiting };
    }

    fn stop_ops(&mut self, now: Timestamp, keep: Again, out: &mut Vec<Output>) {
        let ops: Vec<OpId> = self.ops.keys().copied().collect();
        for op in ops {
            let known = &self.ops[&op];
            match (&known.stage, keep) {
                (Stage::Open, Again::Yes) if known.want.can_stop() => {
                    self.drop_open(op, keep, out);
                }
                (Stage::Open, Again::No) => self.drop_open(op, keep, out),
                (Stage::Resolved { .. }, Again::No) => self.drop_resolved(now, op, out),
                (Stage::Open | Stage::Resolved { .. }, Again::Yes)
                | (Stage::Leaving { .. } | Stage::Stopped, _) => {}
            }
        }
    }

    /// After the end: once nothing is under way, the books are final and the parent is told.
    pub(super) fn close(&mut self, out: &mut Vec<Output>) {
        if self.running.is_some() || self.ops.values().any(Op::is_under_way) {
            return;
        }
        let used = self.account.total();
        let Phase::Ended { outcome, close, .. } = &mut self.phase else { return };
        if *close != Close::Waiting {
            return;
        }
        *close = Close::Done;
        if let Some(parent) = self.birth.parent {
            *close = Close::Reporting;
            let resolution = match outcome {
                Ok(answer) => Resolution::Ok(answer.clone()),
                Err(failure) => Resolution::Failed(failure.clone()),
            };
            out.push(Output::Effect(Effect::Report { parent, resolution, used }));
        }
        let used = self.billed.bill(&self.account.own);
        out.push(Output::Closed { receipt: self.billed.receipts, used });
    }

    pub(super) fn reported(&mut self, out: &mut Vec<Output>) -> Verdict {
        match &mut self.phase {
            Phase::Ended { close, .. } if *close == Close::Reporting => {
                *close = Close::Done;
                out.push(Output::Settled(REPORT_KEY));
                Verdict::Applied
            }
            Phase::Open | Phase::Again { .. } | Phase::Ended { .. } => Verdict::Duplicate,
        }
    }

    /// The function wants to begin anew: first everything that it had asked for must settle, so
    /// that its numbers are free.
    pub(super) fn leave_for_again(
        &mut self,
        now: Timestamp,
        input: Payload,
        out: &mut Vec<Output>,
    ) {
        self.parts.clear();
        self.state = None;
        self.until = None;
        self.fed.clear();
        self.stop_ops(now, Again::No, out);
        self.drop_early_tokens(now, out);
        self.since = now;
        self.phase = Phase::Again { input };
    }

    pub(super) fn begin_anew(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        if !self.ops.is_empty() {
            return;
        }
        let Phase::Again { input } = &mut self.phase else { return };
        let input = core::mem::replace(input, Payload::empty());
        self.phase = Phase::Open;
        self.birth.input = input.clone();
        self.number_anew();
        self.late_records = 0;
        self.began = now;
        self.since = now;
        self.times_out_at = now + self.birth.timeout;
        self.history_first = self.history_next;
        let generation = self.generation;
        self.record(now, Event::Again { generation, input }, out);
        out.push(Output::ForgetHistory { before: self.history_first });
    }

    /// Asks are numbered from zero again; the generation tells old ones apart.
    fn number_anew(&mut self) {
        self.generation += 1;
        self.next_op = OpId(0);
        self.closed_tokens.clear();
    }

    pub(super) fn redrive(
        &mut self,
        now: Timestamp,
        reason: String,
        asks: Vec<(OpId, Ask<Payload>)>,
        out: &mut Vec<Output>,
    ) -> Verdict {
        if reason.len() > limits::REASON_BYTES_MAX {
            return Verdict::Refused(Refusal::Malformed);
        }
        match &self.phase {
            Phase::Open | Phase::Again { .. } => return Verdict::Refused(Refusal::NotEnded),
            Phase::Ended { end: End::Succeeded, .. } => {
                return Verdict::Refused(Refusal::Succeeded);
            }
            Phase::Ended { close: Close::Waiting | Close::Reporting, .. } => {
                return Verdict::Refused(Refusal::Stopping);
            }
            Phase::Ended { close: Close::Done, .. } => {}
        }
        for op in self.redrive_asks() {
            let matching = asks.iter().find(|(asked, _)| *asked == op);
            if !matching.is_some_and(|(_, ask)| self.is_ask_of(op, ask)) {
                return Verdict::Refused(Refusal::WrongAsk(op));
            }
        }
        let again = self.redrive_asks();
        if self.until.is_none() && self.next_op > OpId(0) {
            // It was cancelled on its way to a new beginning.
            self.number_anew();
        }
        self.phase = Phase::Open;
        self.redrives = self.redrives.saturating_add(1);
        self.since = now;
        self.times_out_at = now + self.birth.timeout;
        self.record(now, Event::Redriven { calls: again.len() as u64, reason }, out);
        self.ops.extend(core::mem::take(&mut self.fed));
        for (op, ask) in asks {
            if again.contains(&op) {
                self.ask_again(now, op, ask, out);
            }
        }
        Verdict::Applied
    }

    /// The calls that [`Input::Redrive`](crate::Input::Redrive) makes again: those that were stopped
    /// by the failure, and those whose failure the last turn was given and had not dealt with.
    #[must_use]
    pub fn redrive_asks(&self) -> Vec<OpId> {
        let stopped = self.ops.iter().filter(|(_, op)| op.stage == Stage::Stopped);
        let failed = |(id, op): &&(OpId, Op)| op.has_failed() && !self.dealt.contains(id);
        let failed = self.fed.iter().filter(failed);
        let mut ops: Vec<OpId> = stopped.map(|(id, _)| *id).collect();
        ops.extend(failed.map(|(id, _)| *id));
        ops.sort_unstable();
        ops
    }

    fn is_ask_of(&self, op: OpId, ask: &Ask<Payload>) -> bool {
        let known = self.ops.get(&op);
        let known = known.or_else(|| self.fed.iter().find(|(fed, _)| *fed == op).map(|fed| &fed.1));
        match (known.map(|known| &known.want), ask) {
            (Some(Want::Call { function, mode, .. }), Ask::Invoke { function: f, mode: m, .. }) => {
                function == f && mode == m
            }
            (Some(Want::Send { to, name, .. }), Ask::SendSignal { to: t, name: n, .. }) => {
                to == t && name == n
            }
            _ => false,
        }
    }
}
