//! A shell of one execution: keeps what a store would, and encodes and decodes between all steps, so
//! that every test is also a test of the encoding.

#![allow(dead_code, reason = "each test file uses another part")]

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{
    Birth, Effect, Execution, Input, Output, Payload, Record, Token, TokenAnswer, Totals, TurnEnd,
    Turned, Verdict,
};
use model::suspend::{Ask, InvokeMode, OpId, Resolution, Step, Until};
use model::{ClassId, ExecutionId, Failure, FailureKind, InvocationId, Timestamp, Version};

pub(crate) const SECOND: u64 = 1_000_000_000;

pub(crate) struct Rig {
    pub(crate) exe: Execution,
    pub(crate) now: Timestamp,
    pub(crate) outbox: BTreeMap<OpId, Effect>,
    pub(crate) history: Vec<Record>,
    pub(crate) timer: Option<Timestamp>,
    pub(crate) outcomes: Vec<engine::Outcome>,
    /// What the receipts say.
    pub(crate) closed: Vec<Totals>,
}

pub(crate) fn birth() -> Birth {
    Birth {
        id: ExecutionId::from_parts(1, 7),
        tenant: "acme".parse().expect("a tenant"),
        function: "order".parse().expect("a function"),
        version: Version(3),
        class: ClassId(2),
        max_class: ClassId(4),
        depth: 0,
        parent: None,
        input: b"in".to_vec().into(),
        timeout: Duration::from_secs(1_000_000),
        secret: [9; 32],
        origin: Vec::new(),
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::born(birth())
    }

    pub(crate) fn born(birth: Birth) -> Self {
        let mut out = Vec::new();
        let exe = Execution::start(Timestamp(0), birth, &mut out);
        let mut rig = Self {
            exe,
            now: Timestamp(0),
            outbox: BTreeMap::new(),
            history: Vec::new(),
            timer: None,
            outcomes: Vec::new(),
            closed: Vec::new(),
        };
        rig.keep(out);
        rig
    }

    /// One step. What was refused or repeated must not have changed a bit.
    #[track_caller]
    pub(crate) fn step(&mut self, input: Input) -> Verdict {
        let before = self.exe.encode();
        let mut out = Vec::new();
        let verdict = self.exe.step(self.now, input, &mut out);
        if out.is_empty() {
            assert_eq!(self.exe.encode(), before, "nothing said, nothing changed: {verdict:?}");
        }
        let is_change = matches!(verdict, Verdict::Applied | Verdict::Late(_));
        assert_eq!(is_change, !out.is_empty(), "{verdict:?} with {out:?}");
        self.keep(out);
        verdict
    }

    pub(crate) fn keep(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Effect(effect) => {
                    let bytes = effect.encode();
                    let effect = Effect::decode(&bytes).expect("just encoded");
                    self.outbox.insert(effect.key(), effect);
                }
                Output::Settled(key) => {
                    assert!(self.outbox.remove(&key).is_some(), "{key:?} was not in the outbox");
                }
                Output::Arm(at) => self.timer = Some(at),
                Output::Disarm => self.timer = None,
                Output::History(record) => {
                    assert_eq!(record.seq, self.next_seq(), "no gap");
                    let bytes = record.encode();
                    self.history.push(Record::decode(&bytes).expect("just encoded"));
                }
                Output::ForgetHistory { before } => self.history.retain(|r| r.seq >= before),
                Output::Ended { outcome } => self.outcomes.push(outcome),
                Output::Touched => {}
                Output::Closed { receipt, used } => {
                    self.closed.push(used);
                    assert_eq!(receipt as usize, self.closed.len());
                }
            }
        }
        let decoded = Execution::decode(&self.exe.encode()).expect("just encoded");
        assert_eq!(decoded, self.exe, "the encoding loses nothing");
        assert_eq!(self.timer, self.exe.deadline(), "the timer is the deadline");
        self.exe = decoded;
    }

    fn next_seq(&self) -> u64 {
        self.history.last().map_or(1, |record| record.seq + 1)
    }

    #[track_caller]
    pub(crate) fn applied(&mut self, input: Input) {
        assert_eq!(self.step(input), Verdict::Applied);
    }

    /// Ends the turn that runs.
    #[track_caller]
    pub(crate) fn turn(&mut self, step: Step<Payload>) {
        self.turned(Turned::new(b"state".to_vec().into(), step));
    }

    #[track_caller]
    pub(crate) fn turned(&mut self, turned: Turned<Payload>) {
        let (turn, attempt) = self.running();
        let end = TurnEnd::Ended(turned);
        self.applied(Input::TurnEnded { turn, attempt, end, used: used(1) });
    }

    #[track_caller]
    pub(crate) fn running(&self) -> (u64, u32) {
        let due = self.exe.turn().expect("a turn runs");
        assert!(matches!(self.outbox[&engine::output::TURN_KEY], Effect::RunTurn { .. }));
        (due.number, due.attempt)
    }

    /// What the turn that runs was given.
    #[track_caller]
    pub(crate) fn given(&self) -> Vec<(u64, String)> {
        let due = self.exe.turn().expect("a turn runs");
        due.resolved.iter().map(|(op, resolution)| (op.0, words(resolution))).collect()
    }

    /// Answers the call, sending or cancelling of that number.
    #[track_caller]
    pub(crate) fn answer(&mut self, op: u64, resolution: Resolution<Payload>) -> Verdict {
        let id = self.call_id(op);
        self.step(Input::Resolved { op: OpId(op), id, resolution, used: used(10) })
    }

    #[track_caller]
    pub(crate) fn call_id(&self, op: u64) -> InvocationId {
        match &self.outbox[&OpId(op)] {
            Effect::Invoke(call) => call.id,
            Effect::CancelCall { id, .. } | Effect::SendSignal { id, .. } => *id,
            other => panic!("#{op} is no call: {other:?}"),
        }
    }

    pub(crate) fn signal(&mut self, name: &str, id: u64, payload: &str) -> Verdict {
        let id = Some(engine::SignalId(id));
        let payload = payload.as_bytes().to_vec().into();
        self.step(Input::Signal { name: name.to_owned(), id, payload })
    }

    pub(crate) fn token(&mut self, op: u64, answer: TokenAnswer) -> Verdict {
        let text = self.exe.mint().token(OpId(op));
        self.present(&text, answer)
    }

    pub(crate) fn present(&mut self, text: &str, answer: TokenAnswer) -> Verdict {
        let token = Token::parse(text).expect("a token");
        let tenant = "acme".parse().expect("a tenant");
        self.step(Input::Token { tenant, token, answer })
    }

    pub(crate) fn advance(&mut self, seconds: u64) {
        self.now = Timestamp(self.now.0 + seconds * SECOND);
    }

    /// The history in words.
    pub(crate) fn told(&self) -> String {
        let line =
            |r: &Record| format!("{:<3} {:>4}s {}\n", r.seq, r.at.0 / SECOND, r.event.reason());
        self.history.iter().map(line).collect()
    }
}

pub(crate) fn used(amount: u64) -> Totals {
    Totals { amount: model::Amount(amount), invocations: 1, ..Totals::default() }
}

pub(crate) fn bytes(text: &str) -> Payload {
    text.as_bytes().to_vec().into()
}

pub(crate) fn ok(text: &str) -> Resolution<Payload> {
    Resolution::Ok(bytes(text))
}

pub(crate) fn failed(message: &str) -> Resolution<Payload> {
    Resolution::Failed(Failure::new(FailureKind::Handler, message))
}

pub(crate) fn words(resolution: &Resolution<Payload>) -> String {
    match resolution {
        Resolution::Ok(Payload::Inline(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Resolution::Ok(stored) => format!("{stored:?}"),
        Resolution::Failed(failure) => format!("{}: {}", failure.kind.code(), failure.message),
        Resolution::Refused { code, message } => format!("{code}: {message}"),
    }
}

pub(crate) fn wait(asks: Vec<(u64, Ask<Payload>)>, until: Until) -> Step<Payload> {
    drop_and_wait(asks, &[], until)
}

pub(crate) fn drop_and_wait(
    asks: Vec<(u64, Ask<Payload>)>,
    drops: &[u64],
    until: Until,
) -> Step<Payload> {
    Step::Wait {
        asks: asks.into_iter().map(|(op, ask)| (OpId(op), ask)).collect(),
        drops: ops(drops),
        until,
        status: None,
    }
}

pub(crate) fn ops(numbers: &[u64]) -> Vec<OpId> {
    numbers.iter().copied().map(OpId).collect()
}

pub(crate) fn any(numbers: &[u64]) -> Until {
    Until::Any(ops(numbers))
}

pub(crate) fn all(numbers: &[u64]) -> Until {
    Until::All(ops(numbers))
}

pub(crate) fn call(function: &str) -> Ask<Payload> {
    invoke(function, InvokeMode::Wait)
}

pub(crate) fn invoke(function: &str, mode: InvokeMode) -> Ask<Payload> {
    Ask::Invoke { function: function.to_owned(), class: None, payload: bytes("x"), mode }
}

pub(crate) fn timer(seconds: u64) -> Ask<Payload> {
    Ask::Timer { at: Timestamp(seconds * SECOND) }
}

pub(crate) fn signal(name: &str) -> Ask<Payload> {
    Ask::Signal { name: name.to_owned() }
}

pub(crate) fn token(heartbeat_s: Option<u64>) -> Ask<Payload> {
    Ask::Token { heartbeat: heartbeat_s.map(Duration::from_secs) }
}
