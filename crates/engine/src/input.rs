//! What an execution takes, and what it says to the one who sent it.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use model::suspend::{Ask, OpId, Resolution, Step};
use model::{Failure, InvocationId, TenantName};

use crate::execution::Status;
use crate::money::Totals;
use crate::payload::Payload;
use crate::token::Token;

/// One thing that happens to an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A turn that [`Effect::RunTurn`](crate::Effect::RunTurn) asked for is over.
    TurnEnded {
        /// Which one. Another than the one that runs is passed over (`Duplicate`).
        turn: u64,
        /// Which attempt of it. Another than the one that runs is passed over, too.
        attempt: u32,
        /// How it ended.
        end: TurnEnd,
        /// What it used and cost; nothing for one that ran inline.
        used: Totals,
    },
    /// The time that [`Output::Arm`](crate::Output::Arm) named has come. Too early or once more does
    /// no harm.
    TimerDue,
    /// A call, a signal sent, or the cancelling of a call came to its end. Answers
    /// [`Effect::Invoke`](crate::Effect::Invoke), [`Effect::SendSignal`](crate::Effect::SendSignal)
    /// and [`Effect::CancelCall`](crate::Effect::CancelCall): each is answered until an answer was
    /// taken, and repeated answers do no harm.
    Resolved {
        /// Which ask.
        op: OpId,
        /// The id that the effect named. An answer to an earlier attempt is told by it.
        id: InvocationId,
        /// How it ended.
        resolution: Resolution<Payload>,
        /// What the callee and all below it used and cost.
        used: Totals,
    },
    /// Somebody signals.
    Signal {
        /// The name by which it is waited for.
        name: String,
        /// Tells a repeated one; none where the sender never repeats.
        id: Option<SignalId>,
        /// What it carries.
        payload: Payload,
    },
    /// Somebody presents a callback token.
    Token {
        /// Who presents it.
        tenant: TenantName,
        /// The token, see [`Token::parse`].
        token: Token,
        /// What its holder says.
        answer: TokenAnswer,
    },
    /// End it, and what it waits for.
    Cancel {
        /// For a person.
        reason: String,
    },
    /// Begin no further turn. A turn that runs goes on to its end, events are taken and kept.
    Pause {
        /// For a person.
        reason: String,
    },
    /// Undo `Pause`.
    Resume {
        /// For a person.
        reason: String,
    },
    /// Go on from the last suspension after a failure: calls that failed or were stopped are made
    /// again, everything else is as it was.
    Redrive {
        /// For a person.
        reason: String,
        /// What [`Execution::redrive_asks`](crate::Execution::redrive_asks) lists, as it stands in
        /// the history.
        asks: Vec<(OpId, Ask<Payload>)>,
    },
    /// Set what a person shall see of it.
    SetStatus {
        /// At most [`model::limits::CUSTOM_STATUS_BYTES_MAX`].
        status: Vec<u8>,
    },
    /// The parent has committed what [`Effect::Report`](crate::Effect::Report) told.
    Reported,
}

/// Tells one signal from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalId(pub u64);

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnEnd {
    /// The function suspended or is done.
    Ended(Turned<Payload>),
    /// The function failed; so does the execution.
    Failed(Failure),
    /// It was lost without an end: its machine or sandbox died. It is begun again under the same
    /// number at most [`model::limits::TURN_RESTARTS_MAX`] times.
    Lost {
        /// For a person.
        reason: String,
    },
}

/// What a turn leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turned<P = Vec<u8>> {
    /// What the next turn begins with. Nothing needs it after `Done`, `Failed` and `Again`.
    pub state: P,
    /// How the turn ended.
    pub step: Step<P>,
    /// Transitions that it is billed for; zero counts as one.
    pub transitions: u64,
    /// What an interpreter notes for its own history, in its own encoding; kept in order.
    pub notes: Vec<P>,
    /// What it keeps beside its state.
    pub parts: Parts<P>,
    /// Where it failed: what it had dealt with of what it was given. A redrive does not make that
    /// again.
    pub dealt: Vec<OpId>,
}

/// What an interpreter keeps beside its state: a turn that changes little writes little, however
/// much is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<P = Vec<u8>> {
    /// What is new, under numbers that were never used before.
    pub new: Vec<(u64, P)>,
    /// Everything that is still wanted, the new ones included; the rest is forgotten.
    pub live: BTreeSet<u64>,
}

impl<P> Default for Parts<P> {
    fn default() -> Self {
        Self { new: Vec::new(), live: BTreeSet::new() }
    }
}

impl<P> Turned<P> {
    /// One transition, no notes.
    pub const fn new(state: P, step: Step<P>) -> Self {
        let parts = Parts { new: Vec::new(), live: BTreeSet::new() };
        Self { state, step, transitions: 1, notes: Vec::new(), parts, dealt: Vec::new() }
    }

    /// The same with another sort of payload.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn try_map<Q, E>(self, f: &mut dyn FnMut(P) -> Result<Q, E>) -> Result<Turned<Q>, E> {
        Ok(Turned {
            state: f(self.state)?,
            step: self.step.try_map(f)?,
            transitions: self.transitions,
            notes: self.notes.into_iter().map(&mut *f).collect::<Result<_, E>>()?,
            parts: Parts {
                new: self
                    .parts
                    .new
                    .into_iter()
                    .map(|(number, part)| Ok((number, f(part)?)))
                    .collect::<Result<_, E>>()?,
                live: self.parts.live,
            },
            dealt: self.dealt,
        })
    }
}

/// What the holder of a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenAnswer {
    /// It is done, or failed: the token is used up.
    Ended(Result<Payload, Failure>),
    /// It is still at work.
    Heartbeat,
}

/// What became of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Taken. It may be acknowledged once the outputs are committed.
    Applied,
    /// It was taken before, or concerns what is no more. Nothing changed, acknowledge it.
    Duplicate,
    /// It came too late and changes nothing but the history.
    Late(Refusal),
    /// Not taken. Nothing changed.
    Refused(Refusal),
}

/// Why an input was not taken. [`Refusal::code`] is public and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The execution ended.
    Ended(Status),
    /// It has not ended, and only ended ones can be redriven or purged.
    NotEnded,
    /// It ended well: there is nothing to redrive.
    Succeeded,
    /// What it waited for is still being stopped, or its end was not told to its parent yet: try
    /// again soon.
    Stopping,
    /// It is not paused.
    NotPaused,
    /// It keeps as many events that it has not waited for as it may.
    KeptFull,
    /// A name, reason or status is empty or too long.
    Malformed,
    /// The payload ought to lie in the blob store.
    PayloadTooLarge,
    /// The history does not fit the ask that is to be made again.
    WrongAsk(OpId),
    /// This platform never made such a token.
    TokenForged,
    /// The token is another tenant's (or execution's).
    TokenForeign,
    /// The token was answered before.
    TokenUsed,
    /// The token's sign of life did not come in time.
    TokenExpired,
    /// Nobody waits for the token any more.
    TokenDropped,
    /// The token ended, too long ago to say how.
    TokenClosed,
}

impl Refusal {
    /// The public code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ended(_) => "execution-ended",
            Self::NotEnded => "execution-open",
            Self::Succeeded => "execution-succeeded",
            Self::Stopping => "execution-stopping",
            Self::NotPaused => "not-paused",
            Self::KeptFull => "too-many-events",
            Self::Malformed => "invalid",
            Self::PayloadTooLarge => "payload-too-large",
            Self::WrongAsk(_) => "wrong-ask",
            Self::TokenForged => "token-forged",
            Self::TokenForeign => "token-foreign",
            Self::TokenUsed => "token-used",
            Self::TokenExpired => "token-expired",
            Self::TokenDropped => "token-dropped",
            Self::TokenClosed => "token-closed",
        }
    }

    /// What happened, for a person.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Ended(_) => "the execution has ended",
            Self::NotEnded => "the execution has not ended",
            Self::Succeeded => "the execution succeeded; there is nothing to do again",
            Self::Stopping => "what the execution waited for is still being stopped; try again",
            Self::NotPaused => "the execution is not paused",
            Self::KeptFull => "the execution keeps as many unseen events as it may; try later",
            Self::Malformed => "a name, reason or status is empty or too long",
            Self::PayloadTooLarge => "the payload is too large to be held inline",
            Self::WrongAsk(_) => "the history does not hold what is to be asked again",
            Self::TokenForged => "this is not a token of ours",
            Self::TokenForeign => "the token is not yours",
            Self::TokenUsed => "the token was answered before",
            Self::TokenExpired => "the token expired: no sign of life came in time",
            Self::TokenDropped => "nobody waits for this token any more",
            Self::TokenClosed => "the token has ended",
        }
    }
}
