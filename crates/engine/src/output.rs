//! What follows from an input.

use alloc::string::String;
use alloc::vec::Vec;

use model::suspend::{InvokeMode, OpId, Resolution};
use model::{ClassId, ExecutionId, Failure, InvocationId, Timestamp};

use crate::codec::{self, DecodeError};
use crate::history::Record;
use crate::input::SignalId;
use crate::money::Totals;
use crate::payload::Payload;

const FORMAT: u8 = 1;

/// Key of the effect that runs a turn. Numbers of asks are below [`OPS_END`].
pub const TURN_KEY: OpId = OpId(u64::MAX);
/// Key of the effect that tells the parent.
pub const REPORT_KEY: OpId = OpId(u64::MAX - 1);
/// Key of an execution's one timer, for a store that wants one.
pub const TIMER_KEY: OpId = OpId(u64::MAX - 2);
/// The first number that no ask may have.
pub const OPS_END: OpId = OpId(1 << 63);

/// What follows from an input. All of one step are committed together with the new state, then the
/// effects are acted on. Where there is none, nothing changed and nothing needs a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To be kept in the outbox under its [`Effect::key`] (in place of what is there), and done
    /// after the commit; again after each restart, until `Settled` is committed.
    Effect(Effect),
    /// The effect of this key is over: take it out of the outbox.
    Settled(OpId),
    /// Send [`Input::TimerDue`](crate::Input::TimerDue) at that time. Replaces the time before.
    /// Comes last in a step, and only where the time changed.
    Arm(Timestamp),
    /// No timer is wanted any more.
    Disarm,
    /// Append this to the history.
    History(Record),
    /// Remove history before that number: the execution began anew.
    ForgetHistory {
        /// The first number to keep.
        before: u64,
    },
    /// The outcome is decided. Whoever waits outside of executions may be told after the commit.
    /// An execution that is redriven says this again.
    Ended {
        /// The answer or failure.
        outcome: Outcome,
    },
    /// The state changed and nothing else follows: it must be committed.
    Touched,
    /// Nothing is under way any more: [`Execution::account`](crate::Execution::account) is final
    /// (until a redrive), and the receipt of its storage and transitions may be written.
    Closed {
        /// Counts them from 1: one that was redriven has a receipt for each end.
        receipt: u32,
        /// What was stored, and the transitions, since the receipt before.
        used: Totals,
    },
}

/// An outcome whose answer may lie elsewhere.
pub type Outcome = Result<Payload, Failure>;

/// Something to be done outside, at least once, so that a repeat does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Run a turn: as an invocation under this id, or inline (see [`run_turns`](crate::run_turns)). Answered
    /// by [`Input::TurnEnded`](crate::Input::TurnEnded). What to run it with:
    /// [`Execution::turn`](crate::Execution::turn).
    RunTurn {
        /// Counts turns from 1.
        turn: u64,
        /// Counts beginnings of this turn from 1.
        attempt: u32,
        /// The same for every attempt.
        id: InvocationId,
    },
    /// End the turn that runs, if it still does. Answered by
    /// [`Input::TurnEnded`](crate::Input::TurnEnded) with whatever end it had (for what it used).
    CancelTurn {
        /// Which one.
        turn: u64,
        /// Which beginning of it.
        attempt: u32,
        /// As `RunTurn` named it.
        id: InvocationId,
    },
    /// Call a function. `Wait`: answered when the callee ended. `Detach`: answered with
    /// `Ok(id as text)` when the callee is safely queued. A callee that is itself orchestrating
    /// becomes the execution of [`child_id`].
    Invoke(Call),
    /// End that call, if it still runs; never done before a begun `Invoke` of the same id has
    /// reached the callee. Answered by [`Input::Resolved`](crate::Input::Resolved) with
    /// whatever end the call had; [`model::FailureKind::Cancelled`] where it never began.
    CancelCall {
        /// Which ask.
        op: OpId,
        /// As `Invoke` named it.
        id: InvocationId,
    },
    /// Signal another execution of the tenant. Answered when it was taken (`Ok`, empty) or refused.
    SendSignal {
        /// Which ask.
        op: OpId,
        /// For the answer.
        id: InvocationId,
        /// The id (`exe_…`) or name of an execution.
        to: String,
        /// The signal's name.
        name: String,
        /// By which the receiver knows a repeat.
        signal: SignalId,
        /// What it carries.
        payload: Payload,
    },
    /// Tell the parent how this execution ended, as
    /// [`Input::Resolved`](crate::Input::Resolved) of the parent's ask. Answered by
    /// [`Input::Reported`](crate::Input::Reported) once the parent committed it.
    Report {
        /// Whom.
        parent: Parent,
        /// How it ended.
        resolution: Resolution<Payload>,
        /// All that it and its children used.
        used: Totals,
    },
}

/// A call to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which ask.
    pub op: OpId,
    /// The invocation's id: a repeat is the same invocation.
    pub id: InvocationId,
    /// `name` or `name:version`.
    pub function: String,
    /// The class stated at the call.
    pub stated: Option<String>,
    /// The effective class is never lower than this.
    pub floor: ClassId,
    /// Input of the call.
    pub payload: Payload,
    /// Whether the outcome is wanted.
    pub mode: InvokeMode,
}

/// Who waits for an execution that was called by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The calling execution.
    pub execution: ExecutionId,
    /// Its ask.
    pub op: OpId,
    /// The call's id.
    pub id: InvocationId,
}

/// The execution that a call becomes where the callee is itself orchestrating.
#[must_use]
pub const fn child_id(call: InvocationId) -> ExecutionId {
    ExecutionId(call.0)
}

impl Effect {
    /// The effect as bytes for the outbox, with its format's number in front.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(FORMAT, self)
    }

    /// The effect of those bytes.
    ///
    /// # Errors
    /// Damaged, or written by a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(FORMAT, bytes)
    }

    /// Content of the blob store that the effect names.
    #[must_use]
    pub const fn blob(&self) -> Option<[u8; 32]> {
        match self {
            Self::Invoke(Call { payload, .. })
            | Self::SendSignal { payload, .. }
            | Self::Report { resolution: Resolution::Ok(payload), .. } => payload.stored(),
            Self::RunTurn { .. }
            | Self::CancelTurn { .. }
            | Self::CancelCall { .. }
            | Self::Report { .. } => None,
        }
    }

    /// Its place in the outbox: at most one effect has it at a time.
    #[must_use]
    pub const fn key(&self) -> OpId {
        match self {
            Self::RunTurn { .. } | Self::CancelTurn { .. } => TURN_KEY,
            Self::Invoke(call) => call.op,
            Self::CancelCall { op, .. } | Self::SendSignal { op, .. } => *op,
            Self::Report { .. } => REPORT_KEY,
        }
    }
}
