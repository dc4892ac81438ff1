//! One turn of a state machine.

use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;

use asl::Document;
use asl::Random;
use asl::ask::{End, Input};
use asl::definition::ChartId;
use asl::history::{self, Event};
use asl::machine::{Encoded, Machine, Start, World};
use engine::{Kept, Orchestrator, Parts, Turn, Turned};
use model::suspend::{Ask, OpId, Step, Until};
use model::{Failure, FailureKind};
use serde_json::Value;

use super::{Origin, StateMachine};

/// How the state of a run is written.
const FORMAT: u8 = 1;
/// Branches whose states a person is told of.
const STANDING_MAX: usize = 10_000;

/// A machine, and what the platform has to remember of its asks.
pub(super) struct Run {
    pub(super) machine: Machine,
    /// By ask of the machine.
    pub(super) beside: BTreeMap<u64, Value>,
    /// How often the execution had been redriven when its state was written.
    pub(super) redrives: u32,
    /// Bytes of the parts that its documents were read from or written to.
    part_bytes: BTreeMap<u64, usize>,
}

/// A turn under way.
pub(super) struct Under<'t> {
    pub(super) of: &'t StateMachine,
    pub(super) turn: &'t Turn<'t>,
    pub(super) run: Run,
    pub(super) random: Random,
    pub(super) asks: Vec<(OpId, Ask)>,
    pub(super) drops: Vec<OpId>,
    /// Asks of the machine that ended and that it has gone on from.
    dealt: Vec<OpId>,
    events: Vec<Event>,
}

/// What an ask of the execution is to one of the machine. An ask of the machine has four numbers of
/// the execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// A timer, a call or a child.
    Work,
    /// The callback token.
    Token,
    /// The news that a job has begun.
    Submitted,
}

impl Slot {
    pub(super) const ALL: [Self; 3] = [Self::Work, Self::Token, Self::Submitted];

    /// The number of the execution's ask.
    pub(super) const fn of(self, op: OpId) -> OpId {
        let place = match self {
            Self::Work => 0,
            Self::Token => 1,
            Self::Submitted => 2,
        };
        OpId(op.0 << 2 | place)
    }

    /// The machine's ask, and what that of the execution is to it.
    pub(super) const fn read(op: OpId) -> Option<(OpId, Self)> {
        let slot = match op.0 & 3 {
            0 => Self::Work,
            1 => Self::Token,
            2 => Self::Submitted,
            _ => return None,
        };
        Some((OpId(op.0 >> 2), slot))
    }
}

impl Orchestrator for StateMachine {
    fn turn(&self, turn: &Turn<'_>) -> Turned {
        match self.run(turn) {
            Ok(turned) => turned,
            Err(message) => {
                let failure = Failure::new(FailureKind::Platform, message);
                Turned::new(Vec::new(), Step::Failed(failure))
            }
        }
    }

    fn is_followed(&self) -> bool {
        self.is_followed
    }
}

impl StateMachine {
    fn run(&self, turn: &Turn<'_>) -> Result<Turned, String> {
        let seed = u64::from_le_bytes(*turn.entropy.first_chunk().expect("32 bytes"));
        let mint = |op: OpId| turn.mint.token(Slot::Token.of(op));
        let world = World { now: turn.now, token: &mint };
        let (run, first) = match turn.state {
            None => {
                let (machine, first) = self.start(turn, seed, &world)?;
                let (beside, part_bytes) = (BTreeMap::new(), BTreeMap::new());
                let redrives = turn.redrives;
                (Run { machine, beside, redrives, part_bytes }, Some(first))
            }
            Some(state) => (self.resume(turn, state)?, None),
        };
        // Another stream than the machine's own draws.
        let random = Random::new(seed.rotate_left(32) ^ 0x5bd1_e995);
        let (asks, drops, events) = (Vec::new(), Vec::new(), Vec::new());
        let dealt = Vec::new();
        let mut under = Under { of: self, turn, run, random, asks, drops, dealt, events };
        let mut waiting = match first {
            Some(first) => VecDeque::from([under.note(first)]),
            None => one_by_one(under.inputs(&world)),
        };
        while let Some(inputs) = waiting.pop_front()
            && under.run.machine.end().is_none()
        {
            if !inputs.is_empty() {
                let ended: Vec<OpId> = inputs.iter().filter_map(Input::op).collect();
                let stepped = under.run.machine.step(inputs, &world);
                if under.run.machine.end().is_none() {
                    under.dealt.extend(ended);
                }
                waiting.push_front(under.note(stepped));
            }
        }
        Ok(under.end())
    }

    fn start(
        &self,
        turn: &Turn<'_>,
        seed: u64,
        world: &World<'_>,
    ) -> Result<(Machine, asl::machine::Turn), String> {
        let input = if turn.input.is_empty() { b"{}" } else { turn.input };
        let text = std::str::from_utf8(input).map_err(|_| "the input is not UTF-8".to_owned())?;
        let input =
            Document::parse(text).map_err(|error| format!("the input is not JSON: {error}"))?;
        let origin = Origin::read(&turn.birth.origin);
        let facts = self.facts(turn.birth, &origin, turn.began);
        let start = Start { facts, input, chart: ChartId(origin.chart), seed };
        let definition = std::sync::Arc::clone(&self.definition);
        if (origin.chart as usize) >= definition.charts.len() {
            return Err("the definition has no such part".to_owned());
        }
        Ok(Machine::start(definition, self.settings.clone(), start, world))
    }

    fn resume(&self, turn: &Turn<'_>, state: &[u8]) -> Result<Run, String> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = cache.take(turn.birth.id, state) {
            return Ok(run);
        }
        drop(cache);
        let damaged = || "the state of the execution is damaged".to_owned();
        let (format, rest) = state.split_first().ok_or_else(damaged)?;
        if *format != FORMAT {
            return Err(format!("the state of the execution has format {format}, not {FORMAT}"));
        }
        let (redrives, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let redrives = u32::from_le_bytes(*redrives);
        let (length, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| damaged())?;
        let (machine, beside) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let found = Found::new(turn.parts);
        let definition = std::sync::Arc::clone(&self.definition);
        let machine = Machine::decode(machine, &found, definition, self.settings.clone())
            .map_err(|error| error.to_string())?;
        let beside = serde_json::from_slice(beside).map_err(|_| damaged())?;
        Ok(Run { machine, beside, redrives, part_bytes: found.bytes.into_inner() })
    }
}

/// Parts as the engine has them.
struct Found<'k> {
    kept: Kept<'k>,
    bytes: std::cell::RefCell<BTreeMap<u64, usize>>,
}

impl<'k> Found<'k> {
    fn new(kept: Kept<'k>) -> Self {
        Self { kept, bytes: std::cell::RefCell::default() }
    }
}

impl asl::machine::Parts for Found<'_> {
    fn part(&self, number: u64) -> Option<Vec<u8>> {
        let part = self.kept.part(number)?;
        self.bytes.borrow_mut().insert(number, part.len());
        Some(part)
    }
}

impl Under<'_> {
    /// Takes what came of a step. What ends at once is given back.
    pub(super) fn note(&mut self, turn: asl::machine::Turn) -> Vec<Input> {
        let asl::machine::Turn { asks, drops, events, end: _ } = turn;
        self.events.extend(events);
        for op in drops {
            self.drop_op(op);
        }
        asks.into_iter().flat_map(|(op, ask)| self.ask(op, ask)).collect()
    }

    /// An ask of the machine has ended, or is no longer wanted.
    pub(super) fn drop_op(&mut self, op: OpId) {
        self.run.beside.remove(&op.0);
        self.asks.retain(|(asked, _)| asked.0 >> 2 != op.0);
        self.drops.extend(Slot::ALL.map(|slot| slot.of(op)));
    }

    fn end(mut self) -> Turned {
        let entered =
            self.events.iter().filter(|event| event.kind.name().ends_with("StateEntered"));
        let transitions = entered.count() as u64;
        let notes = history::encode(&self.events).into_iter().collect();
        if let Some(end) = self.run.machine.end() {
            let step = match end {
                End::Succeeded(output) => Step::Done(output.text().as_bytes().to_vec()),
                End::Failed { error, cause } => Step::Failed(asl::answer::failure(
                    FailureKind::Handler,
                    error.as_deref(),
                    cause.as_deref(),
                )),
                End::Aborted { error, cause } => Step::Failed(asl::answer::failure(
                    FailureKind::Cancelled,
                    error.as_deref(),
                    cause.as_deref(),
                )),
                End::TimedOut => Step::Failed(asl::answer::failure(
                    FailureKind::TimedOut,
                    Some("States.Timeout"),
                    None,
                )),
            };
            let dealt = |op: &OpId| Slot::read(*op).is_some_and(|(op, _)| self.dealt.contains(&op));
            let dealt = self.turn.resolved.iter().map(|(op, _)| *op).filter(dealt).collect();
            return Turned { transitions, notes, dealt, ..Turned::new(Vec::new(), step) };
        }
        self.watch_map_runs();
        self.note_map_runs();
        let status = self.standing();
        let Encoded { state: machine, parts, live } = self.run.machine.encode();
        let mut state = vec![FORMAT];
        state.extend(self.turn.redrives.to_le_bytes());
        state.extend(u32::try_from(machine.len()).unwrap_or(u32::MAX).to_le_bytes());
        state.extend(machine);
        state.extend(serde_json::to_vec(&self.run.beside).expect("it is JSON"));
        self.asks.sort_unstable_by_key(|(op, _)| *op);
        let step = Step::Wait {
            asks: self.asks,
            drops: self.drops,
            until: Until::Next,
            status: Some(status),
        };
        self.run.redrives = self.turn.redrives;
        let bytes = &mut self.run.part_bytes;
        bytes.extend(parts.iter().map(|(number, part)| (*number, part.len())));
        bytes.retain(|number, _| live.contains(number));
        let bytes = bytes.values().sum();
        let mut cache = self.of.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put(self.turn.birth.id, state.clone(), bytes, self.run);
        let parts = Parts { new: parts, live };
        Turned { transitions, notes, parts, ..Turned::new(state, step) }
    }

    /// Where it stands, for a person: how many branches stand in which state.
    fn standing(&self) -> Vec<u8> {
        let mut states: BTreeMap<&str, usize> = BTreeMap::new();
        for state in self.run.machine.standing().take(STANDING_MAX) {
            *states.entry(state).or_default() += 1;
        }
        let mut status = serde_json::json!({ "states": states });
        let under_way = self.map_runs_under_way();
        if !under_way.is_empty() {
            status["mapRuns"] = under_way.into();
        }
        let ended = self.map_runs_ended();
        if !ended.is_empty() {
            status["mapRunsEnded"] = ended.into();
        }
        let mut status = status.to_string();
        if status.len() > model::limits::CUSTOM_STATUS_BYTES_MAX {
            let branches: usize = states.values().sum();
            status = serde_json::json!({ "branches": branches }).to_string();
        }
        status.into_bytes()
    }
}

/// What came together, as if it had come one after the other; only what timed out did so at once.
fn one_by_one(inputs: Vec<Input>) -> VecDeque<Vec<Input>> {
    let mut steps: VecDeque<Vec<Input>> = VecDeque::with_capacity(inputs.len());
    for input in inputs {
        let fired = |input: &Input| matches!(input, Input::Fired(_));
        match steps.back_mut() {
            Some(last) if fired(&input) && last.iter().all(fired) => last.push(input),
            _ => steps.push_back(vec![input]),
        }
    }
    steps
}
