//! One execution: its state, and what follows from each input.
//!
//! [`Execution::step`] is the one way in. The files beside this one hold the inputs by what they are
//! about: `turns`, `asks` (what is asked for and how it is resolved), `events` (signals, tokens,
//! timers), `ends` (outcome, cancel, new beginning, redrive), `views` (what others may know).

mod asks;
mod ends;
mod events;
mod turns;
mod views;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use model::suspend::{InvokeMode, OpId, Resolution, Until};
use model::{
    ClassId, ExecutionId, Failure, FunctionName, InvocationId, TenantName, Timestamp, Version,
    limits,
};
use sha2::{Digest, Sha256};

use crate::codec::{self, DecodeError, code_enum, code_struct};
use crate::history::{Event, Record};
use crate::input::{Input, Refusal, SignalId, Verdict};
use crate::money::{Account, Billed};
use crate::output::{OPS_END, Output, Parent};
use crate::payload::Payload;

pub use views::{DueTurn, Open, Status};

/// The format in which [`Execution::encode`] writes. Older ones are read for ever.
pub const FORMAT: u8 = 4;

/// What an execution is born with and never changes (but for its input, when it begins anew).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Birth {
    /// Its id. Where it is called by another execution: [`child_id`](crate::child_id) of the call.
    pub id: ExecutionId,
    /// Who pays.
    pub tenant: TenantName,
    /// The function.
    pub function: FunctionName,
    /// The version whose code it runs to its end.
    pub version: Version,
    /// Its effective class: all that it asks for is at least that.
    pub class: ClassId,
    /// The highest class that the key which began the chain allows.
    pub max_class: ClassId,
    /// Functions above it that wait for it.
    pub depth: u32,
    /// Who waits for it, where that is an execution.
    pub parent: Option<Parent>,
    /// Its input.
    pub input: Payload,
    /// Longest life; cut to [`limits::EXECUTION_TIMEOUT_MAX`].
    pub timeout: Duration,
    /// 256 random bits, for tokens and for the entropy of turns. Never shown.
    pub secret: [u8; 32],
    /// What whoever started it wants to know again, in its own words; an interpreter sees it.
    pub origin: Vec<u8>,
}

/// A durable instance of an orchestrating function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    birth: Birth,
    generation: u32,
    phase: Phase,
    paused: Option<String>,
    /// What the last suspension left.
    state: Option<Payload>,
    /// What an interpreter keeps beside its state, under its own numbers.
    parts: BTreeMap<u64, Payload>,
    /// How often it was redriven.
    redrives: u32,
    custom_status: Option<Vec<u8>>,
    /// What the last suspension waits for. Stays during the turn, for a redrive.
    until: Option<Until>,
    /// The last turn that was begun.
    turn: u64,
    running: Option<Running>,
    /// What the turn that runs, or the one that failed, was given.
    fed: Vec<(OpId, Op)>,
    /// What the turn that failed had dealt with, until it has been taken again.
    dealt: Vec<OpId>,
    ops: BTreeMap<OpId, Op>,
    /// The lowest number that may still be asked under.
    next_op: OpId,
    /// Counts resolutions.
    order: u64,
    signals: VecDeque<(String, Payload)>,
    signal_ids: VecDeque<SignalId>,
    /// Answers to tokens of asks that are not committed yet.
    early_tokens: BTreeMap<OpId, Result<Payload, Failure>>,
    closed_tokens: VecDeque<(OpId, ClosedToken)>,
    history_next: u64,
    history_first: u64,
    late_records: u32,
    account: Account,
    billed: Billed,
    began: Timestamp,
    /// When its status last changed.
    since: Timestamp,
    times_out_at: Timestamp,
    armed: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Begins anew with this input as soon as what it cancelled is settled.
    Again {
        input: Payload,
    },
    Ended {
        end: End,
        at: Timestamp,
        outcome: Result<Payload, Failure>,
        close: Close,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Close {
    /// Something that was cancelled has not settled.
    Waiting,
    /// Settled; the parent was not told yet.
    Reporting,
    /// Nothing is left to do.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    number: u64,
    attempt: u32,
    id: InvocationId,
    began: Timestamp,
}

/// Something asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Op {
    asked: Timestamp,
    want: Want,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Want {
    Timer { at: Timestamp },
    Call { function: String, mode: InvokeMode, id: InvocationId, attempt: u32 },
    Signal { name: String },
    Token { heartbeat: Option<Duration>, alive_until: Option<Timestamp> },
    Send { to: String, name: String, id: InvocationId, attempt: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// Ended, and no turn has seen it.
    Resolved {
        order: u64,
        resolution: Resolution<Payload>,
    },
    /// No longer wanted; its answer only settles it. With `again`, a redrive makes it again.
    Leaving {
        again: bool,
    },
    /// Stopped when the execution failed; a redrive makes it again.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClosedToken {
    Used,
    Expired,
    Dropped,
}

code_struct!(Birth {
    id,
    tenant,
    function,
    version,
    class,
    max_class,
    depth,
    parent,
    input,
    timeout,
    secret,
} since 3 { origin });

code_struct!(Execution {
    birth,
    generation,
    phase,
    paused,
    state,
    custom_status,
    until,
    turn,
    running,
    fed,
    ops,
    next_op,
    order,
    signals,
    signal_ids,
    early_tokens,
    closed_tokens,
    history_next,
    history_first,
    late_records,
    account,
    began,
    since,
    times_out_at,
    armed,
} since 2 { billed } since 3 { parts, redrives } since 4 { dealt });

code_enum!(Phase {
    0 => Open,
    1 => Again { input },
    2 => Ended { end, at, outcome, close },
});

code_enum!(End {
    0 => Succeeded,
    1 => Failed,
    2 => Cancelled,
});

code_enum!(Close {
    0 => Waiting,
    1 => Reporting,
    2 => Done,
});

code_struct!(Running { number, attempt, id, began });

code_struct!(Op { asked, want, stage });

code_enum!(Want {
    0 => Timer { at },
    1 => Call { function, mode, id, attempt },
    2 => Signal { name },
    3 => Token { heartbeat, alive_until },
    4 => Send { to, name, id, attempt },
});

code_enum!(Stage {
    0 => Open,
    1 => Resolved { order, resolution },
    2 => Leaving { again },
    3 => Stopped,
});

code_enum!(ClosedToken {
    0 => Used,
    1 => Expired,
    2 => Dropped,
});

impl Execution {
    /// A new execution, whose first turn is due. Its id must be new in the store.
    pub fn start(now: Timestamp, birth: Birth, out: &mut Vec<Output>) -> Self {
        let timeout = birth.timeout.min(limits::EXECUTION_TIMEOUT_MAX);
        let (input, parent) = (birth.input.clone(), birth.parent);
        let mut new = Self {
            birth: Birth { timeout, ..birth },
            generation: 0,
            phase: Phase::Open,
            paused: None,
            state: None,
            parts: BTreeMap::new(),
            redrives: 0,
            custom_status: None,
            until: None,
            turn: 0,
            running: None,
            fed: Vec::new(),
            dealt: Vec::new(),
            ops: BTreeMap::new(),
            next_op: OpId(0),
            order: 0,
            signals: VecDeque::new(),
            signal_ids: VecDeque::new(),
            early_tokens: BTreeMap::new(),
            closed_tokens: VecDeque::new(),
            history_next: 1,
            history_first: 1,
            late_records: 0,
            account: Account { counted_until: now, ..Account::default() },
            billed: Billed::default(),
            began: now,
            since: now,
            times_out_at: now + timeout,
            armed: None,
        };
        new.record(now, Event::Started { input, parent }, out);
        new.follow_up(now, out);
        new
    }

    /// Takes one input and appends what follows from it to `out`, in order. Where nothing is
    /// appended, nothing changed.
    pub fn step(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) -> Verdict {
        let before = out.len();
        let verdict = match input {
            Input::TurnEnded { turn, attempt, end, used } => {
                self.turn_ended(now, (turn, attempt), end, used, out)
            }
            Input::TimerDue => self.timer_due(now, out),
            Input::Resolved { op, id, resolution, used } => {
                self.answered(now, (op, id), resolution, used, out)
            }
            Input::Signal { name, id, payload } => self.signal(now, name, id, payload, out),
            Input::Token { tenant, token, answer } => self.token(now, &tenant, &token, answer, out),
            Input::Cancel { reason } => self.cancel(now, reason, out),
            Input::Pause { reason } => self.pause(now, reason, out),
            Input::Resume { reason } => self.resume(now, reason, out),
            Input::Redrive { reason, asks } => self.redrive(now, reason, asks, out),
            Input::SetStatus { status } => self.set_status(status, out),
            Input::Reported => self.reported(out),
        };
        if out.len() > before {
            self.follow_up(now, out);
        }
        verdict
    }

    /// What must follow whatever changed: a new beginning, a turn, the end of an end, the timer.
    fn follow_up(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.account.accrue(now);
        self.end_at_history_limit(now, out);
        self.begin_anew(now, out);
        self.wake(now, out);
        self.close(out);
        self.account.bytes = self.billed_bytes();
        let deadline = self.deadline();
        if deadline != self.armed {
            self.armed = deadline;
            out.push(deadline.map_or(Output::Disarm, Output::Arm));
        }
        self.assert_whole();
    }

    /// The execution as bytes, with its format's number in front.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(FORMAT, self)
    }

    /// The execution of those bytes.
    ///
    /// # Errors
    /// Damaged, or written by a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut execution: Self = codec::decode(FORMAT, bytes)?;
        execution.bill_as_before_format_2(bytes.first().copied());
        match execution.broken() {
            None => Ok(execution),
            Some(_) => Err(DecodeError::Malformed { at: bytes.len() }),
        }
    }

    /// In the first format only the first end had a receipt.
    fn bill_as_before_format_2(&mut self, format: Option<u8>) {
        let was_closed =
            matches!(self.phase, Phase::Ended { close: Close::Reporting | Close::Done, .. });
        if format == Some(1) && was_closed {
            let _ = self.billed.bill(&self.account.own);
        }
    }

    fn pause(&mut self, now: Timestamp, reason: String, out: &mut Vec<Output>) -> Verdict {
        if let Some(status) = self.ended_status() {
            return Verdict::Refused(Refusal::Ended(status));
        }
        if reason.len() > limits::REASON_BYTES_MAX {
            return Verdict::Refused(Refusal::Malformed);
        }
        if self.paused.is_some() {
            return Verdict::Duplicate;
        }
        self.paused = Some(reason.clone());
        self.since = now;
        self.record(now, Event::Paused { reason }, out);
        Verdict::Applied
    }

    fn resume(&mut self, now: Timestamp, reason: String, out: &mut Vec<Output>) -> Verdict {
        if let Some(status) = self.ended_status() {
            return Verdict::Refused(Refusal::Ended(status));
        }
        if reason.len() > limits::REASON_BYTES_MAX {
            return Verdict::Refused(Refusal::Malformed);
        }
        if self.paused.take().is_none() {
            return Verdict::Refused(Refusal::NotPaused);
        }
        self.since = now;
        self.record(now, Event::Resumed { reason }, out);
        Verdict::Applied
    }

    fn set_status(&mut self, status: Vec<u8>, out: &mut Vec<Output>) -> Verdict {
        if let Some(status) = self.ended_status() {
            return Verdict::Refused(Refusal::Ended(status));
        }
        if status.len() > limits::CUSTOM_STATUS_BYTES_MAX {
            return Verdict::Refused(Refusal::Malformed);
        }
        self.custom_status = Some(status);
        out.push(Output::Touched);
        Verdict::Applied
    }

    fn record(&mut self, now: Timestamp, event: Event, out: &mut Vec<Output>) {
        let record = Record { seq: self.history_next, at: now, event };
        self.history_next += 1;
        out.push(Output::History(record));
    }

    /// Tells that something came too late; in the history too, unless that says so very often.
    fn late(&mut self, now: Timestamp, op: OpId, why: Refusal, out: &mut Vec<Output>) -> Verdict {
        if self.late_records >= limits::LATE_RECORDS_MAX {
            return Verdict::Refused(why);
        }
        self.late_records += 1;
        self.record(now, why.late(op), out);
        Verdict::Late(why)
    }

    /// An id that follows from this execution, what it is for, and nothing else. `now` is in the
    /// state by the time that anybody sees the id.
    fn derived_id(&self, now: Timestamp, purpose: &str, number: u64, attempt: u32) -> InvocationId {
        let digest = Sha256::new()
            .chain_update(self.birth.id.0.to_be_bytes())
            .chain_update(self.generation.to_be_bytes())
            .chain_update(number.to_be_bytes())
            .chain_update(attempt.to_be_bytes())
            .chain_update(purpose.as_bytes())
            .finalize();
        let upper: [u8; 16] = digest[..16].try_into().expect("a digest is longer");
        InvocationId::from_parts(now.as_millis(), u128::from_be_bytes(upper))
    }

    /// Invariants hold between steps and in all that is read.
    fn assert_whole(&self) {
        assert_eq!(self.broken(), None, "an invariant of {} does not hold", self.birth.id);
    }

    /// The first invariant that does not hold.
    fn broken(&self) -> Option<&'static str> {
        let is_open = matches!(self.phase, Phase::Open);
        let is_seen = |(op, fed): &(OpId, Op)| {
            matches!(fed.stage, Stage::Resolved { .. }) && !self.ops.contains_key(op)
        };
        let last = self.ops.last_key_value();
        let counts = [self.turn, self.order, self.history_next, self.history_first];
        let invariants = [
            (self.fed.is_empty() || self.running.is_some() || !is_open, "fed without a turn"),
            (self.fed.iter().all(is_seen), "fed with what was not resolved"),
            (self.ops.len() <= limits::OPEN_OPS_MAX, "more asks than the limit"),
            (self.signals.len() <= limits::KEPT_EVENTS_MAX, "more events than the limit"),
            (last.is_none_or(|(op, _)| *op < self.next_op), "an ask above the mark"),
            (self.next_op <= OPS_END, "a mark above the last number"),
            (self.history_first <= self.history_next, "a history that begins after its end"),
            (counts.iter().all(|count| *count < OPS_END.0), "a count beyond reason"),
        ];
        invariants.into_iter().find(|(holds, _)| !holds).map(|(_, what)| what)
    }
}
