//! Signals, callback tokens and time.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use model::suspend::{OpId, Resolution};
use model::{Failure, FailureKind, TenantName, Timestamp, limits};

use super::turns::is_signal_name;
use super::{ClosedToken, End, Execution, Phase, Stage, Want};
use crate::history::Event;
use crate::input::{Refusal, SignalId, TokenAnswer, Verdict};
use crate::output::Output;
use crate::payload::Payload;
use crate::token::Token;

impl Execution {
    pub(super) fn signal(
        &mut self,
        now: Timestamp,
        name: String,
        id: Option<SignalId>,
        payload: Payload,
        out: &mut Vec<Output>,
    ) -> Verdict {
        if !is_signal_name(&name) {
            return Verdict::Refused(Refusal::Malformed);
        }
        if id.is_some_and(|id| self.signal_ids.contains(&id)) {
            return Verdict::Duplicate;
        }
        if let Some(status) = self.ended_status() {
            return Verdict::Refused(Refusal::Ended(status));
        }
        if !payload.fits_inline() {
            return Verdict::Refused(Refusal::PayloadTooLarge);
        }
        let waits = |want: &Want| matches!(want, Want::Signal { name: wanted } if *wanted == name);
        let waiting = self
            .ops
            .iter()
            .find(|(_, op)| op.stage == Stage::Open && waits(&op.want))
            .map(|w| *w.0);
        if let Some(op) = waiting {
            self.resolve(now, op, Resolution::Ok(payload), out);
        } else {
            if self.kept_events() >= limits::KEPT_EVENTS_MAX {
                return Verdict::Refused(Refusal::KeptFull);
            }
            self.signals.push_back((name.clone(), payload.clone()));
            self.record(now, Event::Kept { name, payload }, out);
        }
        self.signal_ids.extend(id);
        if self.signal_ids.len() > limits::SIGNAL_IDS_MAX {
            self.signal_ids.pop_front();
        }
        Verdict::Applied
    }

    pub(super) fn token(
        &mut self,
        now: Timestamp,
        tenant: &TenantName,
        token: &Token,
        answer: TokenAnswer,
        out: &mut Vec<Output>,
    ) -> Verdict {
        if token.execution != self.birth.id {
            return Verdict::Refused(Refusal::TokenForeign);
        }
        if !self.mint().is_genuine(token) {
            return Verdict::Refused(Refusal::TokenForged);
        }
        if *tenant != self.birth.tenant {
            return Verdict::Refused(Refusal::TokenForeign);
        }
        if let TokenAnswer::Ended(Ok(payload)) = &answer
            && !payload.fits_inline()
        {
            return Verdict::Refused(Refusal::PayloadTooLarge);
        }
        if let Some(status) = self.ended_status() {
            return Verdict::Refused(Refusal::Ended(status));
        }
        if token.generation != self.generation || matches!(self.phase, Phase::Again { .. }) {
            return Verdict::Refused(Refusal::TokenDropped);
        }
        let op = token.op;
        if op >= self.next_op {
            return self.early_token(now, op, answer, out);
        }
        let known = self.ops.get_mut(&op).filter(|known| known.stage == Stage::Open);
        let Some(Want::Token { heartbeat, alive_until }) = known.map(|known| &mut known.want)
        else {
            return self.late(now, op, self.closed_token(op), out);
        };
        match answer {
            TokenAnswer::Heartbeat => {
                let Some(every) = heartbeat else { return Verdict::Duplicate };
                let until = now + *every;
                // A clock that went back shortens no life.
                if alive_until.is_some_and(|known| known >= until) {
                    return Verdict::Duplicate;
                }
                *alive_until = Some(until);
                out.push(Output::Touched);
            }
            TokenAnswer::Ended(answer) => {
                self.close_token(op, ClosedToken::Used);
                let resolution = answer.map_or_else(Resolution::Failed, Resolution::Ok);
                self.resolve(now, op, resolution, out);
            }
        }
        Verdict::Applied
    }

    /// A token whose ask is not committed yet: its turn runs, and gave it away already.
    fn early_token(
        &mut self,
        now: Timestamp,
        op: OpId,
        answer: TokenAnswer,
        out: &mut Vec<Output>,
    ) -> Verdict {
        if self.running.is_none() {
            return Verdict::Refused(Refusal::TokenDropped);
        }
        let TokenAnswer::Ended(answer) = answer else { return Verdict::Duplicate };
        if self.early_tokens.contains_key(&op) {
            return Verdict::Refused(Refusal::TokenUsed);
        }
        if self.kept_events() >= limits::KEPT_EVENTS_MAX {
            return Verdict::Refused(Refusal::KeptFull);
        }
        self.early_tokens.insert(op, answer);
        self.record(now, Event::TokenKept { op }, out);
        Verdict::Applied
    }

    /// Answers to tokens for which the turn that gave them away did not ask after all.
    pub(super) fn drop_early_tokens(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        while let Some((op, _)) = self.early_tokens.pop_first() {
            self.close_token(op, ClosedToken::Dropped);
            let _ = self.late(now, op, Refusal::TokenDropped, out);
        }
    }

    fn closed_token(&self, op: OpId) -> Refusal {
        match self.closed_tokens.iter().rev().find(|(closed, _)| *closed == op) {
            Some((_, ClosedToken::Used)) => Refusal::TokenUsed,
            Some((_, ClosedToken::Expired)) => Refusal::TokenExpired,
            Some((_, ClosedToken::Dropped)) => Refusal::TokenDropped,
            None => Refusal::TokenClosed,
        }
    }

    fn kept_events(&self) -> usize {
        self.signals.len() + self.early_tokens.len()
    }

    pub(super) fn timer_due(&mut self, now: Timestamp, out: &mut Vec<Output>) -> Verdict {
        if !matches!(self.phase, Phase::Open) {
            return Verdict::Duplicate;
        }
        let mut due: Vec<(Timestamp, OpId)> = self.times().filter(|(at, _)| *at <= now).collect();
        due.sort_unstable();
        let any = !due.is_empty();
        for (_, op) in due {
            self.time_out(now, op, out);
        }
        if self.times_out_at <= now {
            let limit = self.birth.timeout;
            let message = format!("the execution did not end within {limit:?}");
            let failure = Failure::new(FailureKind::TimedOut, message);
            self.finish(now, End::Failed, Err(failure), out);
        } else if !any {
            return Verdict::Duplicate;
        }
        Verdict::Applied
    }

    fn time_out(&mut self, now: Timestamp, op: OpId, out: &mut Vec<Output>) {
        let resolution = match &self.ops.get(&op).expect("it is due").want {
            Want::Token { heartbeat, .. } => {
                let every = heartbeat.unwrap_or_default();
                let message = format!("no sign of life for {every:?}");
                Resolution::Failed(Failure::new(FailureKind::TimedOut, message))
            }
            Want::Timer { .. } | Want::Call { .. } | Want::Signal { .. } | Want::Send { .. } => {
                Resolution::Ok(Payload::empty())
            }
        };
        if matches!(resolution, Resolution::Failed(_)) {
            self.close_token(op, ClosedToken::Expired);
        }
        self.resolve(now, op, resolution, out);
    }

    /// The times at which something open ends by itself.
    pub(super) fn times(&self) -> impl Iterator<Item = (Timestamp, OpId)> {
        self.ops.iter().filter(|(_, op)| op.stage == Stage::Open).filter_map(|(id, op)| {
            let at = match op.want {
                Want::Timer { at } => Some(at),
                Want::Token { alive_until, .. } => alive_until,
                Want::Call { .. } | Want::Signal { .. } | Want::Send { .. } => None,
            };
            at.map(|at| (at, *id))
        })
    }
}
