//! What a turn asks for and drops, and how that is resolved.

use model::suspend::{Ask, InvokeMode, OpId, Resolution};
use model::{InvocationId, Timestamp, limits};

use super::{ClosedToken, Execution, Op, Stage, Want};
use crate::history::{self, Event};
use crate::input::{Refusal, SignalId, Verdict};
use crate::money::Totals;
use crate::output::{Call, Effect, Output};
use crate::payload::Payload;

use alloc::vec::Vec;

impl Execution {
    /// Asks for something under a number that is new.
    pub(super) fn ask(
        &mut self,
        now: Timestamp,
        op: OpId,
        ask: Ask<Payload>,
        out: &mut Vec<Output>,
    ) {
        self.next_op = OpId(op.0 + 1);
        let want = self.want(now, op, &ask, 1);
        self.put_effect(op, &want, &ask, out);
        self.record(now, Event::Asked { op, id: want.id(), ask }, out);
        let known = self.known_end(now, op, &want);
        self.ops.insert(op, Op { asked: now, want, stage: Stage::Open });
        if let Some(resolution) = known {
            self.resolve(now, op, resolution, out);
        }
    }

    /// Makes a call or a sending again, under the number that it has.
    pub(super) fn ask_again(
        &mut self,
        now: Timestamp,
        op: OpId,
        ask: Ask<Payload>,
        out: &mut Vec<Output>,
    ) {
        let attempt = self.ops.get(&op).map_or(0, |known| known.want.attempt());
        let want = self.want(now, op, &ask, attempt + 1);
        self.put_effect(op, &want, &ask, out);
        self.record(now, Event::Asked { op, id: want.id(), ask }, out);
        self.ops.insert(op, Op { asked: now, want, stage: Stage::Open });
    }

    fn want(&self, now: Timestamp, op: OpId, ask: &Ask<Payload>, attempt: u32) -> Want {
        match ask {
            Ask::Timer { at } => Want::Timer { at: *at },
            Ask::Invoke { function, mode, .. } => {
                let id = self.derived_id(now, "call", op.0, attempt);
                Want::Call { function: function.clone(), mode: *mode, id, attempt }
            }
            Ask::Signal { name } => Want::Signal { name: name.clone() },
            Ask::Token { heartbeat } => {
                let alive_until = heartbeat.map(|every| now + every);
                Want::Token { heartbeat: *heartbeat, alive_until }
            }
            Ask::SendSignal { to, name, .. } => {
                let id = self.derived_id(now, "send", op.0, attempt);
                Want::Send { to: to.clone(), name: name.clone(), id, attempt }
            }
        }
    }

    fn put_effect(&self, op: OpId, want: &Want, ask: &Ask<Payload>, out: &mut Vec<Output>) {
        let effect = match (want, ask) {
            (Want::Call { id, .. }, Ask::Invoke { function, class, payload, mode }) => {
                Effect::Invoke(Call {
                    op,
                    id: *id,
                    function: function.clone(),
                    stated: class.clone(),
                    floor: self.birth.class,
                    payload: payload.clone(),
                    mode: *mode,
                })
            }
            (Want::Send { id, .. }, Ask::SendSignal { to, name, payload }) => Effect::SendSignal {
                op,
                id: *id,
                to: to.clone(),
                name: name.clone(),
                signal: signal_id(*id),
                payload: payload.clone(),
            },
            _ => return,
        };
        out.push(Output::Effect(effect));
    }

    /// How an ask ended before it was asked.
    fn known_end(&mut self, now: Timestamp, op: OpId, want: &Want) -> Option<Resolution<Payload>> {
        match want {
            Want::Timer { at } => (*at <= now).then(|| Resolution::Ok(Payload::empty())),
            Want::Signal { name } => {
                let place = self.signals.iter().position(|(kept, _)| kept == name)?;
                self.signals.remove(place).map(|(_, payload)| Resolution::Ok(payload))
            }
            Want::Token { .. } => {
                let answer = self.early_tokens.remove(&op)?;
                self.close_token(op, ClosedToken::Used);
                Some(answer.map_or_else(Resolution::Failed, Resolution::Ok))
            }
            Want::Call { .. } | Want::Send { .. } => None,
        }
    }

    /// An ask has ended: it is kept until a turn sees it.
    pub(super) fn resolve(
        &mut self,
        now: Timestamp,
        op: OpId,
        resolution: Resolution<Payload>,
        out: &mut Vec<Output>,
    ) {
        self.order += 1;
        let order = self.order;
        let known = self.ops.get_mut(&op).expect("only what is open is resolved");
        assert_eq!(known.stage, Stage::Open, "an ask ends once");
        known.stage = Stage::Resolved { order, resolution: resolution.clone() };
        self.record(now, Event::Resolved { op, resolution }, out);
    }

    /// A call or a sending has ended.
    pub(super) fn answered(
        &mut self,
        now: Timestamp,
        (op, id): (OpId, InvocationId),
        resolution: Resolution<Payload>,
        used: Totals,
        out: &mut Vec<Output>,
    ) -> Verdict {
        let Some(known) = self.ops.get_mut(&op).filter(|known| known.want.id() == Some(id)) else {
            return Verdict::Duplicate;
        };
        match known.stage {
            Stage::Resolved { .. } | Stage::Stopped => return Verdict::Duplicate,
            Stage::Open => self.resolve(now, op, resolution, out),
            // It succeeded before it could be stopped: a redrive need not make it again.
            Stage::Leaving { again: true } if matches!(resolution, Resolution::Ok(_)) => {
                known.stage = Stage::Open;
                self.resolve(now, op, resolution, out);
            }
            Stage::Leaving { again } => {
                if again {
                    known.stage = Stage::Stopped;
                } else {
                    self.ops.remove(&op);
                }
                let how = history::ended(&resolution);
                self.record(now, Event::Stopped { op, how }, out);
            }
        }
        out.push(Output::Settled(op));
        self.account.below = self.account.below.plus(used);
        Verdict::Applied
    }

    /// The function no longer wants this.
    pub(super) fn drop_op(&mut self, now: Timestamp, op: OpId, out: &mut Vec<Output>) {
        let Some(known) = self.ops.get(&op) else { return };
        match known.stage {
            // It was dropped before.
            Stage::Leaving { .. } | Stage::Stopped => return,
            Stage::Open => self.drop_open(op, Again::No, out),
            Stage::Resolved { .. } => self.drop_resolved(now, op, out),
        }
        self.record(now, Event::Dropped { op }, out);
    }

    /// Lets go of something open. What has an effect outside leaves only when that is settled.
    pub(super) fn drop_open(&mut self, op: OpId, again: Again, out: &mut Vec<Output>) {
        let known = self.ops.get_mut(&op).expect("it is open");
        let again = again == Again::Yes;
        match known.want {
            Want::Call { mode: InvokeMode::Wait, id, .. } => {
                known.stage = Stage::Leaving { again };
                out.push(Output::Effect(Effect::CancelCall { op, id }));
            }
            // What goes on alone, and what may have arrived, cannot be taken back.
            Want::Call { mode: InvokeMode::Detach, .. } | Want::Send { .. } => {
                known.stage = Stage::Leaving { again: false };
            }
            Want::Token { .. } => {
                self.ops.remove(&op);
                self.close_token(op, ClosedToken::Dropped);
            }
            Want::Timer { .. } | Want::Signal { .. } => {
                self.ops.remove(&op);
            }
        }
    }

    /// Lets go of something that ended and was not seen. A signal was taken for this ask and is
    /// kept again, first in line; everything else is late.
    pub(super) fn drop_resolved(&mut self, now: Timestamp, op: OpId, out: &mut Vec<Output>) {
        let known = self.ops.remove(&op).expect("it is resolved");
        if let (
            Want::Signal { name },
            Stage::Resolved { resolution: Resolution::Ok(payload), .. },
        ) = (known.want, known.stage)
        {
            self.signals.push_front((name, payload));
        } else {
            let _ = self.late(now, op, Refusal::TokenDropped, out);
        }
    }

    pub(super) fn close_token(&mut self, op: OpId, how: ClosedToken) {
        if self.closed_tokens.len() == limits::CLOSED_TOKENS_MAX {
            self.closed_tokens.pop_front();
        }
        self.closed_tokens.push_back((op, how));
    }
}

/// Whether a redrive makes a stopped call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Yes,
    No,
}

impl Want {
    /// Whether an end of the execution can take it back.
    pub(super) const fn can_stop(&self) -> bool {
        matches!(self, Self::Call { mode: InvokeMode::Wait, .. })
    }

    /// The id under which an answer comes.
    pub(super) const fn id(&self) -> Option<InvocationId> {
        match self {
            Self::Call { id, .. } | Self::Send { id, .. } => Some(*id),
            Self::Timer { .. } | Self::Signal { .. } | Self::Token { .. } => None,
        }
    }

    pub(super) const fn attempt(&self) -> u32 {
        match self {
            Self::Call { attempt, .. } | Self::Send { attempt, .. } => *attempt,
            Self::Timer { .. } | Self::Signal { .. } | Self::Token { .. } => 0,
        }
    }
}

/// By which the receiver of a sent signal knows a repeat: 64 of the 80 derived bits.
fn signal_id(id: InvocationId) -> SignalId {
    SignalId(u64::try_from(id.0 & u128::from(u64::MAX)).expect("64 bits fit"))
}
