//! What happened to an execution, in order: for people, for audits, and for a redrive.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::suspend::{Ask, InvokeMode, OpId, Resolution};
use model::{Failure, InvocationId, Timestamp};

use crate::codec::{self, DecodeError, code_enum, code_struct};
use crate::input::Refusal;
use crate::output::Parent;
use crate::payload::Payload;

/// The format of the records that are written.
pub const FORMAT: u8 = 2;

/// One line of an execution's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts from 1 without a gap, also across a new beginning.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It began.
    Started {
        /// Its input.
        input: Payload,
        /// Who called it, where another execution did.
        parent: Option<Parent>,
    },
    /// It began anew; what was before is forgotten.
    Again {
        /// How often it did.
        generation: u32,
        /// Its new input.
        input: Payload,
    },
    /// A turn ended with a suspension.
    Suspended {
        /// Which turn.
        turn: u64,
        /// When it had begun.
        began: Timestamp,
        /// What it now waits for, in words.
        waits: String,
    },
    /// A turn was lost without an end and is begun again.
    TurnLost {
        /// Which turn.
        turn: u64,
        /// Which beginning of it.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// It asked for something.
    Asked {
        /// Under which number.
        op: OpId,
        /// For what.
        ask: Ask<Payload>,
        /// Id of the call, where it is one.
        id: Option<InvocationId>,
    },
    /// Something asked for ended.
    Resolved {
        /// Which.
        op: OpId,
        /// How.
        resolution: Resolution<Payload>,
    },
    /// Something is no longer wanted.
    Dropped {
        /// Which.
        op: OpId,
    },
    /// A call that is no longer wanted has ended.
    Stopped {
        /// Which.
        op: OpId,
        /// How, in words.
        how: String,
    },
    /// A signal came that nothing waited for; it is kept.
    Kept {
        /// Its name.
        name: String,
        /// What it carries.
        payload: Payload,
    },
    /// A callback token was answered before it was asked for; the answer is kept.
    TokenKept {
        /// Which.
        op: OpId,
    },
    /// Something came too late.
    Late {
        /// Which ask it was for.
        op: OpId,
        /// Why it does not count, see [`Refusal::code`].
        code: String,
    },
    /// No further turn is begun.
    Paused {
        /// Why.
        reason: String,
    },
    /// Turns go on.
    Resumed {
        /// Why; nothing where nobody said.
        reason: String,
    },
    /// It goes on after a failure.
    Redriven {
        /// Calls made again.
        calls: u64,
        /// Why; nothing where nobody said.
        reason: String,
    },
    /// It was cancelled.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// It ended.
    Ended {
        /// The answer or failure.
        outcome: Result<Payload, Failure>,
    },
    /// An interpreter's own note.
    Note(Payload),
}

code_enum!(Event {
    0 => Started { input, parent },
    1 => Again { generation, input },
    2 => Suspended { turn, began, waits },
    3 => TurnLost { turn, attempt, reason },
    4 => Asked { op, ask, id },
    5 => Resolved { op, resolution },
    6 => Dropped { op },
    7 => Stopped { op, how },
    8 => Kept { name, payload },
    9 => TokenKept { op },
    10 => Late { op, code },
    11 => Paused { reason },
    12 => Resumed { ; since 2: reason },
    13 => Redriven { calls; since 2: reason },
    14 => Cancelled { reason },
    15 => Ended { outcome },
    16 => Note(payload),
});

code_struct!(Record { seq, at, event });

impl Record {
    /// The record as bytes, with its format's number in front.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(FORMAT, self)
    }

    /// The record of those bytes.
    ///
    /// # Errors
    /// Damaged, or written by a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(FORMAT, bytes)
    }

    /// Content of the blob store that the record names.
    #[must_use]
    pub fn blobs(&self) -> Vec<[u8; 32]> {
        self.event.payload().and_then(Payload::stored).into_iter().collect()
    }
}

impl Event {
    /// A stable word for the sort of event.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Again { .. } => "again",
            Self::Suspended { .. } => "suspended",
            Self::TurnLost { .. } => "turn-lost",
            Self::Asked { .. } => "asked",
            Self::Resolved { .. } => "resolved",
            Self::Dropped { .. } => "dropped",
            Self::Stopped { .. } => "stopped",
            Self::Kept { .. } => "kept",
            Self::TokenKept { .. } => "token-kept",
            Self::Late { .. } => "late",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Redriven { .. } => "redriven",
            Self::Cancelled { .. } => "cancelled",
            Self::Ended { .. } => "ended",
            Self::Note(_) => "note",
        }
    }

    /// The ask it is about, where it is about one.
    #[must_use]
    pub const fn op(&self) -> Option<OpId> {
        match self {
            Self::Asked { op, .. }
            | Self::Resolved { op, .. }
            | Self::Dropped { op }
            | Self::Stopped { op, .. }
            | Self::TokenKept { op }
            | Self::Late { op, .. } => Some(*op),
            Self::Started { .. }
            | Self::Again { .. }
            | Self::Suspended { .. }
            | Self::TurnLost { .. }
            | Self::Kept { .. }
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::Redriven { .. }
            | Self::Cancelled { .. }
            | Self::Ended { .. }
            | Self::Note(_) => None,
        }
    }

    /// What it carries, where it carries something.
    #[must_use]
    pub const fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Started { input: payload, .. }
            | Self::Again { input: payload, .. }
            | Self::Asked {
                ask: Ask::Invoke { payload, .. } | Ask::SendSignal { payload, .. },
                ..
            }
            | Self::Resolved { resolution: Resolution::Ok(payload), .. }
            | Self::Kept { payload, .. }
            | Self::Ended { outcome: Ok(payload) }
            | Self::Note(payload) => Some(payload),
            Self::Suspended { .. }
            | Self::TurnLost { .. }
            | Self::Asked {
                ask: Ask::Timer { .. } | Ask::Signal { .. } | Ask::Token { .. }, ..
            }
            | Self::Resolved {
                resolution: Resolution::Failed(_) | Resolution::Refused { .. },
                ..
            }
            | Self::Dropped { .. }
            | Self::Stopped { .. }
            | Self::TokenKept { .. }
            | Self::Late { .. }
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::Redriven { .. }
            | Self::Cancelled { .. }
            | Self::Ended { outcome: Err(_) } => None,
        }
    }

    /// What happened and why, for a person; never the payload itself.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Started { input, parent: None } => {
                format!("began with {} bytes of input", input.len())
            }
            Self::Started { input, parent: Some(parent) } => {
                let bytes = input.len();
                let op = parent.op.0;
                format!("began with {bytes} bytes of input, called by {} (#{op})", parent.execution)
            }
            Self::Again { generation, input } => {
                format!("began anew (time {generation}) with {} bytes of input", input.len())
            }
            Self::Suspended { turn, waits, .. } => {
                format!("turn {turn} ended, waiting for {waits}")
            }
            Self::TurnLost { turn, attempt, reason } => {
                format!("turn {turn} was lost in attempt {attempt}: {reason}")
            }
            Self::Asked { op, ask, id } => asked(*op, ask, *id),
            Self::Resolved { op, resolution } => format!("#{} {}", op.0, ended(resolution)),
            Self::Dropped { op } => format!("#{} is no longer wanted", op.0),
            Self::Stopped { op, how } => format!("#{}, no longer wanted, has ended: {how}", op.0),
            Self::Kept { name, payload } => {
                format!("signal {name:?} of {} bytes came before a wait and is kept", payload.len())
            }
            Self::TokenKept { op } => {
                format!("token #{} was answered before its turn ended; the answer is kept", op.0)
            }
            Self::Late { op, code } => format!("too late for #{}: {code}", op.0),
            Self::Paused { reason } => format!("paused: {reason}"),
            Self::Resumed { reason } => format!("resumed{}", stated(reason)),
            Self::Redriven { calls, reason } => {
                format!("redriven, {calls} calls are made again{}", stated(reason))
            }
            Self::Cancelled { reason } => format!("cancelled: {reason}"),
            Self::Ended { outcome: Ok(answer) } => {
                format!("succeeded with {} bytes", answer.len())
            }
            Self::Ended { outcome: Err(failure) } => {
                format!("failed ({}): {}", failure.kind.code(), failure.message)
            }
            Self::Note(payload) => format!("note of {} bytes", payload.len()),
        }
    }
}

/// What [`Input::Redrive`](crate::Input::Redrive) wants: of each of `ops` the last ask in `records`,
/// which are in order.
#[must_use]
pub fn asks_of<'a>(
    records: impl DoubleEndedIterator<Item = &'a Record>,
    ops: &[OpId],
) -> Vec<(OpId, Ask<Payload>)> {
    let mut found: Vec<(OpId, Ask<Payload>)> = Vec::new();
    for record in records.rev() {
        let Event::Asked { op, ask, .. } = &record.event else { continue };
        if ops.contains(op) && found.iter().all(|(known, _)| known != op) {
            found.push((*op, ask.clone()));
        }
    }
    found.sort_by_key(|(op, _)| *op);
    found
}

impl Refusal {
    pub(crate) fn late(self, op: OpId) -> Event {
        Event::Late { op, code: self.code().to_string() }
    }
}

fn stated(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

fn asked(op: OpId, ask: &Ask<Payload>, id: Option<InvocationId>) -> String {
    let op = op.0;
    let id = id.map(|id| format!(" ({id})")).unwrap_or_default();
    match ask {
        Ask::Timer { at } => format!("#{op} timer set to {at}"),
        Ask::Invoke { function, payload, mode, .. } => {
            let how = match mode {
                InvokeMode::Wait => "calls",
                InvokeMode::Detach => "starts",
            };
            format!("#{op} {how} {function} with {} bytes{id}", payload.len())
        }
        Ask::Signal { name } => format!("#{op} awaits signal {name:?}"),
        Ask::Token { heartbeat: None } => format!("#{op} awaits a callback"),
        Ask::Token { heartbeat: Some(every) } => {
            format!("#{op} awaits a callback with a sign of life every {every:?}")
        }
        Ask::SendSignal { to, name, payload } => {
            format!("#{op} signals {name:?} to {to} with {} bytes", payload.len())
        }
    }
}

/// How something ended, in words.
pub(crate) fn ended(resolution: &Resolution<Payload>) -> String {
    match resolution {
        Resolution::Ok(payload) => format!("ended with {} bytes", payload.len()),
        Resolution::Failed(failure) => {
            format!("failed ({}): {}", failure.kind.code(), failure.message)
        }
        Resolution::Refused { code, message } => format!("was refused ({code}): {message}"),
    }
}
