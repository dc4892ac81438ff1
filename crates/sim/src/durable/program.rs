//! The orchestrating function of the simulated world: a plan, and what it has seen so far.
//!
//! It checks what it is given as it goes: each answer belongs to what was asked, nothing is given
//! twice.

use std::time::Duration;

use engine::{Mint, Payload, Turned};
use model::suspend::{Ask, InvokeMode, OpId, Resolution, Step, Until};
use model::{ExecutionId, Failure, FailureKind, Timestamp};
use policy::rng::Rng;
use serde::{Deserialize, Serialize};

/// What an execution is to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) steps: Vec<Do>,
    /// What was seen before it began anew.
    pub(super) seen: Seen,
    /// It fails at its end.
    pub(super) fails: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Do {
    /// Calls that many functions and collects the answers as they come.
    Fan {
        calls: u64,
        one_by_one: bool,
    },
    /// Calls a function that fails at first: so does the execution, until it is redriven.
    Flaky,
    /// Calls one that is not there.
    Missing,
    /// A call against a timer; the loser is dropped.
    Race {
        millis: u64,
    },
    /// A child that never ends against a timer: it is cancelled.
    Abandon {
        millis: u64,
    },
    Sleep {
        millis: u64,
    },
    /// So many signals, one after the other, against a timer where stated.
    Signals {
        count: u64,
        timeout_millis: Option<u64>,
    },
    Token {
        heartbeat_millis: Option<u64>,
    },
    Child(Plan),
    /// Starts an execution that goes on alone, and signals it.
    Start,
    /// Begins anew with the rest of the plan.
    Again,
}

/// What was seen, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) signals: Vec<String>,
    pub(super) count: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    plan: Plan,
    turn: u64,
    /// The step that is under way.
    at: usize,
    next_op: u64,
    /// Asks of this step that did not end, with what they are.
    open: Vec<(u64, Sort)>,
    /// Signals that this step still waits for.
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Sort {
    Leaf,
    Flaky,
    Missing,
    Timer,
    Signal,
    Token,
    Child,
    Start,
    Send,
}

/// A turn as it ends, and the tokens that it gave away on the way.
pub(super) struct Ran {
    pub(super) turned: Turned<Payload>,
    pub(super) tokens: Vec<(String, Option<u64>)>,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng, depth: u32) -> Self {
        let is_root = depth == 3;
        let count = 1 + rng.below(if is_root { 6 } else { 3 });
        let steps = (0..count).map(|_| draw_step(rng, depth, is_root)).collect();
        Self { steps, seen: Seen::default(), fails: is_root && rng.below(10) == 0 }
    }

    pub(super) fn signals(&self) -> u64 {
        let count = |step: &Do| if let Do::Signals { count, .. } = step { *count } else { 0 };
        self.steps.iter().map(count).sum()
    }

    pub(super) fn to_payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }

    /// The execution that [`Do::Start`] starts.
    fn greeted() -> Self {
        let steps = vec![Do::Signals { count: 1, timeout_millis: None }];
        Self { steps, ..Self::default() }
    }

    fn endless() -> Self {
        let steps = vec![Do::Fan { calls: 2, one_by_one: false }, Do::Sleep { millis: 1 << 40 }];
        Self { steps, ..Self::default() }
    }
}

fn draw_step(rng: &mut Rng, depth: u32, is_root: bool) -> Do {
    let millis = |rng: &mut Rng, most: usize| rng.below(most) as u64;
    match rng.below(12) {
        0 | 1 => Do::Fan { calls: 1 + millis(rng, 6), one_by_one: rng.below(2) == 0 },
        2 => Do::Race { millis: millis(rng, 600) },
        3 => Do::Sleep { millis: millis(rng, 3_000) },
        4 | 5 if is_root => {
            let timeout_millis = (rng.below(2) == 0).then(|| 100 + millis(rng, 400));
            Do::Signals { count: 1 + millis(rng, 4), timeout_millis }
        }
        4 => Do::Token { heartbeat_millis: (rng.below(2) == 0).then_some(6_000) },
        5 => Do::Token { heartbeat_millis: None },
        6 | 7 if depth > 1 => Do::Child(Plan::draw(rng, depth - 1)),
        6 => Do::Missing,
        7 if is_root => Do::Flaky,
        8 if is_root => Do::Again,
        9 => Do::Abandon { millis: millis(rng, 800) },
        10 => Do::Start,
        11 if is_root => Do::Flaky,
        _ => Do::Sleep { millis: millis(rng, 200) },
    }
}

/// What a leaf of the world answers.
pub(super) fn leaf_answer(payload: &[u8]) -> Vec<u8> {
    [b"answer to ", payload].concat()
}

/// Goes on up to the next suspension.
pub(super) fn run(id: ExecutionId, now: Timestamp, due: &engine::DueTurn<'_>, mint: &Mint) -> Ran {
    let mut run = Run::new(id, now, due);
    for (op, resolution) in &due.resolved {
        if let Some(failure) = run.see(*op, resolution) {
            return Ran {
                turned: Turned::new(Payload::empty(), Step::Failed(failure)),
                tokens: vec![],
            };
        }
    }
    let step = run.go_on();
    let tokens = run.tokens.iter().map(|(op, heartbeat)| (mint.token(*op), *heartbeat)).collect();
    let state = serde_json::to_vec(&run.state).expect("plain data");
    Ran { turned: Turned::new(state.into(), step), tokens }
}

struct Run {
    id: ExecutionId,
    now: Timestamp,
    state: State,
    asks: Vec<(OpId, Ask<Payload>)>,
    drops: Vec<OpId>,
    tokens: Vec<(OpId, Option<u64>)>,
}

impl Run {
    fn new(id: ExecutionId, now: Timestamp, due: &engine::DueTurn<'_>) -> Self {
        let mut state = match due.state {
            Some(state) => serde_json::from_slice(bytes(state)).expect("our own state"),
            None => State {
                plan: serde_json::from_slice(bytes(due.input)).expect("a plan"),
                turn: 0,
                at: 0,
                next_op: 1,
                open: Vec::new(),
                left: 0,
            },
        };
        assert!(due.number > state.turn, "check failed: turn {} after {}", due.number, state.turn);
        state.turn = due.number;
        Self { id, now, state, asks: Vec::new(), drops: Vec::new(), tokens: Vec::new() }
    }

    fn see(&mut self, op: OpId, resolution: &Resolution<Payload>) -> Option<Failure> {
        let place = self.state.open.iter().position(|(open, _)| *open == op.0);
        let place =
            place.unwrap_or_else(|| panic!("check failed: {} saw #{} again", self.id, op.0));
        let (_, sort) = self.state.open.remove(place);
        self.state.plan.seen.count += 1;
        match (sort, resolution) {
            (Sort::Leaf, Resolution::Ok(answer)) => {
                let expected = leaf_answer(&self.payload(op));
                assert_eq!(bytes(answer), expected, "check failed: an answer to another call");
            }
            (Sort::Flaky, Resolution::Failed(failure)) => return Some(failure.clone()),
            (Sort::Signal, Resolution::Ok(payload)) => {
                let text = String::from_utf8_lossy(bytes(payload)).into_owned();
                self.state.plan.seen.signals.push(text);
                self.state.left -= 1;
            }
            (Sort::Start, Resolution::Ok(started)) => {
                let to = String::from_utf8_lossy(bytes(started)).into_owned();
                let payload = self.payload(op).into();
                let name = "s".to_owned();
                self.ask(Sort::Send, Ask::SendSignal { to, name, payload });
            }
            (Sort::Missing, Resolution::Refused { code, .. }) => {
                assert_eq!(code, "unknown-function");
            }
            (Sort::Send, Resolution::Refused { code, .. }) => {
                assert_eq!(code, "execution-ended");
            }
            (Sort::Missing | Sort::Start, other) => {
                panic!("check failed: {sort:?} was answered {other:?}")
            }
            _ => {}
        }
        None
    }

    fn payload(&self, op: OpId) -> Vec<u8> {
        format!("{}/{}", self.id, op.0).into_bytes()
    }

    fn ask(&mut self, sort: Sort, ask: Ask<Payload>) {
        let op = self.state.next_op;
        self.state.next_op += 1;
        self.state.open.push((op, sort));
        self.asks.push((OpId(op), ask));
    }

    fn call(&mut self, sort: Sort, function: &str, payload: Vec<u8>, mode: InvokeMode) {
        let function = function.to_owned();
        self.ask(sort, Ask::Invoke { function, class: None, payload: payload.into(), mode });
    }

    fn leaf(&mut self, sort: Sort, function: &str) {
        let payload = self.payload(OpId(self.state.next_op));
        self.call(sort, function, payload, InvokeMode::Wait);
    }

    fn timer(&mut self, millis: u64) {
        let at = self.now + Duration::from_millis(millis);
        self.ask(Sort::Timer, Ask::Timer { at });
    }

    /// Drops what has lost against what was seen.
    fn drop_losers(&mut self) {
        self.drops.extend(self.state.open.drain(..).map(|(op, _)| OpId(op)));
    }

    fn go_on(&mut self) -> Step<Payload> {
        let current = self.state.at.checked_sub(1).map(|at| self.state.plan.steps[at].clone());
        match current {
            Some(Do::Race { .. } | Do::Abandon { .. }) => self.drop_losers(),
            Some(Do::Signals { timeout_millis, .. }) => {
                self.drop_losers();
                if self.state.left > 0 {
                    return self.wait_signal(timeout_millis);
                }
            }
            Some(Do::Fan { one_by_one: true, .. }) if !self.state.open.is_empty() => {
                return self.wait(Until::Next);
            }
            _ => {}
        }
        if !self.state.open.is_empty() {
            let open = self.state.open.iter().map(|(op, _)| OpId(*op)).collect();
            return self.wait(Until::All(open));
        }
        self.begin_step()
    }

    fn begin_step(&mut self) -> Step<Payload> {
        let Some(step) = self.state.plan.steps.get(self.state.at).cloned() else {
            if self.state.plan.fails {
                return Step::Failed(Failure::new(FailureKind::Handler, "as planned"));
            }
            return Step::Done(serde_json::to_vec(&self.state.plan.seen).expect("plain").into());
        };
        self.state.at += 1;
        match step {
            Do::Fan { calls, .. } => (0..calls).for_each(|_| self.leaf(Sort::Leaf, "leaf")),
            Do::Flaky => self.leaf(Sort::Flaky, "flaky"),
            Do::Missing => self.leaf(Sort::Missing, "missing"),
            Do::Race { millis } => {
                self.leaf(Sort::Leaf, "leaf");
                self.timer(millis);
                return self.wait_any();
            }
            Do::Abandon { millis } => {
                self.call(Sort::Child, "flow", Plan::endless().to_payload(), InvokeMode::Wait);
                self.timer(millis);
                return self.wait_any();
            }
            Do::Sleep { millis } => self.timer(millis),
            Do::Signals { count, timeout_millis } => {
                self.state.left = count;
                return self.wait_signal(timeout_millis);
            }
            Do::Token { heartbeat_millis } => {
                self.tokens.push((OpId(self.state.next_op), heartbeat_millis));
                let heartbeat = heartbeat_millis.map(Duration::from_millis);
                self.ask(Sort::Token, Ask::Token { heartbeat });
            }
            Do::Child(plan) => {
                self.call(Sort::Child, "flow", plan.to_payload(), InvokeMode::Wait);
            }
            Do::Start => {
                let payload = Plan::greeted().to_payload();
                self.call(Sort::Start, "flow", payload, InvokeMode::Detach);
            }
            Do::Again => {
                let mut plan = self.state.plan.clone();
                plan.steps.drain(..self.state.at);
                return Step::Again(plan.to_payload().into());
            }
        }
        let open = self.state.open.iter().map(|(op, _)| OpId(*op)).collect();
        self.wait(Until::All(open))
    }

    fn wait_signal(&mut self, timeout_millis: Option<u64>) -> Step<Payload> {
        self.ask(Sort::Signal, Ask::Signal { name: "s".to_owned() });
        if let Some(millis) = timeout_millis {
            self.timer(millis);
        }
        self.wait_any()
    }

    fn wait_any(&mut self) -> Step<Payload> {
        let open = self.state.open.iter().map(|(op, _)| OpId(*op)).collect();
        self.wait(Until::Any(open))
    }

    fn wait(&mut self, until: Until) -> Step<Payload> {
        Step::Wait {
            asks: std::mem::take(&mut self.asks),
            drops: std::mem::take(&mut self.drops),
            until,
            status: None,
        }
    }
}

fn bytes(payload: &Payload) -> &[u8] {
    match payload {
        Payload::Inline(bytes) => bytes,
        Payload::Stored { .. } => panic!("everything is small here"),
    }
}
