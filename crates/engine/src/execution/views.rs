//! What others may know of an execution: for queries, for the shell, for a person.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use model::suspend::{InvokeMode, OpId, Resolution, Until};
use model::{ClassId, Failure, InvocationId, Timestamp, limits};

use super::{Birth, Close, End, Execution, Op, Phase, Stage, Want};
use crate::input::Refusal;
use crate::money::Account;
use crate::output::Effect;
use crate::payload::Payload;
use crate::token::{Mint, hmac};

/// Asks that [`Execution::waits`] names; further ones are counted.
const NAMED_MAX: usize = 3;
/// What storing one ask is billed as, beside its payload.
const OP_BYTES: u64 = 64;

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// A turn runs, or is about to.
    Running,
    /// It is suspended.
    Waiting,
    /// It was told to begin no turn.
    Paused,
    /// It ended with an answer.
    Succeeded,
    /// It ended with a failure, a timeout included.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Running,
        Self::Waiting,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The public word, which never changes.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of that word.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// Whether the outcome is decided.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        match self {
            Self::Running | Self::Waiting | Self::Paused => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }
}

impl From<End> for Status {
    fn from(end: End) -> Self {
        match end {
            End::Succeeded => Self::Succeeded,
            End::Failed => Self::Failed,
            End::Cancelled => Self::Cancelled,
        }
    }
}

/// A turn to be run, with what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueTurn<'a> {
    /// Counts turns from 1.
    pub number: u64,
    /// Counts beginnings of this turn from 1.
    pub attempt: u32,
    /// The invocation's id.
    pub id: InvocationId,
    /// The execution's input.
    pub input: &'a Payload,
    /// What the last suspension left; none in the first turn.
    pub state: Option<&'a Payload>,
    /// What woke it, in the order in which it was committed.
    pub resolved: Vec<(OpId, &'a Resolution<Payload>)>,
    /// 256 random bits of this turn, the same in each attempt. Not to be shown to others.
    pub entropy: [u8; 32],
}

/// Something asked for, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its number.
    pub op: OpId,
    /// When it was asked for.
    pub asked: Timestamp,
    /// What it is, in words.
    pub what: String,
    /// The call's id where it is an awaited call; a child execution's where the callee
    /// orchestrates, see [`child_id`](crate::child_id).
    pub call: Option<InvocationId>,
    /// Whether it has ended and waits to be seen.
    pub is_resolved: bool,
}

impl Execution {
    /// What it was born with.
    #[must_use]
    pub const fn birth(&self) -> &Birth {
        &self.birth
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.phase {
            Phase::Ended { end, .. } => (*end).into(),
            Phase::Open | Phase::Again { .. } if self.paused.is_some() => Status::Paused,
            Phase::Open if self.running.is_none() => Status::Waiting,
            Phase::Open | Phase::Again { .. } => Status::Running,
        }
    }

    pub(super) fn ended_status(&self) -> Option<Status> {
        match &self.phase {
            Phase::Open | Phase::Again { .. } => None,
            Phase::Ended { end, .. } => Some((*end).into()),
        }
    }

    /// Since when it stands there.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// When it began (anew).
    #[must_use]
    pub const fn began(&self) -> Timestamp {
        self.began
    }

    /// How often it was redriven.
    #[must_use]
    pub const fn redrives(&self) -> u32 {
        self.redrives
    }

    /// What the last turn had dealt with when it failed, until it has been taken again.
    pub(crate) fn dealt(&self) -> &[OpId] {
        &self.dealt
    }

    /// Calls that the last redrive made again, and when, where no turn ended since.
    pub(crate) fn made_again(&self) -> Vec<(OpId, Timestamp)> {
        if self.redrives == 0 {
            return Vec::new();
        }
        // Its time limit began with that.
        let timeout = self.birth.timeout;
        let fed = self.fed.iter().map(|(id, op)| (id, op));
        let is_again = |op: &Op| op.want.attempt() > 0 && op.asked + timeout >= self.times_out_at;
        let again = self.ops.iter().chain(fed).filter(|(_, op)| is_again(op));
        let mut again: Vec<_> = again.map(|(id, op)| (*id, op.asked)).collect();
        again.sort_unstable();
        again
    }

    /// How often it began anew.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The effective class of everything that it does.
    #[must_use]
    pub const fn class(&self) -> ClassId {
        self.birth.class
    }

    /// When its outcome was decided, and the outcome.
    #[must_use]
    pub const fn outcome(&self) -> Option<(Timestamp, &Result<Payload, Failure>)> {
        match &self.phase {
            Phase::Open | Phase::Again { .. } => None,
            Phase::Ended { at, outcome, .. } => Some((*at, outcome)),
        }
    }

    /// What a person shall see of it, as the function said.
    #[must_use]
    pub fn custom_status(&self) -> Option<&[u8]> {
        self.custom_status.as_deref()
    }

    /// When [`Input::TimerDue`](crate::Input::TimerDue) is due, if nothing else comes before.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Open => {
                let first = self.times().map(|(at, _)| at).min();
                Some(first.map_or(self.times_out_at, |first| first.min(self.times_out_at)))
            }
            Phase::Again { .. } | Phase::Ended { .. } => None,
        }
    }

    /// The turn that is to be run now, with what it is given. None while it waits, and where the
    /// turn that runs is to be cancelled.
    #[must_use]
    pub fn turn(&self) -> Option<DueTurn<'_>> {
        let running = self.running.filter(|_| matches!(self.phase, Phase::Open))?;
        let given = self.fed.iter().filter_map(|(op, fed)| match &fed.stage {
            Stage::Resolved { resolution, .. } => Some((*op, resolution)),
            Stage::Open | Stage::Leaving { .. } | Stage::Stopped => None,
        });
        let mut purpose = b"turn".to_vec();
        purpose.extend(running.number.to_be_bytes());
        Some(DueTurn {
            number: running.number,
            attempt: running.attempt,
            id: running.id,
            input: &self.birth.input,
            state: self.state.as_ref(),
            resolved: given.collect(),
            entropy: hmac(&self.birth.secret, &purpose),
        })
    }

    /// The turn that runs though the execution has ended.
    pub(crate) fn turn_to_cancel(&self) -> Option<(u64, u32)> {
        let running = self.running.filter(|_| matches!(self.phase, Phase::Ended { .. }))?;
        Some((running.number, running.attempt))
    }

    /// What an interpreter kept under that number.
    #[must_use]
    pub fn part(&self, number: u64) -> Option<&Payload> {
        self.parts.get(&number)
    }

    /// Makes the callback tokens of the turn that runs.
    #[must_use]
    pub const fn mint(&self) -> Mint {
        Mint::new(self.birth.id, self.generation, self.birth.secret)
    }

    /// The books as of the last step. [`Account::at`] tells them for now.
    #[must_use]
    pub const fn account(&self) -> &Account {
        &self.account
    }

    /// Largest payload to hand in inline now. Less than [`limits::PAYLOAD_INLINE_BYTES_MAX`] where
    /// the state holds much already.
    #[must_use]
    pub fn inline_max(&self) -> usize {
        let held: u64 = self.payloads().map(Payload::inline_len).sum();
        let room = limits::STATE_INLINE_BYTES_MAX.saturating_sub(held);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        room.clamp(limits::PAYLOAD_INLINE_BYTES_FULL, limits::PAYLOAD_INLINE_BYTES_MAX)
    }

    /// Content of the blob store that the state names.
    #[must_use]
    pub fn blobs(&self) -> Vec<[u8; 32]> {
        let mut hashes: Vec<_> = self.payloads().filter_map(Payload::stored).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    /// Whether it may be removed from the store.
    ///
    /// # Errors
    /// It has not ended, or something is left to settle.
    pub const fn may_purge(&self) -> Result<(), Refusal> {
        match &self.phase {
            Phase::Open | Phase::Again { .. } => Err(Refusal::NotEnded),
            Phase::Ended { close: Close::Done, .. } => Ok(()),
            Phase::Ended { close: Close::Waiting | Close::Reporting, .. } => Err(Refusal::Stopping),
        }
    }

    /// The lowest number that was never asked under.
    #[must_use]
    pub const fn next_op(&self) -> OpId {
        self.next_op
    }

    /// Whether an effect that was put off, or found again after a crash, is still to be done.
    #[must_use]
    pub fn is_wanted(&self, effect: &Effect) -> bool {
        let stage_of = |op: &OpId, wanted: &InvocationId| {
            let op = self.ops.get(op)?;
            match &op.want {
                Want::Call { id, .. } | Want::Send { id, .. } => {
                    (id == wanted).then_some(&op.stage)
                }
                Want::Timer { .. } | Want::Signal { .. } | Want::Token { .. } => None,
            }
        };
        match effect {
            Effect::RunTurn { turn, attempt, .. } => {
                self.turn().is_some_and(|due| (due.number, due.attempt) == (*turn, *attempt))
            }
            Effect::CancelTurn { id, .. } => {
                self.turn().is_none() && self.running.is_some_and(|running| running.id == *id)
            }
            // What cannot be taken back is done even where its end is no longer wanted: only its
            // answer settles it.
            Effect::Invoke(call) => {
                stage_of(&call.op, &call.id).is_some_and(|stage| match call.mode {
                    InvokeMode::Wait => *stage == Stage::Open,
                    InvokeMode::Detach => matches!(stage, Stage::Open | Stage::Leaving { .. }),
                })
            }
            Effect::SendSignal { op, id, .. } => stage_of(op, id)
                .is_some_and(|stage| matches!(stage, Stage::Open | Stage::Leaving { .. })),
            Effect::CancelCall { op, id } => {
                stage_of(op, id).is_some_and(|stage| matches!(stage, Stage::Leaving { .. }))
            }
            Effect::Report { .. } => {
                matches!(self.phase, Phase::Ended { close: Close::Reporting, .. })
            }
        }
    }

    /// Everything asked for that a turn has not seen, by number.
    pub fn open(&self) -> impl Iterator<Item = Open> {
        self.ops.iter().map(|(id, op)| Open {
            op: *id,
            asked: op.asked,
            what: op.what(),
            call: op.call(),
            is_resolved: matches!(op.stage, Stage::Resolved { .. }),
        })
    }

    /// What it waits for, in words: `signal "approved" (#3) or timer at 12.5 (#4)`.
    #[must_use]
    pub fn waits(&self) -> String {
        match &self.phase {
            Phase::Ended { close: Close::Waiting, .. } | Phase::Again { .. } => {
                "what it cancelled".to_string()
            }
            Phase::Ended { close: Close::Reporting, .. } => "its parent to take note".to_string(),
            Phase::Ended { close: Close::Done, .. } => "nothing".to_string(),
            Phase::Open => match (&self.paused, &self.running, &self.until) {
                (_, Some(running), _) => format!("the end of turn {}", running.number),
                (Some(reason), None, _) => format!("being resumed (paused: {reason})"),
                (None, None, None) => "its first turn".to_string(),
                (None, None, Some(until)) => self.waits_until(until),
            },
        }
    }

    fn waits_until(&self, until: &Until) -> String {
        let (ops, word): (Vec<OpId>, _) = match until {
            Until::Any(ops) => (ops.clone(), "or"),
            Until::All(ops) => (ops.clone(), "and"),
            Until::Next => (self.ops.keys().copied().collect(), "or"),
        };
        let open = |op: &OpId| self.ops.get(op).filter(|known| known.stage == Stage::Open);
        let open: Vec<(OpId, &Op)> =
            ops.iter().filter_map(|op| open(op).map(|known| (*op, known))).collect();
        if open.is_empty() {
            return "nothing more".to_string();
        }
        let mut words = String::new();
        for (index, (op, known)) in open.iter().take(NAMED_MAX).enumerate() {
            let between = if index == 0 { "" } else { word };
            let space = if index == 0 { "" } else { " " };
            let _ = write!(words, "{space}{between}{space}{} (#{})", known.what(), op.0);
        }
        if open.len() > NAMED_MAX {
            let _ = write!(words, " {word} {} more", open.len() - NAMED_MAX);
        }
        words
    }

    /// Bytes whose storage is billed: input, state, status, and everything kept for a turn.
    pub(super) fn billed_bytes(&self) -> u64 {
        if let Phase::Ended { close: Close::Reporting | Close::Done, .. } = self.phase {
            return 0;
        }
        let payloads: u64 = self.payloads().map(Payload::len).sum();
        let status = self.custom_status.as_ref().map_or(0, |status| status.len() as u64);
        payloads + status + OP_BYTES * self.ops.len() as u64
    }

    fn payloads(&self) -> impl Iterator<Item = &Payload> {
        let ops = self.ops.values().chain(self.fed.iter().map(|(_, op)| op));
        let resolved = ops.filter_map(|op| match &op.stage {
            Stage::Resolved { resolution: Resolution::Ok(payload), .. } => Some(payload),
            Stage::Resolved { .. } | Stage::Open | Stage::Leaving { .. } | Stage::Stopped => None,
        });
        let ends = match &self.phase {
            Phase::Open => None,
            Phase::Again { input } => Some(input),
            Phase::Ended { outcome, .. } => outcome.as_ref().ok(),
        };
        let early = self.early_tokens.values().filter_map(|answer| answer.as_ref().ok());
        core::iter::once(&self.birth.input)
            .chain(&self.state)
            .chain(self.parts.values())
            .chain(resolved)
            .chain(ends)
            .chain(early)
            .chain(self.signals.iter().map(|(_, payload)| payload))
    }
}

impl Op {
    fn call(&self) -> Option<InvocationId> {
        match &self.want {
            Want::Call { mode: InvokeMode::Wait, id, .. } => Some(*id),
            Want::Call { .. }
            | Want::Timer { .. }
            | Want::Signal { .. }
            | Want::Token { .. }
            | Want::Send { .. } => None,
        }
    }

    fn what(&self) -> String {
        match &self.want {
            Want::Timer { at } => format!("timer at {at}"),
            Want::Call { function, mode: InvokeMode::Wait, .. } => format!("call of {function}"),
            Want::Call { function, mode: InvokeMode::Detach, .. } => {
                format!("start of {function}")
            }
            Want::Signal { name } => format!("signal {name:?}"),
            Want::Token { heartbeat: None, .. } => "callback".to_string(),
            Want::Token { heartbeat: Some(every), .. } => {
                format!("callback with a sign of life every {every:?}")
            }
            Want::Send { to, name, .. } => format!("signal {name:?} to {to}"),
        }
    }
}
